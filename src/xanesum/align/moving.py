"""Move a frame by a fraction of a pixel, or magnify it, with all frequencies that it has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

__all__ = ["FrameMover", "filled", "magnified_matrix"]

Array = NDArray[np.float64]
Image = NDArray[np.float32]

MIRROR_PX = 16  # beyond each border the frame is mirrored and fades out, so that it has no step there
FILL_WIDTHS = (1.0, 3.0, 12.0)  # pixels over which missing values are filled, the narrowest that reaches
REACHED = 0.05  # of the weight that must be there for a value to be filled


class FrameMover:
    """Moves frames of one size.

    Parameters
    ----------
    shape : (int, int)
        Y and X of a frame.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.mirror = tuple(min(MIRROR_PX, n - 1) for n in shape)
        self.size = tuple(
            fft.next_fast_len(n + 2 * m, real=True) for n, m in zip(shape, self.mirror, strict=True)
        )
        self.f_y = fft.fftfreq(self.size[0])[:, None]
        self.f_x = fft.rfftfreq(self.size[1])
        self.around = [(m, size - n - m) for n, m, size in zip(shape, self.mirror, self.size, strict=True)]
        fades = [fade_outside(n, *ends) for n, ends in zip(shape, self.around, strict=True)]
        self.fade = np.outer(*fades).astype(np.float32)

    def moved_back(self, frame: Image, shift_px: Array, magnification: float = 1.0) -> Image:
        """Return the frame at ``c + magnification * (p - c) + shift`` for every pixel p; c is the centre.

        Without magnification it is a shift by the phase of the Fourier coefficients of the frame, mirrored at
        its borders: unitary, so that white noise keeps its standard deviation and stays white.  With it, the
        same interpolation of all frequencies is a product with two matrices.

        Parameters
        ----------
        frame : ndarray of float32, shape (Y, X)
            Finite.
        shift_px : ndarray, shape (2,)
        magnification : float
        """
        mean = frame.mean(dtype=np.float64).astype(np.float32)
        if magnification != 1:
            rows, columns = (
                magnified_matrix(n, d, magnification) for n, d in zip(self.shape, shift_px, strict=True)
            )
            return np.asarray(rows @ (frame - mean) @ columns.T + mean, np.float32)
        if not np.any(shift_px):
            return frame
        coefficients = fft.rfft2(np.pad(frame - mean, self.around, mode="symmetric") * self.fade)
        phase_y = np.exp(2j * np.pi * self.f_y * shift_px[0])
        phase_x = np.exp(2j * np.pi * self.f_x * shift_px[1])
        coefficients *= phase_y.astype(np.complex64)
        coefficients *= phase_x.astype(np.complex64)
        moved = fft.irfft2(coefficients, self.size, overwrite_x=True)
        (top, left), (n_y, n_x) = self.mirror, self.shape
        return np.asarray(moved[top : top + n_y, left : left + n_x] + mean, np.float32)

    def seen(
        self, there: NDArray[np.bool_], shift_px: Array, magnification: float = 1.0
    ) -> NDArray[np.bool_]:
        """Return which pixels of the moved frame lie inside the field, next to values that are there."""
        places = []
        for n, d in zip(self.shape, shift_px, strict=True):
            centre = (n - 1) / 2
            places.append(centre + magnification * (np.arange(n) - centre) + d)
        inside = np.ones(self.shape, bool)
        low, high = [], []
        for axis, (place, n) in enumerate(zip(places, self.shape, strict=True)):
            within = (place > -1e-6) & (place < n - 1 + 1e-6)
            inside &= within[:, None] if axis == 0 else within
            low.append(np.clip(np.floor(place + 1e-6), 0, n - 1).astype(int))
            high.append(np.clip(np.ceil(place - 1e-6), 0, n - 1).astype(int))
        if there.all():
            return inside
        for rows in (low[0], high[0]):
            for columns in (low[1], high[1]):
                inside &= there[np.ix_(rows, columns)]
        return inside


def fade_outside(n: int, before: int, after: int) -> Array:
    """Return weights that are 1 over n pixels, and fall to 0 over those before and after.

    A mirrored frame has the values of its one border at one end, and those of the other at the other end.
    They meet where the frame is repeated, and a step there would ring through the frame.
    """
    fall = [0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 1) / (size + 1)) for size in (before, after)]
    return np.concatenate([fall[0][::-1], np.ones(n), fall[1]])


def magnified_matrix(n: int, shift_px: float, magnification: float) -> Image:
    """Return the matrix (n, n) that reads a line of n pixels at magnified and shifted places.

    The line is mirrored at both ends, where it fades out, and then periodic.  Between its pixels it has the
    frequencies it has at them, so that noise keeps its standard deviation, but for a factor near 1.
    """
    mirror = min(MIRROR_PX, n - 1)
    period = n + 2 * mirror
    period += 1 - period % 2  # an odd period has no frequency in between
    centre = (n - 1) / 2
    places = centre + magnification * (np.arange(n) - centre) + shift_px
    apart = places[:, None] - (np.arange(period) - mirror)
    small = np.abs(np.sin(np.pi * apart / period)) < 1e-9
    denominator = np.where(small, 1.0, period * np.sin(np.pi * apart / period))
    kernel = np.where(small, 1.0, np.sin(np.pi * apart) / denominator)
    source = np.pad(np.arange(n), (mirror, period - n - mirror), mode="symmetric")
    kernel *= fade_outside(n, mirror, period - n - mirror)
    matrix = np.zeros((n, n))
    for j, column in zip(source, kernel.T, strict=True):
        matrix[:, j] += column
    return matrix.astype(np.float32)


def filled(frame: Image, there: NDArray[np.bool_]) -> Image:
    """Return the frame with values that are not there replaced by a mean of those around them."""
    if there.all():
        return frame
    known = np.where(there, frame, 0).astype(np.float32)
    out, missing = known.copy(), ~there
    for width in FILL_WIDTHS:
        weight = ndimage.gaussian_filter(there.astype(np.float32), width, mode="nearest")
        blurred = ndimage.gaussian_filter(known, width, mode="nearest")
        reached = missing & (weight > REACHED)
        out[reached] = blurred[reached] / weight[reached]
        missing &= ~reached
    if missing.any():
        out[missing] = known[there].mean() if there.any() else 0
    return out
