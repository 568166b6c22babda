"""Planted faults in benchmarks."""

from faults import Fault

FAULTS = (
    Fault(
        "metrics: PSNR with 10 log10 of the peak, not of its square",
        "benchmarks/_metrics.py",
        "10 * np.log10(peak**2 / np.maximum(mean_square, floor))",
        "10 * np.log10(peak / np.maximum(mean_square, floor))",
        "tests/test_benchmarks_metrics.py",
    ),
    Fault(
        "rivals: the divergence of the singular values counts each pair once",
        "benchmarks/rivals/singular_values.py",
        "(longer - len(values)) / values + 2 * values * inverse.sum(axis=1)",
        "(longer - len(values)) / values + values * inverse.sum(axis=1)",
        "tests/test_benchmarks_rivals_svd.py",
    ),
    Fault(
        "rivals: shrinkage of singular values without its correction",
        "benchmarks/rivals/singular_values.py",
        "inside = (y**2 - ratio - 1) ** 2 - 4 * ratio",
        "inside = (y**2 - ratio - 1) ** 2",
        "tests/test_benchmarks_rivals_svd.py",
    ),
    Fault(
        "rivals: frames are projected on the first subspace only",
        "benchmarks/rivals/robust_pca.py",
        "        self._new = found\n",
        "        self._new = found[:0]\n",
        "tests/test_benchmarks_rivals_reld.py",
    ),
    Fault(
        "rivals: the blind-spot network sees the pixel",
        "benchmarks/rivals/blind_spot.py",
        "above = functional.pad(seen, (0, 0, 1, 0))[:, :, :-1]",
        "above = seen",
        "tests/test_benchmarks_rivals_learned.py",
    ),
    Fault(
        "rivals: Frame2Frame learns from the frame itself",
        "benchmarks/rivals/fine_tuning.py",
        "return frames[t], frames[t + 1 if t + 1 < len(frames) else t - 1]",
        "return frames[t], frames[t]",
        "tests/test_benchmarks_rivals_learned.py",
    ),
    Fault(
        "paper: a rigid correction moves frames the wrong way",
        "benchmarks/paper/table2.py",
        "shifts[e] = -np.clip(back, -FARTHEST_PX, FARTHEST_PX)",
        "shifts[e] = np.clip(back, -FARTHEST_PX, FARTHEST_PX)",
        "tests/test_benchmarks_paper.py::test_rigid_correction_finds_shifts_that_were_made",
    ),
    Fault(
        "paper: rows of an earlier run are forgotten",
        "benchmarks/paper/store.py",
        "[] if fresh else load(self.name)",
        "[]",
        "tests/test_benchmarks_paper.py::test_a_run_that_was_stopped_goes_on_where_it_was",
    ),
    Fault(
        "paper: a good frame hides a bad map",
        "benchmarks/paper/verdicts.py",
        "self.lead_db >= -CLOSE_DB and self.lead >= -CLOSE_CORRELATION",
        "self.lead_db >= -CLOSE_DB or self.lead >= -CLOSE_CORRELATION",
        "tests/test_benchmarks_paper.py::test_a_frame_that_is_best_does_not_hide_a_map_that_is_not",
    ),
    Fault(
        "paper: numbers of another column of Table 1",
        "benchmarks/paper/published.py",
        "return row[COLUMNS.index(column)] if",
        "return row[COLUMNS.index(column) - 1] if",
        "tests/test_benchmarks_paper.py::test_tables_of_the_paper_have_its_numbers",
    ),
    Fault(
        "paper: the middle is scored against other rows of the truth",
        "benchmarks/paper/scans.py",
        "images = self.phantom.images[:, *area]",
        "images = np.roll(self.phantom.images, 3, axis=1)[:, *area]",
        "tests/test_benchmarks_paper.py::test_a_part_is_scored_as_this_part_of_the_whole",
    ),
    Fault(
        "paper: slow methods are named as if they had run everywhere",
        "benchmarks/paper/page.py",
        "        if done < len(planned):",
        "        if done < 0:",
        "tests/test_benchmarks_paper.py::test_a_quick_run_writes_its_page_beside_the_results",
    ),
    Fault(
        "phantom: inclusions as dark as the rest",
        "phantom/_bodies.py",
        "bright = np.minimum(1.5 * spots, 1) * (matter > 0.2)",
        "bright = np.minimum(0.3 * spots, 1) * (matter > 0.2)",
        "tests/test_phantom_scenes.py::test_inclusions_set_the_scale_of_a_wedge_of_half_its_brightness",
    ),
)
