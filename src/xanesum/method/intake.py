"""The first look at a stack: what cannot be used is refused, what is missing is filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import RankError, StackError
from xanesum.linalg.binning import block_sums, coarse_scale
from xanesum.linalg.imputation import fill_missing
from xanesum.linalg.subspace import BLOCK_BYTES, fit_basis
from xanesum.method.problem import DenoiserAt, Setting, Whole
from xanesum.noise.level import estimate_sigma, sigma_of_pixels, sigma_sample
from xanesum.stack import check_stack, refuse_values, usable_mask, usable_weight
from xanesum.storage.checkpoint import Checkpoint, digest_of
from xanesum.storage.lazy import chunks_of, is_lazy, whole_chunks
from xanesum.storage.memory import available_memory
from xanesum.streaming.blocked_stack import Averages, BlockedStack
from xanesum.streaming.torch_backend import accelerator_for

__all__ = ["DEFAULT_DEVICE", "PreparedStack", "_check_rank", "prepare_stack"]
DEFAULT_DEVICE = "auto"
MISSING_RANK = 5  # components that stand in for missing values while the spectra are fitted
FILLED_FROM = 20_000  # pixels, from which these are found
SPREADS = 1.05  # times the noise level that averages may have by chance, if noise is white
IN_MEMORY = 1.3  # times the stack's size, which is needed to hold it and work on it
COARSE_SHARE, BLOCK_SHARE = 0.16, 0.05  # of the memory, for averages of a stack and for a block of it
NOISE_FLOOR = 1e-6  # least sigma, as a share of the root mean square: below it float32 is the noise


@dataclass(frozen=True, slots=True, eq=False)
class PreparedStack:
    """A stack that was looked at once, its noise level, and the averages that spectra are sought in."""

    passes: BlockedStack  # of the usable frames
    averages: Averages
    scale: int
    digest: str
    sigma: float
    rounding: float  # noise level that float32 has by itself, below which none is looked for

    def means(self) -> NDArray[np.float32]:
        """Return the means (E, Y', X') over the pixels that count in each block; 0 where none does."""
        if self.scale == 1:
            return self.averages.values
        counts = block_sums(self.passes.mask.astype(np.float32), self.scale)
        return np.asarray(self.averages.values / np.sqrt(np.maximum(counts, 1)))

    def setting(
        self,
        sigma: float,
        energy_ev: NDArray[np.float64],
        denoise_at: DenoiserAt,
        rng: np.random.Generator,
        n_probes: int,
        progress: Callable[[str, float], None],
        *,
        estimated: bool,
    ) -> Setting:
        """Return what a method works on; the noise of averages is measured anew, where it is not given."""
        values, mask = self.averages.values, self.averages.mask
        whole, own = None, sigma
        if self.scale > 1:
            whole = Whole(self.passes, self.scale, self.passes.mask, sigma, self.averages.energy)
            if estimated and sigma_sample(len(values), mask, rng).size:
                found = estimate_sigma(values, mask=mask, rng=rng)
                own = found if found > SPREADS * sigma else sigma  # noise of neighbours may be alike
        return Setting(values, energy_ev, mask, own, denoise_at, rng, n_probes, progress, whole=whole)


def prepare_stack(
    stack: xr.DataArray,
    memory: float | None,
    rng: np.random.Generator,
    progress: Callable[[str, float], None],
    *,
    checkpoint: str | Path | None = None,
    cluster: Any = None,
    device: str = DEFAULT_DEVICE,
) -> PreparedStack:
    """Look at all values once, and once more where some are missing; refuse what cannot be used.

    See `denoise` for the parameters and errors; `cluster` is a Dask client or None, which the work is done
    by instead of a `device`.
    """
    progress("read", 0.0)
    check_stack(stack, min_energies=2)
    mask, used = usable_mask(stack), np.flatnonzero(usable_weight(stack))
    if not mask.any():
        raise StackError("no usable pixel is left: the mask excludes all of them")
    most = available_memory() if memory is None else memory
    passes = _passes(stack, mask, used, most)
    accelerator = accelerator_for(device) if cluster is None else None
    passes = replace(passes, cluster=cluster, device=accelerator)
    if checkpoint is not None and not passes.in_memory:
        n_energies, n_y, _ = passes.shape
        middle = slice(n_y // 2, n_y // 2 + 1)
        ends = [passes.read(slice(e, e + 1), middle) for e in (0, n_energies // 2, n_energies - 1)]
        known = digest_of(stack.energy.values, str(stack.shape), used, mask, *ends)
        passes = replace(passes, checkpoint=Checkpoint(Path(checkpoint), known))
    for_sigma = sigma_sample(len(used), mask, rng)
    for_missing = for_sigma[:0]
    if stack.attrs.get("missing_values", 0) or not mask.all():
        usable = np.flatnonzero(mask)
        for_missing = np.random.default_rng(0).choice(usable, min(FILLED_FROM, usable.size), replace=False)
    pixels = np.union1d(for_sigma, for_missing)
    scale = coarse_scale(passes.shape, COARSE_SHARE * most)
    survey, averages = passes.survey(pixels, scale, partial(progress, "read"))
    refuse_values(stack, survey.n_bad, survey.blank)
    sample = survey.sample
    if survey.n_missing:
        found = fill_missing(sample[:, None], rank=MISSING_RANK)
        basis = fit_basis(found, min(MISSING_RANK, len(used), len(pixels)), rng=rng)
        passes = passes.filled(basis.spectra)
        sample = found[:, 0]
        averages = passes.average(scale, partial(progress, "average"))
    values = averages.values
    level = NOISE_FLOOR * float(np.sqrt(averages.energy / (len(used) * np.count_nonzero(mask))))
    if for_sigma.size:
        sigma = sigma_of_pixels(sample[:, np.isin(pixels, for_sigma)])
    else:
        sigma = estimate_sigma(values, mask=averages.mask, rng=rng)
    return PreparedStack(passes, averages, scale, survey.digest, max(sigma, level), level)


def _passes(
    stack: xr.DataArray, mask: NDArray[np.bool_], used: NDArray[np.intp], most: float
) -> BlockedStack:
    """Return passes over the usable frames, in memory where they are, or fit there."""
    size, shape = 4 * stack.size, (len(used), stack.shape[1], stack.shape[2])
    if not is_lazy(stack) or size * IN_MEMORY < most:
        values = _all_values(stack)
        if len(used) == len(values):
            return BlockedStack.over(values, mask)
        return BlockedStack(lambda energies, rows: values[used[energies], rows], shape, mask, True)

    def read(energies: slice, rows: slice) -> NDArray[np.float32]:
        chosen = used[energies]
        first, last = int(chosen[0]), int(chosen[-1])  # a slice is read at once, a list piece by piece
        block = np.asarray(stack[first : last + 1, rows].values, np.float32)
        return block if len(block) == len(chosen) else block[chosen - first]

    return BlockedStack(read, shape, mask, False, most * BLOCK_SHARE, chunks_of(stack)[:2])


def _all_values(stack: xr.DataArray) -> NDArray[np.float32]:
    """Return the values; those of a lazy stack are fetched a few at a time, and held once."""
    if not is_lazy(stack):
        return np.asarray(stack.values, np.float32)
    values = np.empty(stack.shape, np.float32)
    for part in whole_chunks(stack.shape, chunks_of(stack), BLOCK_BYTES):
        values[part] = stack[part].values
    return values


def _check_rank(rank: int | None, passes: BlockedStack) -> None:
    n_energies, n_pixels = len(passes), int(passes.mask.sum())
    limit = min(n_energies, n_pixels)
    if rank is not None and not 1 <= rank <= limit:
        raise RankError(
            f"rank must lie in 1..{limit} for {n_energies} energies and {n_pixels} pixels, got {rank}"
        )
