"""Particles of an image: found by a threshold and a watershed, or checked where they are given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from skimage.filters import threshold_li
from skimage.measure import label as connected
from skimage.morphology import h_maxima
from skimage.segmentation import relabel_sequential, watershed

from xanesum.errors import RecipeError, StackError

__all__ = [
    "MIN_PIXELS",
    "SPLIT_PX",
    "Particles",
    "check_labels",
    "check_split",
    "find_particles",
    "without_small_holes",
]

MIN_PIXELS = 12  # a particle with fewer pixels is left out
LEAST_BACKGROUND = 0.03  # share of the pixels without an edge, below which there is no background
HOLE_PIXELS = 25  # a hole in a particle with more pixels is a surface
SMOOTH_PX = 1.0  # width of the kernel that smooths the distance to a ragged border
SPLIT_PX = 1.5  # two particles are told apart if the waist between them is narrower by this much on each side
MOST_PARTICLES = 100_000  # more labels are no particles
LARGEST_LABEL = 2**31 - 1  # labels are written as int32


@dataclass(frozen=True, slots=True, eq=False)
class Particles:
    """Particles as an image of labels, and how they were found."""

    labels: NDArray[np.int32]  # (Y, X), 0 where there is no particle, else 1 ... N
    names: NDArray[np.int64]  # (N,), numbers of the particles, as the user gave them
    definition: str  # one sentence
    threshold: float | None = None  # of the thickness, in its unit; None if labels were given


def find_particles(
    thickness: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    has_edge: NDArray[np.bool_] | None = None,
    threshold: float | None = None,
    split_px: float = SPLIT_PX,
    min_pixels: int = MIN_PIXELS,
) -> Particles:
    """Find particles in an image of the thickness, such as the edge step.

    Pixels above a threshold are sample. By default the threshold is the one of least cross entropy [1]_
    between background and sample. Where nearly all pixels have an edge there is no background, and all of
    them are sample. A watershed of the distance to the border tells particles apart that touch each other;
    small holes are no border.

    Parameters
    ----------
    thickness : ndarray, shape (Y, X)
    mask : ndarray of bool, shape (Y, X)
        Usable pixels, with the background.
    has_edge : ndarray of bool, shape (Y, X), optional
        Pixels whose edge stands above its noise; no others belong to a particle.
    threshold : float, optional
        Least thickness of a particle, in the unit of `thickness`.
    split_px : float
        How much farther from the border the middles of two particles must be than the waist between them.
    min_pixels : int
        Smaller particles are left out.

    Raises
    ------
    StackError
        If no pixel is usable, or no particle is found.
    RecipeError
        If an option is out of range.

    References
    ----------
    .. [1] C. H. Li, P. K. S. Tam, Pattern Recognition Letters 19 (1998) 771,
    doi:10.1016/S0167-8655(98)00057-9
    """
    check_split(threshold, split_px)
    known = mask & np.isfinite(thickness)
    if not known.any():
        raise StackError("no usable pixel is left, so there is no particle to find")
    edges = known if has_edge is None else known & has_edge
    found = "given"
    if threshold is None:
        threshold, found = _threshold(np.asarray(thickness, np.float64), known, edges)
    labels = _kept(_split(edges & (thickness > threshold), split_px), min_pixels)
    n = int(labels.max())
    if not n:
        raise StackError(
            f"no particle of at least {min_pixels} px is thicker than the threshold {threshold:.4g} "
            f"({found})",
            parameter="threshold",
        )
    text = (
        f"pixels whose edge step is above {threshold:.4g} ({found}), split by a watershed of the distance to "
        f"the border where a waist is narrower by more than {split_px:g} px on each side; particles of fewer "
        f"than {min_pixels} px are left out"
    )
    return Particles(labels, np.arange(1, n + 1), text, threshold)


def check_split(threshold: float | None, split_px: float) -> None:
    """Raise RecipeError for options that `find_particles` cannot follow."""
    if not (np.isfinite(split_px) and split_px > 0):
        raise RecipeError(f"split_px must be a number above 0, got {split_px}", parameter="split_px")
    if threshold is not None and not np.isfinite(threshold):
        raise RecipeError(f"threshold must be a finite number, got {threshold}", parameter="threshold")


def check_labels(labels: ArrayLike, shape: tuple[int, int], *, source: str = "the label image") -> Particles:
    """Return particles from an image of labels (Y, X) that the user gave; 0 means no particle.

    Raises
    ------
    StackError
        If the image has another size, holds anything but whole numbers from 0 on, or no particle.
    """
    given = np.asarray(labels)
    if given.shape != shape:
        raise StackError(
            f"{source} has shape {given.shape}, the images have {shape} (y, x)", parameter="labels"
        )
    if given.dtype.kind not in "biuf":
        raise StackError(f"{source} must hold whole numbers, got {given.dtype}", parameter="labels")
    if given.dtype.kind == "f" and not (np.isfinite(given).all() and (given == np.round(given)).all()):
        raise StackError(f"{source} holds values that are no whole numbers", parameter="labels")
    if given.min() < 0:
        raise StackError(f"{source} holds labels below 0; 0 means no particle", parameter="labels")
    if given.max() == 0:
        raise StackError(f"{source} is 0 everywhere, so it names no particle", parameter="labels")
    if given.max() > LARGEST_LABEL:
        raise StackError(f"{source} holds labels above {LARGEST_LABEL}", parameter="labels")
    names = np.unique(given[given > 0])
    if len(names) > MOST_PARTICLES:
        raise StackError(
            f"{source} names {len(names)} particles, more than {MOST_PARTICLES}", parameter="labels"
        )
    numbers = np.searchsorted(names, given) + 1
    image = np.where(given > 0, numbers, 0).astype(np.int32)
    return Particles(image, names.astype(np.int64), f"{source}, {len(names)} labels")


def _threshold(
    thickness: NDArray[np.float64], known: NDArray[np.bool_], edges: NDArray[np.bool_]
) -> tuple[float, str]:
    """Return the threshold between background and sample, and how it was found."""
    background = np.count_nonzero(known & ~edges) / np.count_nonzero(known)
    if edges is not known and background < LEAST_BACKGROUND:
        return 0.0, "there is no background, as nearly all pixels have an edge"
    values = thickness[known]
    return (float(threshold_li(values)) if np.ptp(values) > 0 else 0.0), "found by least cross entropy"  # type: ignore[no-untyped-call]


def _split(sample: NDArray[np.bool_], split_px: float) -> NDArray[np.int32]:
    """Return labels of the connected parts of a mask, split at narrow waists."""
    filled = without_small_holes(sample)
    distance = ndimage.distance_transform_edt(np.pad(filled, 1, mode="edge"))[1:-1, 1:-1]
    distance = np.where(filled, ndimage.gaussian_filter(distance, SMOOTH_PX), 0)
    tops = h_maxima(distance, split_px)  # type: ignore[no-untyped-call]
    markers = connected(tops > 0, connectivity=2)  # type: ignore[no-untyped-call]
    whole = connected(filled, connectivity=1)  # type: ignore[no-untyped-call]
    # a part whose middle rises by less than split_px above its border has no top: it is one particle
    without = ~np.isin(whole, np.unique(whole[markers > 0])) & filled
    markers = np.where(without, markers.max() + whole, markers)
    return np.asarray(np.where(sample, watershed(-distance, markers, mask=filled), 0), np.int32)  # type: ignore[no-untyped-call]


def without_small_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (Y, X) with its small holes filled; a large hole has a surface of its own."""
    holes, n = ndimage.label(~mask)
    if not n:
        return mask
    counts = np.bincount(holes.ravel())
    at_border = np.unique(np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]]))
    small = counts <= HOLE_PIXELS
    small[at_border] = False
    small[0] = False
    return np.asarray(mask | small[holes])


def _kept(labels: NDArray[np.int32], min_pixels: int) -> NDArray[np.int32]:
    """Return the labels 1 ... N of the particles that are large enough."""
    counts = np.bincount(labels.ravel())
    large = counts >= min_pixels
    large[0] = False
    return np.asarray(relabel_sequential(np.where(large[labels], labels, 0))[0], np.int32)  # type: ignore[no-untyped-call]
