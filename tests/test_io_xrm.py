"""Xradia images and SSRL folders, from OLE2 files written here and from real ones."""

import struct

import numpy as np
import pytest
from io_files import real_data, ssrl_name, write_ole, write_ssrl, write_xrm

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io import describe, read_stack, registry

IMAGES = np.random.default_rng(7).integers(0, 60000, (3, 50, 60)).astype(np.uint16)
RATE = np.random.default_rng(8).integers(1, 50, (2, 6, 7)) * 100.0
ENERGIES = (8324.0, 8354.0)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("size", [6, 50], ids=["mini stream", "whole sectors"])
def test_a_single_image_is_a_stack_of_one_energy(tmp_path, dtype, size):
    image = IMAGES[:1, :size, : size + 1].astype(dtype)
    path = write_xrm(tmp_path / "a.xrm", image, energy=8333.5, exposure_s=2.5, pixel_size_um=0.025)

    stack = read_stack(path)

    np.testing.assert_array_equal(stack.values, image)
    assert stack.dtype == np.float32
    assert stack.energy.values == pytest.approx([8333.5])
    assert stack["exposure_s"].values == pytest.approx([2.5])
    assert stack.attrs["pixel_size_nm"] == pytest.approx(25)
    assert stack.attrs.get("saturation_counts") == (65535 if dtype is np.uint16 else None)


def test_a_txrm_with_an_energy_per_image_is_a_stack(tmp_path, monkeypatch):
    path = write_xrm(tmp_path / "a.txrm", IMAGES, energy=[8300, 8310, 8320])
    np.testing.assert_array_equal(read_stack(path).values, IMAGES)
    assert describe(path)["shape"] == IMAGES.shape
    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    np.testing.assert_array_equal(read_stack(path)[::-1, 3].values, IMAGES[::-1, 3])


def test_images_beyond_the_hundredth_are_in_the_next_storage(tmp_path):
    images = np.arange(103 * 6, dtype=np.uint16).reshape(103, 2, 3)
    path = write_xrm(tmp_path / "a.txrm", images, energy=8300 + np.arange(103))
    np.testing.assert_array_equal(read_stack(path).values, images)


def test_an_energy_of_zero_is_taken_from_the_name(tmp_path):
    path = write_xrm(tmp_path / "rep01_chip_08324.5_eV_001of003.xrm", IMAGES[:1])
    assert read_stack(path).energy.values == [8324.5]


@pytest.mark.parametrize("name", ["a.xrm", "a_eV_.xrm"])
def test_an_energy_that_nobody_says_is_asked_for(tmp_path, name):
    path = write_xrm(tmp_path / name, IMAGES[:1])
    with pytest.raises(EnergyError, match=r"no photon energies for its 1 images; give them \(energies=\)"):
        read_stack(path)
    assert read_stack(path, energies=[8300]).shape == (1, 50, 60)


def test_a_tomogram_is_not_averaged_into_one_image(tmp_path):
    path = write_xrm(tmp_path / "a.txrm", IMAGES, energy=8300)
    with pytest.raises(EnergyError, match=r"3 images were all taken at 8300\.0 eV: a tomogram"):
        read_stack(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path, share):
    path = write_xrm(tmp_path / "a.txrm", IMAGES, energy=[8300, 8310, 8320])
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ReadError, match=r"a\.txrm: ") as caught:
        read_stack(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": IMAGES[:1].astype(np.uint8)}, r"pixel type 3 is unknown; known are 5 \(uint16\)"),
        ({"images": IMAGES, "declared_images": 2**30}, "declares 1073741824 images"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, options, message):
    path = write_xrm(tmp_path / "a.xrm", **options)
    with pytest.raises(ReadError, match=rf"a\.xrm: .*{message}"):
        read_stack(path)


def test_a_scan_that_was_interrupted_opens_with_what_is_there(tmp_path):
    path = write_xrm(tmp_path / "a.txrm", IMAGES, energy=[8300, 8310, 8320], declared_images=5)
    with pytest.warns(XanesumWarning, match="the scan was interrupted: 3 of 5 images are there"):
        stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, IMAGES)
    np.testing.assert_array_equal(stack.energy, [8300, 8310, 8320])


def test_fewer_energies_than_images_are_not_one_energy_of_all(tmp_path):
    few = {"ImageInfo/Energy": np.array([8300, 8300], "<f4").tobytes()}
    path = write_xrm(tmp_path / "a.txrm", IMAGES, more=few)
    with pytest.raises(EnergyError, match="no photon energies for its 3 images"):
        read_stack(path)


def test_a_mosaic_is_said_to_be_one(tmp_path):
    tiles = {"ImageInfo/MosiacRows": struct.pack("<i", 1), "ImageInfo/MosiacColumns": struct.pack("<i", 3)}
    path = write_xrm(tmp_path / "a.xrm", IMAGES, energy=8300, more=tiles)
    with pytest.raises(EnergyError, match=r"3 images are a mosaic of 1 x 3 tiles, all taken at 8300\.0 eV"):
        read_stack(path)


def test_another_ole_file_is_refused(tmp_path):
    write_ole(tmp_path / "a.xrm", {"WordDocument/text": b"hello"})
    with pytest.raises(ReadError, match="has no ImageInfo/ImageWidth; not an Xradia image"):
        read_stack(tmp_path / "a.xrm")


# --- folders of SSRL 6-2c


