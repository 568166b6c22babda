"""Names of formats that are not read, by the first bytes of a file, with what to do."""

from __future__ import annotations

__all__ = ["foreign_name"]

SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x0e\x03\x13\x01", "is HDF4, not HDF5; convert it, for example with h4toh5"),
    (b"CDF\x01", "is netCDF 3, which is not read; convert it to HDF5, for example with nccopy -k nc4"),
    (b"CDF\x02", "is netCDF 3, which is not read; convert it to HDF5, for example with nccopy -k nc4"),
    (b"CDF\x05", "is netCDF 3, which is not read; convert it to HDF5, for example with nccopy -k nc4"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it first"),
    (b"(\xb5/\xfd", "is compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"PK\x03\x04", "is a zip archive; unpack it first"),
    (b"\x89PNG", "is a PNG picture, which holds no stack; give TIFF or HDF5"),
    (b"\xff\xd8\xff", "is a JPEG picture, which holds no counts; give TIFF or HDF5"),
    (b"GIF8", "is a GIF picture, which holds no counts; give TIFF or HDF5"),
    (b"BM", "is a BMP picture, which holds no stack; give TIFF or HDF5"),
    (
        b"\x93NUMPY",
        "is an array of NumPy without energies; read it in Python with np.load and xanesum.make_stack",
    ),
    (b"MATLAB 5.0", "is a MATLAB 5 file, which is not read; save its stack as TIFF or HDF5"),
    (b"%PDF", "is a PDF document, not a scan"),
    (b"SIMPLE  =", "is FITS, which is not read; convert it to TIFF or HDF5"),
)


def foreign_name(head: bytes) -> str | None:
    """Return what a file is and what to do with it; None if its first bytes are not known."""
    return next((name for signature, name in SIGNATURES if head.startswith(signature)), None)
