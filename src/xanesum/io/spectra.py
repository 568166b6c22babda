"""Read spectra of references from files of any known format: XDI, Athena, columns of text."""

from __future__ import annotations

from pathlib import Path

from xanesum.errors import ReadError
from xanesum.io.athena import is_athena, read_athena
from xanesum.io.columns import read_columns
from xanesum.io.scan import read_bytes
from xanesum.io.spectrum import KINDS, Reference, mended
from xanesum.io.xdi import is_xdi, read_xdi

__all__ = ["read_spectra"]

HEAD_BYTES = 4096


def read_spectra(path: str | Path, channel: str | None = None) -> list[Reference]:
    """Return the spectra in a file, one or more.

    Parameters
    ----------
    path : str or Path
        XDI, a project of Athena, or text with a column of energies and one of absorption, or with columns of
        counts that a header names (i0, itrans, ifluor, irefer).
    channel : {"transmission", "fluorescence", "reference", "absorption"}, optional
        Which spectrum to read of a file that holds several; by default that of the sample, in transmission
        if there is one.  The reference is a foil or the like that was measured behind the sample.

    Raises
    ------
    ReadError
        If the file cannot be read as spectra, or holds none of this kind.
    EnergyError
        If its numbers cannot be photon energies.
    """
    if channel not in (None, *KINDS):
        raise ReadError(f"channel must be one of {', '.join(KINDS)}, got {channel!r}", parameter="channel")
    path = Path(path)
    head = read_bytes(path, HEAD_BYTES)
    reader = read_xdi if is_xdi(head) else read_athena if is_athena(head) else read_columns
    return [mended(spectrum) for spectrum in reader(path, channel)]
