"""A stack as the methods see it, in memory or not: a few passes over its parts."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.linalg.binning import block_sums
from xanesum.linalg.imputation import fill_known
from xanesum.linalg.subspace import BLOCK_BYTES
from xanesum.storage.checkpoint import Checkpoint, digest_of
from xanesum.storage.lazy import whole_chunks
from xanesum.streaming.cpu_backend import Part, Sums, _pixels_within, _project_block, _sum_block
from xanesum.streaming.dask_client import result_of

__all__ = ["Averages", "Backend", "BlockedStack", "Rescaling", "Survey"]
Progress = Callable[[float], None]
Read = Callable[[slice, slice], NDArray[np.float32]]


Kernel = Callable[[Any, Part], Any]  # of an array, or of what `Backend.upload` made of it


class Backend(Protocol):
    """What passes need of a device that holds blocks and works on them, see `torch_backend`."""

    def held(self, key: object) -> Any:
        """Return the block of that key if the device has it, else None."""
        ...

    def upload(self, key: object, block: NDArray[np.float32]) -> Any:
        """Bring a block to the device."""
        ...

    def sum_block(
        self,
        weights: NDArray[np.float32] | None,
        mask: NDArray[np.bool_],
        pixels: NDArray[np.intp] | None,
        scale: int,
        block: Any,
        part: Part,
    ) -> Sums:
        """Sum up a part."""
        ...

    def images(self, n_images: int, shape: tuple[int, ...]) -> Any:
        """Return images of zeros on the device."""
        ...

    def project_block(self, spectra: NDArray[np.float32], images: Any, block: Any, part: Part) -> None:
        """Add to `images` (K, Y, X) what a part has of `spectra` (K, E)."""
        ...

    def fetched(self, images: Any) -> NDArray[np.float32]:
        """Return images that are on the device."""
        ...


def _silent(share: float) -> None:
    """Say nothing about the progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Rescaling:
    """What every value of a stack is multiplied by, and a share of one spectrum that is taken away."""

    pixel: NDArray[np.float32]  # (Y, X)
    energy: NDArray[np.float64]  # (E,)
    along: NDArray[np.float64]  # (E,), of length 1: spectrum in the multiplied stack ...
    excess: float = 0.0  # ... of which this share is taken away

    def spectra(self, spectra: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what gives images of `spectra` (K, E) from the stack as it is, but for the pixels' part."""
        kept = spectra - self.excess * np.outer(spectra @ self.along, self.along)
        return np.asarray(kept * self.energy)


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Averages over blocks of pixels, and what the pass over the stack that made them found beside."""

    values: NDArray[np.float32]  # (E, Y', X'): sums over the pixels that count over the root of their number
    mask: NDArray[np.bool_]  # (Y', X'), averages of at least half as many pixels as the others
    energy: float  # sum of squares of the stack's values where pixels count


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the first pass over a stack tells."""

    digest: str  # SHA-256 of the sums of the values' bits along rows and columns of every frame
    n_missing: int  # values that are not finite, anywhere ...
    n_bad: int  # ... and where pixels count
    blank: NDArray[np.bool_]  # (E,), frames that are zero everywhere
    sample: NDArray[np.float32]  # (E, n), the pixels asked for


@dataclass(frozen=True, slots=True, eq=False)
class BlockedStack:
    """A stack that is worked on part by part, rescaled on the way."""

    read: Read  # energies, rows -> (E', rows, X)
    shape: tuple[int, int, int]
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    in_memory: bool
    block_bytes: float = BLOCK_BYTES
    chunks: tuple[int, int] = (1, 1)  # energies and rows that are stored, and read, as one
    rescaling: Rescaling | None = None
    filling: NDArray[np.float64] | None = None  # spectra (K, E) whose fit stands for values that are missing
    checkpoint: Checkpoint | None = None  # where the results of passes are kept until all is done
    device: Backend | None = None  # that does the work; None: the CPU, by NumPy
    cluster: Any = None  # dask.distributed.Client, whose workers read the blocks and work on them

    @classmethod
    def over(cls, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> BlockedStack:
        """Return passes over an array (E, Y, X)."""
        return cls(lambda energies, rows: values[energies, rows], values.shape, mask, True)

    def __len__(self) -> int:
        return self.shape[0]

    def rescaled(self, rescaling: Rescaling) -> BlockedStack:
        """Return the same stack, rescaled otherwise."""
        return replace(self, rescaling=rescaling)

    def filled(self, spectra: NDArray[np.float64]) -> BlockedStack:
        """Return the same stack with a fit of `spectra` (K, E) where values are missing."""
        return replace(self, filling=spectra)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield slices of rows and their values at all energies, not rescaled."""
        for part, block in self._values_of(self._by_rows(1), _silent):
            yield part.rows, block

    def _parts(self, multiple: int, summed: bool) -> list[Part]:
        """Return the parts of the stack to be worked on in turn, `multiple` rows at a time but for the last.

        What has to be read is taken frame by frame, or in chunks of frames where it is stored so, and what is
        `summed` up too; what is missing is filled from all energies of a pixel.
        """
        in_place = self.in_memory and self.device is None
        if (in_place and not summed) or self.filling is not None:
            return self._by_rows(multiple)
        block_bytes = self.block_bytes if self.device is None else min(self.block_bytes, BLOCK_BYTES)
        return [Part(*part) for part in whole_chunks(self.shape, self.chunks, block_bytes, multiple=multiple)]

    def _by_rows(self, multiple: int) -> list[Part]:
        all_energies = (len(self), self.chunks[1])
        parts = whole_chunks(self.shape, all_energies, self.block_bytes, multiple=multiple)
        return [Part(*part) for part in parts]

    def _values_of(self, parts: list[Part], progress: Progress) -> Iterator[tuple[Part, NDArray[np.float32]]]:
        """Yield parts and their values; what has to be read is read while the part before is worked on."""
        if self.in_memory:
            for n, part in enumerate(parts):
                yield part, self._filled(self.read(*part), part)
                progress((n + 1) / len(parts))
            return
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.read, *parts[0])
            for n, part in enumerate(parts):
                block = coming.result()
                if n + 1 < len(parts):
                    coming = reader.submit(self.read, *parts[n + 1])
                yield part, self._filled(block, part)
                progress((n + 1) / len(parts))

    def _filled(self, block: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        return block if self.filling is None else fill_known(block, self.filling, self.mask[part.rows])

    def survey(
        self, pixels: NDArray[np.intp], scale: int, progress: Progress = _silent
    ) -> tuple[Survey, Averages]:
        """Return what is to be known of the stack before anything is done with it, and averages, in one pass.

        Parameters
        ----------
        pixels : ndarray of int, shape (n,)
            Flat indices, sorted, of the pixels whose values are wanted.
        scale : int
            Of the averages, see `average`; they are of use where no value is missing.
        progress : callable
            Called with the share that is done.
        """

        def look() -> dict[str, NDArray[np.generic]]:
            survey, averages = self._surveyed(pixels, scale, progress)
            known = {name: np.array(getattr(survey, name)) for name in ("digest", "n_missing", "n_bad")}
            return {**known, "blank": survey.blank, "sample": survey.sample, **_arrays_of(averages)}

        if self.checkpoint is None:
            return self._surveyed(pixels, scale, progress)
        found = self.checkpoint.remember(self._asked("survey", pixels, scale), look)
        survey = Survey(
            str(found["digest"]),
            int(found["n_missing"]),
            int(found["n_bad"]),
            found["blank"],
            found["sample"],
        )
        return survey, _averages_of(found)

    def _surveyed(self, pixels: NDArray[np.intp], scale: int, progress: Progress) -> tuple[Survey, Averages]:
        n_energies, n_y, n_x = self.shape
        along_x, along_y = (np.zeros((n_energies, n), np.uint32) for n in (n_y, n_x))
        sample = np.empty((n_energies, len(pixels)), np.float32)
        n_missing = n_bad = 0

        def look(part: Part, found: Sums) -> None:
            nonlocal n_missing, n_bad
            along_x[part] = found.along_x
            along_y[part.energies] += found.along_y
            sample[part.energies, _pixels_within(pixels, part.rows, n_x)] = found.sample
            n_missing, n_bad = n_missing + found.n_missing, n_bad + found.n_bad

        averages = self._averaged(scale, progress, pixels, look)
        digest = hashlib.sha256(repr(self.shape).encode() + along_x.tobytes() + along_y.tobytes()).hexdigest()
        blank = ~np.any(along_x, axis=1) & ~np.any(along_y, axis=1)
        return Survey(digest, n_missing, n_bad, blank, sample), averages

    def project(self, spectra: NDArray[np.float64], progress: Progress = _silent) -> NDArray[np.float32]:
        """Return the images (K, Y, X) that weight `spectra` (K, E), in one pass."""
        if self.checkpoint is None:
            return self._projected(spectra, progress)
        asked = self._asked("project", spectra)
        return self.checkpoint.remember(asked, lambda: {"images": self._projected(spectra, progress)})[
            "images"
        ]

    def _projected(self, spectra: NDArray[np.float64], progress: Progress) -> NDArray[np.float32]:
        images = np.zeros((len(spectra), *self.shape[1:]), np.float32)
        if self.rescaling is not None:
            spectra = self.rescaling.spectra(spectra)
        if self.device is not None:
            on_device = self.device.images(len(spectra), images.shape[1:])
            add = partial(self.device.project_block, spectra.astype(np.float32), on_device)
            deque(self._each(add, progress), maxlen=0)
            images = self.device.fetched(on_device)
        else:
            kernel = partial(_project_block, spectra.astype(np.float32))
            for part, found in self._each(kernel, progress):
                images[:, part.rows] += found
        if self.rescaling is not None:
            images *= self.rescaling.pixel
        return images

    def average(self, scale: int, progress: Progress = _silent) -> Averages:
        """Return averages over `scale` x `scale` pixels, in one pass.

        At a scale of 1, what is in memory and complete is returned as it is.
        """
        if self.checkpoint is None:
            return self._averaged(scale, progress)
        asked = self._asked("average", scale)
        return _averages_of(
            self.checkpoint.remember(asked, lambda: _arrays_of(self._averaged(scale, progress)))
        )

    def _asked(self, what: str, *parts: ArrayLike) -> str:
        """Return the digest of what a pass is asked for."""
        rescaling = () if self.rescaling is None else astuple(self.rescaling)
        return digest_of(
            what, repr(self.shape), self.mask, self.filling, str(len(rescaling)), *rescaling, *parts
        )

    def _averaged(
        self,
        scale: int,
        progress: Progress,
        pixels: NDArray[np.intp] | None = None,
        look: Callable[[Part, Sums], None] = lambda part, found: None,
    ) -> Averages:
        """Return averages; `look` is called with everything that was summed up of each block on the way."""
        weights = None if self.mask.all() else self.mask.astype(np.float32)
        if self.rescaling is not None:
            weights = self.rescaling.pixel * self.mask
        as_it_is = scale == 1 and self.in_memory and self.rescaling is None and self.filling is None
        counts = block_sums(self.mask.astype(np.float32), scale)
        shape = (self.shape[0], *counts.shape)
        everything = Part(slice(0, self.shape[0]), slice(0, self.shape[1]))
        averaged = self.read(*everything) if as_it_is else np.empty(shape, np.float32)
        squares = np.zeros(self.shape[0])
        sum_block = _sum_block if self.device is None else self.device.sum_block
        kernel = partial(sum_block, weights, self.mask, pixels, 0 if as_it_is else scale)
        for part, found in self._each(kernel, progress, multiple=scale, summed=True):
            squares[part.energies] += found.squares
            if not as_it_is:
                rows = slice(part.rows.start // scale, -(-part.rows.stop // scale))
                averaged[part.energies, rows] = found.sums
            look(part, found)
        if scale > 1:
            averaged /= np.sqrt(np.maximum(counts, 1))
        energy = float(squares.sum())
        if self.rescaling is not None:
            energy = float(squares @ self.rescaling.energy**2)
            averaged *= self.rescaling.energy.astype(np.float32)[:, None, None]
            if self.rescaling.excess:
                energy -= self._take_excess(averaged, self.rescaling)
        return Averages(averaged, counts >= counts.max() / 2, energy)

    def _each(
        self, kernel: Kernel, progress: Progress, *, multiple: int = 1, summed: bool = False
    ) -> Iterator[tuple[Part, Any]]:
        """Yield parts and what `kernel` makes of their values: here, on a device or on workers."""
        parts = self._parts(multiple, summed)
        if self.device is not None:
            yield from self._each_on(self.device, kernel, parts, progress)
            return
        if self.cluster is None or self.in_memory:
            for part, block in self._values_of(parts, progress):
                yield part, kernel(block, part)
            return
        n_ahead = 2 * max(1, len(self.cluster.scheduler_info(n_workers=-1)["workers"]))
        remote = partial(_read_and_apply, replace(self, cluster=None, checkpoint=None, device=None), kernel)
        coming = deque(self.cluster.submit(remote, part, pure=False) for part in parts[:n_ahead])
        for n, part in enumerate(parts):
            found = result_of(coming.popleft())
            if n + n_ahead < len(parts):
                coming.append(self.cluster.submit(remote, parts[n + n_ahead], pure=False))
            yield part, found
            progress((n + 1) / len(parts))

    def _each_on(
        self, device: Backend, kernel: Kernel, parts: list[Part], progress: Progress
    ) -> Iterator[tuple[Part, Any]]:
        """Do on a device what `_each` does; what it holds from an earlier pass is not read again."""
        keys = {(str(part), id(self.filling)): part for part in parts}
        fresh = [part for key, part in keys.items() if device.held(key) is None]
        values = self._values_of(fresh, progress) if fresh else iter(())
        for key, part in keys.items():
            block = device.held(key)
            if block is None:
                block = device.upload(key, next(values)[1])
            yield part, kernel(block, part)

    def _take_excess(self, averaged: NDArray[np.float32], rescaling: Rescaling) -> float:
        """Take away what is too much along one spectrum, in place; return its share in the stack's energy."""
        along, excess = rescaling.along, rescaling.excess
        image = np.tensordot(along.astype(np.float32), averaged, axes=1) * np.float32(excess)
        for frame, share in zip(averaged, along.astype(np.float32), strict=True):
            frame -= share * image
        before = replace(self, rescaling=replace(rescaling, excess=0.0)).project(along[None])[0]
        power = float(np.sum(np.square(before[self.mask], dtype=np.float64)))
        return power * (1 - (1 - excess) ** 2)


def _read_and_apply(passes: BlockedStack, kernel: Kernel, part: Part) -> Any:
    """Do on a worker what `BlockedStack._each` does here."""
    return kernel(passes._filled(passes.read(*part), part), part)


def _arrays_of(averages: Averages) -> dict[str, NDArray[np.generic]]:
    return {"values": averages.values, "mask": averages.mask, "energy": np.array(averages.energy)}


def _averages_of(arrays: Mapping[str, NDArray[Any]]) -> Averages:
    return Averages(arrays["values"], arrays["mask"], float(arrays["energy"]))
