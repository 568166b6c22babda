"""Names of formats that are not read, by the first bytes of a file, with what to do."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["foreign_name"]

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x0e\x03\x13\x01", "is HDF4, not HDF5; convert it, for example with h4toh5"),
    (b"CDF\x05", "is netCDF of kind CDF-5; convert it to HDF5, for example with nccopy -k nc4"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it first"),
    (b"(\xb5/\xfd", "is compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"PK\x03\x04", "is a zip archive that holds no Zarr store; unpack it first"),
    (b"\x89PNG", "is a PNG picture, which holds no stack; give TIFF or HDF5"),
    (b"\xff\xd8\xff", "is a JPEG picture, which holds no counts; give TIFF or HDF5"),
    (b"GIF8", "is a GIF picture, which holds no counts; give TIFF or HDF5"),
    (b"BM", "is a BMP picture, which holds no stack; give TIFF or HDF5"),
    (
        b"\x93NUMPY",
        "is an array of NumPy without energies; read it in Python with np.load and xanesum.make_stack",
    ),
    (b"# XDI/", "is one spectrum (XDI), and no scan"),
    (b"%PDF", "is a PDF document, not a scan"),
    (b"SIMPLE  =", "is FITS, which is not read; convert it to TIFF or HDF5"),
)


def foreign_name(path: Path, head: bytes) -> str | None:
    """Return what a file is and what to do with it; None if that is not known.

    Parameters
    ----------
    path : Path
    head : bytes
        Its first bytes; a text is recognized by its numbers.
    """
    if (known := next((name for mark, name in SIGNATURES if head.startswith(mark)), None)) is not None:
        return known
    if path.suffix.lower() == ".xim":
        return "is one image of an aXis2000 stack; give the .hdr file of the stack"
    return (
        "is a table of numbers, as a list of energies or a spectrum, and no scan" if _is_table(head) else None
    )


def _is_table(head: bytes) -> bool:
    """Return whether most lines of a text begin with a number."""
    if b"\0" in head:
        return False
    lines = [line.replace(",", " ").split() for line in head.decode("utf-8", errors="replace").splitlines()]
    begins = [fields[0] for fields in lines if fields and not fields[0].startswith(("#", "%", "*"))]
    numbers = [begin for begin in begins if re.fullmatch(r"[-+]?[\d.]+(?:[eE][-+]?\d+)?", begin)]
    return len(numbers) > len(begins) / 2
