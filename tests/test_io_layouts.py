"""Files of other programs: MISTRAL, TXM-Sandbox, HyperSpy, MATLAB, netCDF, .ncb, .stk, OME-Zarr."""

import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import xarray as xr
from io_files import real_data

from xanesum.errors import EnergyError, ReadError
from xanesum.io import describe, read_stack, registry
from xanesum.storage.lazy import chunks_of

E, NY, NX = 6, 5, 7
VALUES = np.random.default_rng(1).uniform(0.1, 2.0, (E, NY, NX)).astype(np.float32)
EV = 8330.0 + 2.5 * np.arange(E)
pytestmark = pytest.mark.filterwarnings("ignore:.*(nothing tells|also there|taken as the energy)")


def facts_of(path, **options):
    """Return quantity, pixel size and whether the quantity is certain, after checking values and energies."""
    stack = read_stack(path, **options)
    np.testing.assert_allclose(stack.values, VALUES, rtol=1e-6)
    np.testing.assert_allclose(stack.energy, EV)
    facts = describe(path, **options)
    assert facts["shape"] == VALUES.shape
    return facts["format"], facts["quantity"], facts["pixel_size_nm"], not facts["quantity_assumed"]


def test_mistral_is_transmission(tmp_path):
    with h5py.File(tmp_path / "scan.hdf5", "w") as file:
        group = file.create_group("SpecNormalized")
        group["spectroscopy_normalized"], group["spectroscopy_normalized_aligned"] = VALUES + 1, VALUES
        group["energy"], group["x_pixel_size"], group["y_pixel_size"] = EV, [0.01], [0.01]
        group["spectroscopy_normalized_trans"] = np.zeros((E, 3, 3))
    path = tmp_path / "scan.hdf5"
    assert facts_of(path) == ("mistral", "transmission", pytest.approx(10.0), True)
    assert describe(path)["others"] == {"detector": ["spectroscopy_normalized"]}
    not_aligned = read_stack(path, detector="spectroscopy_normalized")
    np.testing.assert_array_equal(not_aligned.values, VALUES + 1)


