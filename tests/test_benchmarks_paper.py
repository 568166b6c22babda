"""The paper made again: its numbers, the scores, what is kept of a stopped run, what the page says."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import _common
import _metrics
import numpy as np
import pytest
from paper import (
    command,
    curves,
    page,
    pictures,
    random_scans,
    store,
    table1,
    table2,
    table3,
    tables,
    verdicts,
)
from paper.methods import FAST, Method, methods
from paper.published import COLUMNS, SIGMAS, TABLE_1, TABLE_2, TABLE_3, table_1_cell
from paper.scans import QUICK, Case, Size, cut, middle
from paper.store import Store
from paper.workers import measure_cells
from rivals import RIVALS, UnavailableError, own_environment
from scipy import ndimage

from xanesum.stack import make_stack

REPO = Path(__file__).resolve().parents[1]
PAPER = REPO.parent / "shared" / "docs" / "paper.txt"
TINY = Size((40, 48), 30, (16, 20), (0,), (48, 64), 24, False, 0.1)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A folder for the results of a test."""
    for module in (_common, store, table1, page, command):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def case():
    return Case.draw("particle", 10.0, 0, TINY)


def row(method, psnr, correlation, *, kind="particle", sigma=60.0, seed=0):
    key = {"phantom": kind, "sigma": sigma, "seed": seed, "method": method}
    return key | {"PSNR (dB)": psnr, "correlation": correlation, "commit": "abc", "load": 1.0}


# --- what the paper reports


def test_tables_of_the_paper_have_its_numbers():
    assert table_1_cell("particle", 60.0, "SUM") == (39.07, 0.96)
    assert table_1_cell("inclusions", 150.0, "VBM4D") == (25.35, 0.23)
    assert table_1_cell("inclusions", 10.0, "Noisy") == (28.13, 0.64)
    assert table_1_cell("round", 60.0, "SUM") is None
    assert TABLE_2["SUM"][150.0] == (0.76, 0.72, 0.72)
    assert TABLE_3["Wedge"]["VBM4D"] == 4196.10
    assert all(len(cells) == len(COLUMNS) for cells in TABLE_1.values())
    noisy = [TABLE_1["Particle", sigma][0][0] for sigma in SIGMAS]
    white = [10 * np.log10(255**2 / sigma**2) for sigma in SIGMAS]  # PSNR of white noise alone
    np.testing.assert_allclose(noisy, white, atol=0.01)


@pytest.mark.skipif(not PAPER.exists(), reason="the text of the paper is not beside the repository")
def test_every_number_of_table_1_stands_in_the_text_of_the_paper():
    text = PAPER.read_text("utf-8").split("Table 1. **Denoising")[0]
    for cells in TABLE_1.values():
        for psnr, correlation in cells:
            assert re.search(rf"{psnr:.2f} ?/ ?{correlation:.2f}", text)


# --- scores


def test_scores_are_those_of_their_formulas(case):
    scores, clean = case.scores(case.noisy), case.phantom.clean().values
    each = [
        10 * np.log10(255**2 / np.mean((a - b) ** 2)) for a, b in zip(case.noisy.values, clean, strict=True)
    ]
    found, truth = case.map_of(case.noisy), case.truth.half_step_energy_ev.values
    inside = case.phantom.mask & np.isfinite(found)

    assert scores["PSNR (dB)"] == pytest.approx(np.mean(each), abs=1e-3)
    expected = _metrics.spectrum_psnr(case.noisy.values, clean)
    assert scores["spectrum PSNR (dB)"] == pytest.approx(expected, abs=1e-3)
    if inside.sum() == case.phantom.mask.sum():
        assert scores["correlation"] == pytest.approx(
            np.corrcoef(found[inside], truth[inside])[0, 1], abs=1e-4
        )
    assert case.scores(case.phantom.clean()) | {"PSNR (dB)": 0} == {
        "PSNR (dB)": 0,
        "spectrum PSNR (dB)": pytest.approx(100, abs=30),
        "correlation": 1.0,
        "map RMSE (eV)": 0.0,
    }


def test_a_part_is_scored_as_this_part_of_the_whole(case):
    area = middle((40, 48), (16, 20))
    assert area == (slice(12, 28), slice(14, 34))
    part = cut(case.noisy, area)
    clean = case.phantom.clean().values[:, 12:28, 14:34]
    errors = np.mean((part.values - clean) ** 2, axis=(1, 2))

    assert part.shape == (30, 16, 20)
    expected = np.mean(10 * np.log10(255**2 / errors))
    assert case.scores(part, area)["PSNR (dB)"] == pytest.approx(expected, abs=1e-3)


