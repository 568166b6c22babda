"""Folders of one TIFF or .xrm image per energy: energies, flats and darks by name, repeats, interruptions."""

import numpy as np
import pytest
import tifffile
from io_files import write_xrm

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io import describe, read_stack, registry
from xanesum.io.names import energies_of_labels, energy_in_name, kind_of, scan_name

COUNTS = np.random.default_rng(3).integers(500, 900, (4, 5, 7)).astype(np.uint16)
ENERGY = np.array([8300.0, 8320.5, 8340.25, 8360.0])


def write_tiffs(folder, images=COUNTS, energies=ENERGY, *, name="cell_{:08.2f}_eV.tif", dtype=np.uint16):
    folder.mkdir(exist_ok=True)
    for image, energy in zip(images, energies, strict=True):
        tifffile.imwrite(folder / name.format(energy), image.astype(dtype))
    return folder


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        ("cell_08340.50_eV", 8340.5),
        ("scan_8340.5eV", 8340.5),
        ("scan_8340p5eV_003", 8340.5),
        ("scan-8.3405keV", 8340.5),
        ("fov1_8340_50eV", 8340.5),
        ("rep01_8340_eV", 8340.0),
        ("img_0012_8340eV", 8340.0),
        ("energy_8340.5", 8340.5),
        ("a_E8340.5_1", 8340.5),
        ("C_283.5 eV", 283.5),
        ("img_0012", None),
        ("device_8340evaluated", None),
        ("scan_20210316_128", None),
    ],
)
def test_the_energy_in_a_name(name, energy):
    assert energy_in_name(name) == (None if energy is None else pytest.approx(energy))


def test_words_for_flats_and_darks_and_the_name_of_the_scan():
    assert [
        kind_of(name) for name in ("ref_8300eV", "a_flat001", "dark", "darkfield_2", "reflex_1", "whitefish")
    ] == [
        "flat",
        "flat",
        "dark",
        "dark",
        "sample",
        "sample",
    ]
    assert scan_name("rep01_chip_08324.0_eV_001of003") == scan_name("chip_08350.0_eV_2") == "chip"
    assert scan_name("fov1_8300eV") != scan_name("fov2_8300eV")


def test_labels_that_are_energies():
    np.testing.assert_array_equal(energies_of_labels(["8300.0 eV", "a_8301.5eV.tif"]), [8300, 8301.5])
    np.testing.assert_array_equal(energies_of_labels(["8300.0", "8301.5"]), [8300, 8301.5])
    for labels in (["1", "2", "3"], ["8300 eV", "c"], ["", ""], []):
        assert energies_of_labels(labels) is None


def test_a_folder_of_images_is_a_stack(tmp_path, monkeypatch):
    folder = write_tiffs(tmp_path / "scan")
    (folder / "notes.md").write_text("not an image")
    stack = read_stack(folder)
    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_array_equal(stack.energy, ENERGY)
    assert (stack.attrs["quantity"], stack.attrs["saturation_counts"]) == ("counts", 65535)
    assert describe(folder)["shape"] == (4, 5, 7)

    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    lazy = read_stack(folder)
    assert not isinstance(lazy.variable._data, np.ndarray)
    np.testing.assert_array_equal(lazy[::-1, 2].values, COUNTS[::-1, 2])


def test_xrm_images_have_their_energy_in_the_header(tmp_path):
    for image, energy in zip(COUNTS, ENERGY, strict=True):
        write_xrm(tmp_path / f"fov1_{energy:.2f}eV.xrm".replace(".", "_", 1), image[None], energy=energy + 1)
    np.testing.assert_array_equal(read_stack(tmp_path).energy, ENERGY + 1)


def test_flats_and_darks_are_told_by_their_names(tmp_path):
    folder = write_tiffs(tmp_path / "scan")
    for n in (1, 3):
        tifffile.imwrite(folder / f"flat_{n}.tif", np.full((5, 7), 1000 * n, np.uint16))
    tifffile.imwrite(folder / "dark.tif", np.full((5, 7), 10, np.uint16))
    stack = read_stack(folder)
    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_array_equal(stack["flat"], np.full((5, 7), 2000))
    np.testing.assert_array_equal(stack["dark"], np.full((5, 7), 10))


def test_flats_at_energies_of_their_own_are_interpolated(tmp_path):
    folder = write_tiffs(tmp_path / "scan", energies=[8300, 8310, 8320, 8340])
    for energy, level in ((8300, 1000), (8320, 3000)):
        tifffile.imwrite(folder / f"ref_cell_{energy:08.2f}_eV.tif", np.full((5, 7), level, np.uint16))
    np.testing.assert_allclose(read_stack(folder)["flat"][:, 0, 0], [1000, 2000, 3000, 3000])


def test_floats_with_flats_are_counts(tmp_path):
    folder = write_tiffs(tmp_path / "scan", dtype=np.float32)
    assert describe(folder)["quantity"] == "intensity"
    tifffile.imwrite(folder / "flat.tif", np.ones((5, 7), np.float32))
    assert describe(folder)["quantity"] == "counts"


