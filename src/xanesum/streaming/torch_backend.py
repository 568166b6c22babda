"""The work of passes over a stack on a GPU, which holds the stack where it fits, by PyTorch."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import RecipeError, XanesumWarning
from xanesum.streaming.cpu_backend import Part, Sums

__all__ = ["DEVICES", "Accelerator", "accelerator_for"]

DEVICES = ("auto", "cpu", "cuda")
HELD_SHARE = 0.6  # of the free memory of a GPU, up to which it holds the stack between passes
N_STAGED = 2  # pinned buffers: one is filled while the other is on its way


def accelerator_for(device: str) -> Accelerator | None:
    """Return an accelerator for "cuda", or for "auto" where there is a GPU; None for work on the CPU.

    "auto" does not ask PyTorch where nothing else has imported it, as the network does: that takes seconds.
    Where "cuda" is asked for and there is none, a `XanesumWarning` says so.

    Raises
    ------
    RecipeError
        If there is no such kind of device.
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
    """Blocks of one stack on a device, and what passes do with them.

    Parameters
    ----------
    device : str
        "cuda", or "cpu", on which the same functions run.
    """

    def __init__(self, device: str) -> None:
        self._torch: Any = import_module("torch")
        self._device = device
        self._held: dict[object, Any] = {}
        self._free = 0.0
        if device == "cuda":
            self._free = HELD_SHARE * self._torch.cuda.mem_get_info()[0]
        self._staged: list[Any] = []  # pinned buffers and the events after which they are free
        self._n_uploaded = 0

    def held(self, key: object) -> Any:
        """Return the block of that key if the device has it, else None."""
        return self._held.get(key)

    def upload(self, key: object, block: NDArray[np.float32]) -> Any:
        """Bring a block to the device, and keep it there while there is room."""
        host = self._torch.from_numpy(block)
        if self._device == "cpu":
            return host
        on_device = self._through_pinned(host)
        if block.nbytes < self._free:
            self._free -= block.nbytes
            self._held[key] = on_device
        return on_device

    def _through_pinned(self, host: Any) -> Any:
        torch = self._torch
        n = self._n_uploaded % N_STAGED
        self._n_uploaded += 1
        if n == len(self._staged):
            self._staged.append([torch.empty(0, pin_memory=True), torch.cuda.Event()])
        buffer, sent = self._staged[n]
        sent.synchronize()  # of the upload before the last
        if buffer.numel() < host.numel():
            self._staged[n][0] = buffer = torch.empty(host.numel(), pin_memory=True)
        flat = buffer[: host.numel()].view(host.shape)
        flat.copy_(host)
        on_device = flat.to(self._device, non_blocking=True)
        sent.record()
        return on_device

    def sum_block(
        self,
        weights: NDArray[np.float32] | None,
        mask: NDArray[np.bool_],
        pixels: NDArray[np.intp] | None,
        scale: int,
        block: Any,
        part: Part,
    ) -> Sums:
        """Sum up a part as `xanesum.streaming.blocked_stack` does on the CPU."""
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
            n_bad = int((missing & self._sent(mask[part.rows])).sum())
        first, last = np.searchsorted(pixels, [part.rows.start * n_x, part.rows.stop * n_x])
        wanted = self._sent(pixels[first:last].astype(np.int64) - part.rows.start * n_x)
        sample = block.reshape(n_energies, -1)[:, wanted].cpu().numpy()
        return Sums(sums, squares, along_x, along_y, sample, n_missing, n_bad)

    def images(self, n_images: int, shape: tuple[int, ...]) -> Any:
        """Return images of zeros on the device, for `project_block`."""
        return self._torch.zeros((n_images, *shape), dtype=self._torch.float32, device=self._device)

    def project_block(self, spectra: NDArray[np.float32], images: Any, block: Any, part: Part) -> None:
        """Add to `images` (K, Y, X) what a part has of `spectra` (K, E)."""
        chosen = self._sent(np.ascontiguousarray(spectra[:, part.energies]))
        found = self._torch.matmul(chosen, block.reshape(len(block), -1))
        images[:, part.rows] += found.view(len(spectra), *block.shape[1:])

    def fetched(self, images: Any) -> NDArray[np.float32]:
        """Return images that are on the device."""
        return np.asarray(images.cpu().numpy(), np.float32)

    def _sent(self, array: NDArray[Any]) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
