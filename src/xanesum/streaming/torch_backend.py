"""The work on one block of a stack, by PyTorch on a GPU, which holds the whole stack if it fits."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import RecipeError, XanesumWarning
from xanesum.storage.memory import GPU_SHARE
from xanesum.streaming.cpu_backend import SumRequest, Sums, pixels_within
from xanesum.streaming.parts import Part

__all__ = ["DEVICES", "Accelerator", "accelerator_for"]

DEVICES = ("auto", "cpu", "cuda")
N_STAGED = 2  # pinned buffers: one is filled while the other is sent to the device


def accelerator_for(device: str) -> Accelerator | None:
    """Return an accelerator for "cuda", and for "auto" if there is a GPU; None for work on the CPU.

    "auto" means the CPU if PyTorch is not imported yet, because its import takes seconds.  (The network
    imports it.)  A `XanesumWarning` tells that "cuda" was asked for and there is none.

    Raises
    ------
    RecipeError
        If `device` is none of "auto", "cpu" and "cuda".
    """
    if device not in DEVICES:
        raise RecipeError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if device == "cpu" or (device == "auto" and "torch" not in sys.modules):
        return None
    if import_module("torch").cuda.is_available():
        return Accelerator("cuda")
    if device == "cuda":
        warnings.warn(
            "PyTorch finds no CUDA device here, so the CPU does the work", XanesumWarning, stacklevel=3
        )
    return None


class Accelerator:
    """Blocks of one stack on a device, and the work on them; see `executors.Backend`.

    Parameters
    ----------
    device : str
        "cuda"; or "cpu", where the same functions run, for tests.
    """

    def __init__(self, device: str) -> None:
        self._torch: Any = import_module("torch")
        self._device = device
        self._held: dict[object, Any] = {}
        self._free = 0.0
        if device == "cuda":
            self._free = GPU_SHARE * self._torch.cuda.mem_get_info()[0]
        self._staged: list[Any] = []  # pinned buffers and the events after which they are free
        self._n_uploaded = 0

    def held(self, key: object) -> Any:
        """Return the block of that key if the device holds it, else None."""
        return self._held.get(key)

    def upload(self, key: object, block: NDArray[np.float32]) -> Any:
        """Return a block on the device; it is held there under its key if there is room."""
        host = self._torch.from_numpy(block)
        if self._device == "cpu":
            return host
        on_device = self._through_pinned(host)
        if block.nbytes < self._free:
            self._free -= block.nbytes
            self._held[key] = on_device
        return on_device

    def _through_pinned(self, host: Any) -> Any:
        """Return a tensor on the device; it is sent from pinned memory, while the CPU goes on."""
        torch = self._torch
        n = self._n_uploaded % N_STAGED
        self._n_uploaded += 1
        if n == len(self._staged):
            self._staged.append([torch.empty(0, pin_memory=True), torch.cuda.Event()])
        buffer, sent = self._staged[n]
        sent.synchronize()  # waits until the buffer was sent
        if buffer.numel() < host.numel():
            self._staged[n][0] = buffer = torch.empty(host.numel(), pin_memory=True)
        flat = buffer[: host.numel()].view(host.shape)
        flat.copy_(host)
        on_device = flat.to(self._device, non_blocking=True)
        sent.record()
        return on_device

    def sum_block(self, request: SumRequest, block: Any, part: Part) -> Sums:
        """Return the sums over the values of a part, as `cpu_backend.sum_block` does."""
        weights, scale, pixels = request.weights, request.scale, request.pixels
        torch = self._torch
        n_energies, n_rows, n_x = block.shape
        rescaled = block if weights is None else block * self._sent(weights[part.rows])
        squares = (rescaled * rescaled).sum(dim=2).double().sum(dim=1).cpu().numpy()
        if scale:
            short_y, short_x = -n_rows % scale, -n_x % scale
            padded = torch.nn.functional.pad(rescaled, (0, short_x, 0, short_y))
            split = padded.view(n_energies, (n_rows + short_y) // scale, scale, -1, scale)
            sums = split.sum(dim=(2, 4)).cpu().numpy()
        else:
            sums = np.empty((n_energies, 0, 0), np.float32)
        along_x, along_y = (np.zeros((n_energies, n), np.uint32) for n in (n_rows, n_x))
        if pixels is None:
            return Sums(sums, squares, along_x, along_y, np.empty((n_energies, 0), np.float32), 0, 0)
        bits = block.view(torch.int32)
        along_x, along_y = (
            (bits.sum(dim=axis, dtype=torch.int64) & 0xFFFFFFFF).cpu().numpy().astype(np.uint32)
            for axis in (2, 1)
        )
        n_missing = n_bad = 0
        if not np.isfinite(squares).all():
            missing = ~torch.isfinite(block)
            n_missing = int(missing.sum())
            n_bad = int((missing & self._sent(request.mask[part.rows])).sum())
        within = pixels[pixels_within(pixels, part.rows, n_x)]
        wanted = self._sent(within.astype(np.int64) - part.rows.start * n_x)
        sample = block.reshape(n_energies, -1)[:, wanted].cpu().numpy()
        return Sums(sums, squares, along_x, along_y, sample, n_missing, n_bad)

    def images(self, n_images: int, shape: tuple[int, ...]) -> Any:
        """Return images (K, Y, X) of zeros on the device, for `project_block`."""
        return self._torch.zeros((n_images, *shape), dtype=self._torch.float32, device=self._device)

    def project_block(self, spectra: NDArray[np.float32], images: Any, block: Any, part: Part) -> None:
        """Add the contribution of a part to the images (K, Y, X) of `spectra` (K, E)."""
        chosen = self._sent(np.ascontiguousarray(spectra[:, part.energies]))
        found = self._torch.matmul(chosen, block.reshape(len(block), -1))
        images[:, part.rows] += found.view(len(spectra), *block.shape[1:])

    def fetched(self, images: Any) -> NDArray[np.float32]:
        """Return images of the device as an array (K, Y, X)."""
        return np.asarray(images.cpu().numpy(), np.float32)

    def _sent(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
