"""What the values of a scan are, where its file does not say so: judged by their size and by their edge.

Fluorescence and optical density rise at an absorption edge; transmission and transmitted counts fall.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import XanesumWarning
from xanesum.linalg.binning import block_means
from xanesum.preprocess.references import Corrections, has_reference
from xanesum.stack import add_history, usable_mask, usable_weight
from xanesum.storage.lazy import each_frame, is_lazy

__all__ = ["ASSUMED", "Look", "judge_quantity", "look_at"]

ASSUMED = "quantity_assumed"  # attribute of a stack whose quantity is the guess of a reader
FRAMES = 60  # frames that are looked at, at most
BLOCKS = 48  # blocks of pixels along the longer side of an image, at most, whose means are looked at
VALUES = 4096  # single values of a frame that are looked at, about

RISE, FALL = "values rise at the edge", "values fall at the edge"
FEWEST = 8  # energies without which no edge is judged
ENDS = 0.1  # share of the energies at each end, between whose means a line is subtracted
STEP = 0.05  # share of the energies on each side of a step that are averaged
ABOUT = 0.25  # share of the energies on each side of the edge that must agree about its direction
SURE = 5.0  # a step is seen if it exceeds its noise by this factor, ...
STANDS_OUT = 3.0  # ... and the median step of all energies by this one, ...
OF_RANGE = 0.3  # ... and is at least this share of all change: light that oscillates has no step as sharp
FIRST, CLEAR = 0.5, 4.5  # the first step of at least this share of the largest, and of the noise, is the edge
COARSE = 4  # blocks along the side of the larger ones in which an edge is looked for first:
STRONG = 0.2  # share of the blocks that change most, in which the edge is looked for first

MOST_DENSITY = 10.0  # an optical density above this is none
MOST_TRANSMISSION = 1.3  # the same for the mean transmission of a block; flats that drift bring it above 1
MUCH_TRANSMISSION = 5.0  # beyond this mean it is none, whatever the flats were
FEW_NEGATIVE = 0.005  # share of values that noise may bring to 0 in counts or transmission
MANY_NEGATIVE = 0.05  # with so many values that have no logarithm, nothing is transmission
FAR_BELOW = 20.0  # values that are smaller than I0 by this factor, and below 10, are no counts


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """Means over blocks of pixels, in some of the frames, and facts about single values."""

    energy_ev: NDArray[np.float64]  # (n,)
    means: NDArray[np.float64]  # (n, B), less the dark; NaN in blocks without usable pixels
    relative: NDArray[np.float64]  # (n, B), the same divided by flat or I0 where there is one
    shape: tuple[int, int]  # blocks along y and x, B in all
    scale: int  # pixels along the side of a block
    largest: float  # 99.9th percentile of single values
    brightest: float  # 99th percentile of the blocks' means over all frames
    not_positive: float  # share of them that are 0 or less
    negative: float  # share of them that are less
    is_whole: bool  # whether all of them are whole numbers
    reference: float  # median of flat or I0; NaN where there is none

    def edge(self) -> tuple[int, int]:
        """Return the direction of the edge (1 up, -1 down, 0 not known), and the index of its first frame."""
        return self._edge_of(self.relative)

    def raw_direction(self) -> int:
        """Return the direction of the edge of the values as they are, without division by flat or I0."""
        return self._edge_of(self.means)[0]

    def steepest_fall(self) -> int:
        """Return the index of the frame before which the strongest blocks fall most; 0 if they do not."""
        if len(self.energy_ev) < FEWEST:
            return 0
        steps, _, k = _steps(self.energy_ev, self._strong())
        return int(np.argmin(steps)) + k if steps.min() < 0 else 0

    def falls_most(self) -> bool:
        """Return whether the steepest change of the strongest blocks is a fall, and no noise.

        This is less than an edge: light that oscillates falls as well.
        """
        strong = self._strong()
        if len(self.energy_ev) < FEWEST or not np.isfinite(strong).all():
            return False
        steps, _, k = _steps(self.energy_ev, strong)
        return bool(-steps.min() > max(steps.max(), SURE * _noise_of_step(strong, k)))

    def largest_fall(self, chosen: NDArray[np.bool_]) -> float:
        """Return the largest step down of the logarithm of the light of some blocks (B,)."""
        return -float(_steps(self.energy_ev, np.log(self.means[:, chosen].mean(axis=1)))[0].min())

    def _strong(self) -> NDArray[np.float64]:
        """Return the mean spectrum (n,) of the larger blocks that change most."""
        coarse = self._coarse(self.relative)
        return _mean(coarse[:, _changing(self.energy_ev, coarse)])

    def _edge_of(self, blocks: NDArray[np.float64]) -> tuple[int, int]:
        coarse = self._coarse(blocks)
        for part in (coarse[:, _changing(self.energy_ev, coarse)], blocks):
            found = _edge(self.energy_ev, _mean(part))
            if found[0]:
                return found
        return 0, 0

    def _coarse(self, blocks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return means (n, B') over COARSE x COARSE blocks, in which noise alone changes less."""
        images = blocks.reshape(-1, *self.shape)
        return block_means(images, min(COARSE, *self.shape), dtype=np.float64).reshape(len(images), -1)

    @property
    def is_like_density(self) -> bool:
        """Whether values are too small for counts."""
        far_below = self.largest * FAR_BELOW < self.reference  # false where there is no reference
        return bool(
            not self.is_whole and self.largest < MOST_DENSITY and (far_below or self.negative > FEW_NEGATIVE)
        )

    @property
    def is_like_transmission(self) -> bool:
        """Whether values lie between 0 and 1, but for noise."""
        return not self.is_whole and self.brightest < MOST_TRANSMISSION and self.not_positive < MANY_NEGATIVE


