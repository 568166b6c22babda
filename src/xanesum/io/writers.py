"""Write stacks: the suffix, or a name, decides in which format; what it cannot hold is said."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import xarray as xr

from xanesum.errors import MissingExtraError, WriteError, XanesumWarning
from xanesum.io.formats import WRITERS
from xanesum.io.writing import Writer, describe_losses

__all__ = ["FORMAT_NAMES", "STACK_SUFFIXES", "write_stack", "writer_for"]

FORMAT_NAMES = tuple(each.name for each in WRITERS)  # what `write_stack` takes as format
# suffixes that choose the format
STACK_SUFFIXES = tuple(suffix for each in WRITERS if not each.named_only for suffix in each.suffixes)


def write_stack(stack: xr.DataArray, path: str | Path, format: str | None = None) -> Path:
    """Write a stack in the format of the suffix, or in the one that is named.

    A `XanesumWarning` says what the format cannot hold of this stack.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        A lazy stack is written in blocks.
    path : str or Path
        An existing file is replaced.  A folder must be new or empty.
    format : {"native", "tiff", "zarr", "pyxas", "txm-wizard", "hyperspy"}, optional
        By default that of the suffix.

        - native (``.h5``, ``.hdf5``, ``.nxs``): NeXus, which keeps mask, weights, flats and history.
        - tiff (``.tif``, ``.tiff``): float32 pages, with the energies in ``<stem>_energies.txt`` in the same
          folder.
        - zarr (``.zarr``): a Zarr 3 group for xarray and OME-Zarr, which keeps the same as the native form.
        - hyperspy (``.hspy``): a signal of images, which keeps nearly the same.
        - pyxas (``.h5``, only if named): the keys of PyXAS and NSLS-II FXI, as transmission.
        - txm-wizard (a folder, only if named): one TIFF per energy, with the energy in its name.

    Raises
    ------
    WriteError
        If suffix or format is unknown or the file cannot be written; then nothing is left behind.
    MissingExtraError
        If the format takes a package that is not installed.
    StackError
        If `stack` breaks the rules of `xanesum.stack.check_stack`, or the format cannot hold its quantity.
    """
    path = Path(path)
    writer = writer_for(path, format)
    written = writer.write(stack, path)
    if lost := describe_losses(stack, writer):
        warnings.warn(f"{path.name}: {lost}", XanesumWarning, stacklevel=2)
    return written


def writer_for(path: str | Path, format: str | None = None) -> Writer:
    """Return how a path is written: by the suffix, or as the format that is named.

    Raises
    ------
    WriteError
        If the suffix or the format is unknown, or they contradict each other.
    MissingExtraError
        If the format takes a package that is not installed.
    """
    suffix = Path(path).suffix.lower()
    named = [each for each in WRITERS if format in (None, each.name)]
    if not named:
        names = ", ".join(each.name for each in WRITERS)
        raise WriteError(f"no format is called {format!r}; there are {names}", parameter="format")
    if format is not None and not named[0].suffixes:
        found = named
    else:
        found = [each for each in named if suffix in each.suffixes and (format or not each.named_only)]
    if not found:
        allowed = [s for each in named if format or not each.named_only for s in each.suffixes]
        whose = "no format is known for" if format is None else f"a {format} file does not have"
        raise WriteError(f"{path}: {whose} the suffix {suffix!r}; use one of {', '.join(allowed)}")
    if found[0].needs and find_spec(found[0].needs) is None:
        raise MissingExtraError(f'writing {path} needs: pip install "xanesum[{found[0].needs}]"')
    return found[0]