def test_a_registered_stack_of_txm_sandbox_is_optical_density(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        group = file.create_group("registration_results/reg_results")
        group["registered_xanes2D"], group["eng_list"] = VALUES, EV
    assert facts_of(tmp_path / "scan.h5") == ("txm-sandbox", "optical_density", None, True)


def write_hspy(path, order, *, named=True, energies=None):
    axes = {
        "e": ("Energy", E, 2.5, 8330.0, "eV"),
        "y": ("y", NY, 0.02, 0.0, "µm"),
        "x": ("x", NX, 0.03, 0.0, "µm"),
    }
    with h5py.File(path, "w") as file:
        group = file.create_group("Experiments/scan")
        group["data"] = VALUES.transpose(["eyx".index(letter) for letter in order])
        for i, letter in enumerate(order):
            name, size, scale, offset, units = axes[letter]
            axis = group.create_group(f"axis-{i}")
            axis.attrs.update({"size": size, "navigate": (letter == "e") == (order[0] == "e")})
            if letter == "e" and energies is not None:
                axis["axis"] = energies
            else:
                axis.attrs.update({"scale": scale, "offset": offset})
            axis.attrs.update({"name": name, "units": units} if named else {"name": "<undefined>"})
    return path


@pytest.mark.parametrize("order", ["yxe", "eyx"])
def test_hyperspy_axes_have_scale_and_offset(tmp_path, order):
    path = write_hspy(tmp_path / "scan.hspy", order)
    assert facts_of(path) == ("hyperspy", "intensity", pytest.approx(30.0), False)
    assert facts_of(path, data="Experiments/scan/data")[0] == "hdf5"


def test_hyperspy_axes_may_have_every_position(tmp_path):
    facts_of(write_hspy(tmp_path / "scan.hspy", "yxe", energies=EV))


def test_hyperspy_axes_without_names_are_told_by_what_is_signal(tmp_path):
    path = write_hspy(tmp_path / "scan.hspy", "yxe", named=False)
    np.testing.assert_array_equal(read_stack(path, energies=EV).values, VALUES)


# --- MATLAB


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_matlab_of_earlier_versions_is_read(tmp_path, order):
    path = tmp_path / "scan.mat"
    scipy.io.savemat(path, {"stack": VALUES.transpose(order), "energy": EV, "other": np.ones((3, 4))})
    assert facts_of(path) == ("matlab", "intensity", None, False)


def write_matlab_73(path, **arrays):
    """Write arrays as MATLAB 7.3 does: behind a user block, with reversed axes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.asarray(values).T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("lazy", [False, True])
def test_matlab_7_3_is_read_lazily(tmp_path, monkeypatch, order, lazy):
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)
    path = write_matlab_73(tmp_path / "scan.mat", stack=VALUES.transpose(order), energy=EV[:, None])
    assert facts_of(path)[0] == "matlab"


def test_matlab_with_several_stacks_asks_for_a_name(tmp_path):
    path = tmp_path / "scan.mat"
    scipy.io.savemat(path, {"a": VALUES, "b": VALUES + 1, "energy": EV})
    with pytest.raises(ReadError, match=r"name one of its arrays with three axes: a, b \(data=\)"):
        read_stack(path)
    np.testing.assert_array_equal(read_stack(path, data="b").values, VALUES + 1)
    with pytest.raises(ReadError, match="has no array 'c'"):
        read_stack(path, data="c")


def test_matlab_that_declares_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "scan.mat"
    scipy.io.savemat(path, {"a": VALUES})
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<3i", *VALUES.shape))
    content[at : at + 12] = struct.pack("<3i", 10**5, 10**5, 10**5)
    path.write_bytes(content)
    with pytest.raises(ReadError, match="declares 1000000000000000 values, more than the file can hold"):
        read_stack(path)


@pytest.mark.parametrize("sides", [("lines", "cols"), ("nRow", "nCol")])
def test_matlab_pixels_in_a_list_become_images(tmp_path, sides):
    """As hyperspectral scenes are shared: a row an energy, in it one column of the image after the other."""
    path = tmp_path / "scene.mat"
    n_energies, n_y, n_x = VALUES.shape
    pixels = np.stack([[frame[i % n_y, i // n_y] for i in range(n_y * n_x)] for frame in VALUES])
    scipy.io.savemat(path, {"Y": pixels, sides[0]: n_y, sides[1]: n_x, "mixed": np.ones((n_energies, 3))})

    stack = read_stack(path, energies=EV)

    np.testing.assert_array_equal(stack.values, VALUES)
    assert (describe(path)["dataset"], describe(path)["shape"]) == ("Y", VALUES.shape)


@pytest.mark.parametrize("sides", [{"lines": 3.5, "cols": 4}, {"lines": -1, "cols": -12}, {"lines": 12}, {}])
def test_matlab_matrices_without_sides_are_no_images(tmp_path, sides):
    scipy.io.savemat(tmp_path / "scan.mat", {"Y": np.ones((5, 12)), **sides})

    with pytest.raises(ReadError, match="without an array of numbers that has three axes"):
        read_stack(tmp_path / "scan.mat")


def test_real_matlab_files_ask_which_of_their_arrays_is_meant():
    path = real_data("hyperspectral/Samson.mat")
    with pytest.raises(ReadError, match=r"name one of its arrays with three axes: S_GT, Y \(data=\)"):
        describe(path)
    assert describe(path, data="S_GT")["shape"] == (3, 95, 95)
    stack = read_stack(path, data="Y", energies=np.arange(1000, 1156))
    first = scipy.io.loadmat(path)["S_GT"][..., 0]
    assert np.corrcoef(stack.values[60].ravel(), first.ravel())[0, 1] > 0.8


def test_matlab_without_images_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "scan.mat", {"a": VALUES[0]})
    with pytest.raises(ReadError, match="without an array of numbers that has three axes"):
        read_stack(tmp_path / "scan.mat")


# --- netCDF and xarray


def labelled(order=("energy", "y", "x")):
    coords = {"energy": ("energy", EV, {"units": "eV"}), "y": np.arange(NY), "x": np.arange(NX)}
    return xr.DataArray(VALUES, dims=("energy", "y", "x"), coords=coords, name="density").transpose(*order)


@pytest.mark.parametrize("order", [("energy", "y", "x"), ("y", "x", "energy")])
def test_classic_netcdf_of_xarray_is_read(tmp_path, order):
    path = tmp_path / "scan.nc"
    labelled(order).to_netcdf(path, engine="scipy")
    assert facts_of(path) == ("netcdf", "intensity", None, False)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", [("energy", "y", "x"), ("y", "x", "energy")])
def test_zarr_of_xarray_is_read_by_the_names_of_its_axes(tmp_path, order, version):
    pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    labelled(order).to_zarr(tmp_path / "scan.zarr", zarr_format=version, consolidated=False)
    assert facts_of(tmp_path / "scan.zarr")[0] == "zarr"


# --- Zarr of others


def write_ome(folder, values, axes, *, version, labels=(), scale=None):
    zarr = pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    group = zarr.open_group(str(folder), mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=values, chunks=(1,) * (values.ndim - 2) + values.shape[-2:])
    group.create_array("1", data=values[..., ::2, ::2])
    transformations = [{"type": "scale", "scale": scale or [1.0] * values.ndim}]
    datasets = [{"path": name, "coordinateTransformations": transformations} for name in ("0", "1")]
    attrs = {"multiscales": [{"version": version, "axes": axes, "datasets": datasets}]}
    if labels:
        attrs["omero"] = {"channels": [{"label": label} for label in labels]}
    group.attrs.update(attrs if version == "0.4" else {"ome": attrs})
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_has_energies_as_channels(tmp_path, version):
    axes = [{"name": name, "type": kind} for name, kind in (("t", "time"), ("c", "channel"))]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in ("y", "x")]
    labels = [f"{energy:.1f} eV" for energy in EV]
    folder = write_ome(
        tmp_path / "scan.zarr", VALUES[None], axes, version=version, labels=labels, scale=[1, 1, 0.03, 0.03]
    )
    assert facts_of(folder) == ("zarr", "intensity", pytest.approx(30.0), False)


def test_ome_zarr_of_several_times_offers_an_index(tmp_path):
    axes = [{"name": name} for name in ("t", "c", "y", "x")]
    folder = write_ome(tmp_path / "scan.zarr", np.stack([VALUES, VALUES + 1]), axes, version="0.5")
    np.testing.assert_array_equal(read_stack(folder, energies=EV, index=1).values, VALUES + 1)
    assert describe(folder)["others"] == {"index": ["0 to 1 along t"]}
    with pytest.raises(EnergyError, match="no photon energies"):
        read_stack(folder)


@pytest.mark.parametrize("top", ["", "scan.zarr/"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_zipped_store_is_read(tmp_path, monkeypatch, top, lazy):
    zarr = pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)
    array = zarr.create_array(str(tmp_path / "scan.zarr"), data=VALUES, chunks=(2, NY, NX))
    array.attrs["energy_ev"] = EV.tolist()
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in sorted((tmp_path / "scan.zarr").rglob("*")):
            if file.is_file():
                archive.write(file, top + file.relative_to(tmp_path / "scan.zarr").as_posix())
    assert facts_of(tmp_path / "scan.zip")[0] == "zarr"
    if lazy:
        assert chunks_of(read_stack(tmp_path / "scan.zip")) == (2, NY, NX)


def test_a_group_of_several_stacks_asks_for_a_name(tmp_path):
    zarr = pytest.importorskip("zarr", reason="needs zarr (extra zarr)")
    group = zarr.open_group(str(tmp_path / "scan.zarr"), mode="w")
    group.create_array("left", data=VALUES)
    group.create_array("right", data=VALUES + 1)
    group.create_array("energy", data=EV)
    with pytest.raises(ReadError, match=r"name one of its arrays: left, right \(data=\)"):
        read_stack(tmp_path / "scan.zarr")
    np.testing.assert_array_equal(read_stack(tmp_path / "scan.zarr", data="right").values, VALUES + 1)
    with pytest.raises(ReadError, match="has no array 'up'"):
        read_stack(tmp_path / "scan.zarr", data="up")


# --- binary stacks


def write_ncb(folder, values, *, scale=-1.0):
    path = folder / "scan.ncb"
    stored = values.astype("<f4") if scale < 0 else np.round(values * scale).astype("<i2")
    path.write_bytes(stored.tobytes())
    lines = [f"\t{NX}\t{NY}\t{scale:.6f}", f"\t0.0\t{0.03 * (NX - 1)}", f"\t0.0\t{0.03 * (NY - 1)}", f"\t{E}"]
    lines += [f"\t{energy:.6f}" for energy in EV] + [f"image{e}\t{EV[e]:.6f}\t1.0" for e in range(E)]
    path.with_suffix(".dat").write_text("\n".join(lines))
    return path


def test_ncb_is_read_with_the_text_file_of_its_name(tmp_path):
    path = write_ncb(tmp_path, VALUES)
    assert facts_of(path) == ("ncb", "intensity", pytest.approx(30.0), False)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(
        ReadError, match=r"was cut short: 6 images of 5 x 7 px .* need 840 bytes, the file has 836"
    ):
        read_stack(path)


def test_ncb_of_whole_numbers_is_divided_by_its_scale(tmp_path):
    np.testing.assert_allclose(read_stack(write_ncb(tmp_path, VALUES, scale=1e4)).values, VALUES, atol=5e-5)


@pytest.mark.parametrize("lazy", [False, True])
def test_stk_is_read_big_endian(tmp_path, monkeypatch, lazy):
    monkeypatch.setattr(registry, "LAZY_BYTES", 0 if lazy else 1e9)
    path = tmp_path / "scan.stk"
    lists = [0.03 * np.arange(NX), 0.03 * np.arange(NY), EV, np.ones(E)]
    body = b"".join(np.asarray(each, ">f4").tobytes() for each in lists)
    path.write_bytes(struct.pack(">3i", NX, NY, E) + body + VALUES.astype(">f4").tobytes())
    assert facts_of(path) == ("stk", "counts", pytest.approx(30.0, rel=1e-5), False)


def test_raw_values_may_be_in_several_files(tmp_path):
    for e in range(E):
        (tmp_path / f"frame{e}.raw").write_bytes(b"head" + VALUES[e].tobytes())
    files = [(f"frame{e}.raw", 4, VALUES[e].nbytes) for e in range(E)]
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("scan/images", VALUES.shape, "f4", external=files)
        file["scan/energy"] = EV
    stack = read_stack(tmp_path / "scan.h5", data="scan/images")
    np.testing.assert_array_equal(stack.values, VALUES)


def test_what_else_is_there_is_plain_data(tmp_path):
    path = tmp_path / "scan.mat"
    scipy.io.savemat(path, {"a": VALUES, "b": VALUES[:, :2], "energy": EV})
    assert json.loads(json.dumps(describe(path, data="a")))["others"] == {"data": ["b"]}