def judge_quantity(stack: xr.DataArray, given: Corrections | None = None) -> tuple[xr.DataArray, Look | None]:
    """Return the stack with the quantity that its values have, where that was assumed; and what was seen.

    A `XanesumWarning`, and the history, say what was changed, and why.  A quantity that the file or the user
    said stays; a `XanesumWarning` says if its edge points the wrong way.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
        As read; ``attrs["quantity_assumed"]`` is true where a reader guessed.
    given : Corrections, optional
        References that the caller has besides those of the stack.

    Returns
    -------
    stack : DataArray
        Without that attribute.
    look : Look or None
        None where nobody looked, as a large stack would have to be read for nothing.
    """
    is_assumed = bool(stack.attrs.get(ASSUMED, False))
    stack = stack.copy(deep=False)
    stack.attrs.pop(ASSUMED, None)
    referred = has_reference(stack, {} if given is None else given)
    raw = stack.attrs["quantity"] == "counts" and not referred
    if not (is_assumed or raw) and is_lazy(stack):
        return stack, None
    look = look_at(stack)
    direction = look.edge()[0]
    if not is_assumed:
        _warn_of_contradiction(stack.attrs["quantity"], direction)
        return stack, look
    quantity, reason = _judged(stack, look, direction, referred)
    if reason:
        warnings.warn(XanesumWarning(reason, parameter="quantity"), stacklevel=3)
        stack = add_history(stack, reason)
    stack.attrs["quantity"] = quantity
    return stack, look


def _judged(stack: xr.DataArray, look: Look, direction: int, referred: bool) -> tuple[str, str]:
    """Return the quantity of values whose quantity was assumed, and why it is not the assumed one."""
    assumed = stack.attrs["quantity"]
    if assumed == "transmission":
        found = _judged_transmission(look, direction, referred)
        assumed = found[0]
        if assumed != "counts" or referred or direction < 0:
            return found
    if assumed == "counts" and direction > 0:
        return _judged_rising_counts(stack, look, referred)
    if assumed != "fluorescence" and direction < 0 and not referred:
        if look.is_like_transmission:
            return "transmission", f"{FALL} and lie between 0 and 1: they were taken as transmission"
        if assumed != "optical_density" and look.not_positive < MANY_NEGATIVE:
            reason = f"{FALL}, as transmitted counts do: they were taken as counts"
            return "counts", reason if assumed != "counts" else ""
        _warn_of_contradiction(assumed, direction)
    if assumed == "counts" and not direction and not referred and not look.falls_most():
        return "intensity", (
            "no flat, no I0, and no edge that shows whether these counts were transmitted: they were left as "
            "they are; for transmitted counts, give I0"
        )
    return assumed, ""


