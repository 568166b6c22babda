"""A stack that is read in blocks, in memory or not, and three passes over it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.linalg.binning import block_sums
from xanesum.linalg.imputation import fill_known
from xanesum.storage.checkpoint import digest_of
from xanesum.storage.memory import BLOCK_BYTES
from xanesum.streaming.cpu_backend import SumRequest, Sums, pixels_within
from xanesum.streaming.executors import Executor, Read, SerialExecutor, values_of
from xanesum.streaming.interface import Averages, Progress, Rescaling, Survey, no_progress
from xanesum.streaming.parts import Part, parts_in_chunks, parts_in_rows

__all__ = ["BlockedStack"]


@dataclass(frozen=True, slots=True, eq=False)
class BlockedStack:
    """A stack (E, Y, X) in blocks, filled and rescaled as it is read; see `StackInBlocks`."""

    read: Read  # energies, rows -> values (E', rows, X)
    shape: tuple[int, int, int]
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    in_memory: bool  # whether `read` returns a part of an array
    block_bytes: float = BLOCK_BYTES  # approximate size of the values of a block
    chunks: tuple[int, int] = (1, 1)  # energies and rows that are stored, and read, together
    rescaling: Rescaling | None = None  # None: values as read
    filling: NDArray[np.float64] | None = None  # (K, E), spectra fitted where values are missing
    executor: Executor = field(default_factory=SerialExecutor)  # does the work of the passes

    @classmethod
    def over(cls, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> BlockedStack:
        """Return an array (E, Y, X) as a stack in blocks; it is not copied."""
        return cls(lambda energies, rows: values[energies, rows], values.shape, mask, True)

    def __len__(self) -> int:
        return self.shape[0]

    def with_executor(self, executor: Executor) -> BlockedStack:
        """Return the same stack with another executor for its passes."""
        return replace(self, executor=executor)

    def rescaled(self, rescaling: Rescaling) -> BlockedStack:
        """Return the same stack with another rescaling."""
        return replace(self, rescaling=rescaling)

    def filled(self, spectra: NDArray[np.float64]) -> BlockedStack:
        """Return the same stack with a fit of `spectra` (K, E) in place of missing values."""
        return replace(self, filling=spectra)

    def fill(self, block: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the values of a part, filled where some are missing."""
        return block if self.filling is None else fill_known(block, self.filling, self.mask[part.rows])

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows and their values at all energies, filled but not rescaled; all in this process."""
        rows_at_once = parts_in_rows(self.shape, self.chunks[1], self.block_bytes)
        for part, block in values_of(self, rows_at_once, no_progress):
            yield part.rows, block

    def survey(
        self, pixels: NDArray[np.intp], scale: int, progress: Progress = no_progress
    ) -> tuple[Survey, Averages]:
        """Return a survey and averages in one pass, see `StackInBlocks.survey`."""
        tally = _Tally(self.shape, pixels)
        averages = self._average(scale, progress, pixels, tally.add)
        return tally.survey(), averages

    def project(self, spectra: NDArray[np.float64], progress: Progress = no_progress) -> NDArray[np.float32]:
        """Return the images (K, Y, X) that weight `spectra` (K, E), in one pass."""
        if self.rescaling is not None:
            spectra = self.rescaling.spectra(spectra)
        parts = self._parts()
        images = self.executor.images(self, parts, spectra.astype(np.float32), progress)
        if self.rescaling is not None:
            images *= self.rescaling.pixel
        return images

    def average(self, scale: int, progress: Progress = no_progress) -> Averages:
        """Return averages over `scale` x `scale` pixels in one pass, see `StackInBlocks.average`."""
        return self._average(scale, progress)

    def clear(self) -> None:
        """Do nothing: no results of passes are kept on disk."""

    def request_digest(self, name: str, *arguments: ArrayLike) -> str:
        """Return the digest of all that the result of a pass depends on, except the values of the stack."""
        changes: tuple[ArrayLike, ...] = ()
        if self.rescaling is not None:
            how = self.rescaling
            changes = (how.pixel, how.energy, how.along, how.excess)
        return digest_of(
            name, repr(self.shape), self.mask, self.filling, str(len(changes)), *changes, *arguments
        )

    def _parts(self, multiple: int = 1, *, for_sums: bool = False) -> list[Part]:
        """Return the parts of a pass; the number of rows of all but the last is a multiple of `multiple`.

        If values are filled, a part has all energies, because a fit needs the whole spectrum of a pixel.  A
        projection of a stack in memory has such parts too: each row of the images is then written once.  In
        all other passes a part has whole frames or chunks, because files store them so.
        """
        in_place = self.in_memory and not self.executor.copies_blocks
        if self.filling is not None or (in_place and not for_sums):
            return parts_in_rows(self.shape, self.chunks[1], self.block_bytes, multiple=multiple)
        block_bytes = self.block_bytes
        if self.executor.copies_blocks:
            block_bytes = min(block_bytes, BLOCK_BYTES)
        return parts_in_chunks(self.shape, self.chunks, block_bytes, multiple=multiple)

    def _average(
        self,
        scale: int,
        progress: Progress,
        pixels: NDArray[np.intp] | None = None,
        observe: Callable[[Part, Sums], None] = lambda part, sums: None,
    ) -> Averages:
        """Return averages, and call `observe` with every part and its sums; `pixels` as in `SumRequest`."""
        untouched = scale == 1 and self.in_memory and self.rescaling is None and self.filling is None
        counts = block_sums(self.mask.astype(np.float32), scale)
        if untouched:
            values = self.read(slice(0, self.shape[0]), slice(0, self.shape[1]))
        else:
            values = np.empty((len(self), *counts.shape), np.float32)
        squares = np.zeros(len(self))
        request = SumRequest(self.mask, self._weights(), 0 if untouched else scale, pixels)
        parts = self._parts(scale, for_sums=True)
        for part, found in self.executor.sums(self, parts, request, progress):
            squares[part.energies] += found.squares
            if not untouched:
                rows = slice(part.rows.start // scale, -(-part.rows.stop // scale))
                values[part.energies, rows] = found.sums
            observe(part, found)
        if scale > 1:
            values /= np.sqrt(np.maximum(counts, 1))
        mask = counts >= counts.max() / 2
        if self.rescaling is None:
            return Averages(values, mask, float(squares.sum()))
        values *= self.rescaling.energy.astype(np.float32)[:, None, None]
        sum_of_squares = float(squares @ self.rescaling.energy**2)
        if self.rescaling.excess:
            _subtract_excess(values, self.rescaling)
            sum_of_squares -= self._squares_of_excess(self.rescaling)
        return Averages(values, mask, sum_of_squares)

    def _weights(self) -> NDArray[np.float32] | None:
        """Return the factor of each pixel (Y, X), 0 where it does not count; None where all are 1."""
        if self.rescaling is not None:
            return self.rescaling.pixel * self.mask
        return None if self.mask.all() else self.mask.astype(np.float32)

    def _squares_of_excess(self, rescaling: Rescaling) -> float:
        """Return how much smaller the sum of squares is because an excess is subtracted; in one pass."""
        multiplied = self.rescaled(replace(rescaling, excess=0.0))
        image = multiplied.project(rescaling.along[None])[0]
        squares = float(np.sum(np.square(image[self.mask], dtype=np.float64)))
        return squares * (1 - (1 - rescaling.excess) ** 2)


def _subtract_excess(values: NDArray[np.float32], rescaling: Rescaling) -> None:
    """Subtract the excess along one spectrum from multiplied values (E, Y, X), in place."""
    along = rescaling.along.astype(np.float32)
    image = np.tensordot(along, values, axes=1) * np.float32(rescaling.excess)
    for frame, share in zip(values, along, strict=True):
        frame -= share * image


class _Tally:
    """A survey that grows with every part."""

    def __init__(self, shape: tuple[int, int, int], pixels: NDArray[np.intp]) -> None:
        n_energies, n_y, n_x = shape
        self.shape, self.pixels = shape, pixels
        self.along_x = np.zeros((n_energies, n_y), np.uint32)
        self.along_y = np.zeros((n_energies, n_x), np.uint32)
        self.sample = np.empty((n_energies, len(pixels)), np.float32)
        self.n_missing = self.n_bad = 0

    def add(self, part: Part, sums: Sums) -> None:
        """Add a part."""
        self.along_x[part] = sums.along_x
        self.along_y[part.energies] += sums.along_y
        self.sample[part.energies, pixels_within(self.pixels, part.rows, self.shape[2])] = sums.sample
        self.n_missing += sums.n_missing
        self.n_bad += sums.n_bad

    def survey(self) -> Survey:
        """Return the survey of all parts that were added."""
        bits = self.along_x.tobytes() + self.along_y.tobytes()
        digest = hashlib.sha256(repr(self.shape).encode() + bits).hexdigest()
        blank = ~np.any(self.along_x, axis=1) & ~np.any(self.along_y, axis=1)
        return Survey(digest, self.n_missing, self.n_bad, blank, self.sample)
