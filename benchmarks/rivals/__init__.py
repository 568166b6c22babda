"""The methods that results are compared with, each from its publication.

`RIVALS` lists them by name.  All take and return a stack (E, Y, X) of float32 on a scale on which 255 is full
signal, with the standard deviation of its white noise; `Rival` gives the details.
"""

from rivals.registry import RIVALS
from rivals.rival import Rival, UnavailableError

__all__ = ["RIVALS", "Rival", "UnavailableError"]