def test_repeats_are_averaged_and_a_saturated_pixel_of_one_has_no_value(tmp_path):
    folder = write_tiffs(tmp_path / "scan", name="cell_{:.2f}_eV_001.tif")
    second = COUNTS + 20
    second[1, 2, 3] = 65535
    write_tiffs(folder, second, name="cell_{:.2f}_eV_002.tif")
    with pytest.warns(XanesumWarning, match="up to 2 images of one energy were averaged"):
        stack = read_stack(folder)
    assert np.argwhere(np.isnan(stack.values)).tolist() == [[1, 2, 3]]
    assert stack.attrs["saturated_values"] == 1
    np.testing.assert_allclose(stack.values[0], COUNTS[0] + 10)


def test_exposure_times_of_sample_and_flat_are_kept(tmp_path):
    for image, energy in zip(COUNTS, ENERGY, strict=True):
        write_xrm(tmp_path / f"a_{energy}eV.xrm", image[None], energy=energy, exposure_s=2.0)
        write_xrm(tmp_path / f"ref_a_{energy}eV.xrm", image[None], energy=energy, exposure_s=0.5)
    stack = read_stack(tmp_path)
    np.testing.assert_allclose(stack["exposure_s"], 2.0)
    np.testing.assert_allclose(stack["flat_exposure_s"], 0.5)
    np.testing.assert_array_equal(stack["flat"].values, COUNTS)


def test_an_interrupted_scan_opens_with_what_is_there(tmp_path):
    folder = write_tiffs(tmp_path / "scan")
    last = folder / "cell_08360.00_eV.tif"
    last.write_bytes(last.read_bytes()[:100])
    with pytest.warns(XanesumWarning, match=r"cannot be read were left out \(cell_08360\.00_eV\.tif\)"):
        stack = read_stack(folder)
    np.testing.assert_array_equal(stack.energy, ENERGY[:3])


def test_images_without_an_energy_are_left_out_and_named(tmp_path):
    folder = write_tiffs(tmp_path / "scan")
    tifffile.imwrite(folder / "overview.tif", np.ones((20, 30), np.uint16))
    with pytest.warns(
        XanesumWarning, match=r"without an energy in their names were left out \(overview\.tif\)"
    ):
        assert read_stack(folder).shape == (4, 5, 7)


def test_energies_of_numbered_images_come_from_a_list(tmp_path):
    folder = write_tiffs(tmp_path / "scan", energies=[1, 2, 10, 11], name="img_{}.tif")
    with pytest.raises(
        EnergyError, match=r"no photon energies for its 4 images; put them in .*energies\.txt"
    ):
        read_stack(folder)
    (folder / "energies.txt").write_text("\n".join(map(str, ENERGY)))
    np.testing.assert_array_equal(read_stack(folder).values, COUNTS)
    np.testing.assert_array_equal(read_stack(folder, energies=ENERGY + 1).energy, ENERGY + 1)


@pytest.mark.parametrize("name", ["cell_{:.2f}.tif", "7_{:.2f}_cell.tif"])
def test_numbers_without_a_unit_are_energies_if_they_can_be(tmp_path, name):
    folder = write_tiffs(tmp_path / "scan", name=name)
    with pytest.warns(XanesumWarning, match="8300 to 8360 in the names were taken for energies in eV"):
        np.testing.assert_array_equal(read_stack(folder).energy, ENERGY)


@pytest.mark.parametrize("energies", [[8300, 8301, 8302, 8303], [1, 2, 3, 5]])
def test_numbers_that_count_are_no_energies(tmp_path, energies):
    folder = write_tiffs(tmp_path / "scan", energies=energies, name="cell_{}.tif")
    with pytest.raises(EnergyError, match="no photon energies for its 4 images"):
        read_stack(folder)


def test_a_scan_of_references_only_is_a_scan(tmp_path):
    folder = write_tiffs(tmp_path / "scan", name="ref_{}eV.tif")
    assert describe(folder)["coordinates"] == {}
    assert describe(folder)["shape"] == (4, 5, 7)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        ("other_{}eV.tif", r"holds images of 2 scans \(cell, other\)"),
        ("fov2_{}eV.tif", r"holds images of 2 scans \(cell, fov2\)"),
    ],
)
def test_two_scans_in_one_folder_are_refused(tmp_path, add, message):
    folder = write_tiffs(tmp_path / "scan")
    write_tiffs(folder, name=add)
    with pytest.raises(ReadError, match=message):
        read_stack(folder)


def test_folders_that_are_no_scan_are_refused(tmp_path):
    folder = write_tiffs(tmp_path / "sizes")
    tifffile.imwrite(folder / "cell_8400eV.tif", np.ones((6, 7), np.uint16))
    with pytest.raises(ReadError, match=r"expected images of one size .*, got 5 x 7, 6 x 7"):
        read_stack(folder)
    (tmp_path / "stacks").mkdir()
    tifffile.imwrite(tmp_path / "stacks" / "one.tif", COUNTS, photometric="minisblack")
    with pytest.raises(ReadError, match=r"one\.tif in it holds 4 images by itself; give that file"):
        read_stack(tmp_path / "stacks")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a_8300eV.tif").write_bytes(b"II*\0")
    with pytest.raises(ReadError, match=r"none of its 1 images can be read; the first is a_8300eV\.tif"):
        read_stack(tmp_path / "bad")
