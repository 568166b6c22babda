"""Zarr stores: read as they lie, in parts, and refused in one line where they are wrong."""

import sys

import numpy as np
import pytest

from xanesum.errors import EnergyError, MissingExtraError, ReadError
from xanesum.io import describe, read_stack
from xanesum.method.denoising import denoise
from xanesum.storage.lazy import chunks_of

zarr = pytest.importorskip("zarr", reason="needs zarr (extra zarr)")

VALUES = np.random.default_rng(0).uniform(1, 2, (6, 8, 9)).astype(np.float32)
ENERGY = 8300.0 + np.arange(6)


def write_array(path, values=VALUES, *, chunks=(1, 8, 9), **attrs):
    array = zarr.create_array(store=str(path), shape=values.shape, chunks=chunks, dtype=values.dtype)
    array[...] = values
    array.attrs.update(attrs)
    return path


def write_group(path, **arrays):
    group = zarr.open_group(str(path), mode="w")
    for name, values in arrays.items():
        group.create_array(name, data=np.asarray(values))
    return group


def test_an_array_with_its_energies_is_read(tmp_path):
    path = write_array(
        tmp_path / "s.zarr", energy_ev=ENERGY.tolist(), quantity="optical_density", pixel_size_nm=30
    )

    stack = read_stack(path)

    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_array_equal(stack.energy, ENERGY)
    assert stack.attrs["quantity"] == "optical_density"
    assert stack.attrs["pixel_size_nm"] == 30
    assert describe(path)["format"] == "zarr"


def test_a_group_brings_its_flat_and_dark(tmp_path):
    flat = np.full((8, 9), 5.0)
    write_group(tmp_path / "g.zarr", data=VALUES, energy=ENERGY / 1e3, flat=flat, dark=0 * flat)

    with pytest.warns(match="keV"):
        stack = read_stack(tmp_path / "g.zarr")

    np.testing.assert_allclose(stack.energy, ENERGY)
    np.testing.assert_array_equal(stack["flat"], flat)
    assert stack["dark"].dims == ("y", "x")
    assert stack.attrs["quantity"] == "counts"  # as there is a flat for them


def test_a_large_one_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    values = np.random.default_rng(0).normal(5, 1, (20, 24, 30)).astype(np.float32)
    path = write_array(tmp_path / "s.zarr", values, chunks=(3, 5, 30), energy_ev=list(range(8000, 8020)))

    stack = read_stack(path)
    result = denoise(stack, memory=2e4, denoiser="wavelet")

    assert chunks_of(stack) == (3, 5, 30)
    assert not stack.variable._in_memory
    np.testing.assert_array_equal(stack[4:9, 3, 2:5].values, values[4:9, 3, 2:5])
    assert (
        result.provenance["input_digest"]
        == denoise(stack.load(), denoiser="wavelet").provenance["input_digest"]
    )


@pytest.mark.parametrize(
    ("values", "attrs", "reason"),
    [
        (VALUES[0], {}, "expected three axes"),
        (VALUES.astype(complex), {}, "expected numbers"),
        (VALUES, {"quantity": "light"}, "unknown quantity 'light'"),
    ],
)
def test_what_is_no_stack_is_refused(tmp_path, values, attrs, reason):
    path = write_array(tmp_path / "s.zarr", values, chunks=values.shape, energy_ev=ENERGY.tolist(), **attrs)

    with pytest.raises(ReadError, match=reason):
        read_stack(path)


def test_a_group_without_data_or_with_another_flat_is_refused(tmp_path):
    write_group(tmp_path / "empty.zarr", image=VALUES[0])
    write_group(tmp_path / "nested.zarr").create_group("data")
    write_group(tmp_path / "other.zarr", data=VALUES, energy=ENERGY, flat=np.ones((3, 3)))

    with pytest.raises(ReadError, match="without an array 'data'; it holds image"):
        read_stack(tmp_path / "empty.zarr")
    with pytest.raises(ReadError, match="without an array 'data'; it holds data"):
        read_stack(tmp_path / "nested.zarr")
    with pytest.raises(ReadError, match="flat has shape"):
        read_stack(tmp_path / "other.zarr")


def test_energies_that_are_missing_are_asked_for(tmp_path):
    path = write_array(tmp_path / "s.zarr")

    with pytest.raises(EnergyError, match="no photon energies"):
        read_stack(path)
    assert read_stack(path, energies=ENERGY).shape == VALUES.shape


def test_damage_is_one_line(tmp_path):
    path = write_array(tmp_path / "s.zarr", energy_ev=ENERGY.tolist())
    (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "arr')

    with pytest.raises(ReadError, match="cannot be read"):
        read_stack(path)


def test_chunks_that_claim_too_much_are_refused(tmp_path):
    path = tmp_path / "s.zarr"
    array = zarr.create_array(
        store=str(path), shape=(4, 90_000, 90_000), chunks=(1, 90_000, 90_000), dtype="f4"
    )
    array.attrs["energy_ev"] = [1e3, 2e3, 3e3, 4e3]

    with pytest.raises(ReadError, match="larger than 4 GB"):
        read_stack(path)


def test_without_zarr_the_extra_is_named(tmp_path, monkeypatch):
    path = write_array(tmp_path / "s.zarr", energy_ev=ENERGY.tolist())
    monkeypatch.setitem(sys.modules, "zarr", None)

    with pytest.raises(MissingExtraError, match=r"xanesum\[zarr\]"):
        read_stack(path)