def test_a_result_without_an_edge_has_no_map(case):
    scores = case.scores(make_stack(np.zeros(case.noisy.shape, np.float32), case.noisy.energy.values))

    assert (scores["correlation"], scores["map RMSE (eV)"]) == (0.0, None)


def test_methods_are_all_rivals_and_ours():
    every = methods(QUICK)

    assert next(iter(every)) == "noisy"
    assert list(every)[-2:] == ["sum", "sum+"]
    assert len(every) == len(RIVALS) + 3
    assert not any(every[name].slow for name in (*FAST, "noisy", "sum", "sum+"))
    assert "here 150 steps" in every["UDVD"].note
    assert list(methods(QUICK, slow=False)) == ["noisy", *FAST, "sum", "sum+"]


# --- what is kept


def test_a_run_that_was_stopped_goes_on_where_it_was(results):
    calls = []

    def measure(value):
        calls.append(value)
        if value == "stop":
            raise KeyboardInterrupt
        return {"value": value}

    first = Store("table1", "quick")
    first.cell({"cell": 1}, partial(measure, "a"))
    with pytest.raises(KeyboardInterrupt):
        first.cell({"cell": 2}, partial(measure, "stop"))
    again = Store("table1", "quick")
    again.cell({"cell": 1}, partial(measure, "not again"))
    again.cell({"cell": 2}, partial(measure, "b"))

    assert calls == ["a", "stop", "b"]
    saved = json.loads((results / "paper-table1-quick.json").read_text("utf-8"))
    assert [each["value"] for each in saved["rows"]] == ["a", "b"]
    assert {"commit", "processor", "load"} <= set(saved["rows"][0])
    assert Store("table1", "quick", fresh=True).rows == []


def test_a_method_that_cannot_be_run_says_why_and_is_tried_again(results):
    def missing():
        raise UnavailableError("/home/somebody/python is missing; install hyperspy")

    kept = Store("table1", "")
    assert kept.cell({"cell": 1}, missing)["why not"] == "python is missing; install hyperspy"
    assert Store("table1", "").cell({"cell": 1}, lambda: {"value": 3})["value"] == 3
    assert [each.get("value") for each in Store("table1", "").rows] == [3]


def test_two_processes_give_the_rows_of_one(results, monkeypatch):
    monkeypatch.delenv(own_environment.VARIABLE, raising=False)
    rng = np.random.default_rng(0)
    missing = partial(own_environment.hyperspy_pca, np.zeros((2, 2, 2), np.float32), 1.0, rng)
    cells = [({"cell": n}, partial(dict, value=n**2)) for n in range(5)] + [({"cell": 5}, missing)]

    for name, processes in (("one", 1), ("two", 2)):
        measure_cells(Store(name, ""), cells, processes)

    one, two = ({row["cell"]: row for row in Store(name, "").rows} for name in ("one", "two"))
    assert [two[n].get("value") for n in range(6)] == [0, 1, 4, 9, 16, None]
    assert one[5]["why not"] == two[5]["why not"]
    assert one.keys() == two.keys()


def test_table_1_measures_each_cell_once_and_only_few_slow_ones(results, monkeypatch):
    called = []

    def run(name, stack, sigma, rng):
        called.append((name, sigma, stack.shape))
        return stack

    some = {
        name: Method(name, partial(run, name), most_values=0 if name == "BM4D" else np.inf)
        for name in ("noisy", "BM4D", "sum+")
    }
    monkeypatch.setattr(table1, "methods", lambda size: some)
    for _ in range(2):
        table1.run(Store("table1", "quick"), TINY, kinds=("particle", "inclusions"))

    assert len(called) == 3 * 3 + 3 + 2 * 2  # slow ones: three sigmas of *particle*, one of *inclusions*
    assert {shape for name, _, shape in called if name == "BM4D"} == {(30, 16, 20)}
    rows = Store("table1", "quick").rows
    slow = next(each for each in rows if each["method"] == "BM4D")
    fast = next(each for each in rows if each["method"] == "noisy")
    assert "PSNR (dB)" not in slow
    assert slow["middle: PSNR (dB)"] == fast["middle: PSNR (dB)"] != fast["PSNR (dB)"]
    assert table1.picture_file("paper-table1-quick", "particle", 60.0, "sum+").exists()


