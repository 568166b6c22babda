"""Scans drawn at random are what their labels say, and the tables are what the rows say."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path

import _common
import _random_samples
import numpy as np
import pytest
import random_scans
import xarray as xr
from _random_scenes import DRIFTS, describe, draw_label, draw_scan, prepared
from _random_scores import beside_background, detectability, map_scores, near_borders, particle_scores
from _random_tables import is_disowned_in_vain, is_silent, tables

from xanesum import half_step_energy

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
LABELS = [draw_label(1, index) for index in range(300)]
TINY = {
    **draw_label(1, 0),
    "shape": [48, 50],
    "energies": 40,
    "values": 48 * 50 * 40,
    "grid": "even",
    "ends": "both",
    "texture": "spheres",
    "empty": True,
    "chemistry": "region",
    "species": 2,
    "spectra": "analytic",
    "step": 1.0,
    "background": 0.2,
    "noise": "white",
    "sigma_of_step": 0.05,
    "drift": "none",
    "drift_rms": 0.0,
    "correlated": "none",
    "defects": False,
    "missing": "none",
}
COUNTED = {
    **TINY,
    "noise": "counted",
    "open_counts": 10_000.0,
    "read_noise": 2.0,
    "flats": 10,
    "darks": True,
    "rho": 0.0,
}


@pytest.mark.parametrize("label", [TINY, COUNTED | {"drift": "slow", "drift_rms": 0.02, "rho": 0.9}])
def test_a_label_gives_the_same_scan_again(label):
    scan, again, other = draw_scan(label), draw_scan(dict(label)), draw_scan(label | {"index": 1})

    assert draw_label(1, 7) == draw_label(1, 7) != draw_label(1, 8) != draw_label(2, 8)
    np.testing.assert_array_equal(scan.stack.values, again.stack.values)
    assert not np.array_equal(scan.images, other.images)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("texture", _random_samples.TEXTURES),
        ("chemistry", _random_samples.CHEMISTRIES),
        ("spectra", ("analytic", *_random_samples.ELEMENTS)),
        ("noise", ("white", "counted")),
        ("drift", DRIFTS),
        ("correlated", ("none", "blurred", "shifted")),
        ("missing", ("none", "block", "scattered")),
        ("ends", ("both", "short pre-edge", "short post-edge")),
        ("grid", ("even", "dense")),
        ("species", (1, 2, 3, 4, 5)),
        ("empty", (True, False)),
        ("defects", (True, False)),
        ("darks", (True, False)),
    ],
)
def test_every_kind_is_drawn_and_nothing_else(name, kinds):
    assert {label[name] for label in LABELS if name in label} == set(kinds)


def test_sizes_and_levels_stay_within_their_ranges():
    for label in LABELS:
        ny, nx = label["shape"]
        assert 48 <= min(ny, nx) <= max(ny, nx) <= 401
        assert ny != nx
        assert 20 <= label["energies"] <= 400
        assert label["values"] == ny * nx * label["energies"] < 25.1e6
        assert 0.1 <= label["step"] <= 3
        assert label.get("open_counts", 30) >= 30
        assert "\n" not in describe(label)


@pytest.mark.parametrize("module", ["random_scans", "_random_scenes", "_random_samples", "_random_scores"])
def test_no_phantom_is_used(module):
    tree = ast.parse((FOLDER / f"{module}.py").read_text("utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}

    assert "numpy" in imported
    assert not [name for name in imported if "phantom" in name or name == "xanesum.simulate"]


@pytest.mark.parametrize("texture", _random_samples.TEXTURES)
@pytest.mark.parametrize("chemistry", _random_samples.CHEMISTRIES)
def test_a_sample_has_all_its_species_and_empty_pixels_as_its_label_says(texture, chemistry):
    n = {"none": 1, "particle": 2}.get(chemistry, 3)
    label = {"shape": [60, 72], "texture": texture, "chemistry": chemistry, "species": n, "radius_px": 3.0}

    for empty in (True, False):
        images, particle = _random_samples.draw_sample(label | {"empty": empty}, np.random.default_rng(5))
        thickness = images.sum(axis=0)

        assert images.shape == (n, 60, 72)
        assert images.min() >= 0
        assert (images.max(axis=(1, 2)) > 0.05).all()
        assert ((thickness == 0).mean() > 0.05) == empty
        assert np.quantile(thickness[thickness > 0.02], 0.95) == pytest.approx(1, abs=0.1)
        if chemistry == "particle":
            assert 20 <= particle.sum() <= 37  # of radius 3
            np.testing.assert_array_equal(images[1] > 0, particle & (thickness > 0))


def test_white_noise_has_its_level_and_the_steady_scan_only_lacks_the_drift():
    scan = draw_scan(TINY | {"drift": "level", "drift_rms": 0.02})
    noise = (scan.steady - scan.clean).values
    level = (scan.stack - scan.steady).values

    assert noise.std() == pytest.approx(scan.sigma, rel=0.01)  # 1 / sqrt(2 * 96,000 values) = 0.002
    assert np.ptp(level, axis=(1, 2)).max() < 1e-5
    assert level.std() == pytest.approx(0.02, rel=0.4)  # of 40 levels


@pytest.mark.parametrize("drift", DRIFTS)
def test_counts_become_the_clean_optical_density_but_for_noise_and_drift(drift):
    rms = 0.0 if drift == "none" else 0.03
    scan = draw_scan(COUNTED | {"drift": drift, "drift_rms": rms, "rho": 0.5 if drift == "slow" else 0.0})
    error = prepared(scan).values - scan.clean.values
    smooth = error.reshape(40, 4, 12, 5, 10).mean(axis=(2, 4))  # noise of 1 to 2 % / sqrt(120)

    assert scan.stack.attrs["quantity"] == "counts"
    assert "noise_gain" in scan.stack.coords
    assert smooth.std() == pytest.approx(rms, abs=0.006 if not rms else 0.5 * rms)
    assert (scan.steady is None) == (drift == "none")
    if drift == "level":
        assert smooth.std(axis=(1, 2)).mean() < 0.006
    elif drift != "none":
        assert smooth.std(axis=(1, 2)).mean() > 0.006
    if drift != "none":
        assert np.abs(prepared(scan, steady=True).values - scan.clean.values).mean() < 0.02


def test_faults_are_marked_by_the_preparation():
    whole, faulty = (draw_scan(COUNTED | each) for each in ({}, {"defects": True, "missing": "block"}))
    stack = prepared(faulty)

    assert int(np.isnan(faulty.stack.values).sum()) > 0.005 * faulty.stack.size * 0.15
    assert not np.isnan(whole.stack.values).any()
    assert int((stack["weight"].values == 0).sum()) == 1  # the bad frame


def test_measured_spectra_rise_from_0_to_1(real_data):
    for element, edge_ev in _random_samples.ELEMENTS.items():
        assert _random_samples.references(element)
        for energy, step in _random_samples.references(element):
            assert np.abs(step[energy < edge_ev - 15]).max() < 0.05
            assert step[-20:].mean() == pytest.approx(1, abs=0.05)


def test_a_scan_runs_through():
    row = random_scans.judged(TINY)

    assert row["failed"] == ""
    assert row["rank"] >= 2
    assert row["over true spectra"] == pytest.approx(1, abs=0.3)
    assert row["share mapped"] > 0.9
    assert 0.3 < row["within 68 %"] <= 1
    assert json.loads(json.dumps(row)) == row
    assert tables([row])["Errors and intervals, by noise and drift"][0]["noise, drift"] == "white"


def test_the_true_spectra_give_nearly_the_true_map_of_counts_without_drift():
    scan = draw_scan(COUNTED | {"drift": "ramp", "drift_rms": 0.04})
    truth, found = half_step_energy(scan.clean), random_scans.with_true_spectra(scan)
    where = truth["mask"].values & found["mask"].values
    error = (found.half_step_energy_ev - truth.half_step_energy_ev).values[where]

    assert np.std(truth.half_step_energy_ev.values[where]) > 0.1
    assert np.median(np.abs(error)) < 0.1


NO_MAP_SCORES = {"within 68 %": None, "within 95 %": None, "missed": None}


def row_of(index, **figures):
    """A row as it is saved, with intervals that hold unless `figures` say otherwise."""
    label = {**TINY, "index": index, **figures.pop("label", {})}
    return {
        "label": label,
        "description": describe(label),
        "failed": "",
        "said": False,
        "rank": 2,
        "drift removed": 0.0,
        "rmse (eV)": 0.2,
        "stated error (eV)": 0.2,
        "within 68 %": 0.7,
        "within 95 %": 0.95,
        "over true spectra": 1.1,
        "e0 off (eV)": 0.0,
        "over noise edge": 2.0,
        "missed": False,
        **figures,
    }


def test_tables_count_what_the_rows_say():
    counted = {"noise": "counted", "drift": "slow", "drift_rms": 0.02, "open_counts": 90.0, "flats": 3}
    rows = [
        row_of(0),
        row_of(1, said=True, **{"e0 off (eV)": -0.5}),
        row_of(2, **{"within 68 %": 0.3, "within 95 %": 0.6, "over true spectra": 2.1, "missed": True}),
        row_of(3, **{"within 68 %": 0.3, "within 95 %": 0.6, "said": True}),
        row_of(4, label=counted | {"darks": False}, **{"over no drift": 1.5, "drift removed": 0.02}),
        row_of(
            5, failed="EdgeError", said=True, **{"within 68 %": None, "within 95 %": None, "missed": None}
        ),
    ]
    found = tables(rows)
    by_kind, drift = (
        {line["noise, drift"]: line for line in found[title]}
        for title in (
            "Errors and intervals, by noise and drift",
            "Drift of the light: its cost, and harm of the correction",
        )
    )

    assert list(by_kind) == ["counted, slow", "white", "all"]
    assert [by_kind["white"][name] for name in ("scans", "no map", "silent failures")] == [5, 1, 1]
    assert [by_kind["white"][name] for name in ("disowned", "disowned, but held")] == [2, 1]
    assert by_kind["counted, slow"]["within 68 %"] == "0.70 / 0.70 / 0.70"
    assert found["Chemistry missed"][0]["missed"] == "1 of 5"
    assert found["Worst intervals"][0]["scan"] == 2
    assert found["Worst map errors over true spectra"][0]["scan"] == 2
    drift = {
        line["noise, drift"]: line
        for line in found["Drift of the light: its cost, and harm of the correction"]
    }
    assert found["Energy of the edge"][-1]["off by more than 0.05 eV"] == 1
    assert drift["counted, slow"]["over no drift"] == "1.50 / 1.50 / 1.50"


@pytest.mark.parametrize(
    ("share_68", "share_95", "said", "silent", "in_vain"),
    [
        (0.7, 0.95, False, False, False),
        (0.7, 0.95, True, False, True),
        (0.4, 0.79, False, True, False),
        (0.4, 0.79, True, False, False),
        (0.95, 1.0, True, False, False),
        (None, None, True, False, False),
    ],
)
def test_failures_are_silent_where_nothing_is_said(share_68, share_95, said, silent, in_vain):
    row = row_of(0, said=said, **{"within 68 %": share_68, "within 95 %": share_95})

    assert is_silent(row) == silent
    assert is_disowned_in_vain(row) == in_vain


def test_a_run_is_resumed_and_small_scans_come_first(monkeypatch, tmp_path):
    calls = []

    def judged(label):
        calls.append(label["values"])
        return row_of(label["index"], label=label, seconds={"all": 1.0})

    monkeypatch.setattr(_common, "RESULTS", tmp_path)
    monkeypatch.setattr(random_scans, "judged", judged)
    for scans in (4, 10):
        monkeypatch.setattr(sys, "argv", ["random_scans.py", "--scans", str(scans), "--resume"])
        random_scans.main()

    assert len(calls) == 10
    assert calls[:4] == sorted(calls[:4])
    assert calls[4:] == sorted(calls[4:])
    saved = json.loads((tmp_path / "random-scans-train.json").read_text("utf-8"))
    assert {row["label"]["index"] for row in saved["rows"]} == set(range(10))


def test_the_report_set_follows_from_the_commit(monkeypatch):
    monkeypatch.setattr(random_scans, "commit", lambda: "cbb10a3-dirty")
    assert random_scans.base_seed("report") == 0xCBB10A3
    assert random_scans.base_seed("train") == random_scans.TRAIN_BASE
    monkeypatch.setattr(random_scans, "commit", lambda: "")
    with pytest.raises(SystemExit, match="commit"):
        random_scans.base_seed("report")


def map_of(energy_ev, sigma_ev=1.0):
    """A map (Y, X) as `half_step_energy` returns it."""
    images = {
        "half_step_energy_ev": energy_ev,
        "half_step_sigma_ev": np.broadcast_to(sigma_ev, energy_ev.shape),
    }
    return xr.Dataset({name: (("y", "x"), image) for name, image in images.items()}).assign(
        mask=(("y", "x"), np.isfinite(energy_ev))
    )


def test_shares_compare_true_with_stated_errors():
    rng = np.random.default_rng(3)
    truth = rng.uniform(8340, 8343, (200, 250))
    sigma = rng.uniform(0.1, 0.5, truth.shape)
    found = (
        truth + 0.02 + 2 * sigma * rng.standard_normal(truth.shape)
    )  # stated errors are half the true ones
    found[:20] = np.nan
    border = np.zeros(truth.shape, bool)
    border[:30] = True
    scores = map_scores(map_of(found, sigma), map_of(truth), "half step", border)

    # within half a standard deviation: 38.3 %, within 0.98: 67.3 %; errors of the shares 0.3 %
    assert scores["within 68 %"] == pytest.approx(0.383, abs=0.01)
    assert scores["within 95 %"] == pytest.approx(0.673, abs=0.01)
    assert scores["borders: within 68 %"] == pytest.approx(0.383, abs=0.04)
    assert scores["68 % in tenths"] == pytest.approx([0.383] * 10, abs=0.03)
    assert scores["share mapped"] == pytest.approx(0.9)
    assert scores["offset (eV)"] == pytest.approx(0.02, abs=0.01)
    assert scores["rmse (eV)"] == pytest.approx(2 * np.sqrt(np.mean(sigma**2)), rel=0.05)


def test_a_particle_is_found_by_the_share_of_its_shift():
    particle = np.zeros((20, 30), bool)
    particle[5:8, 5:8] = True
    truth, found = 8340.0 + 2.0 * particle, 8340.1 + 0.5 * particle
    scores = particle_scores(map_of(found, 0.7), map_of(truth), particle)

    assert scores["particle: recovered"] == pytest.approx(0.25)
    assert scores["particle: |error| / stated"] == pytest.approx(1.4 / 0.7)


def test_contrast_is_what_one_spectrum_cannot_hold():
    one, two = (
        draw_scan(TINY | {"species": n, "chemistry": kind}) for n, kind in ((1, "none"), (2, "region"))
    )
    matrix = two.clean.values.reshape(40, -1).astype(float)
    size = np.linalg.svd(matrix, compute_uv=False)

    assert detectability(one)["over noise edge"] < 1e-3
    assert detectability(two)["contrast (sigma)"] == pytest.approx(
        np.linalg.norm(size[1:]) / two.sigma, rel=1e-3
    )
    edge = two.sigma * (np.sqrt(48 * 50) + np.sqrt(40))
    assert detectability(two)["over noise edge"] == pytest.approx(size[1] / edge, rel=1e-3)


def test_a_component_is_false_beside_the_true_spectra_and_a_constant():
    true, other = np.eye(6)[:1], np.eye(6)[1:2]
    constant = np.array([[0.0, 1, 1, 1, 1, 1]]) / np.sqrt(5)
    beside = np.array([[0.0, 1, -1, 0, 0, 0]]) / np.sqrt(2)

    assert beside_background(np.vstack([true, constant]), true) == 0
    assert beside_background(np.vstack([true, constant, beside]), true) == 1
    assert beside_background(np.vstack([true, other]), true) == 1  # a fifth of it is constant


def test_borders_are_where_the_chemistry_changes():
    scan = draw_scan(TINY)
    images = np.ones((2, 10, 20)) * np.stack([np.arange(20) < 10, np.arange(20) >= 10])[:, None]
    border = near_borders(replace(scan, images=images))

    np.testing.assert_array_equal(np.flatnonzero(border.any(axis=0)), [7, 8, 9, 10, 11, 12])
