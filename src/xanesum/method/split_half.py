"""Cross-validation between two halves of the pixels: the scale of averaging, and evidence for components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student_t

from xanesum.linalg.binning import average_pixels, block_sums
from xanesum.linalg.subspace import (
    FEW_PIXELS,
    GRAM_LIMIT,
    fit_basis,
    gram_matrix,
    inner_products,
    leading_of_gram,
    project,
)

__all__ = [
    "COMMON_SCALE",
    "SCALES",
    "GramsByScale",
    "HalfSpectra",
    "Halves",
    "choose_scale",
    "component_p_values",
    "split_axis",
    "split_pixels",
]

SCALES = (1, 2, 4, 8, 16, 32)
COMMON_SCALE = 4  # pixels each way that are averaged in the half that judges the other's spectra
FEW_ENERGIES = 10  # energies beyond the components; with fewer, the scatter comes from the known sigma
MaskedMap = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
# scale -> inner products of all pairs of frames (E, E), and the number of averages that they are summed over
GramsByScale = dict[int, tuple[NDArray[np.float64], int]]


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Two interleaved parts of a stack, with independent noise."""

    stacks: tuple[NDArray[np.float32], NDArray[np.float32]]  # (E, Y, X) each; 0 where `mask` is false
    mask: NDArray[np.bool_]  # (Y, X), pixels that count in both


@dataclass(frozen=True, slots=True, eq=False)
class HalfSpectra:
    """Spectra of each half, from averages at the scale that agrees best with the other half."""

    scale: int
    spectra: tuple[NDArray[np.float64], NDArray[np.float64]]  # (K, E) each, strongest first
    agreement: dict[int, float]  # scale -> sum of squares along one half's spectra in the other half
    grams: GramsByScale  # of the single pixels of both halves; empty where there are too many energies


def split_pixels(
    stack: NDArray[np.float32], *, mask: NDArray[np.bool_] | None = None, gap: int = 0
) -> Halves:
    """Split a stack (E, Y, X) by every second column; by rows where there are more rows than columns.

    Parameters
    ----------
    stack : ndarray of float32, shape (E, Y, X)
        Finite wherever `mask` holds.
    mask : ndarray of bool, shape (Y, X), optional
        Pixels that count.
    gap : int
        Columns left out between the two halves.  Noise may be correlated over so many pixels.

    Returns
    -------
    Halves
        Without any pixel if the image is smaller than a pair of columns.
    """
    keep = np.ones(stack.shape[1:], bool) if mask is None else mask
    axis = split_axis(stack.shape)
    period = 2 * (1 + gap)
    stop = stack.shape[axis] // period * period
    first, second = ((slice(None),) * axis + (slice(start, stop, period),) for start in (0, 1 + gap))
    both = keep[first[1:]] & keep[second[1:]]
    if both.all():
        stacks = (np.ascontiguousarray(stack[first]), np.ascontiguousarray(stack[second]))
    else:
        stacks = (np.where(both, stack[first], 0), np.where(both, stack[second], 0))
    return Halves(stacks, both)


def split_axis(shape: Sequence[int]) -> int:
    """Return the axis, 1 or 2, along which `split_pixels` splits a stack (E, Y, X)."""
    return 1 if shape[1] > shape[2] else 2


def choose_scale(
    halves: Halves, rank: int, *, scales: Sequence[int] = SCALES, rng: np.random.Generator
) -> HalfSpectra:
    """Choose how many pixels to average before the spectra are found.

    Averaging lowers the noise that hides a weak but smooth component, and blurs small features.  Spectra
    from one half, averaged at each scale, are judged by the sum of squares of their images in the *other*
    half.  They cannot have followed the noise there.  White noise adds the same amount at every scale.

    Parameters
    ----------
    halves : Halves
    rank : int
        Spectra K.
    scales : sequence of int
        Scales to try, each a multiple of the one before.  Scales with fewer averages than spectra are
        skipped.
    rng : numpy.random.Generator
        For `xanesum.linalg.subspace.fit_basis`.
    """
    common = [average_pixels(half, COMMON_SCALE, mask=halves.mask) for half in halves.stacks]
    found: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    agreement: dict[int, float] = {}
    grams: GramsByScale = {}
    for scale, averaged in _averages(halves, scales):
        if averaged[0][0].size < rank:
            break
        (first, gram), (second, other) = (_leading(values, rank, rng) for values in averaged)
        found[scale] = (first, second)
        agreement[scale] = (_squares_along(first, common[1]) + _squares_along(second, common[0])) / 2
        if scale == 1 and gram is not None and other is not None:
            n_averages = sum(int(np.count_nonzero(values.any(axis=0))) for values in averaged)
            grams[scale] = (gram + other, n_averages)
    best = max(agreement, key=lambda scale: agreement[scale])
    return HalfSpectra(best, found[best], agreement, grams)


