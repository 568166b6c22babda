"""What a map is made of: a saved result, or a scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import xarray as xr

from xanesum.errors import ReadError, RecipeError
from xanesum.result import Denoised, load_result
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources
from xanesum.workflow.pipeline import correct_scan, denoise_scan, load_scan
from xanesum.workflow.recipe import Recipe

__all__ = ["load_result_or_scan"]


def load_result_or_scan(
    source: str | Path,
    recipe: Recipe,
    *,
    as_is: bool = False,
    options_of_scan: Sequence[str] = (),
    resources: Resources = DEFAULT_RESOURCES,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> Denoised | xr.DataArray:
    """Return a saved result, or read a scan and denoise it.

    Parameters
    ----------
    source : str or Path
        File of a saved result, or a scan of any known format.
    recipe : Recipe
        How a scan is read, prepared and denoised.
    as_is : bool
        Return the scan itself, which is not denoised.
    options_of_scan : sequence of str
        Names of the options that the user gave and that only a scan can follow.
    resources : Resources
        What may be used.
    progress : callable
        Called with a step's name and the share of it that is done.

    Raises
    ------
    ReadError, StackError, EnergyError
        If the scan cannot be read or used.
    RecipeError
        If there are `options_of_scan`, but `source` is a saved result.
    """
    try:
        result = load_result(source)
    except ReadError:
        progress("read", 0.0)
        stack = load_scan(source, recipe.input, resources=resources)[0]
    else:
        if options_of_scan:
            raise RecipeError(
                f"{source}: is a saved result, so {', '.join(options_of_scan)} cannot be followed; "
                "map the scan itself, or leave them out"
            )
        return result
    if as_is:
        return stack
    stack = correct_scan(stack, recipe.denoise, resources=resources, progress=progress)[0]
    return denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)
