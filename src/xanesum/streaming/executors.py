"""Who does the work of a pass over a stack in blocks: this process, a device, or the workers of Dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xanesum.storage.prefetch import ahead, in_threads
from xanesum.streaming.cpu_backend import SumRequest, Sums, project_block, sum_block
from xanesum.streaming.dask_client import result_of
from xanesum.streaming.interface import Progress
from xanesum.streaming.parts import Part
from xanesum.streaming.torch_backend import accelerator_for

__all__ = [
    "Backend",
    "Blocks",
    "ClusterExecutor",
    "DeviceExecutor",
    "Executor",
    "Read",
    "SerialExecutor",
    "executor_for",
    "values_of",
]

Read = Callable[[slice, slice], NDArray[np.float32]]  # energies, rows -> values (E', rows, X)
Found = TypeVar("Found")
Kernel = Callable[[NDArray[np.float32], Part], Found]  # values (E', rows, X) of a part -> a result


class Blocks(Protocol):
    """The values of a stack, as an executor reads them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Energies, rows and columns."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether blocks need not be read from a file."""
        ...

    @property
    def read(self) -> Read:
        """Function that reads a part; missing values are NaN."""
        ...

    @property
    def filling(self) -> NDArray[np.float64] | None:
        """Spectra (K, E) that `fill` fits; None: it does nothing."""
        ...

    def fill(self, block: NDArray[np.float32], part: Part) -> NDArray[np.float32]:
        """Return the values of a part with a fit in place of those that are missing."""
        ...

    def with_executor(self, executor: Executor) -> Self:
        """Return the same stack with another executor."""
        ...


class Executor(Protocol):
    """The two kinds of work on a stack: sums over its blocks, and images of spectra."""

    @property
    def copies_blocks(self) -> bool:
        """Whether blocks of a stack in memory are copied to be worked on; large blocks are then a waste."""
        ...

    def sums(
        self, stack: Blocks, parts: list[Part], request: SumRequest, progress: Progress
    ) -> Iterator[tuple[Part, Sums]]:
        """Yield every part and the sums over its values."""
        ...

    def images(
        self, stack: Blocks, parts: list[Part], spectra: NDArray[np.float32], progress: Progress
    ) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of `spectra` (K, E): sums over energies of spectrum times value."""
        ...


class Backend(Protocol):
    """A device that holds blocks and works on them, see `torch_backend`."""

    def held(self, key: object) -> Any:
        """Return the block of that key if the device holds it, else None."""
        ...

    def upload(self, key: object, block: NDArray[np.float32]) -> Any:
        """Return a block on the device; it may be held there under its key."""
        ...

    def sum_block(self, request: SumRequest, block: Any, part: Part) -> Sums:
        """Return the sums over the values of a part."""
        ...

    def images(self, n_images: int, shape: tuple[int, ...]) -> Any:
        """Return images (K, Y, X) of zeros on the device."""
        ...

    def project_block(self, spectra: NDArray[np.float32], images: Any, block: Any, part: Part) -> None:
        """Add the contribution of a part to the images (K, Y, X) of `spectra` (K, E)."""
        ...

    def fetched(self, images: Any) -> NDArray[np.float32]:
        """Return images of the device as an array (K, Y, X)."""
        ...


@dataclass(frozen=True, slots=True)
class SerialExecutor:
    """One block after the other in this process, by NumPy; the next block is read meanwhile."""

    copies_blocks: ClassVar[bool] = False

    def sums(
        self, stack: Blocks, parts: list[Part], request: SumRequest, progress: Progress
    ) -> Iterator[tuple[Part, Sums]]:
        """Yield every part and the sums over its values."""
        for part, block in values_of(stack, parts, progress):
            yield part, sum_block(request, block, part)

    def images(
        self, stack: Blocks, parts: list[Part], spectra: NDArray[np.float32], progress: Progress
    ) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of `spectra` (K, E)."""
        images = np.zeros((len(spectra), *stack.shape[1:]), np.float32)
        for part, block in values_of(stack, parts, progress):
            images[:, part.rows] += project_block(spectra, block, part)
        return images