def _judged_transmission(look: Look, direction: int, referred: bool) -> tuple[str, str]:
    """Return the same for values that should be transmission."""
    unused = "; flat and I0 were not used" * referred
    if direction <= 0 and look.brightest > MUCH_TRANSMISSION:
        return "counts", f"values up to {look.largest:.4g} are no transmission: they were taken as counts"
    if direction > 0:
        why = f"{RISE}, as transmission does not"
    elif not direction and look.not_positive > MANY_NEGATIVE:
        why = f"{100 * look.not_positive:.2g} % of the values are 0 or less, as transmission is not"
    else:
        return "transmission", ""
    return "optical_density", f"{why}: they were taken as optical density already{unused}"


def _judged_rising_counts(stack: xr.DataArray, look: Look, referred: bool) -> tuple[str, str]:
    """Return the same for values that should be counts, but rise at the edge."""
    unused = "; flat and I0 were not used" * referred
    if look.is_like_density:
        return "optical_density", f"{RISE} and are small: they were taken as optical density already{unused}"
    if "flat" in stack.coords or (referred and look.raw_direction() < 0):
        _warn_of_contradiction("counts", 1)
        return "counts", ""
    if look.negative > FEW_NEGATIVE and not referred:
        return "intensity", f"{RISE} and are negative in part: they are no counts, and were left as they are"
    monitored = "divided by the monitor" if "monitor" in stack.coords else "as it is, without I0"
    means = "divided by I0" if referred else monitored
    return "fluorescence", f"{RISE}, as transmitted counts do not: they were taken as fluorescence, {means}"


def _warn_of_contradiction(quantity: str, direction: int) -> None:
    """Warn if the edge of a quantity that stays points the wrong way."""
    rises = quantity in ("optical_density", "fluorescence", "intensity")
    if direction and (direction > 0) != rises:
        values = quantity.replace("_", " ")
        if quantity == "counts":
            note = "the counts rise at the edge, as fluorescence does; say so, or look for sample in the I0"
        elif direction > 0:
            note = f"the {values} rises at the edge, as optical density does; if it is something else, say so"
        else:
            note = f"the {values} falls at the edge, as transmission does; if it is something else, say so"
        warnings.warn(XanesumWarning(note, parameter="quantity"), stacklevel=4)


