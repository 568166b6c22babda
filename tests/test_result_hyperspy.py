"""A result and files for HyperSpy; by HyperSpy itself where an environment with it is named."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scans import add_noise, edge_stack

from xanesum.cli import main as cli
from xanesum.errors import MissingExtraError
from xanesum.io import read_stack, write_stack
from xanesum.method.denoising import denoise
from xanesum.result import hyperspy_signal

REPO = Path(__file__).resolve().parents[1]
VARIABLE = "XANESUM_HYPERSPY"  # a Python with HyperSpy; with what xanesum needs, too, for `to_hyperspy`
STACK = edge_stack(8340.0 + np.linspace(0, 3, 20)[:, None] + np.zeros(22), n_energies=30)
STACK = STACK.copy(data=add_noise(STACK.values, 0.02)).assign_attrs(pixel_size_nm=25.0)
RESULT = denoise(STACK, rank=2, denoiser="none")


@pytest.fixture
def python():
    """An interpreter that has HyperSpy."""
    found = os.environ.get(VARIABLE) or (sys.executable if find_spec("hyperspy") else None)
    if found is None:
        pytest.skip(f"HyperSpy is not installed, and {VARIABLE} names no Python that has it")
    return found


def said(python, program, *arguments):
    """What a program says in the other interpreter, as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(REPO / "src"), "MPLBACKEND": "agg"}
    command = [python, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


DESCRIBE = """
def described(signal):
    axes = {a.name: [bool(a.navigate), a.size, a.units, float(a.axis[0]), float(a.axis[-1])]
            for a in signal.axes_manager._axes}
    return {"type": type(signal).__name__, "axes": axes, "shape": list(signal.data.shape),
            "values": [float(signal.data.ravel()[0]), float(signal.data.ravel()[-1])],
            "quantity": signal.metadata.Signal.quantity}
"""
LOAD = f"""
import json, sys
import hyperspy.api as hs
{DESCRIBE}
print(json.dumps(described(hs.load(sys.argv[1]))))
"""
MAKE = f"""
import json, sys
try:
    from xanesum.result import load_result
    result = load_result(sys.argv[1])
except ImportError as error:
    print(json.dumps({{"missing": str(error)}}))
    sys.exit()
{DESCRIBE}
signal = result.to_hyperspy()
facts = described(signal)
facts["sigma"] = signal.metadata.xanesum.sigma
facts["mean"] = [float(each) for each in signal.mean().data]
print(json.dumps(facts))
"""


def test_hyperspy_reads_the_clean_stack_that_a_command_writes(python, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_stack(STACK, "scan.h5")
    options = ["--rank", "2", "--denoiser", "none"]
    assert cli.main(["denoise", "scan.h5", "-o", "clean.hspy", *options]) == 0
    clean = read_stack("clean.hspy")

    facts = said(python, LOAD, tmp_path / "clean.hspy")

    assert facts["type"] == "Signal2D"
    assert facts["axes"]["Energy"] == [True, 30, "eV", 8240.0, 8500.0]
    assert facts["axes"]["y"] == [False, 20, "nm", 0.0, 19 * 25.0]
    assert facts["values"] == pytest.approx([float(clean[0, 0, 0]), float(clean[-1, -1, -1])], rel=1e-6)
    assert facts["quantity"] == "Optical density"


@pytest.mark.parametrize("is_even", [True, False])
def test_hyperspy_takes_a_result_without_a_file(is_even, python, tmp_path):
    energy = STACK.energy.values + (0 if is_even else 0.5 * np.sin(np.arange(30)))
    result = denoise(STACK.assign_coords(energy=energy), rank=2, denoiser="none")
    facts = said(python, MAKE, result.save(tmp_path / "result.sum.h5"))
    if "missing" in facts:
        pytest.skip(f"the Python of {VARIABLE} lacks what xanesum needs: {facts['missing']}")
    clean = result.reconstruct()

    assert facts["type"] == "Signal1D"
    assert facts["shape"] == [20, 22, 30]
    assert facts["axes"]["Energy"][:3] == [False, 30, "eV"]
    assert facts["axes"]["Energy"][3:] == pytest.approx(energy[[0, -1]])
    assert facts["axes"]["x"] == [True, 22, "nm", 0.0, 21 * 25.0]
    assert facts["sigma"] == pytest.approx(result.sigma)
    np.testing.assert_allclose(facts["mean"], clean.values.mean(axis=(1, 2)), rtol=1e-5)


def test_a_signal_has_the_axes_of_the_stack(monkeypatch):
    given = {}
    module = SimpleNamespace(
        signals=SimpleNamespace(Signal1D=lambda data, **more: given.update(more, data=data))
    )
    monkeypatch.setattr(hyperspy_signal, "find_spec", lambda name: True)
    monkeypatch.setattr(hyperspy_signal, "import_module", lambda name: module)
    RESULT.to_hyperspy()

    np.testing.assert_array_equal(given["data"], np.moveaxis(RESULT.reconstruct().values, 0, -1))
    assert [axis["name"] for axis in given["axes"]] == ["y", "x", "Energy"]
    assert given["axes"][0]["scale"] == 25.0
    assert given["metadata"]["xanesum"]["rank"] == 2


def test_to_hyperspy_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setattr(hyperspy_signal, "find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=r'pip install "xanesum\[hyperspy\]"'):
        RESULT.to_hyperspy()
