"""Denoise TXM-XANES scans in a spectral subspace and map their chemistry.

The names below are loaded when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from xanesum.align import Shifts, align, estimate_shifts, read_shifts
    from xanesum.errors import XanesumError, XanesumWarning
    from xanesum.io import read_stack, write_stack
    from xanesum.method.denoising import denoise
    from xanesum.phantom import simulate
    from xanesum.phantom.example import example_scan
    from xanesum.result import Denoised, load_result
    from xanesum.stack import make_stack
    from xanesum.viewer import view, write_explorer
    from xanesum.viewer.napari_layers import to_napari
    from xanesum.workflow.pipeline import run
    from xanesum.workflow.recipe import Recipe
    from xanesum.xanes import chemical_map, half_step_energy, white_line

_HOME = {
    "Denoised": "result",
    "Recipe": "workflow.recipe",
    "Shifts": "align",
    "XanesumError": "errors",
    "XanesumWarning": "errors",
    "align": "align",
    "chemical_map": "xanes",
    "denoise": "method.denoising",
    "estimate_shifts": "align",
    "example_scan": "phantom.example",
    "half_step_energy": "xanes",
    "load_result": "result",
    "make_stack": "stack",
    "read_shifts": "align",
    "read_stack": "io",
    "run": "workflow.pipeline",
    "simulate": "phantom",
    "to_napari": "viewer.napari_layers",
    "view": "viewer",
    "white_line": "xanes",
    "write_explorer": "viewer",
    "write_stack": "io",
}

__all__ = [
    "Denoised",
    "Recipe",
    "Shifts",
    "XanesumError",
    "XanesumWarning",
    "__version__",
    "align",
    "chemical_map",
    "denoise",
    "estimate_shifts",
    "example_scan",
    "half_step_energy",
    "load_result",
    "make_stack",
    "read_shifts",
    "read_stack",
    "run",
    "simulate",
    "to_napari",
    "view",
    "white_line",
    "write_explorer",
    "write_stack",
]


class _Package(ModuleType):
    """The package; a room that has the name of a function does not hide it (`align`)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xanesum' has no attribute {name!r}")
    value = getattr(import_module(f"xanesum.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