def look_at(stack: xr.DataArray) -> Look:
    """Look at some of the frames of a stack, as it was read."""
    used = np.flatnonzero(usable_weight(stack))
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(len(used), FRAMES)).round().astype(int))]
    part = stack.isel(energy=chosen)
    mask, scale = usable_mask(stack), max(1, -(-max(stack.shape[1:]) // BLOCKS))
    stride = max(1, mask.size // VALUES)
    dark = np.asarray(stack["dark"].values, np.float64) if "dark" in stack.coords else np.zeros(mask.shape)

    def seen(_: int, frame: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _block_means(frame - dark, mask, scale), frame[mask][::stride]

    means, values = (np.array(each) for each in zip(*each_frame(part, seen), strict=True))
    dark_of_flat = dark if "flat" in stack.coords else np.zeros(())
    reference = _reference(part, dark_of_flat, mask, scale)
    values = values[np.isfinite(values)]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(reference > 0, means / reference, np.nan)
    known = np.isfinite(reference).any() and any(name in stack.coords for name in ("flat", "i0"))
    of_blocks = means.mean(axis=0)
    of_blocks = of_blocks[np.isfinite(of_blocks)]
    return Look(
        shape=_n_blocks(mask.shape, scale),
        energy_ev=part.energy.values.astype(np.float64),
        means=means,
        relative=relative,
        scale=scale,
        largest=float(np.percentile(values, 99.9)) if values.size else np.nan,
        brightest=float(np.percentile(of_blocks, 99)) if of_blocks.size else np.nan,
        not_positive=float(np.mean(values <= 0)) if values.size else 0.0,
        negative=float(np.mean(values < 0)) if values.size else 0.0,
        is_whole=bool(np.all(values == np.round(values))),
        reference=float(np.nanmedian(reference)) if known else np.nan,
    )


def _reference(
    part: xr.DataArray, dark: NDArray[np.float64], mask: NDArray[np.bool_], scale: int
) -> NDArray[np.float64]:
    """Return the flat, or else I0, of the frames, in blocks (n or 1, B or 1); 1 where there is neither."""
    if "flat" in part.coords:
        flat = part["flat"]
        images = [flat] if flat.ndim == 2 else flat
        return np.array(
            [_block_means(np.asarray(image.values, np.float64) - dark, mask, scale) for image in images]
        )
    if "i0" in part.coords:
        return np.asarray(part["i0"].values, np.float64)[:, None]
    return np.ones((1, 1))


def _n_blocks(shape: tuple[int, ...], scale: int) -> tuple[int, int]:
    """Return the number of whole blocks along y and x."""
    ny, nx = (size // min(scale, *shape) for size in shape)
    return ny, nx


def _block_means(image: NDArray[np.float64], mask: NDArray[np.bool_], scale: int) -> NDArray[np.float64]:
    """Return the means (B,) over blocks of the usable pixels of an image (Y, X); NaN where there is none."""
    good = mask & np.isfinite(image)
    scale = min(scale, *image.shape)
    share = block_means(good.astype(np.float64), scale, dtype=np.float64).ravel()
    sums = block_means(np.where(good, image, 0.0), scale, dtype=np.float64).ravel()
    return np.asarray(np.divide(sums, share, out=np.full(share.shape, np.nan), where=share > 0))


# --- direction of the edge


def _mean(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean spectrum (n,) of the blocks (n, B) that have a value in all frames."""
    whole = np.isfinite(blocks).all(axis=0)
    return blocks[:, whole].mean(axis=1) if whole.any() else np.full(len(blocks), np.nan)


def _changing(energy_ev: NDArray[np.float64], blocks: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the indices of the blocks (n, B) with the largest steps."""
    if len(blocks) < FEWEST:
        return np.arange(blocks.shape[1])
    size = np.abs(_steps(energy_ev, blocks)[0]).max(axis=0)
    order = np.argsort(np.where(np.isfinite(size), size, -1.0))
    return order[len(order) - max(1, round(STRONG * len(order))) :]


def _steps(
    energy_ev: NDArray[np.float64], series: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return the steps of series (n, ...) at each energy, the series without a line, and the width of a step.

    The line goes from end to end: light that grows with energy makes no step.
    """
    n = len(energy_ev)
    k, ends = max(2, round(STEP * n)), max(2, round(ENDS * n))
    first, last = series[:ends].mean(axis=0), series[-ends:].mean(axis=0)
    low, high = energy_ev[:ends].mean(), energy_ev[-ends:].mean()
    share = ((energy_ev - low) / (high - low)).reshape(-1, *[1] * (series.ndim - 1))
    rest = series - first - share * (last - first)
    sums = np.concatenate([np.zeros((1, *series.shape[1:])), np.cumsum(rest, axis=0)])
    steps = (sums[2 * k :] - 2 * sums[k:-k] + sums[: -2 * k]) / k
    return steps, rest, k


def _noise_of_step(spectrum: NDArray[np.float64], k: int) -> float:
    """Return the noise of a step between means of `k` values, from second differences of a spectrum (n,)."""
    return float(np.median(np.abs(np.diff(spectrum, 2))) / 0.6745 / np.sqrt(6) * np.sqrt(2 / k))


def _edge(energy_ev: NDArray[np.float64], spectrum: NDArray[np.float64]) -> tuple[int, int]:
    """Return the direction of the edge of a spectrum (n,), 0 if that is not sure, and its index."""
    n = len(spectrum)
    if n < FEWEST or not np.isfinite(spectrum).all():
        return 0, 0
    steps, rest, k = _steps(energy_ev, spectrum)
    size = np.abs(steps)
    noise = _noise_of_step(spectrum, k)
    if size.max() < max(SURE * noise, STANDS_OUT * np.median(size), OF_RANGE * np.ptp(rest)):
        return 0, 0
    first = int(np.argmax(size >= min(size.max(), max(FIRST * size.max(), CLEAR * noise))))
    sign, at, about = int(np.sign(steps[first])), first + k, max(2, round(ABOUT * n))
    agrees = sign * (rest[at : at + about].mean() - rest[max(0, at - about) : at].mean()) > 0
    return (sign, at) if agrees else (0, 0)
