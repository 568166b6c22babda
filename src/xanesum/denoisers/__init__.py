"""Image denoisers: one protocol, a registry that imports only what is asked for, and the built-ins."""

from xanesum.denoisers.protocol import Denoiser, Sigma
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
    "Sigma",
    "available_denoisers",
    "exact_form",
    "get_denoiser",
]
