"""Networks for coefficient images.

This module and `_networks` import PyTorch when they are imported.  `streaming.torch_backend` imports it too,
but only when it is called; no other module does.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_weights
from torch import nn

from xanesum.denoisers._networks import ARCHITECTURES
from xanesum.denoisers.base import Image, ImageDenoiser
from xanesum.errors import DenoiserError

__all__ = ["DnCNNDenoiser", "NetworkDenoiser"]

PRECISIONS = ("float32", "bfloat16", "auto")
ROUNDING = 0.0035  # rms error of bfloat16 at contrast 1, in units of the noise; measured
ROUNDING_GROWTH = 1 / 10  # power of the contrast with which it grows
_FOLDER = Path(__file__).parent / "weights"
_TILE_PX = 1280  # longer sides are cut into tiles, so that about 1 GB of memory is enough
_OVERLAP_PX = 128  # of neighbouring tiles
_LARGEST_FILE = 50_000_000  # bytes; ten times the largest weights of the package
_LARGEST_SETTING = 512  # channels or layers
_MOST_SETTINGS = 16  # numbers in the model card
_GPU_LOCK = threading.Lock()  # PyTorch has one precision of convolutions for the whole program


class NetworkDenoiser(ImageDenoiser):
    """Convolutional network trained on synthetic scenes of contrast 0.002 to 100 in units of the noise.

    Sigma is all that it needs: the image is divided by it, and mean and standard deviation are taken from the
    image.  A map of sigma divides the image too, so that structures are seen in units of the local noise.

    Parameters
    ----------
    weights : str or Path
        Name of weights that come with the package; or a ``.safetensors`` file, whose model card is a
        ``.json`` file of the same name in the same folder.
    device : {"auto", "cpu", "cuda"}
        Where the network runs; "auto" takes a GPU where PyTorch finds one.
    precision : {"float32", "bfloat16", "auto"}
        Precision of the convolutions.  "auto" takes bfloat16 where the processor has it.  That takes half the
        time, and its rounding error is about a hundredth of the noise at any contrast.

    Raises
    ------
    DenoiserError
        If an option is unknown, or the weights are missing, damaged, or of another network.
    """

    name: ClassVar[str] = "network"
    takes_sigma_map: ClassVar[bool] = True
    architecture: ClassVar[str] = "unet"

    def __init__(
        self, weights: str | Path = "unet", *, device: str = "auto", precision: str = "auto"
    ) -> None:
        if precision not in PRECISIONS:
            raise DenoiserError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        self._device = _find_device(device)
        self._half = precision == "bfloat16" or (precision == "auto" and _has_bfloat16(self._device))
        path = _find_weights(weights)
        self._network, checksum, architecture = _load_network(path, self._device)
        if architecture != self.architecture:
            raise DenoiserError(
                f"{path}: weights of {architecture!r}; denoiser {self.name!r} needs {self.architecture!r}"
            )
        self._made_of = f"{path.stem}, SHA-256 {checksum}"

    @property
    def fingerprint(self) -> str:
        """Weights, their checksum, precision and device: what is needed to repeat a result."""
        return f"{self._made_of}, {'bfloat16' if self._half else 'float32'}, {self._device}"

    @property
    def device(self) -> str:  # type: ignore[override]
        """Where it runs: "cpu" or "cuda"."""
        return self._device

    @property
    def exact(self) -> Self:
        """The same network in float32."""
        if not self._half:
            return self
        twin = copy.copy(self)
        twin._half = False
        return twin

    def rounding(self, images: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
        """Return the rms error of bfloat16 in units of sigma, shape (K,), for images (K, Y, X)."""
        if not self._half:
            return np.zeros(len(images))
        deviation = images.std(axis=(1, 2), dtype=np.float64) / sigma
        return np.asarray(ROUNDING * deviation**ROUNDING_GROWTH)

    def _denoise_image(self, image: Image, sigma: float | Image) -> Image:
        noisy = np.asarray(image / sigma, np.float32)
        mean = float(noisy.mean(dtype=np.float64))
        deviation = float(noisy.std(dtype=np.float64))
        denoised = np.zeros_like(noisy)
        for tile, share in _tiles(noisy.shape):
            denoised[tile] += share * self._apply(noisy[tile], mean, deviation)
        return np.asarray(denoised * sigma, np.float32)

    def _apply(self, noisy: Image, mean: float, deviation: float) -> Image:
        """Run the network on one tile (Y, X), extended by mirroring to a size that the network takes."""
        multiple = self._network.multiple_px
        padding = [(0, -size % multiple) for size in noisy.shape]
        padded = torch.from_numpy(np.pad(noisy, padding, mode="symmetric")).to(self._device)
        statistics = (torch.full((1, 1, 1, 1), value, device=self._device) for value in (mean, deviation))
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=self._half),
            _full_float32(self._device),
        ):
            result = self._network(padded[None, None], *statistics)
        inside: Image = result[0, 0, : noisy.shape[0], : noisy.shape[1]].float().cpu().numpy()
        return inside


class DnCNNDenoiser(NetworkDenoiser):
    """A plain chain of 17 convolutions, as in the original paper; the other network is better and faster.

    Parameters
    ----------
    weights, device, precision
        As for `NetworkDenoiser`.
    """

    name: ClassVar[str] = "dncnn"
    architecture: ClassVar[str] = "dncnn"

    def __init__(
        self, weights: str | Path = "dncnn", *, device: str = "auto", precision: str = "auto"
    ) -> None:
        super().__init__(weights, device=device, precision=precision)


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], NDArray[np.float32]]]:
    """Yield overlapping tiles that cover an image, with weights that add up to 1 in every pixel."""
    rows, columns = (_spans(size) for size in shape)
    for row, row_share in rows:
        for column, column_share in columns:
            yield (row, column), row_share[:, None] * column_share


def _spans(size: int) -> list[tuple[slice, NDArray[np.float32]]]:
    """Return spans of at most _TILE_PX that cover an axis, with weights: linear ramps where two overlap."""
    step = _TILE_PX - _OVERLAP_PX
    starts = range(0, max(1, size - _OVERLAP_PX), step) if size > _TILE_PX else range(1)
    ramp = ((np.arange(_OVERLAP_PX) + 0.5) / _OVERLAP_PX).astype(np.float32)
    spans = []
    for start in starts:
        stop = min(start + _TILE_PX, size)
        share = np.ones(stop - start, np.float32)
        if start:
            share[:_OVERLAP_PX] = ramp
        if stop < size:
            share[-_OVERLAP_PX:] = ramp[::-1]
        spans.append((slice(start, stop), share))
    return spans


@contextmanager
def _full_float32(device: str) -> Iterator[None]:
    """Make a GPU keep all bits of float32 in convolutions, and add in a fixed order."""
    if device == "cpu":
        yield
        return
    cudnn = torch.backends.cudnn
    with _GPU_LOCK:
        before = cudnn.conv.fp32_precision, cudnn.deterministic  # type: ignore[attr-defined]
        cudnn.conv.fp32_precision, cudnn.deterministic = "ieee", True  # type: ignore[attr-defined]
        try:
            yield
        finally:
            cudnn.conv.fp32_precision, cudnn.deterministic = before  # type: ignore[attr-defined]


def _find_weights(weights: str | Path) -> Path:
    """Return the file of weights, which are given by a name or as a file."""
    if str(weights) in ARCHITECTURES:
        return _FOLDER / f"{weights}.safetensors"
    path = Path(weights)
    if path.suffix != ".safetensors":
        known = ", ".join(ARCHITECTURES)
        raise DenoiserError(f"weights must be one of {known}, or a .safetensors file, got {str(weights)!r}")
    return path


def _find_device(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise DenoiserError(f"device must be auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise DenoiserError("PyTorch finds no CUDA device here; use device='auto' or 'cpu'")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _has_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@lru_cache(maxsize=4)
def _load_network(path: Path, device: str) -> tuple[Any, str, str]:
    """Return the network of a file, its checksum, and its architecture.

    The checksum has to be that of the model card.
    """
    data, card = _read(path), _read_card(path.with_suffix(".json"))
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise DenoiserError(f"{path}: weights are damaged (wrong checksum); install xanesum again")
    architecture = card["options"]["architecture"]
    try:
        network: nn.Module = ARCHITECTURES[architecture](**card.get("layers", {}))
        network.load_state_dict({name: value.float() for name, value in load_weights(data).items()})
    except Exception as error:  # safetensors has its own exceptions, and PyTorch a RuntimeError of many lines
        raise DenoiserError(f"{path}: holds no weights of this network; install xanesum again") from error
    network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, card["sha256"], architecture


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise DenoiserError(f"{path}: too large for weights of this network")
        return path.read_bytes()
    except OSError as error:
        raise DenoiserError(
            f"{path}: weights cannot be read ({error.strerror}); install xanesum again"
        ) from error


def _read_card(path: Path) -> dict[str, Any]:
    content = _read(path)
    try:
        card = json.loads(content)
        known = card["options"]["architecture"] in ARCHITECTURES and isinstance(card["sha256"], str)
        if known and _are_layers(card.get("layers", {})):
            return dict(card)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise DenoiserError(f"{path}: is no model card; install xanesum again")


def _are_layers(layers: Any) -> bool:
    """Return whether the layers of a model card are few and small enough to be built."""
    values = [
        number for value in layers.values() for number in (value if isinstance(value, list) else [value])
    ]
    return len(values) <= _MOST_SETTINGS and all(
        isinstance(value, int) and 0 < value <= _LARGEST_SETTING for value in values
    )
