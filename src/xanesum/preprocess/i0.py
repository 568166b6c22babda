"""I0 from the images themselves: from a region without sample that the user names, or that is found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from xanesum.errors import StackError
from xanesum.noise.level import median_sigma
from xanesum.preprocess.quantity import ASSUMED, Look
from xanesum.stack import add_history, check_stack, usable_mask
from xanesum.storage.lazy import each_frame

__all__ = ["find_empty", "i0_from_region", "with_i0_of"]

BRIGHT = 0.5  # empty pixels have at least this share of the light of the brightest ones ...
BRIGHTEST = 95.0  # ... which are at this percentile
LOWEST = 5.0  # percentile of the change at the edge; half of the pixels below are empty, if any are
STRONGEST = 98.0  # percentile that stands for the strongest change
ALIKE, NOISES = 0.1, 3.0  # empty pixels are within this share of it, or within so many standard deviations
CONTRAST = 6.0  # the strongest change exceeds the noise by at least this factor
LEAST_PX, LEAST_SHARE = 60, 0.01  # empty pixels that are needed, and share of all
NEAR_EV = 8.0, 18.0  # energies this close below and above the edge may have lines of the monochromator, ...
FEWEST_APART = 4  # ... if there are so many others on each side
MOST_FILM = 0.1  # largest edge in the light of empty pixels, as a share of the sample's strongest edge
MOST_FALL = 0.25  # the same for the steepest fall, where no edge is sure: another phase may have its own edge


def i0_from_region(stack: xr.DataArray, region: Sequence[int]) -> xr.DataArray:
    """Return the stack with the mean counts of a region without sample as its I0.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        Counts or fluorescence, as read.  Of a lazy stack only the region is read.
    region : sequence of int
        y0, y1, x0, x1 in pixels; the ends are excluded.

    Returns
    -------
    DataArray
        With coordinate `i0 (energy)`, the mean over the region less the dark.

    Raises
    ------
    StackError
        If the region does not lie within the images, if the stack is neither counts nor fluorescence, if it
        has flats of every energy, or if the region holds no light.
    """
    check_stack(stack)
    y0, y1, x0, x1 = region
    ny, nx = stack.shape[1:]
    if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
        raise StackError(
            f"the region {y0}:{y1},{x0}:{x1} of I0 does not lie within the image of {ny} x {nx} px (y, x)",
            parameter="i0_region",
        )
    quantity = stack.attrs["quantity"]
    if stack.attrs.get(ASSUMED, False) and quantity == "intensity":
        stack = stack.assign_attrs(quantity="counts")  # the region says that there is an I0
    elif quantity not in ("counts", "fluorescence"):
        raise StackError(
            f"the stack holds {quantity}, but an I0 is for counts; leave out its region",
            parameter="i0_region",
        )
    if "flat" in stack.coords and stack["flat"].ndim == 3:
        raise StackError(
            "the scan has a flat image for every energy, so it needs no region for I0; leave it out",
            parameter="i0_region",
        )
    part = stack.isel(y=slice(y0, y1), x=slice(x0, x1))
    i0 = _mean_counts(part, np.ones((y1 - y0, x1 - x0), bool))
    return _with_i0(stack, i0, f"I0 is the mean over the region {y0}:{y1},{x0}:{x1} (y, x)")


def with_i0_of(stack: xr.DataArray, empty: NDArray[np.bool_]) -> xr.DataArray:
    """Return the stack with the mean counts of pixels without sample (Y, X) as its I0."""
    y, x = np.flatnonzero(empty.any(axis=1)), np.flatnonzero(empty.any(axis=0))
    where = f"within {y[0]}:{y[-1] + 1},{x[0]}:{x[-1] + 1} (y, x)"
    note = f"no flat and no I0: I0 is the mean over {int(empty.sum())} pixels that show no edge, {where}"
    return _with_i0(stack, _mean_counts(stack, empty), note)


def find_empty(stack: xr.DataArray, look: Look) -> NDArray[np.bool_] | None:
    """Return the pixels (Y, X) of transmitted counts that are bright and show no edge; None if few do.

    Where light falls at the edge by the least share, and is bright, there is no sample; or a film that holds
    little of the element.  It is none if the light of these pixels shows a part of the sample's edge, or,
    where it is not sure that an edge was seen, a fall as steep as an edge.
    """
    direction, at = look.edge()
    at = at if direction else look.steepest_fall()
    if direction > 0 or not at:
        return None
    before, after = look.means[:at], look.means[at:]
    light, change = before.mean(axis=0), np.full(before.shape[1], np.nan)
    lit = (before > 0).all(axis=0) & (after > 0).all(axis=0)
    change[lit] = np.log(before[:, lit]).mean(axis=0) - np.log(after[:, lit]).mean(axis=0)
    if np.count_nonzero(lit) < 2:
        return None
    bright = lit & (light > BRIGHT * np.percentile(light[lit], BRIGHTEST))
    noise = _noise_of(change.reshape(look.shape))
    low = float(np.percentile(change[bright], LOWEST / 2))
    high = float(np.percentile(change[lit], STRONGEST))
    if not high - low > CONTRAST * noise:
        return None
    empty = bright & (change < low + max(ALIKE * (high - low), NOISES * noise))
    inner = np.asarray(binary_erosion(empty.reshape(look.shape), border_value=1))
    empty = inner.ravel() if inner.any() else empty
    pixels = np.zeros(stack.shape[1:], bool)
    whole = np.kron(empty.reshape(look.shape), np.ones((look.scale, look.scale), bool))
    pixels[: whole.shape[0], : whole.shape[1]] = whole[: pixels.shape[0], : pixels.shape[1]]
    pixels &= usable_mask(stack)
    strong = lit & (change > low + 0.5 * (high - low))
    if pixels.sum() < max(LEAST_PX, LEAST_SHARE * pixels.size) or not strong.any():
        return None
    if not direction and look.largest_fall(empty) > MOST_FALL * look.largest_fall(strong):
        return None
    return None if _film(look, empty, strong, at) > MOST_FILM else pixels


def _film(look: Look, empty: NDArray[np.bool_], strong: NDArray[np.bool_], at: int) -> float:
    """Return the edge in the light of `empty` blocks (B,), as a share of that in the `strong` ones.

    Their light is I0 times what a film lets through.  I0 changes smoothly, in time or with energy, but for
    lines of the monochromator near the edge.  The lesser of two shares counts: that by all frames, and that
    by the frames apart from the edge, which is at frame `at`.
    """
    light = np.log(look.means[:, empty].mean(axis=1))
    density = light - np.log(look.means[:, strong].mean(axis=1))
    in_time, one = np.linspace(-1, 1, len(light)), np.ones(len(light))
    shares = [_share(light, [density, one, in_time, in_time**2])]
    distance = look.energy_ev - look.energy_ev[at]
    below, above = distance < -NEAR_EV[0], distance > NEAR_EV[1]
    if min(np.count_nonzero(below), np.count_nonzero(above)) >= FEWEST_APART:
        apart = below | above
        shares.append(_share(light[apart], [density[apart], one[apart], distance[apart]]))
    return min(shares)


def _share(light: NDArray[np.float64], columns: list[NDArray[np.float64]]) -> float:
    """Return how much of the first column (n,), with the sign turned, is in `light` beside the others."""
    return -float(np.linalg.lstsq(np.column_stack(columns), light, rcond=None)[0][0])


def _noise_of(image: NDArray[np.float64]) -> float:
    """Return the standard deviation of the noise of an image, from the differences of neighbours."""
    differences = np.concatenate([np.diff(image, axis=axis).ravel() for axis in (0, 1)])
    differences = differences[np.isfinite(differences)]
    return median_sigma(differences) / np.sqrt(2) if differences.size else np.inf


def _mean_counts(stack: xr.DataArray, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean (E,) of the chosen pixels (Y, X) less the dark; saturated ones do not count."""
    limit = float(stack.attrs.get("saturation_counts", np.inf))
    dark = np.asarray(stack["dark"].values, np.float64)[chosen] if "dark" in stack.coords else 0.0

    def mean(_: int, frame: NDArray[np.float64]) -> float:
        values = frame[chosen]
        counts = (values - dark)[np.isfinite(values) & (values < limit)]
        return float(counts.mean()) if counts.size else np.nan

    return np.array(list(each_frame(stack, mean)))


def _with_i0(stack: xr.DataArray, i0: NDArray[np.float64], note: str) -> xr.DataArray:
    """Return the stack with this I0; the current of the ring is in it already."""
    if not (i0 > 0).any():
        raise StackError("the region for I0 holds no light in any frame", parameter="i0_region")
    return add_history(stack.drop_vars("monitor", errors="ignore").assign_coords(i0=("energy", i0)), note)
