"""Image denoisers: a protocol, a registry that imports only the chosen one, and the built-ins."""

from xanesum.denoisers.protocol import Denoiser, Fingerprinted, KnownRounding, RoundingDenoiser, Sigma
from xanesum.denoisers.registry import (
    DEFAULT_DENOISER,
    Availability,
    available_denoisers,
    exact_form,
    get_denoiser,
)

__all__ = [
    "DEFAULT_DENOISER",
    "Availability",
    "Denoiser",
    "Fingerprinted",
    "KnownRounding",
    "RoundingDenoiser",
    "Sigma",
    "available_denoisers",
    "exact_form",
    "get_denoiser",
]