def test_table_3_times_each_method_and_takes_slow_ones_from_table_1(results, monkeypatch):
    called = []

    def run(name, stack, sigma, rng):
        called.append((name, stack.shape))
        return stack

    some = {
        name: Method(name, partial(run, name), most_values=0 if name in table3.SLOW else np.inf)
        for name in ("3-D median", "ReLD", "BM4D", "sum+")
    }
    monkeypatch.setattr(table3, "methods", lambda size: some)
    monkeypatch.setattr(table3, "TIMED", tuple(some))
    earlier = Store("table1", "quick")
    key = {"phantom": "particle", "sigma": table3.SIGMA, "seed": 0, "method": "ReLD"}
    earlier.cell(key, lambda: {"seconds": 30.0})
    kept = Store("table3", "quick")
    table3.run(kept, TINY, table1=earlier)

    whole = [each for each in called if each[1] == (30, 40, 48)]
    assert whole == [("3-D median", (30, 40, 48)), ("sum+", (30, 40, 48))] * table3.REPEATS
    assert not any(name == "ReLD" for name, _ in called)
    found = {each["method"]: each for each in kept.rows}
    assert found["ReLD"]["seconds"] == 30.0 * 6  # 40 x 48 pixels are six times the middle
    assert found["BM4D"]["how"] == "middle of 320 pixels, times 6"
    assert found["sum+"]["repeats"] == table3.REPEATS
    monkeypatch.setattr(table3, "LONG_S", 1e-9)
    table3.run(Store("table3", "quick", fresh=True), TINY, table1=earlier)
    assert [each["repeats"] for each in Store("table3", "quick").rows] == [1] * 4


# --- motion


def test_rigid_correction_finds_shifts_that_were_made():
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.standard_normal((64, 80)), 3) * 100
    true = rng.uniform(-4, 4, (12, 2))
    frames = np.array([(1 + k / 12) * ndimage.shift(image, s, mode="grid-wrap") for k, s in enumerate(true)])
    found = table2.rigid_shifts(frames)

    error = (found - true) - (found - true).mean(axis=0)
    assert np.abs(error).max() < 0.15


def test_alignment_repairs_the_map_of_a_sample_that_jitters():
    scan = table2.Moving.draw("particle", 4.0, 10.0, 0, TINY)
    true = scan.phantom.motion.shifts_px
    moved, still = scan.cropped(scan.stack), scan.resampled(scan.stack, true + 3.0)  # common shifts are none

    assert scan.error_px(true + 3.0) == pytest.approx(0, abs=1e-9)
    assert scan.error_px(0 * true) > 1
    assert moved.shape == still.shape
    assert scan.map_correlation(still) > scan.map_correlation(moved) + 0.1


# --- figures


@pytest.fixture
def drawn(results, monkeypatch):
    """Figures by their names, in place of files."""
    figures = {}
    for module in (curves, pictures):
        monkeypatch.setattr(
            module, "save_figure", lambda figure, folder, name, suffix: figures.update({name: figure})
        )
    return figures


def test_fig_3_compares_an_estimate_with_the_true_error(results, drawn, monkeypatch):
    monkeypatch.setattr(curves, "MOST", 2)
    kept = Store("fig3", "quick")
    curves.figure_3(kept, TINY, results, "quick")

    for axes, method in zip(drawn["fig3"].axes, ("SVD", "sum"), strict=False):
        rows = [each for each in kept.rows if each["method"] == method]
        best = min(rows, key=lambda each: each["estimated"])
        assert len(rows) == 3
        assert best["true"] < 1.3 * min(each["true"] for each in rows)
        # The estimate subtracts the expected power of the noise, not that of the noise that was drawn.
        chance = 3 * 60.0**2 * np.sqrt(2 / (30 * 40 * 48))
        assert all(abs(each["estimated"] - each["true"]) < chance for each in rows)
        shown = {line.get_label(): line.get_ydata() for line in axes.lines}
        np.testing.assert_allclose(shown["true error"], [each["true"] for each in rows], atol=1e-4)


