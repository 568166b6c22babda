"""Layers of scans, results and maps for napari; in napari itself where an environment with it is named."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from scans import add_noise, edge_stack

import xanesum as xs
from xanesum.errors import MissingExtraError, ReadError, StackError
from xanesum.io import write_stack
from xanesum.io.map_files import write_maps
from xanesum.io.maps import read_map, write_map
from xanesum.method.denoising import denoise
from xanesum.viewer import napari_layers
from xanesum.viewer.napari_layers import get_reader, layers_of, to_napari
from xanesum.xanes import half_step_energy

REPO = Path(__file__).resolve().parents[1]
MANIFEST = REPO / "src" / "xanesum" / "viewer" / "napari.yaml"
VARIABLE = "XANESUM_NAPARI"  # a Python with napari, a toolkit of windows, and what xanesum needs
STACK = edge_stack(8340.0 + np.linspace(0, 3, 20)[:, None] + np.zeros(22), n_energies=30)
STACK = STACK.copy(data=add_noise(STACK.values, 0.02)).assign_attrs(pixel_size_nm=25.0)
RESULT = denoise(STACK, rank=2, denoiser="none")
MAPS = half_step_energy(RESULT)
MAPS["mask"][:4, :6] = False  # there are values outside of the mask


@pytest.fixture
def files(tmp_path):
    labelled = MAPS.assign(cluster=(("y", "x"), np.arange(440).reshape(20, 22) // 200))
    return {
        "scan": write_stack(STACK, tmp_path / "scan.h5"),
        "result": RESULT.save(tmp_path / "result.sum.h5"),
        "map": write_map(MAPS, "half_step_energy_ev", tmp_path / "map.h5")[0],
        "maps": write_maps(labelled, tmp_path, "many")[0],
    }


def read(path):
    return {
        options["name"]: (data, options, kind) for data, options, kind in get_reader(str(path))(str(path))
    }


def test_a_scan_is_one_image_along_energy(files):
    data, options, kind = read(files["scan"])["scan: scan"]

    np.testing.assert_array_equal(np.asarray(data[3]), STACK.values[3])
    assert kind == "image"
    assert options["axis_labels"] == ("energy", "y", "x")
    assert options["scale"] == (1.0, 25.0, 25.0)
    assert options["units"] == ("pixel", "nm", "nm")
    assert options["translate"] == (0.0, 0.0, 0.0)
    np.testing.assert_array_equal(options["metadata"]["energy_ev"], STACK.energy.values)


def test_a_result_has_the_clean_stack_and_its_components(files):
    layers = read(files["result"])

    assert list(layers) == ["result.sum: components", "result.sum: clean"]  # the last one is on top
    components, clean = (data for data, _, _ in layers.values())
    np.testing.assert_array_equal(np.asarray(clean[7]), RESULT.reconstruct()[7].values)
    np.testing.assert_array_equal(components, RESULT.coefficients.values)
    assert not layers["result.sum: components"][1]["visible"]


@pytest.mark.parametrize("kind", ["map", "maps"])
def test_maps_have_an_image_each_that_is_nan_outside_the_mask(kind, files):
    layers = read(files[kind])
    stem = files[kind].stem
    data, options, _ = layers[f"{stem}: half_step_energy_ev"]
    expected = MAPS["half_step_energy_ev"].where(MAPS["mask"]).values

    np.testing.assert_allclose(data, expected, rtol=1e-6)
    assert options["visible"]
    assert options["contrast_limits"] == pytest.approx(np.nanpercentile(expected, (2, 98)), abs=1e-3)
    assert options["metadata"]["definition"] == MAPS.attrs["definition"]
    assert layers[f"{stem}: half_step_sigma_ev"][1]["colormap"] == "cividis"
    assert f"{stem}: mask" not in layers
    if kind == "maps":
        data, _, of = layers["many: cluster"]
        assert of == "labels"
        assert data.dtype == np.int32
        assert set(np.unique(data)) == {0, 1, 2}


def test_a_map_is_read_as_it_was_written(files):
    found = read_map(files["map"])

    assert set(found.data_vars) == set(MAPS.data_vars)
    assert found.attrs["kind"] == MAPS.attrs["kind"]
    for name, values in found.data_vars.items():
        np.testing.assert_array_equal(values.values, MAPS[name].values)
    assert found["half_step_energy_ev"].attrs["units"] == "eV"


def test_damaged_maps_and_other_files_are_refused(files, tmp_path):
    with pytest.raises(ReadError, match="not a map by xanesum"):
        read_map(files["scan"])
    with pytest.raises(ReadError, match="no such file"):
        read_map(tmp_path / "none.h5")
    with h5py.File(files["map"], "r+") as file:
        del file["entry/data/mask"]
        file["entry/data/mask"] = np.zeros(4)
    with pytest.raises(ReadError, match=r"mask.* is no image"):
        read_map(files["map"])


def test_files_of_others_are_left_to_others(files, tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/definition"] = "NXstxm"
    others = [str(tmp_path / name) for name in ("text.h5", "other.h5", "none.h5")]

    assert [get_reader(path) for path in others] == [None, None, None]
    assert get_reader([]) is None
    assert get_reader([str(files["scan"]), others[0]]) is None
    both = [str(files["scan"]), str(files["map"])]
    assert len(get_reader(both)(both)) > 2


class Viewer:
    """Stands for napari: notes what it is given."""

    def __init__(self):
        self.layers = []

    def add_image(self, data, **options):
        self.layers.append((np.asarray(data).shape, options["name"]))

    add_labels = add_image


def test_to_napari_gives_all_layers_to_a_viewer():
    viewer = Viewer()

    assert xs.to_napari(RESULT, viewer=viewer, name="night") is viewer
    assert viewer.layers == [((2, 20, 22), "night: components"), ((30, 20, 22), "night: clean")]
    with pytest.raises(StackError, match="napari shows a result, a stack or maps, not list"):
        layers_of([1])


def test_to_napari_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setattr(napari_layers, "find_spec", lambda name: None)

    with pytest.raises(MissingExtraError, match=re.escape('pip install "xanesum[napari]"')):
        to_napari(MAPS)


def test_the_manifest_names_what_there_is():
    manifest = yaml.safe_load(MANIFEST.read_text("utf-8"))
    (command,), (reader,) = manifest["contributions"]["commands"], manifest["contributions"]["readers"]

    assert manifest["name"] == "xanesum"
    assert command["python_name"] == "xanesum.viewer.napari_layers:get_reader"
    assert reader["command"] == command["id"]
    assert 'xanesum = "xanesum.viewer:napari.yaml"' in (REPO / "pyproject.toml").read_text("utf-8")


PROGRAM = """
import sys
import npe2, numpy as np
from napari.components import ViewerModel
manifest = npe2.PluginManifest.from_file(sys.argv[1])
manifest.validate_imports()
if "xanesum" not in npe2.PluginManager.instance():
    npe2.PluginManager.instance().register(manifest)
