"""The command line makes every kind of map, and asks for what a kind needs."""

import h5py
import numpy as np
import pytest
from scans import add_noise, edge_stack

from xanesum.cli import main as cli
from xanesum.io import write_stack
from xanesum.xanes import KINDS


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    e0 = 8339.5 + np.linspace(0, 2, 20)[:, None] + np.zeros(24)
    clean = edge_stack(e0, n_energies=120)
    return write_stack(
        clean.copy(data=add_noise(clean.values, 0.02)), tmp_path_factory.mktemp("scan") / "scan.h5"
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("band_ratio", ["--band", "8340:8346", "--over", "8352:8370"]),
        ("energy_difference", ["--at", "8300:8346"]),
        ("valence", ["--points", "2=8339+-0.02", "3=8342+-0.02", "--of", "half_white_line"]),
        ("largest_derivative", ["--shift", "0.3+-0.1"]),
    ],
)
def test_the_command_line_maps_a_kind(scan, tmp_path, capsys, kind, options):
    path = tmp_path / "m.h5"
    assert cli.main(["map", str(scan), "-o", str(path), "--as-is", "--kind", kind, *options]) == 0

    said = capsys.readouterr().out
    assert kind.replace("_", " ") in said
    assert "computed: " in said
    with h5py.File(path) as file:
        group = file["entry/data"]
        assert group.attrs["signal"] == KINDS[kind].variable
        assert group.attrs["kind"] == kind
        assert group[KINDS[kind].variable].attrs["units"] == KINDS[kind].unit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "band_ratio"], "a map of kind band_ratio needs band_ev (--band)"),
        (["--kind", "valence"], "a map of kind valence needs points (--points)"),
        (
            ["--kind", "white_line", "--band", "1:2"],
            "has no option band_ev; maps that do: band_ratio (--band)",
        ),
    ],
)
def test_missing_options_are_errors_before_the_work(scan, tmp_path, capsys, options, message):
    assert cli.main(["map", str(scan), "-o", str(tmp_path / "m.h5"), *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
