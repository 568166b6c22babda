"""The first look at a stack, and the problem that a method solves for it.

Values that cannot be used are refused.  Missing values are filled.  The noise level is estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import Denoiser
from xanesum.denoisers.protocol import KnownRounding
from xanesum.errors import RankError, StackError
from xanesum.linalg.binning import block_sums, coarse_scale
from xanesum.linalg.imputation import MissingValues, fill_known, filling_spectra
from xanesum.method.options import Options
from xanesum.method.problem import NOISE_FLOOR, AnyLevel, Level, Problem, Progress
from xanesum.noise.level import estimate_sigma, noise_rank, sigma_of_pixels, sigma_sample
from xanesum.stack import check_stack, refuse_values, usable_mask, usable_weight
from xanesum.storage.checkpoint import Checkpoint, digest_of
from xanesum.storage.lazy import chunks_of, is_lazy, whole_chunks
from xanesum.storage.memory import BLOCK_BYTES, BLOCK_SHARE, COARSE_SHARE, WORKING_SIZE
from xanesum.streaming.blocked_stack import BlockedStack
from xanesum.streaming.checkpointed_stack import CheckpointedStack
from xanesum.streaming.executors import Executor
from xanesum.streaming.interface import Averages, StackInBlocks
from xanesum.streaming.resources import Resources

__all__ = ["PreparedStack", "all_values", "pose_problem", "prepare_stack"]

MISSING_RANK = 5  # components of the fit that replaces missing values
FILLING_PIXELS = 20_000  # pixels from which its spectra are found
SIGMA_TOLERANCE = 1.05  # averages of white noise may have this many times its level by chance


@dataclass(frozen=True, slots=True, eq=False)
class PreparedStack:
    """A stack after the first look: its averages over blocks of pixels, and its noise level."""

    blocks: StackInBlocks  # of the usable frames
    averages: Averages
    scale: int  # pixels each way that were averaged
    digest: str  # of the values
    sigma: float  # noise level, unit of the stack
    sigma_floor: float  # noise level of float32's own rounding
    missing: MissingValues | None  # None: no value is missing
    filling: NDArray[np.float64]  # (F, E), spectra from which missing values were filled
    noise_rank: int  # energies with noise of their own; fewer than E where frames were interpolated

    @property
    def image_excess(self) -> float:
        """Noise of images of smooth spectra over sigma; more than 1 where frames were interpolated."""
        return float(np.sqrt(len(self.blocks) / self.noise_rank))

    def noise_growth(self, spectra: NDArray[np.float64]) -> NDArray[np.float32] | None:
        """Return the factor (K, Y, X) by which errors of images grow where values are missing; None: 1.

        The images are those of orthonormal `spectra` (K, E).
        """
        return None if self.missing is None else self.missing.noise_growth(spectra, self.filling)

    def means(self) -> NDArray[np.float32]:
        """Return the means (E, Y', X') over the usable pixels of each block; 0 where there are none."""
        if self.scale == 1:
            return self.averages.values
        counts = block_sums(self.blocks.mask.astype(np.float32), self.scale)
        return np.asarray(self.averages.values / np.sqrt(np.maximum(counts, 1)))


def prepare_stack(
    stack: xr.DataArray,
    resources: Resources,
    executor: Executor,
    *,
    rng: np.random.Generator,
    progress: Progress,
) -> PreparedStack:
    """Look at all values once, and once more where some are missing; refuse values that cannot be used.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
    resources : Resources
    executor : Executor
        Does the passes over the stack.
    rng : numpy.random.Generator
        Draws the pixels from which sigma is estimated.
    progress : callable
        Called with a step's name and the share of it that is done.

    Raises
    ------
    StackError, EnergyError
        As `xanesum.denoise`.
    """
    progress("read", 0.0)
    check_stack(stack, min_energies=2)
    mask, used = usable_mask(stack), np.flatnonzero(usable_weight(stack))
    if not mask.any():
        raise StackError("no usable pixel is left: the mask excludes all of them")
    memory = resources.memory_bytes
    in_blocks = _in_blocks(stack, mask, used, memory)
    blocks = _kept_on_disk(in_blocks.with_executor(executor), stack, used, resources.checkpoint)
    for_sigma = sigma_sample(len(used), mask, rng)
    pixels = np.union1d(for_sigma, _filling_pixels(stack, mask))
    scale = coarse_scale(blocks.shape, COARSE_SHARE * memory)
    survey, averages = blocks.survey(pixels, scale, partial(progress, "read"))
    refuse_values(stack, survey.n_bad, survey.blank)
    sample = survey.sample
    missing, filling = None, np.zeros((0, len(used)))
    if survey.n_missing:
        filling = filling_spectra(sample[:, None], rank=MISSING_RANK)
        sample = fill_known(sample[:, None], filling, np.ones((1, len(pixels)), bool))[:, 0]
        missing = MissingValues.of_blocks(blocks.shape, mask, blocks.blocks())
        blocks = blocks.filled(filling)
        averages = blocks.average(scale, partial(progress, "average"))
    floor = NOISE_FLOOR * float(np.sqrt(averages.sum_of_squares / (len(used) * np.count_nonzero(mask))))
    own = len(used)
    if for_sigma.size:
        sample = sample[:, np.isin(pixels, for_sigma)]
        sigma, own = sigma_of_pixels(sample), noise_rank(sample)
    else:
        sigma = estimate_sigma(averages.values, mask=averages.mask, rng=rng)
    return PreparedStack(
        blocks, averages, scale, survey.digest, max(sigma, floor), floor, missing, filling, own
    )


def pose_problem(
    prepared: PreparedStack,
    energy_ev: NDArray[np.float64],
    denoiser: Denoiser,
    options: Options,
    *,
    rng: np.random.Generator,
    progress: Progress,
) -> Problem:
    """Return the problem to solve; the noise of averages is measured anew where sigma was not given.

    Raises
    ------
    RankError
        If more components are asked for than there are energies or pixels.
    """
    _check_rank(options.rank, prepared.blocks)
    progress("noise", 0.0)
    sigma = prepared.sigma * prepared.image_excess if options.sigma is None else options.sigma
    values, mask = prepared.averages.values, prepared.averages.mask
    coarse_sigma = sigma
    if prepared.scale > 1 and options.sigma is None and sigma_sample(len(values), mask, rng).size:
        found = estimate_sigma(values, mask=mask, rng=rng) * prepared.image_excess
        if found > SIGMA_TOLERANCE * sigma:  # noise of neighbours is alike
            coarse_sigma = found
    coarse = Level(values, mask, coarse_sigma)
    full: AnyLevel = coarse
    if prepared.scale > 1:
        known = prepared.averages.sum_of_squares
        full = Level(prepared.blocks, prepared.blocks.mask, sigma, known_sum_of_squares=known)
    return Problem(
        coarse,
        full,
        prepared.scale,
        energy_ev,
        lambda images, level, pixels: denoiser.denoise(images, level, mask=pixels),
        rng,
        options.n_probes,
        progress,
        rounding=denoiser.rounding if isinstance(denoiser, KnownRounding) else None,
    )


def _filling_pixels(stack: xr.DataArray, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the pixels from which the spectra of missing values are found; none where none is missing."""
    if mask.all() and not stack.attrs.get("missing_values", 0):
        return np.zeros(0, np.intp)
    usable = np.flatnonzero(mask)
    return np.random.default_rng(0).choice(usable, min(FILLING_PIXELS, usable.size), replace=False)


