"""Every exception and warning the package raises on purpose.

XanesumError
├── StackError          the data or its axes are not what the step needs     (also a ValueError)
│   └── EnergyError     the photon energies are missing, wrong or too few    (also a ValueError)
├── ReadError           a file cannot be read as a scan                      (also an OSError)
├── WriteError          a result cannot be written                           (also an OSError)
├── RankError           the requested number of components is impossible     (also a ValueError)
├── SigmaError          a noise level is impossible or cannot be estimated   (also a ValueError)
├── DenoiserError       a denoiser is unknown, or was asked for too much     (also a ValueError)
├── EdgeError           no absorption edge where one was asked for           (also a ValueError)
├── RecipeError         a recipe or option has a wrong name, type or value   (also a ValueError)
└── MissingExtraError   an optional package is not installed                 (also an ImportError)

XanesumWarning          something in the input was mended; the message says what (a UserWarning)
"""

__all__ = [
    "DenoiserError",
    "EdgeError",
    "EnergyError",
    "MissingExtraError",
    "RankError",
    "ReadError",
    "RecipeError",
    "SigmaError",
    "StackError",
    "WriteError",
    "XanesumError",
    "XanesumWarning",
]


class _Advice(Exception):
    """A message that may name the parameter to give or to change.

    Python shows it as ``message (parameter=)``.  The command line shows its own flag instead.
    """

    parameter: str | None = None

    def __init__(self, message: str = "", *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.parameter = parameter

    def __str__(self) -> str:
        return self.message if self.parameter is None else f"{self.message} ({self.parameter}=)"


class XanesumError(_Advice):
    """Base class; catch it to catch everything the package raises on purpose."""


class StackError(XanesumError, ValueError):
    """The data or its axes are not what the step needs."""


class EnergyError(StackError):
    """The photon energies are missing, wrong or too few."""


class ReadError(XanesumError, OSError):
    """A file cannot be read as a scan."""


class WriteError(XanesumError, OSError):
    """A result cannot be written."""


class RankError(XanesumError, ValueError):
    """The requested number of components is impossible for this stack."""


class SigmaError(XanesumError, ValueError):
    """A noise level is impossible, or cannot be estimated from this stack."""


class DenoiserError(XanesumError, ValueError):
    """A denoiser is unknown, or was asked for something it cannot do."""


class EdgeError(XanesumError, ValueError):
    """There is no absorption edge where one was asked for."""


class RecipeError(XanesumError, ValueError):
    """A recipe or an option has a wrong name, type or value."""


class MissingExtraError(XanesumError, ImportError):
    """An optional package is not installed."""


class XanesumWarning(_Advice, UserWarning):
    """Something in the input was mended; the message says what."""
