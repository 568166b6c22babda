"""Subspace along energy and similar patches of its images, in turns, in the role of NGMeet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rivals.rival import Stack

__all__ = ["PatchSettings", "ngmeet", "settings_for", "similar_patches", "weighted_nuclear_norm"]

Values = NDArray[np.float32]
ITERATIONS = 5
PATCH_PX = 5  # side of a patch
STEP_PX = 4  # between patches for which similar ones are sought
WINDOW_PX = 30  # similar patches start at most so far away, along y and along x
MORE_COMPONENTS = 2  # each iteration has so many more than the one before
RETURNED = 0.1  # part of the noisy stack that is mixed into the estimate after an iteration
FEWER_PATCHES = 10  # by which groups shrink each time that they are sought again
MANY_ENERGIES = 100  # above which the threshold is larger
GROUPS_AT_A_TIME = 64


@dataclass(frozen=True)
class PatchSettings:
    """What the authors' program sets by the noise level and the number of energies."""

    n_components: int  # in the first iteration
    n_similar: int  # patches of a group, before the first search
    share: float  # of the noise that an iteration leaves, which counts in the next
    threshold: float  # factor of the weights of singular values


def settings_for(n_energies: int, sigma: float) -> PatchSettings:
    """Return the settings for a noise level on a scale of 0 to 255."""
    threshold = (8 if n_energies > MANY_ENERGIES else 5) * np.sqrt(2)
    for largest, n_components, share in ((10.1, 5, 0.54), (30.1, 6, 0.56), (50.1, 5, 0.58)):
        if sigma <= largest:
            return PatchSettings(n_components, 150, share, threshold)
    return PatchSettings(4, 200, 0.58, threshold)


def ngmeet(stack: Stack, sigma: float, rng: np.random.Generator) -> Stack:
    """Denoise in a subspace along energy by groups of similar patches of its images, in turns.

    In each turn, spectra are fitted to the estimate, and the estimate is projected on them.  Patches through
    all component images form groups of similar ones; the singular values of each group are shrunk as for a
    weighted nuclear norm.  A part of the noise is returned, and the next turn has two components more.

    The settings, also the factor ``sqrt(K / E)`` of the first noise level, are those of the authors' program.
    It chooses the number of components by the noise level (for more than 100 energies), not by HySime as the
    publication says.

    References
    ----------
    W. He, Q. Yao, C. Li, N. Yokoya, Q. Zhao, "Non-local meets global: an integrated paradigm for
    hyperspectral denoising", CVPR 2019, 6861-6870.
    S. Gu, L. Zhang, W. Zuo, X. Feng, "Weighted nuclear norm minimization with application to image
    denoising", CVPR 2014, 2862-2869.
    """
    n_energies, *shape = stack.shape
    settings = settings_for(n_energies, sigma)
    similar_count = settings.n_similar
    pixels = stack.reshape(n_energies, -1).astype(np.float32)
    estimate = pixels
    groups = np.zeros((0, 0), np.intp)
    for turn in range(ITERATIONS):
        count = min(settings.n_components + MORE_COMPONENTS * turn, n_energies)
        spectra = _spectra(estimate, count)
        images = (spectra @ estimate).reshape(count, *shape)
        patches = _patches(images)
        if turn == 0:
            noise = np.full(len(patches), sigma * np.sqrt(count / n_energies))
        else:
            change = patches - _patches((spectra @ pixels).reshape(count, *shape))
            noise = settings.share * np.sqrt(np.abs(sigma**2 - np.mean(change**2, axis=1)))
        if turn % 2 == 0:
            similar_count -= FEWER_PATCHES
            groups = similar_patches(images.mean(axis=0), similar_count)
        cleaned = _denoised_groups(patches, groups, noise, settings.threshold)
        estimate = spectra.T @ _images(*cleaned, count, (shape[0], shape[1])).reshape(count, -1)
        if turn < ITERATIONS - 1:
            estimate = RETURNED * pixels + (1 - RETURNED) * estimate
    return np.asarray(estimate, np.float32).reshape(stack.shape)