def test_a_folder_gives_rates_of_sample_and_flat(tmp_path):
    flat_rate = RATE + 1000
    stack = read_stack(write_ssrl(tmp_path, RATE, flat_rate, ENERGIES))

    assert stack.energy.values.tolist() == list(ENERGIES)
    np.testing.assert_allclose(stack.values, RATE, rtol=1e-6)  # float32
    np.testing.assert_allclose(stack["flat"].values, flat_rate, rtol=1e-6)
    np.testing.assert_allclose(stack["exposure_s"], 0.5)
    np.testing.assert_allclose(stack["flat_exposure_s"], 0.3)
    assert stack.attrs["unit"] == "counts/s"
    assert describe(tmp_path)["shape"] == (2, 6, 7)


def test_repeats_are_averaged_each_by_its_own_time(tmp_path):
    write_ssrl(tmp_path, RATE[:1], RATE[:1], ENERGIES[:1], repeats=1)
    write_xrm(tmp_path / ssrl_name(8324.0, 9, 9), (RATE[:1] * 2 * 3).astype(np.uint16), exposure_s=3.0)
    np.testing.assert_allclose(read_stack(tmp_path).values, 1.5 * RATE[:1], rtol=1e-6)


def test_a_saturated_pixel_of_one_repeat_has_no_value_and_is_counted(tmp_path):
    write_ssrl(tmp_path, RATE, RATE, ENERGIES)
    image = (RATE[:1] * 0.5).astype(np.uint16)
    image[0, 2, 3] = 65535
    write_xrm(tmp_path / ssrl_name(8324.0, 2, 2), image, exposure_s=0.5)

    stack = read_stack(tmp_path)

    assert np.argwhere(np.isnan(stack.values)).tolist() == [[0, 2, 3]]
    assert stack.attrs["saturated_values"] == stack.attrs["missing_values"] == 1


def test_damaged_files_and_incomplete_energies_are_left_out_with_their_names(tmp_path):
    write_ssrl(tmp_path, np.repeat(RATE, 2, 0), np.repeat(RATE, 2, 0), (8324.0, 8330.0, 8340.0, 8354.0))
    cut_name, only_flat = ssrl_name(8324.0, 2, 2), ssrl_name(8330.0, 1, 2)
    (tmp_path / cut_name).write_bytes((tmp_path / cut_name).read_bytes()[:1500])
    for n in (1, 2):
        (tmp_path / ssrl_name(8330.0, n, 2)).unlink()
        (tmp_path / ssrl_name(8340.0, n, 2, flat=True)).write_bytes(b"")

    with pytest.warns(XanesumWarning) as caught:
        stack = read_stack(tmp_path)

    told = str(caught[0].message)
    assert len(caught) == 1
    assert cut_name in told
    assert only_flat not in told
    assert "were left out (8330.0, 8340.0 eV)" in told
    assert stack.energy.values.tolist() == [8324.0, 8354.0]
    np.testing.assert_allclose(stack.values[0], RATE[0], rtol=1e-6)  # from the good repeat alone
    assert told in stack.attrs["history"]


def test_a_folder_without_flats_says_what_is_missing(tmp_path):
    write_xrm(tmp_path / ssrl_name(8324.0, 1, 1), IMAGES[:1])
    with pytest.raises(
        ReadError, match=r"no energy has both a sample exposure and a flat \('_ref_'\); .*8324"
    ):
        read_stack(tmp_path)


def test_two_samples_in_one_folder_are_refused(tmp_path):
    write_ssrl(tmp_path, RATE, RATE, ENERGIES)
    write_xrm(tmp_path / ssrl_name(8324.0, 1, 1).replace("chip", "other"), IMAGES[:1])
    with pytest.raises(ReadError, match=r"holds 2 samples \(chip, other\)"):
        read_stack(tmp_path)


def test_images_of_two_sizes_are_refused(tmp_path):
    write_ssrl(tmp_path, RATE, RATE, ENERGIES)
    write_xrm(tmp_path / ssrl_name(8324.0, 3, 3), IMAGES[:1])
    with pytest.raises(ReadError, match="expected single images of one size"):
        read_stack(tmp_path)


def test_an_exposure_without_a_time_is_refused(tmp_path):
    write_ssrl(tmp_path, RATE, RATE, ENERGIES)
    write_xrm(tmp_path / ssrl_name(8324.0, 3, 3), RATE[:1].astype(np.uint16), exposure_s=0)
    with pytest.raises(ReadError, match="has no exposure time"):
        read_stack(tmp_path)


def test_real_image_of_a_chip():
    stack = read_stack(real_data("formats/test_chip00.xrm"))
    assert stack.shape == (1, 512, 512)
    assert stack.energy.values == pytest.approx([7191.046], abs=1e-3)


def test_real_truncated_files_are_refused():
    for path in sorted(real_data("ssrl_ni_nca_xrm").glob("rep02*.xrm")):
        with pytest.raises(ReadError, match="cut short"):
            read_stack(path)


def test_real_folder_of_ssrl():
    with pytest.warns(XanesumWarning, match=r"rep02_000072.*rep02_000182.*\(8348\.0, 8400\.0 eV\)"):
        stack = read_stack(real_data("ssrl_ni_nca_xrm"))
    assert stack.shape == (2, 1024, 1024)
    assert stack.energy.values.tolist() == [8324.0, 8354.0]
    np.testing.assert_allclose(stack["exposure_s"], 0.5)
    np.testing.assert_allclose(stack["flat_exposure_s"], 0.3, rtol=1e-6)
    assert stack.attrs["pixel_size_nm"] == pytest.approx(31.2)