def test_pictures_show_what_was_kept_and_say_what_was_not_run(results, drawn):
    def run(stack, sigma, rng):
        return stack

    kept = Store("table1", "quick")
    for sigma in SIGMAS:
        key = {"phantom": "particle", "sigma": sigma, "seed": 0, "method": "noisy"}
        cell = Case.draw("particle", sigma, 0, TINY)
        kept.cell(key, partial(table1.measured, Method("noisy", run), cell, kept.name))
    pictures.figure_7(kept, TINY, results, "quick")
    pictures.figure_8(kept, TINY, results, "quick")
    pictures.phantoms(TINY, results, "quick")

    titles = [axes.get_title() for axes in drawn["fig7"].axes[:9]]
    said = [[text.get_text() for text in axes.texts] for axes in drawn["fig7"].axes[:9]]
    assert titles == ["truth", *pictures.SHOWN]
    assert said == [[], [], *[["not run"]] * 7]
    last = cut(cell.noisy, cell.crop).values[table1.frame_of(cell)]
    np.testing.assert_array_equal(drawn["fig7"].axes[4 * 9 + 1].images[0].get_array(), last)
    below = [row["middle: correlation"] for row in kept.rows]
    assert [float(drawn["fig8"].axes[9 * k + 1].get_xlabel()) for k in range(3)] == pytest.approx(
        below, abs=0.006
    )
    assert len(drawn["suppl-a"].axes) == 12


# --- tables and sentences


def test_table_1_has_medians_over_seeds_and_the_numbers_of_the_paper():
    rows = [row("sum+", 40 + seed, 0.9, seed=seed) for seed in range(3)]
    (line,) = [
        each for each in tables.phantom_table(tables.Cells(rows), "particle") if each["method"] == "sum+"
    ]

    assert line["sigma 60"] == "41.00 / 0.900 (39.07 / 0.96)"
    assert (line["sigma 10"], line["seeds"]) == ("", "3")


def test_ours_is_best_or_the_page_says_where_it_is_not():
    rows = [
        *(row(name, 30.0, 0.5, sigma=sigma) for name in ("noisy", "3-D median") for sigma in SIGMAS),
        row("sum+", 35.0, 0.9, sigma=10.0),
        row("sum+", 29.95, 0.498, sigma=60.0),  # within what counts as best
        row("sum+", 29.0, 0.4, sigma=150.0),
    ]
    found = verdicts.compared(tables.Cells(rows))

    assert [each.best for each in found] == [True, True, False]
    first, second = verdicts.sentences(found)
    assert "in 2 of 3 cells" in first
    assert "-1.00 to +5.00 dB" in first
    assert "sigma 150" in second
    assert "1.00 dB behind" in second
    assert "0.1000 behind" in second
    reached = {goal["goal"]: goal["reached"] for goal in verdicts.goals(tables.Cells(rows))}
    assert set(reached.values()) == {"no"}


def test_a_goal_for_every_cell_stays_open_while_cells_are_missing():
    rows = [row(name, psnr, 0.9, sigma=10.0) for name, psnr in (("sum+", 40.0), ("noisy", 28.1))]
    (goal,) = verdicts.goals(tables.Cells(rows))

    assert goal["measured"] == "1 of 1 cells that were run, of 18"
    assert goal["reached"] == "open"
    assert "+11.90 dB ahead" in verdicts.sentences(verdicts.compared(tables.Cells(rows)))[0]


def test_the_page_says_in_how_many_cells_all_methods_were_compared():
    rows = [row(name, 30.0, 0.5, sigma=sigma) for name in ("noisy", "sum+") for sigma in SIGMAS]
    _, said, *_ = verdicts.sentences(verdicts.compared(tables.Cells([*rows, row("BM4D", 29.0, 0.4)])))

    assert said.startswith("In 1 of these cells it was compared with 2 methods, in the others with")


def test_a_frame_that_is_best_does_not_hide_a_map_that_is_not():
    rows = [row("sum+", 40.0, 0.80), row("3-D median", 30.0, 0.81)]

    assert not verdicts.compared(tables.Cells(rows))[0].best


def test_methods_are_compared_on_the_seeds_that_both_have():
    ours = [row("sum+", 40.0 + 5 * seed, 0.9 - 0.1 * seed, seed=seed) for seed in range(3)]
    cells = tables.Cells([*ours, row("BM4D", 39.0, 0.8), row("3-D median", 44.5, 0.6, seed=1)])
    (found,) = verdicts.compared(cells)

    assert found.psnr == (45.0, 44.5, "3-D median")  # of seed 1: BM4D is 1 dB behind in seed 0
    assert found.correlation == (0.9, 0.8, "BM4D")
    assert verdicts.between_seeds(cells) == [
        "Between seeds, the frames of `sum+` differ by up to 10.00 dB (median of the cells: 10.00), its maps "
        "by up to 0.200 (0.200)."
    ]
    assert verdicts.between_seeds(tables.Cells(ours[:1])) == []


