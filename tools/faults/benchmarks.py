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
        "rivals: NGMeet keeps all singular values",
        "benchmarks/rivals/non_local.py",
        "kept = np.where(share < 1, (1 + np.sqrt(1 - share)) / 2, 0)",
        "kept = (1 + np.sqrt(1 - share)) / 2",
        "tests/test_benchmarks_hyperspectral.py",
    ),
    Fault(
        "hyperspectral: pixels are listed row by row",
        "benchmarks/hyperspectral.py",
        ".reshape(-1, n_columns, n_rows).transpose(0, 2, 1)",
        ".reshape(-1, n_rows, n_columns)",
        "tests/test_benchmarks_hyperspectral.py",
    ),
    Fault(
        "hyperspectral: half of the angle",
        "benchmarks/_band_metrics.py",
        "angles = 2 * np.arctan2(",
        "angles = np.arctan2(",
        "tests/test_benchmarks_hyperspectral.py",
    ),
    Fault(
        "holdout: methods see every row",
        "benchmarks/holdout.py",
        "    fitted, held = rows[::2], between_fitted(rows)\n",
        "    fitted, held = rows, between_fitted(rows)\n",
        "tests/test_benchmarks_holdout.py::TestSplits",
    ),
    Fault(
        "holdout: correlation twice as large",
        "benchmarks/_holdout_metrics.py",
        "power = (np.sum(one**2) + np.sum(other**2)) / 2",
        "power = (np.sum(one**2) + np.sum(other**2)) / 4",
        "tests/test_benchmarks_holdout.py::TestMetrics",
    ),
)