def _in_blocks(
    stack: xr.DataArray, mask: NDArray[np.bool_], used: NDArray[np.intp], memory: float
) -> BlockedStack:
    """Return the usable frames in blocks: in memory where they are there already, or fit."""
    size, shape = 4 * stack.size, (len(used), stack.shape[1], stack.shape[2])
    if not is_lazy(stack) or size * WORKING_SIZE < memory:
        values = all_values(stack)
        if len(used) == len(values):
            return BlockedStack.over(values, mask)
        return BlockedStack(lambda energies, rows: values[used[energies], rows], shape, mask, True)

    def read(energies: slice, rows: slice) -> NDArray[np.float32]:
        chosen = used[energies]
        first, last = (
            int(chosen[0]),
            int(chosen[-1]),
        )  # a slice is one read, a list is one read for each frame
        block = np.asarray(stack[first : last + 1, rows].values, np.float32)
        return block if len(block) == len(chosen) else block[chosen - first]

    return BlockedStack(read, shape, mask, False, memory * BLOCK_SHARE, chunks_of(stack)[:2])


def _kept_on_disk(
    blocks: BlockedStack, stack: xr.DataArray, used: NDArray[np.intp], folder: Path | None
) -> StackInBlocks:
    """Return the stack with its passes' results kept in a folder; unchanged without one, or in memory."""
    if folder is None or blocks.in_memory:
        return blocks
    n_energies, n_y, _ = blocks.shape
    middle = slice(n_y // 2, n_y // 2 + 1)
    rows = [blocks.read(slice(e, e + 1), middle) for e in (0, n_energies // 2, n_energies - 1)]
    digest = digest_of(stack.energy.values, str(stack.shape), used, blocks.mask, *rows)
    return CheckpointedStack(blocks, Checkpoint(folder, digest))


def all_values(stack: xr.DataArray) -> NDArray[np.float32]:
    """Return all values (E, Y, X); those of a lazy stack are read a few frames at a time."""
    if not is_lazy(stack):
        return np.asarray(stack.values, np.float32)
    values = np.empty(stack.shape, np.float32)
    for part in whole_chunks(stack.shape, chunks_of(stack), BLOCK_BYTES):
        values[part] = stack[part].values
    return values


def _check_rank(rank: int | None, blocks: StackInBlocks) -> None:
    n_energies, n_pixels = len(blocks), int(blocks.mask.sum())
    limit = min(n_energies, n_pixels)
    if rank is not None and not 1 <= rank <= limit:
        raise RankError(
            f"rank must lie in 1..{limit} for {n_energies} energies and {n_pixels} pixels, got {rank}"
        )
