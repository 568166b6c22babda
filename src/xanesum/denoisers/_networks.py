"""The layers of the image networks."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

__all__ = ["ARCHITECTURES", "DnCNN", "UNet"]


class _Residual(nn.Module):
    """Two convolutions without bias, whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(functional.relu_(self.first(x)))
        return added.add_(x)


class UNet(nn.Module):
    """Encoder and decoder over four scales, for unit noise and any contrast.

    The network gets the image in two forms.  One is the image divided by its own standard deviation, whose
    logarithm is one more channel; it shows the structures.  The other is details (image minus blurred image)
    in units of the noise at every scale; it shows the noise, also where the contrast is a hundred times
    larger.  The network estimates the noise, so returning an image unchanged is easy.

    Parameters
    ----------
    widths : tuple of int
        Channels at 1/2, 1/4, ... of the resolution.
    blocks : int
        Residual blocks at each scale, on the way down and again on the way up.
    """

    multiple_px: ClassVar[int] = 16  # sides of an image must be multiples of this
    layers: dict[str, object]  # options of the network, for its model card

    def __init__(self, widths: tuple[int, ...] = (48, 64, 128, 128), blocks: int = 2) -> None:
        super().__init__()
        self.layers = {"widths": list(widths), "blocks": blocks}
        pairs = list(pairwise(widths))

        def chain(width: int) -> nn.Sequential:
            return nn.Sequential(*(_Residual(width) for _ in range(blocks)))

        self.head = nn.Conv2d(10, widths[0], 3, padding=1, bias=False)
        self.encode = nn.ModuleList(chain(width) for width in widths[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, 2, bias=False) for a, b in pairs)
        self.detail = nn.ModuleList(nn.Conv2d(1, b, 3, padding=1, bias=False) for _, b in pairs)
        self.middle = chain(widths[-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2, bias=False) for a, b in reversed(pairs))
        self.decode = nn.ModuleList(chain(width) for width in reversed(widths[:-1]))
        self.tail = nn.Conv2d(widths[0], 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the clean images (B, 1, Y, X); `mean`, `deviation` (B, 1, 1, 1) are of the noisy ones."""
        scale = deviation.clamp_min(1.0)
        centred = functional.pixel_unshuffle((x - mean) / scale, 2)
        details = _details(x, len(self.down) + 2)
        contrast = torch.log(scale).expand(-1, 1, *centred.shape[2:])
        fine = functional.pixel_unshuffle(details[0], 2)
        z = self.head(torch.cat([centred, fine, details[1], contrast], 1))
        skips = []
        for encode, down, detail, band in zip(self.encode, self.down, self.detail, details[2:], strict=True):
            skips.append(encode(z))
            z = down(skips[-1]) + detail(band)
        z = self.middle(z)
        for up, decode in zip(self.up, self.decode, strict=True):
            z = decode(up(z) + skips.pop())
        return x - functional.pixel_shuffle(self.tail(z).float(), 2)


class DnCNN(nn.Module):
    """Plain chain of convolutions that estimates the noise, as in [1]_, without batch normalization.

    Its input is that of the other network at full resolution: the image divided by its standard deviation,
    its details in compressed units of the noise, and the logarithm of that deviation.

    References
    ----------
    .. [1] K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian denoiser", IEEE Trans. Image
       Process. 26 (2017) 3142-3155.
    """

    multiple_px: ClassVar[int] = 1
    layers: dict[str, object]

    def __init__(self, layers: int = 17, channels: int = 64) -> None:
        super().__init__()
        self.layers = {"layers": layers, "channels": channels}
        inner = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(layers - 2)]
        self.head = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(*(step for conv in inner for step in (conv, nn.ReLU())))
        self.tail = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        for conv in (
            self.head,
            *inner,
        ):  # by PyTorch's own start, signals would fade to a millionth over so many layers
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the clean images (B, 1, Y, X); `mean`, `deviation` (B, 1, 1, 1) are of the noisy ones."""
        scale = deviation.clamp_min(1.0)
        contrast = torch.log(scale).expand_as(x)
        seen = torch.cat([(x - mean) / scale, _details(x, 1)[0], contrast], 1)
        z = functional.relu(self.head(seen))
        noise: Tensor = self.tail(self.body(z))
        return x - noise.float()


ARCHITECTURES: dict[str, type[UNet] | type[DnCNN]] = {"unet": UNet, "dncnn": DnCNN}


def _details(x: Tensor, count: int) -> list[Tensor]:
    """Return image minus blurred image at full, half, quarter ... resolution, in compressed noise units."""
    found = []
    with torch.autocast(x.device.type, enabled=False):
        for level in range(count):
            found.append(torch.asinh((x - _blur(x)) * 2.0**level))
            if level < count - 1:
                x = functional.avg_pool2d(x, 2)
    return found


def _blur(x: Tensor) -> Tensor:
    """Return a binomial blur over 5 x 5 pixels; border pixels are repeated outwards."""
    row = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    padded = functional.pad(x, (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, row.view(1, 1, 1, 5)), row.view(1, 1, 5, 1))