@dataclass(frozen=True, slots=True, eq=False)
class DeviceExecutor:
    """One block after the other on a device, which keeps the blocks that it has room for.

    Kept blocks are not read again, so an executor serves one stack only.
    """

    copies_blocks: ClassVar[bool] = True
    backend: Backend

    def sums(
        self, stack: Blocks, parts: list[Part], request: SumRequest, progress: Progress
    ) -> Iterator[tuple[Part, Sums]]:
        """Yield every part and the sums over its values."""
        for part, block in self._blocks_of(stack, parts, progress):
            yield part, self.backend.sum_block(request, block, part)

    def images(
        self, stack: Blocks, parts: list[Part], spectra: NDArray[np.float32], progress: Progress
    ) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of `spectra` (K, E)."""
        images = self.backend.images(len(spectra), stack.shape[1:])
        for part, block in self._blocks_of(stack, parts, progress):
            self.backend.project_block(spectra, images, block, part)
        return self.backend.fetched(images)

    def _blocks_of(self, stack: Blocks, parts: list[Part], progress: Progress) -> Iterator[tuple[Part, Any]]:
        """Yield every part and its values on the device; only parts that it does not hold are read."""
        keys = {(str(part), id(stack.read), id(stack.filling)): part for part in parts}
        fresh = [part for key, part in keys.items() if self.backend.held(key) is None]
        values = values_of(stack, fresh, progress)
        for key, part in keys.items():
            block = self.backend.held(key)
            if block is None:
                block = self.backend.upload(key, next(values)[1])
            yield part, block


@dataclass(frozen=True, slots=True, eq=False)
class ClusterExecutor:
    """Blocks are read and worked on by the workers of Dask; a stack in memory is worked on here."""

    copies_blocks: ClassVar[bool] = False
    client: Any  # dask.distributed.Client

    def sums(
        self, stack: Blocks, parts: list[Part], request: SumRequest, progress: Progress
    ) -> Iterator[tuple[Part, Sums]]:
        """Yield every part and the sums over its values."""
        if stack.in_memory:
            return SerialExecutor().sums(stack, parts, request, progress)
        return self._each(stack, parts, partial(sum_block, request), progress)

    def images(
        self, stack: Blocks, parts: list[Part], spectra: NDArray[np.float32], progress: Progress
    ) -> NDArray[np.float32]:
        """Return the images (K, Y, X) of `spectra` (K, E)."""
        if stack.in_memory:
            return SerialExecutor().images(stack, parts, spectra, progress)
        images = np.zeros((len(spectra), *stack.shape[1:]), np.float32)
        for part, found in self._each(stack, parts, partial(project_block, spectra), progress):
            images[:, part.rows] += found
        return images

    def _each(
        self, stack: Blocks, parts: list[Part], kernel: Kernel[Found], progress: Progress
    ) -> Iterator[tuple[Part, Found]]:
        """Yield every part and the result of `kernel`; two parts a worker are on their way."""
        n_ahead = 2 * max(1, len(self.client.scheduler_info(n_workers=-1)["workers"]))
        portable = stack.with_executor(SerialExecutor())  # a client cannot be sent to its workers
        work = partial(_read_and_apply, portable, kernel)
        results = ahead(lambda part: _Remote(self.client.submit(work, part, pure=False)), parts, n_ahead)
        for n, (part, found) in enumerate(zip(parts, results, strict=True)):
            yield part, found
            progress((n + 1) / len(parts))


def executor_for(device: str, client: Any = None) -> Executor:
    """Return the executor for a Dask client; without one, that for a device, see `accelerator_for`.

    Raises
    ------
    RecipeError
        If there is no such kind of device.
    """
    if client is not None:
        return ClusterExecutor(client)
    accelerator = accelerator_for(device)
    return SerialExecutor() if accelerator is None else DeviceExecutor(accelerator)


def values_of(
    stack: Blocks, parts: list[Part], progress: Progress
) -> Iterator[tuple[Part, NDArray[np.float32]]]:
    """Yield every part and its values; the next part of a file is read while one is worked on."""
    blocks: Iterator[NDArray[np.float32]]
    if stack.in_memory:
        blocks = (stack.read(*part) for part in parts)
    else:
        blocks = in_threads(lambda part: stack.read(*part), parts, n_threads=1, n_ahead=1)
    for n, (part, block) in enumerate(zip(parts, blocks, strict=True)):
        yield part, stack.fill(block, part)
        progress((n + 1) / len(parts))


def _read_and_apply(stack: Blocks, kernel: Kernel[Found], part: Part) -> Found:
    """Read a part and work on it, on a worker."""
    return kernel(stack.fill(stack.read(*part), part), part)


@dataclass(frozen=True, slots=True)
class _Remote:
    """A future of Dask whose errors are the package's own."""

    future: Any

    def result(self) -> Any:
        return result_of(self.future)