def test_a_rival_that_gains_less_than_in_the_paper_is_named():
    rows = [row("noisy", 12.57, 0.1), row("3-D median", 20.0, 0.3), row("sum+", 45.0, 0.97)]
    for each in rows:
        each["middle: PSNR (dB)"] = each["PSNR (dB)"]
    cells = tables.Cells(rows)

    assert tables.gain_pair(cells, "particle", 60.0, "3-D median") == pytest.approx((7.43, 12.03))
    last = verdicts.goals(cells)[-1]
    assert last["reached"] == "no"
    assert "3-D median on *particle*, sigma 60 (-4.60 dB)" in last["measured"]


def test_random_table_has_the_worst_cases_and_how_far_ours_is_ahead():
    rows = []
    for index, ours, theirs in ((0, 40.0, 30.0), (1, 35.0, 36.0), (2, 50.0, 41.0)):
        both = {"sum+": ours, "SVD, SURE, hard": theirs}
        for name, value in both.items():
            rows.append({"index": index, "method": name, "PSNR (dB)": value, "correlation": value / 100})
    rows[0]["correlation"] = None  # no edge in it
    ours, svd = tables.random_table(rows)
    said = verdicts.random_losses([row | {"correlation": row["correlation"] or 0.1} for row in rows])

    assert "In none of 2 scans" in verdicts.random_losses(rows)
    assert "In 1 of 3 scans" in said
    assert "In 1 of these" in said
    assert said.endswith("The largest loss is 0.100 against 0.300 (SVD, SURE, hard).")
    assert ours["PSNR (dB): median"] == "40.00"
    assert svd["sum+ ahead by (dB): median, worst"] == "9.00, -1.00"
    assert svd["sum+ ahead in correlation: median, worst"] == "0.040, -0.010"


def test_random_scans_are_white_and_the_same_again():
    first, again = (random_scans.labels(7, 5, 3e5) for _ in range(2))

    assert first == again
    assert max(label["values"] for label in first) <= 3e5
    assert {(label["noise"], label["missing"], label["defects"]) for label in first} == {
        ("white", "none", False)
    }
    scan = random_scans.RandomScan(first[0])
    assert scan.clean.values.max() == pytest.approx(255, rel=1e-5)
    assert np.std(scan.noisy.values - scan.clean.values) == pytest.approx(scan.sigma, rel=0.02)


# --- the command and the page


def test_the_command_runs_from_the_folder_of_the_repository():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.paper", "--help"],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", command.PARTS),
        ("--quick", command.PARTS),
        ("fig3", ("fig3",)),
        ("--random", ()),
        ("table2 --random", ("table2",)),
        ("page", ()),
    ],
)
def test_the_words_of_the_command_choose_its_parts(words, parts):
    assert command.parts_of(command.parser().parse_args(words.split())) == parts


def test_a_quick_run_writes_its_page_beside_the_results(results):
    chosen = ["--phantoms", "round", "--methods", "noisy", "SVD, SURE, hard", "--sigmas", "10", "60"]
    assert command.main(["table1", "--quick", *chosen]) == 0

    text = (results / "paper-quick" / "README.md").read_text("utf-8")
    assert "28.13 / 0." in text  # the noisy row at sigma 10
    assert "Table 1, sum+: 0 of 18 cells were run." in text
    assert "Table 1, BM4D: 0 of 4 cells were run." in text
    lines = (results / "paper-quick" / "table1-quick.csv").read_text("utf-8").splitlines()
    assert len(lines) == 1 + 2 * 2
    assert lines[0].startswith("phantom,sigma,seed,method,")


def test_the_page_is_what_the_files_of_results_say():
    for name, text in page.texts(command.DOCS, ("", "reduced")).items():
        assert (command.DOCS / name).read_text("utf-8") == text, (
            f"{name}: run python -m benchmarks.paper page"
        )


def test_long_sentences_are_broken_into_lines():
    rows = [row("noisy", 30.0, 0.5), row("sum+", 29.0, 0.4)]
    texts = page._bullets(verdicts.sentences(verdicts.compared(tables.Cells(rows))))

    assert len(texts.splitlines()) > 2
    assert max(map(len, texts.splitlines())) <= 128