viewer = ViewerModel()  # all of a viewer but its window, which needs OpenGL
for path in sys.argv[2:]:
    viewer.open(path, plugin="xanesum")
for layer in viewer.layers:
    scale, frame = [float(each) for each in layer.scale], np.asarray(layer.data[1])
    print(layer.name, type(layer).__name__, layer.data.shape, scale, float(np.nanmean(frame)), sep="|")
print("slider", viewer.dims.axis_labels[0], viewer.dims.range[0].start, viewer.dims.range[0].stop, sep="|")
print("unit", viewer.dims.axis_labels, viewer.layers[0].units[-1], sep="|")
"""


def test_napari_itself_opens_the_files(files):
    python = os.environ.get(VARIABLE) or (sys.executable if find_spec("napari") else None)
    if python is None:
        pytest.skip(f"napari is not installed, and {VARIABLE} names no Python that has it")
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(REPO / "src")}
    command = [python, "-c", PROGRAM, str(MANIFEST), *map(str, files.values())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr[-2000:]
    lines = (line.split("|") for line in done.stdout.splitlines() if "|" in line)
    found = {name: rest for name, *rest in lines}
    clean = RESULT.reconstruct()
    assert found["scan: scan"][:3] == ["Image", "(30, 20, 22)", "[1.0, 25.0, 25.0]"]
    assert float(found["scan: scan"][3]) == pytest.approx(STACK.values[1].mean(), rel=1e-5)
    assert found["result.sum: clean"][:2] == ["Image", "(30, 20, 22)"]
    assert float(found["result.sum: clean"][3]) == pytest.approx(clean[1].values.mean(), rel=1e-5)
    assert found["map: half_step_energy_ev"][:2] == ["Image", "(20, 22)"]
    assert found["many: cluster"][0] == "Labels"
    assert found["slider"] == ["energy", "0.0", "29.0"]  # the frame: energies are not at equal distances
    assert found["unit"][1] == "nanometer"
