"""Image denoisers: one protocol, a registry that imports only what is asked for, and the built-ins."""

from xanesum.denoisers.protocol import Denoiser, Sigma
from xanesum.denoisers.registry import Availability, available_denoisers, get_denoiser

__all__ = ["Availability", "Denoiser", "Sigma", "available_denoisers", "get_denoiser"]
