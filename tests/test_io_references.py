"""Flats, darks and I0 from files of their own: averaged, interpolated, with the law of their noise."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from io_files import small_stack, write_axis2000, write_xrm

from xanesum.errors import ReadError, StackError, XanesumWarning
from xanesum.io import describe, read_stack, registry, write_stack
from xanesum.preprocess import prepare

E, NY, NX = 5, 6, 7
EV = 8300 + np.arange(float(E))
RNG = np.random.default_rng(4)
COUNTS = RNG.integers(100, 900, (E, NY, NX)).astype("u2")
FLATS = RNG.integers(900, 1100, (3, NY, NX)).astype("u2")
DARKS = RNG.integers(0, 9, (2, NY, NX)).astype("u2")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("scan.tif", COUNTS, photometric="minisblack")
    np.savetxt("scan_energies.txt", EV)


def tiff(name, images):
    tifffile.imwrite(name, images, photometric="minisblack")
    return name


def as_one_tiff():
    return [tiff("flats.tif", FLATS)], [tiff("darks.tif", DARKS)]


def as_single_tiffs():
    flats = [tiff(f"flat{i}.tif", image) for i, image in enumerate(FLATS)]
    return flats, [tiff(f"dark{i}.tif", image) for i, image in enumerate(DARKS)]


def as_numpy():
    np.save("flats.npy", FLATS)
    np.save("dark.npy", DARKS.mean(axis=0))
    return ["flats.npy"], ["dark.npy"]


def as_hdf5():
    with h5py.File("references.h5", "w") as file:
        file["img_bkg"], file["img_dark"] = FLATS, DARKS
        file["something/else"] = np.zeros((3, 4))
    return ["references.h5"], ["references.h5"]


@pytest.mark.parametrize("form", [as_one_tiff, as_single_tiffs, as_numpy, as_hdf5])
def test_flats_and_darks_are_averaged(form):
    flats, darks = form()
    stack = read_stack("scan.tif", flat=flats, dark=darks)
    np.testing.assert_allclose(stack["flat"], FLATS.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(stack["dark"], DARKS.mean(axis=0), rtol=1e-6)
    assert stack["flat"].dims == ("y", "x")
    assert stack.attrs["history"][-1].startswith("flat: mean of 3 images of ")
    result, _ = prepare(stack, bad_pixels=False)
    dark = DARKS.mean(axis=0)
    expected = np.log(FLATS.mean(axis=0) - dark) - np.log(np.maximum(COUNTS - dark, 1))
    np.testing.assert_allclose(result.values, expected, atol=0.02)  # half a photon, where the law is known


def test_one_path_does_and_the_law_of_several_flats_is_kept():
    rng = np.random.default_rng(0)
    shape = (E, 60, 70)
    light = 2000 * (1 + np.linspace(0, 1, 70))
    tiff("scan.tif", (4 * rng.poisson(light / 8, shape)).astype("u2"))
    tiff("flats.tif", (4 * rng.poisson(light / 4, (8, 60, 70))).astype("u2"))
    stack = read_stack("scan.tif", flat="flats.tif")
    np.testing.assert_allclose(stack["noise_gain"], 4, rtol=0.15)
    assert prepare(stack, bad_pixels=False)[0].attrs["quantity"] == "optical_density"
    assert "noise_gain" not in read_stack(
        "scan.tif", flat=tiff("one.tif", FLATS[0].repeat(10, 0).repeat(10, 1))
    )


def test_flats_of_several_energies_are_interpolated():
    names = [
        tiff(f"flat_{ev}eV.tif", np.full((NY, NX), value, "u2")) for ev, value in ((8299, 100), (8303, 500))
    ]
    names.append(tiff("flat_8303.0_eV_b.tif", np.full((NY, NX), 700, "u2")))
    stack = read_stack("scan.tif", flat=names)
    assert stack["flat"].dims == ("energy", "y", "x")
    np.testing.assert_allclose(stack["flat"][:, 0, 0], [225, 350, 475, 600, 600])
    assert "noise_gain" not in stack.coords  # one flat of the first energy
    assert "at 2 energies, interpolated between them" in stack.attrs["history"][-1]


def test_flats_of_every_energy_follow_unsorted_energies():
    np.savetxt("scan_energies.txt", EV[::-1])
    flats = np.arange(1.0, E + 1)[:, None, None] * np.ones((NY, NX))
    with pytest.warns(XanesumWarning, match="not in increasing order"):
        stack = read_stack("scan.tif", flat=tiff("flats.tif", flats.astype("u2")))
    np.testing.assert_array_equal(stack["flat"][:, 0, 0], np.arange(E, 0, -1))
    assert "one for each image of the scan" in stack.attrs["history"][1]


def test_a_large_scan_reads_flats_of_every_energy_when_they_are_used(monkeypatch):
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    stack = read_stack("scan.tif", flat=tiff("flats.tif", np.stack([FLATS[0]] * E)))
    assert not stack["flat"].variable._in_memory
    np.testing.assert_array_equal(stack["flat"][2], FLATS[0])


def test_exposure_times_of_flats_count():
    scan = write_xrm("scan.txrm", COUNTS, energy=EV, exposure_s=2.0)
    flat = write_xrm("flat.xrm", FLATS[:1], exposure_s=0.5)
    result, _ = prepare(read_stack(scan, flat=flat), bad_pixels=False)
    np.testing.assert_allclose(result.values, np.log(FLATS[0] * 4.0) - np.log(COUNTS), atol=1e-5)


def test_flats_turn_floats_without_a_label_into_counts_but_not_what_is_labelled():
    tiff("scan.tif", COUNTS.astype("f4"))
    assert read_stack("scan.tif").attrs["quantity"] == "intensity"
    assert read_stack("scan.tif", flat=tiff("flat.tif", FLATS[0])).attrs["quantity"] == "counts"
    write_stack(small_stack((E, NY, NX)), "density.h5")
    for name in ("flat", "dark"):
        with pytest.raises(StackError, match=f"optical density, but a {name} is for counts") as caught:
            read_stack("density.h5", **{name: "flat.tif"})
        assert caught.value.parameter == name
    tiff("scan.tif", COUNTS)
    said = read_stack("scan.tif", flat="flat.tif", quantity="fluorescence")
    assert said.attrs["quantity"] == "fluorescence"


def test_references_of_another_size_or_that_are_missing_are_refused():
    with pytest.raises(StackError, match=r"other\.tif: its images have 4 x 7 px \(y, x\), those of .* 6 x 7"):
        read_stack("scan.tif", flat=tiff("other.tif", FLATS[0, :4]))
    for name in ("missing.tif", "missing.npy"):
        with pytest.raises(ReadError, match=rf"{name}: no such file"):
            read_stack("scan.tif", dark=name)
    np.save("words.npy", np.array(["a"]))
    with pytest.raises(ReadError, match=r"words\.npy: holds values of type <U1, expected numbers"):
        read_stack("scan.tif", flat="words.npy")
    np.save("row.npy", np.ones(6))
    with pytest.raises(
        ReadError, match=r"row\.npy: holds float64 of shape \(6,\); expected images of numbers"
    ):
        read_stack("scan.tif", flat="row.npy")
    np.save("pickled.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ReadError, match="cannot be read"):
        read_stack("scan.tif", flat="pickled.npy")


def test_a_file_of_scan_and_flats_gives_its_flats():
    with h5py.File("fxi.h5", "w") as file:
        file["img_xanes"], file["X_eng"], file["img_bkg"] = COUNTS.astype("f4"), EV / 1e3, FLATS
    stack = read_stack("fxi.h5", flat="fxi.h5")
    assert stack.attrs["quantity"] == "counts"
    np.testing.assert_allclose(stack["flat"], FLATS.mean(axis=0), rtol=1e-6)


# --- I0 on energies of its own


def line(ev):
    return 1000 + 10 * (np.asarray(ev) - 8300)


def data_exchange(path, at, white, with_energies=True):
    with h5py.File(path, "w") as file:
        file["exchange/data"], file["exchange/energy"] = COUNTS, EV
        file["exchange/energy"].attrs["units"] = "eV"
        group = file.create_group("spectromicroscopy/normalization")
        group["white_spectrum"] = white
        if with_energies:
            group["white_spectrum_energy"] = at
    return path


@pytest.mark.filterwarnings("ignore:.*axes of exchange/data")
@pytest.mark.parametrize(
    "at", [EV, EV[::-1], np.linspace(8290, 8310, 81), np.linspace(8.29, 8.31, 7), RNG.permutation(EV)]
)
def test_white_spectrum_of_its_own_energies_is_interpolated(at):
    stack = read_stack(data_exchange("dx.h5", at, line(at * (1 if at[0] > 100 else 1e3))))
    np.testing.assert_allclose(stack["i0"], line(EV))


@pytest.mark.filterwarnings("ignore:.*axes of exchange/data")
@pytest.mark.parametrize(
    ("at", "with_energies", "message"),
    [
        (np.linspace(8302, 8310, 9), True, r"not used: I0 covers 8302\.00 to 8310\.00 eV"),
        (np.linspace(8290, 8310, 9), False, "not used: it has 9 values"),
        (np.r_[np.nan, EV], True, "not used: the I0 spectrum holds values that are not finite"),
    ],
)
def test_a_white_spectrum_that_does_not_fit_is_not_used_and_that_is_said(at, with_energies, message):
    with pytest.warns(XanesumWarning, match=message):
        stack = read_stack(data_exchange("dx.h5", at, np.ones(len(at)), with_energies))
    assert "i0" not in stack.coords


@pytest.mark.filterwarnings("ignore:.*axes of exchange/data")
def test_one_i0_serves_several_scans():
    np.savetxt("i0.txt", np.column_stack([np.linspace(8290, 8310, 41), line(np.linspace(8290, 8310, 41))]))
    data_exchange("other.h5", EV, line(EV))
    n = 21
    empty = line(np.linspace(8290, 8310, n))[:, None, None] * np.ones((n, 3, 4))
    Path("empty").mkdir()
    write_axis2000(Path("empty"), empty, np.linspace(8290, 8310, n))
    for i0 in ("i0.txt", "other.h5", "empty/scan.hdr"):
        stack = read_stack("scan.tif", i0=i0)
        np.testing.assert_allclose(stack["i0"], line(EV), rtol=1e-6)
        assert i0.split("/")[-1] in stack.attrs["history"][-1]


def test_the_monitor_of_a_file_can_be_its_i0():
    stack = small_stack((E, NY, NX), quantity="counts").assign_coords(monitor=("energy", line(EV)))
    write_stack(stack, "scan.h5")
    assert "i0" not in read_stack("scan.h5").coords
    found = read_stack("scan.h5", i0="monitor")
    np.testing.assert_array_equal(found["i0"], line(EV))
    assert "monitor" not in found.coords
    with pytest.raises(ReadError, match="monitor: no such file"):
        read_stack("scan.tif", i0="monitor")


def test_i0_turns_floats_without_a_label_into_counts():
    tiff("scan.tif", COUNTS.astype("f4"))
    np.savetxt("i0.txt", np.column_stack([EV, line(EV)]))
    assert read_stack("scan.tif", i0="i0.txt").attrs["quantity"] == "counts"
    assert describe("scan.tif")["quantity"] == "intensity"
