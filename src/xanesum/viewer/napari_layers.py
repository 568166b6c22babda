"""Layers for napari: of scans, results and maps; the plug-in that opens their files, and `to_napari`.

Nothing of napari is imported before a viewer is asked for.  ``napari.yaml`` beside this file is the manifest
of the plug-in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import MissingExtraError, StackError
from xanesum.io import read_stack
from xanesum.io.hdf5_file import definition_of
from xanesum.io.map_files import read_maps
from xanesum.io.maps import read_map
from xanesum.report.drawing import limits_of, size_of_pixel
from xanesum.result import Denoised, load_result
from xanesum.stack import check_stack, usable_weight
from xanesum.xanes import KINDS

__all__ = ["get_reader", "layers_of", "to_napari"]

Layer = tuple[Any, dict[str, Any], str]  # data, options, kind: what napari takes from a reader
Reader = Callable[[str], Denoised | xr.DataArray | xr.Dataset]
READERS: dict[str, Reader] = {  # what a file says that it holds -> how it is read
    "xanesum_stack": read_stack,
    "xanesum_result": load_result,
    "xanesum_map": read_map,
    "xanesum_maps": read_maps,
}
IMAGE = ("y", "x")
LABELS = ("labels", "cluster")  # images of whole numbers, each a label
MAPS, ERRORS = "viridis", "cividis"


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[Layer]] | None:
    """Return the function that reads a file for napari, or None if the file is not one of xanesum.

    A list is read if each of its files is.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return _read if paths and all(_reader_of(Path(each)) is not None for each in paths) else None


def layers_of(data: Denoised | xr.DataArray | xr.Dataset, *, name: str = "") -> list[Layer]:
    """Return the layers of a scan, a result or maps: tuples of data, options and kind.

    Parameters
    ----------
    data : Denoised, DataArray (energy, y, x) or Dataset
        A stack is one image along energy, which is read when it is shown.  A result has the clean stack, and
        the images of its components.  Maps have one image each, and labels.
    name : str, optional
        Put before the names of the layers.

    Raises
    ------
    StackError
        If `data` is none of these, or breaks the rules of a stack.
    """
    if isinstance(data, Denoised):
        layers = _of_result(data)
    elif isinstance(data, xr.DataArray):
        check_stack(data)
        layers = _of_stack(data, "scan")
    elif isinstance(data, xr.Dataset):
        layers = _of_maps(data)
    else:
        raise StackError(f"napari shows a result, a stack or maps, not {type(data).__name__}")
    for _, options, _ in layers:
        options["name"] = f"{name}: {options['name']}" if name else options["name"]
    return layers


def to_napari(data: Denoised | xr.DataArray | xr.Dataset, *, viewer: Any = None, name: str = "") -> Any:
    """Show a scan, a result or maps in napari.

    Parameters
    ----------
    data : Denoised, DataArray (energy, y, x) or Dataset
        See `layers_of`.
    viewer : napari.Viewer, optional
        The viewer that gets the layers; by default a new one.
    name : str, optional
        Put before the names of the layers.

    Returns
    -------
    napari.Viewer

    Raises
    ------
    MissingExtraError
        If napari is not installed and no viewer is given.
    StackError
        If `data` is none of these.
    """
    layers = layers_of(data, name=name)
    if viewer is None:
        if find_spec("napari") is None:
            raise MissingExtraError('to_napari needs: pip install "xanesum[napari]"')
        viewer = import_module("napari").Viewer()
    for values, options, kind in layers:
        getattr(viewer, f"add_{kind}")(values, **options)
    return viewer


def _read(path: str | Sequence[str]) -> list[Layer]:
    """Read one file, or several."""
    layers = []
    for each in [path] if isinstance(path, str) else path:
        read = _reader_of(Path(each))
        if read is not None:
            layers += layers_of(read(each), name=Path(each).stem)
    return layers


def _reader_of(path: Path) -> Reader | None:
    """Return how a file is read; None if it is not one of xanesum."""
    return READERS.get(definition_of(path))


def _of_stack(stack: xr.DataArray, name: str) -> list[Layer]:
    used = np.flatnonzero(usable_weight(stack))
    ends = stack[[int(used[0]), int(used[-1])]].values  # two frames: a stack may be larger than the memory
    metadata = {"energy_ev": stack.energy.values, "quantity": stack.attrs.get("quantity", "")}
    options = {
        "name": name,
        "contrast_limits": limits_of(ends),
        "metadata": metadata,
        **_axes(("energy", *IMAGE), size_of_pixel(stack)),
    }
    return [(stack, options, "image")]


def _of_result(result: Denoised) -> list[Layer]:
    """Return the components, and above them the clean stack: napari names its slider by the last layer."""
    layers: list[Layer] = []
    if result.rank:
        images = result.coefficients.values
        axes = _axes(("component", *IMAGE), size_of_pixel(result))
        options = {"name": "components", "visible": False, "contrast_limits": limits_of(images), **axes}
        layers.append((images, options, "image"))
    return layers + _of_stack(result.reconstruct(), "clean")


def _of_maps(maps: xr.Dataset) -> list[Layer]:
    """Return an image for each map; that of its kind is visible, or else the first."""
    layers: list[Layer] = []
    axes = _axes(IMAGE, size_of_pixel(maps))
    reasons = [str(each) for each in np.atleast_1d(maps.attrs.get("reasons", []))]
    facts = {"definition": str(maps.attrs.get("definition", "")), "reasons": reasons}
    images = [str(k) for k, values in maps.data_vars.items() if values.dims == IMAGE and k != "mask"]
    kind = str(maps.attrs.get("kind", ""))
    first = KINDS[kind].variable if kind in KINDS else images[0] if images else ""
    for name in images:
        options: dict[str, Any] = {"name": name, "visible": name == first, "metadata": dict(facts), **axes}
        if name in LABELS:
            layers.append((np.asarray(maps[name].values).astype(np.int32), options, "labels"))
            continue
        image = _masked(maps, name)
        colours = ERRORS if "sigma" in name else MAPS
        options |= {"colormap": colours, "contrast_limits": limits_of(image, 2, 98)}
        layers.append((image, options, "image"))
    return layers


def _masked(maps: xr.Dataset, name: str) -> NDArray[np.float32]:
    """Return a map in float32, NaN where it means nothing; an edge step means something everywhere."""
    values = np.asarray(maps[name].values, np.float32)
    if "mask" not in maps or name.startswith("edge_step"):
        return values
    return np.where(maps["mask"].values.astype(bool), values, np.float32(np.nan))


def _axes(names: tuple[str, ...], pixel_nm: float | None) -> dict[str, Any]:
    """Return names, scale, units and starts of the axes: nm along y and x where they are known.

    A slider counts frames.  Without a start, napari takes that of the energies, in steps of 1 eV.
    """
    size, unit = (1.0, "pixel") if pixel_nm is None else (pixel_nm, "nm")
    first = len(names) - len(IMAGE)
    return {
        "axis_labels": names,
        "scale": (1.0,) * first + (size,) * len(IMAGE),
        "units": ("pixel",) * first + (unit,) * len(IMAGE),
        "translate": (0.0,) * len(names),
    }