def _leading(
    stack: NDArray[np.float32], rank: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the leading spectra (K, E), and the Gram matrix (E, E) unless energies are too many."""
    gram = gram_matrix(stack, None) if len(stack) <= GRAM_LIMIT else None
    if gram is None or stack[0].size < FEW_PIXELS * len(stack):
        return fit_basis(stack, rank, rng=rng).spectra, gram
    return leading_of_gram(gram, rank).spectra, gram


def _averages(halves: Halves, scales: Sequence[int]) -> Iterator[tuple[int, list[NDArray[np.float32]]]]:
    """Yield each scale and both halves averaged at it, as `average_pixels` does."""
    sums, counts, before = list(halves.stacks), halves.mask.astype(np.float32), 1
    for scale in scales:
        sums = [block_sums(each, scale // before) for each in sums]
        counts, before = block_sums(counts, scale // before), scale
        root = np.sqrt(np.maximum(counts, 1))
        yield scale, sums if scale == 1 else [np.asarray(each / root, np.float32) for each in sums]


def component_p_values(
    halves: Halves, half_spectra: HalfSpectra, denoise: MaskedMap, sigma: float
) -> NDArray[np.float64]:
    """Return the p-value of each component: how often noise alone gives its image as much structure, (K,).

    The denoised image of one half is a template.  The component's image in the other half, with independent
    noise, is correlated with it.  The same template in directions without components gives the expected
    scatter (Student's t), which includes noise that is correlated within one half.  With few energies the
    known `sigma` gives the scatter.  The smaller p-value of both ways is multiplied by two, by the number of
    scales tried and by the number of components (Bonferroni).  So the probability of any false component
    stays below the level at which the p-values are cut.

    Parameters
    ----------
    halves : Halves
    half_spectra : HalfSpectra
        From the same halves.
    denoise : callable
        Takes images (K, Y, X) and a mask (Y, X), and returns denoised images.
    sigma : float
        Noise level.
    """
    p_values = []
    for way in (0, 1):
        spectra = half_spectra.spectra[way]
        own, other = halves.stacks[way], halves.stacks[1 - way]
        templates = np.where(halves.mask, denoise(project(spectra, own), halves.mask), np.float32(0))
        size = np.sqrt(np.sum(templates.astype(np.float64) ** 2, axis=(1, 2)))
        found = inner_products(templates, other) / np.maximum(size, np.finfo(float).tiny)[:, None]
        along = np.sum(spectra * found, axis=1)
        rest = found - (found @ spectra.T) @ spectra
        n_rest = found.shape[1] - len(spectra)
        if n_rest < FEW_ENERGIES:
            p_values.append(norm.sf(along / sigma))
        else:
            scatter = np.sqrt(np.sum(rest**2, axis=1) / n_rest)
            p_values.append(student_t.sf(along / np.maximum(scatter, np.finfo(float).tiny), n_rest))
        p_values[-1] = np.where(size > 0, p_values[-1], 1.0)
    n_tests = 2 * len(half_spectra.agreement) * len(half_spectra.spectra[0])
    return np.asarray(np.minimum(1.0, n_tests * np.minimum(*p_values)))


def _squares_along(spectra: NDArray[np.float64], stack: NDArray[np.float32]) -> float:
    """Return the sum of squares of the images that weight `spectra` (K, E) in a stack."""
    return float(np.sum(np.square(project(spectra, stack), dtype=np.float64)))
