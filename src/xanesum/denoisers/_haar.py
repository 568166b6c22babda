"""Undecimated Haar transform of an image that is mirrored at its borders: all shifts at once, no padding.

Level j averages 2^j pixels per axis.  The mirror image of a Haar average is a Haar average too.  The samples
at level j > 0 therefore lie on the Y + 1 by X + 1 corners of the pixels, and beyond the border they continue
as a whole-sample mirror image, even for averages and odd for differences.  So an image of any size, one pixel
included, takes any number of levels.  PyWavelets does not do this: its stationary transform needs sides that
are multiples of 2^levels, and takes an image as periodic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Details", "join_image", "split_average", "split_image"]

Image = NDArray[np.float32]
_HALF = np.float32(0.5)


class Details(NamedTuple):
    """The three difference bands of a level, each (Y + 1, X + 1); white noise 1 becomes 2^-(level + 1)."""

    across_x: Image
    across_y: Image
    across_both: Image


def split_image(image: Image, level: int) -> tuple[Image, Details]:
    """Return averages and differences of `image`: the pixels for level 0, else the last averages."""
    low_y, high_y = _split(image, level, 0)
    low, across_x = _split(low_y, level, 1)
    across_y, across_both = _split(high_y, level, 1)
    return low, Details(across_x, across_y, across_both)


def split_average(image: Image, level: int) -> Image:
    """Return only the averages of `split_image`."""
    before, after = _neighbours(image, level, 0)
    before, after = _neighbours((before + after) * _HALF, level, 1)
    return (before + after) * _HALF


def join_image(low: Image, details: Details, level: int) -> Image:
    """Invert `split_image`; changed coefficients are averaged over all shifts that hold a pixel."""
    low_y = _join(low, details.across_x, level, 1)
    high_y = _join(details.across_y, details.across_both, level, 1)
    return _join(low_y, high_y, level, 0)


def _split(image: Image, level: int, axis: int) -> tuple[Image, Image]:
    """Return half the sum and half the difference of the neighbours along `axis`."""
    before, after = _neighbours(image, level, axis)
    return (before + after) * _HALF, (before - after) * _HALF


def _join(low: Image, high: Image, level: int, axis: int) -> Image:
    """Average the two estimates of each sample, from the pair it ends and from the pair it begins."""
    first, second = low + high, low - high  # in the mirror image they change places, as `high` is odd
    if level == 0:
        length = first.shape[axis] - 1
        return (_cut(first, 1, length + 1, axis) + _cut(second, 0, length, axis)) * _HALF
    step = 2 ** (level - 1)
    return (_shift(first, second, step, axis) + _shift(second, first, -step, axis)) * _HALF


def _neighbours(image: Image, level: int, axis: int) -> tuple[Image, Image]:
    """Return the samples before and after each point of the next level."""
    if level == 0:
        length = image.shape[axis]
        padded = np.concatenate(
            [_cut(image, 0, 1, axis), image, _cut(image, length - 1, length, axis)], axis=axis
        )
        return _cut(padded, 0, length + 1, axis), _cut(padded, 1, length + 2, axis)
    step = 2 ** (level - 1)
    return _shift(image, image, -step, axis), _shift(image, image, step, axis)


def _shift(image: Image, mirrored: Image, step: int, axis: int) -> Image:
    """Return ``image[k + step]`` along `axis`; beyond the border, the values of `mirrored`."""
    period = max(2 * (image.shape[axis] - 1), 1)
    index = (np.arange(image.shape[axis]) + step) % period
    outside = index >= image.shape[axis]
    index[outside] = period - index[outside]
    shifted: Image = np.take(image, index, axis=axis, mode="clip")
    if mirrored is not image and outside.any():
        target = (outside, slice(None)) if axis == 0 else (slice(None), outside)
        shifted[target] = np.take(mirrored, index[outside], axis=axis)
    return shifted


def _cut(image: Image, start: int, stop: int, axis: int) -> Image:
    """Return a view of samples ``start:stop`` along `axis`."""
    return image[start:stop] if axis == 0 else image[:, start:stop]