def weighted_nuclear_norm(groups: Values, sigma: NDArray[np.floating], factor: float) -> Values:
    """Shrink the singular values of groups by the closed form of weighted nuclear norm minimization.

    The weight of a singular value is ``c / x``, where x is the shrunk value and
    ``c = 2 * factor * sqrt(N) * sigma**2``.  A value s becomes ``(s + sqrt(s**2 - 4 c)) / 2``, or 0 where
    that is not real.

    Parameters
    ----------
    groups : (G, N, D) array
        Each of N patches with D values; the mean patch is left as it is.
    sigma : (G,) array
        Noise level of each group.
    """
    means = groups.mean(axis=1, keepdims=True)
    centred = (groups - means).astype(np.float64)
    squares, vectors = np.linalg.eigh(centred @ centred.transpose(0, 2, 1))
    weight = 2 * factor * np.sqrt(groups.shape[1]) * np.asarray(sigma, np.float64)[:, None] ** 2
    share = np.divide(4 * weight, squares, out=np.ones_like(squares), where=squares > 4 * weight)
    kept = np.where(share < 1, (1 + np.sqrt(1 - share)) / 2, 0)
    shrunk = (vectors * kept[:, None, :]) @ (vectors.transpose(0, 2, 1) @ centred)
    return np.asarray(shrunk + means, np.float32)


def similar_patches(image: NDArray[np.floating], count: int) -> NDArray[np.intp]:
    """Return the flat indices (G, n) of the patches most similar to each of G patches, itself first.

    A patch is named by its first row and column.  Fewer than `count` are taken where the window of the corner
    holds fewer.

    Parameters
    ----------
    image : (Y, X) array
    count : int
        Patches of a group.
    """
    patches = _patches(image[None])
    n_rows, n_columns = (size - PATCH_PX + 1 for size in image.shape)
    names = np.arange(n_rows * n_columns).reshape(n_rows, n_columns)
    fewest = min(n_rows, WINDOW_PX + 1) * min(n_columns, WINDOW_PX + 1)
    count = min(count, fewest)
    groups = []
    for row in _steps(n_rows):
        for column in _steps(n_columns):
            near = names[
                max(row - WINDOW_PX, 0) : row + WINDOW_PX + 1,
                max(column - WINDOW_PX, 0) : column + WINDOW_PX + 1,
            ].ravel()
            distance = np.sum((patches[near] - patches[names[row, column]]) ** 2, axis=1)
            distance[near == names[row, column]] = -1  # itself before others that are equal
            groups.append(near[np.argsort(distance, kind="stable")[:count]])
    return np.array(groups)


def _steps(size: int) -> list[int]:
    """Return every fourth position, and the last."""
    return sorted({*range(0, size, STEP_PX), size - 1})


def _spectra(pixels: Values, count: int) -> Values:
    """Return the strongest orthonormal spectra (K, E) of pixels (E, P)."""
    _, vectors = np.linalg.eigh((pixels @ pixels.T).astype(np.float64))
    return np.asarray(vectors[:, ::-1][:, :count].T, np.float32)


def _patches(images: Values) -> Values:
    """Return all patches (N, K * 25) of images (K, Y, X), each through all images."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH_PX, PATCH_PX), axis=(1, 2))
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, len(images) * PATCH_PX**2)


def _denoised_groups(
    patches: Values, groups: NDArray[np.intp], noise: NDArray[np.floating], factor: float
) -> tuple[Values, Values]:
    """Return the sums of all estimates of each patch (N, D), and how many there are (N,)."""
    total, counted = np.zeros_like(patches), np.zeros(len(patches), np.float32)
    for start in range(0, len(groups), GROUPS_AT_A_TIME):
        members = groups[start : start + GROUPS_AT_A_TIME]
        found = weighted_nuclear_norm(patches[members], noise[members[:, 0]], factor)
        np.add.at(total, members.ravel(), found.reshape(-1, patches.shape[1]))
        np.add.at(counted, members.ravel(), 1)
    return total, counted


def _images(total: Values, counted: Values, n_images: int, shape: tuple[int, int]) -> Values:
    """Return images (K, Y, X) as weighted means of overlapping patches."""
    n_rows, n_columns = (size - PATCH_PX + 1 for size in shape)
    patches = total.reshape(n_rows, n_columns, n_images, PATCH_PX, PATCH_PX)
    weights = counted.reshape(n_rows, n_columns)
    values = np.zeros((n_images, *shape), np.float32)
    weight = np.zeros(shape, np.float32)
    for y in range(PATCH_PX):
        for x in range(PATCH_PX):
            part = np.s_[y : y + n_rows, x : x + n_columns]
            values[:, *part] += patches[..., y, x].transpose(2, 0, 1)
            weight[part] += weights
    return values / weight
