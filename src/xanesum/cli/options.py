"""Options of the command line that a recipe has too: their names, their form, and the recipe they make."""

from __future__ import annotations

import argparse
from typing import Any

from xanesum.flat_field.correct import DRIFTS
from xanesum.method.denoising import NOISES
from xanesum.streaming.torch_backend import DEVICES
from xanesum.workflow.recipe import DEFAULT_RECIPE, Recipe, read_recipe
from xanesum.xanes import MAP_KINDS

__all__ = [
    "COMPUTE",
    "DENOISE",
    "INPUT",
    "MAP",
    "MEMORY",
    "PARTS",
    "OptionTable",
    "add_options",
    "count",
    "recipe_of",
    "size",
]

# flag, section and name in the recipe, for argparse
OptionTable = tuple[tuple[str, str, dict[str, Any]], ...]
INPUT: OptionTable = (
    ("--energies", "input.energies", {"metavar": "FILE", "help": "text file of photon energies, eV or keV"}),
    ("--i0", "input.i0", {"metavar": "FILE", "help": "text file of energy and incident counts"}),
    ("--data", "input.data", {"metavar": "NAME", "help": "dataset to read in an HDF5 file"}),
)
PARTS: OptionTable = (
    ("--roi", "input.roi", {"metavar": "Y0:Y1,X0:X1", "help": "part of the images, in pixels"}),
    (
        "--mask",
        "input.mask",
        {"metavar": "FILE", "help": "image (.tif, .npy): pixels that are not 0 are used"},
    ),
    (
        "--allow-missing",
        "input.allow_missing",
        {"action": "store_true", "help": "leave out NaN and frames that are zero everywhere"},
    ),
)
DENOISE: OptionTable = (
    ("--method", "denoise.method", {"metavar": "NAME", "help": "sum+ (default) or sum (the paper's)"}),
    (
        "--denoiser",
        "denoise.denoiser",
        {"metavar": "NAME", "help": "network, wavelet, dncnn, nlm, tv, bm3d, none or a plug-in"},
    ),
    ("--rank", "denoise.rank", {"metavar": "K", "type": int, "help": "number of components (automatic)"}),
    ("--sigma", "denoise.sigma", {"metavar": "S", "type": float, "help": "noise level (estimated)"}),
    ("--noise", "denoise.noise", {"choices": NOISES, "help": "white: the same everywhere (auto: measured)"}),
    (
        "--flat-drift",
        "denoise.flat_drift",
        {"choices": DRIFTS, "help": "remove the illumination's drift (auto: where flats are images)"},
    ),
    ("--seed", "denoise.seed", {"metavar": "N", "type": int, "help": "seed of all random numbers (0)"}),
)
MEMORY = (
    "--memory",
    "compute.memory",
    {"metavar": "SIZE", "help": "as 2GB: memory to use (most that is free)"},
)
COMPUTE: OptionTable = (
    MEMORY,
    (
        "--work",
        "compute.work",
        {"metavar": "FOLDER", "help": "for what does not fit in memory; a killed run goes on from it"},
    ),
    (
        "--scheduler",
        "compute.scheduler",
        {"metavar": "ADDRESS", "help": "of a Dask scheduler whose workers read and add up a large scan"},
    ),
    (
        "--device",
        "compute.device",
        {"choices": DEVICES, "help": "that adds up the scan (auto: a GPU, if any)"},
    ),
)
MAP: OptionTable = (
    ("--map", "map.kind", {"choices": MAP_KINDS, "help": "what is mapped"}),
    ("--e0", "map.e0_ev", {"metavar": "EV", "type": float, "help": "energy of the edge (found)"}),
    ("--pre", "map.pre_ev", {"metavar": "A:B", "help": "energies of the pre-edge line, eV (automatic)"}),
    ("--post", "map.post_ev", {"metavar": "A:B", "help": "energies of the post-edge line, eV (automatic)"}),
    (
        "--bootstrap",
        "map.bootstrap",
        {"metavar": "N", "type": int, "help": "errors of the map from N scans drawn again, too (0: none)"},
    ),
)


def range_of(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(":"))
    return low, high


def region(text: str) -> tuple[int, ...]:
    (y0, y1), (x0, x1) = ((int(end) for end in part.split(":")) for part in text.split(","))
    return y0, y1, x0, x1


def size(text: str) -> tuple[int, int]:
    """Return rows and columns of ``YxX``."""
    ny, nx = (int(part) for part in text.lower().split("x"))
    return ny, nx


def count(text: str) -> int:
    """Return a number from 0."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


for _parse, _said in (
    (range_of, "range A:B"),
    (region, "region Y0:Y1,X0:X1"),
    (size, "size YxX"),
    (count, "count"),
):
    _parse.__name__ = _said  # argparse names the type in its message
PARSERS = {"map.pre_ev": range_of, "map.post_ev": range_of, "input.roi": region}


def add_options(parser: argparse.ArgumentParser, options: OptionTable) -> None:
    """Add the options of a table; those that are not given leave no trace in what is parsed."""
    for flag, target, settings in options:
        settings = {"type": PARSERS[target], **settings} if target in PARSERS else settings
        parser.add_argument(flag, dest=target, default=argparse.SUPPRESS, **settings)


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of the file, if one was named, with the options of the command line on top."""
    path = getattr(arguments, "recipe", None)
    sections: dict[str, dict[str, Any]] = {}
    for target, value in vars(arguments).items():
        section, dot, name = target.partition(".")
        if dot:
            sections.setdefault(section, {})[name] = value
    return (DEFAULT_RECIPE if path is None else read_recipe(path)).updated(sections)
