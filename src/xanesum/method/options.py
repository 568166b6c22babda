"""The options of a method: their names, their defaults, and the combinations that are refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from xanesum.errors import RecipeError, SigmaError

__all__ = ["DEFAULT_METHOD", "DEFAULT_NOISE", "DEFAULT_PROBES", "METHODS", "NOISES", "STAGES", "Options"]

METHODS = ("sum+", "sum")
DEFAULT_METHOD = "sum+"
NOISES = ("auto", "white")
DEFAULT_NOISE = "auto"
DEFAULT_PROBES = 4  # calls of the denoiser for the risk of an image, at most
STAGES = ("averaging", "evidence", "weights", "refit", "smoothing", "shrinkage", "mirrors")


@dataclass(frozen=True, slots=True)
class Options:
    """What a user can choose about a method.  See `xanesum.denoise` for each of them."""

    method: str = DEFAULT_METHOD
    rank: int | None = None  # None: chosen from the data
    sigma: float | None = None  # unit of the stack; None: estimated
    noise: str = DEFAULT_NOISE
    n_probes: int = DEFAULT_PROBES
    without: Collection[str] = ()  # names of STAGES

    def __post_init__(self) -> None:
        """Raise RecipeError or SigmaError for a value or a combination that makes no sense."""
        if self.noise not in NOISES:
            raise RecipeError(f"noise must be one of {', '.join(NOISES)}, got {self.noise!r}")
        if self.method not in METHODS:
            raise RecipeError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if self.n_probes < 1:
            raise RecipeError(f"n_probes must be at least 1, got {self.n_probes}")
        if isinstance(self.without, str) or not set(self.without) <= set(STAGES):
            raise RecipeError(
                f"without must be a list of stages, of {', '.join(STAGES)}; got {self.without!r}"
            )
        if self.without and self.method == "sum":
            raise RecipeError("method 'sum' has no stage to leave out; without belongs to 'sum+'")
        if self.sigma is not None and not (np.isfinite(self.sigma) and self.sigma > 0):
            raise SigmaError(f"sigma must be a positive number, got {self.sigma}")
        if self.sigma is not None:
            object.__setattr__(self, "sigma", float(self.sigma))  # it may have come as an array without axes

    @property
    def noise_is_measured(self) -> bool:
        """Whether the noise may differ over pixels and energies, and is measured."""
        return self.method == "sum+" and self.noise == "auto" and self.sigma is None
