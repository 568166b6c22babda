"""A small simulated scan that comes with the package, as a file from a beamline."""

from __future__ import annotations

from pathlib import Path

__all__ = ["example_scan"]

EXAMPLE = Path(__file__).with_name("files") / "example.h5"


def example_scan() -> Path:
    """Return the path of a small scan that comes with the package.

    It is a simulated battery cathode at the Ni K edge, in the form of Data Exchange (HDF5): counts of 64
    energies and 96 x 120 pixels, 10 flats and 10 darks.  The light drifts, and the sample jitters from frame
    to frame.  `tools/example_scan.py` of the source made it.

    Returns
    -------
    Path
        A file to read.  Write nothing beside it.

    Examples
    --------
    >>> import xanesum as xs
    >>> xs.read_stack(xs.example_scan()).shape
    (64, 96, 120)
    """
    return EXAMPLE
