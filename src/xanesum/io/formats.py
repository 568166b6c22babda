"""The formats that xanesum reads and writes, in the order in which they are tried.

To add a reader, write a module in this folder that defines ``FORMAT``, a `xanesum.io.scan.Format`, and enter
it here, in the import and in `FORMATS`.  No other code has to change: `read_stack`, `describe`, the command
line and the error messages follow from this list.  Its tests are ``tests/test_io_NAME.py``, and README.md and
docs/architecture.md list the formats.  The module needs two functions and one object::

    def _matches(path, head):      # is it this format?  From the content, not from the name
        return head.startswith(b"MAGIC")

    def _open(path):               # a `Scan`: sizes, energies, quantity, and a function that reads pixels
        return Scan(shape=..., dtype=..., read=..., energy=..., quantity="counts", history=(...))

    FORMAT = Format("name", "description for users", (".suffix",), _matches, _open)

A format that is written as well has a `xanesum.io.writing.Writer`.

`Format` and `Scan` document each of these.  Examples: `xanesum.io.xrm` for a format that stores whole
images, `xanesum.io.pyxas` for a layout of HDF5.  A text file can only be read as a whole: its `_open` does
so, and gives the array as ``read=values.__getitem__``.
"""

from __future__ import annotations

from xanesum.io import (
    axis2000,
    dataexchange,
    hdf5,
    hyperspy,
    image_folder,
    matlab,
    mistral,
    ncb,
    netcdf3,
    nexus,
    nxstxm,
    pyxas,
    ssrl,
    stk,
    tiff,
    txm_sandbox,
    xrm,
    zarr_store,
)
from xanesum.io.scan import Format
from xanesum.io.writing import Writer

__all__ = ["FORMATS", "WRITERS"]

# The first format that matches is used.
FORMATS: tuple[Format, ...] = (
    ssrl.FORMAT,
    zarr_store.FORMAT,
    nexus.FORMAT,
    pyxas.FORMAT,
    dataexchange.FORMAT,
    nxstxm.FORMAT,
    mistral.FORMAT,
    txm_sandbox.FORMAT,
    hyperspy.FORMAT,
    matlab.FORMAT,
    hdf5.FORMAT,  # any other HDF5 file, so after all known layouts
    netcdf3.FORMAT,
    xrm.FORMAT,
    tiff.FORMAT,
    axis2000.FORMAT,
    image_folder.FORMAT,  # any folder of images, so after all known folders
    ncb.FORMAT,
    stk.FORMAT,  # known by its size, so the last one
)
# the formats that are written, the native one first
_WRITERS = [each.writer for each in FORMATS if each.writer is not None]
WRITERS: tuple[Writer, ...] = tuple(sorted(_WRITERS, key=lambda each: each.name != "native"))
