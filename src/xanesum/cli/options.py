"""Options of the command line that a recipe has too: their flags, their form, and the recipe they make."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from xanesum.align.growth import MAGNIFICATIONS
from xanesum.cli.option_values import PARSERS
from xanesum.errors import XanesumError, XanesumWarning
from xanesum.flat_field.correct import DRIFTS
from xanesum.method.options import NOISES
from xanesum.stack import QUANTITIES
from xanesum.streaming.torch_backend import DEVICES
from xanesum.workflow.recipe import DEFAULT_RECIPE, NORMALIZATIONS, Recipe, read_recipe
from xanesum.xanes import ENERGY_KINDS, MAP_KINDS
from xanesum.xanes.particles.states import WEIGHTS

__all__ = [
    "ALIGN",
    "ALIGN_ALONE",
    "COMPUTE",
    "DENOISE",
    "INPUT",
    "MAP",
    "MEMORY",
    "NORMALIZATION",
    "PARTICLES",
    "PARTS",
    "VALUES",
    "OptionTable",
    "add_options",
    "recipe_of",
    "scan_options_in",
    "with_flag",
]

TITLES = {  # of the sections, in the help
    "input": "how the scan is read",
    "align": "motion of the sample",
    "denoise": "denoising",
    "map": "the map",
    "normalization": "lines of the spectra",
    "particles": "particles",
    "compute": "resources",
}
# flag; section and name in the recipe; settings for argparse
OptionTable = tuple[tuple[str, str, dict[str, Any]], ...]
VALUES: OptionTable = (
    (
        "--quantity",
        "input.quantity",
        {
            "choices": QUANTITIES,
            "help": "what the values are (default: what the file says, or their edge shows)",
        },
    ),
    (
        "--flat",
        "input.flat",
        {
            "nargs": "+",
            "action": "extend",
            "metavar": "FILE",
            "help": "images without the sample, one or several; they are averaged",
        },
    ),
    (
        "--dark",
        "input.dark",
        {"nargs": "+", "action": "extend", "metavar": "FILE", "help": "images without light, the same"},
    ),
)
INPUT: OptionTable = (
    (
        "--energies",
        "input.energies",
        {"metavar": "FILE", "help": "text file of photon energies, in eV or keV"},
    ),
    (
        "--i0",
        "input.i0",
        {
            "metavar": "FILE|monitor",
            "help": "energies and incident counts as text, a scan without sample, or the monitor in the file",
        },
    ),
    ("--data", "input.data", {"metavar": "NAME", "help": "dataset to read in an HDF5 file or a Zarr store"}),
    ("--entry", "input.entry", {"metavar": "NAME", "help": "which entry of the file to read"}),
    ("--detector", "input.detector", {"metavar": "NAME", "help": "which detector or channel to read"}),
    ("--region", "input.region", {"metavar": "NAME|N", "help": "which region of the scan to read"}),
    (
        "--index",
        "input.index",
        {"metavar": "N", "help": "index along an axis besides energy, y and x (time, angle), from 0 on"},
    ),
    (
        "--follow-links",
        "input.follow_links",
        {"action": "store_true", "help": "let links of an HDF5 file lead out of its folder"},
    ),
    *VALUES,
)
PARTS: OptionTable = (
    ("--roi", "input.roi", {"metavar": "Y0:Y1,X0:X1", "help": "part of the images to use, in pixels"}),
    (
        "--i0-region",
        "input.i0_region",
        {"metavar": "Y0:Y1,X0:X1", "help": "part of the whole images without sample, for I0"},
    ),
    (
        "--mask",
        "input.mask",
        {"metavar": "FILE", "help": "image (.tif, .npy); its pixels that are not 0 are used"},
    ),
    (
        "--allow-missing",
        "input.allow_missing",
        {"action": "store_true", "help": "leave out values that are NaN and frames that are all zero"},
    ),
)
ALIGN: OptionTable = (
    (
        "--align",
        "align.shifts",
        {
            "metavar": "auto|none|FILE",
            "help": "whether to move frames (auto: where the sample surely moved), or a file of shifts",
        },
    ),
    (
        "--magnification",
        "align.magnification",
        {
            "choices": MAGNIFICATIONS,
            "help": "whether the image grows with energy: fit: linearly; energy: by the law of a zone plate",
        },
    ),
    (
        "--max-shift",
        "align.max_shift_px",
        {
            "metavar": "PX",
            "help": "largest shift that is sought, in pixels (default: a quarter of the field)",
        },
    ),
    (
        "--rotation",
        "align.rotation",
        {"action": "store_true", "help": "look for rotation too, and say how large it is"},
    ),
)
ALIGN_ALONE: OptionTable = (  # where aligning is all that is done
    ("--use", "align.shifts", {"metavar": "FILE", "help": "file of shifts instead of those found"}),
    *ALIGN[1:],
)
DENOISE: OptionTable = (
    (
        "--method",
        "denoise.method",
        {"metavar": "NAME", "help": "sum+ (default), or sum, the method of the paper"},
    ),
    (
        "--denoiser",
        "denoise.denoiser",
        {"metavar": "NAME", "help": "network, wavelet, dncnn, nlm, tv, bm3d, none or a plug-in"},
    ),
    (
        "--rank",
        "denoise.rank",
        {"metavar": "K", "help": "number of components (default: found by the program)"},
    ),
    ("--sigma", "denoise.sigma", {"metavar": "S", "help": "noise level (default: estimated)"}),
    (
        "--noise",
        "denoise.noise",
        {"choices": NOISES, "help": "white: the same everywhere; auto (default): measured"},
    ),
    (
        "--flat-drift",
        "denoise.flat_drift",
        {
            "choices": DRIFTS,
            "help": "whether to remove the drift of the illumination (auto: if there are flat images)",
        },
    ),
    ("--seed", "denoise.seed", {"metavar": "N", "help": "seed of all random numbers (default: 0)"}),
)
MEMORY = (
    "--memory",
    "compute.memory",
    {"metavar": "SIZE", "help": "memory to use, as 2GB (default: most of the free memory)"},
)
COMPUTE: OptionTable = (
    MEMORY,
    (
        "--work",
        "compute.work",
        {"metavar": "FOLDER", "help": "folder for temporary files; a run that was stopped continues from it"},
    ),
    (
        "--scheduler",
        "compute.scheduler",
        {"metavar": "ADDRESS", "help": "Dask scheduler whose workers help to read a large scan"},
    ),
    (
        "--device",
        "compute.device",
        {
            "choices": DEVICES,
            "help": "where sums over the scan are computed (auto: on a GPU if there is one)",
        },
    ),
)
NORMALIZATION: OptionTable = (
    (
        "--normalization",
        "normalization.lines",
        {
            "choices": NORMALIZATIONS,
            "help": "lines of the spectra: auto (default), or larch, as Larch and Athena define them",
        },
    ),
    (
        "--pre1",
        "normalization.pre1_ev",
        {"metavar": "EV", "help": "larch: start of the pre-edge line, eV relative to e0"},
    ),
    ("--pre2", "normalization.pre2_ev", {"metavar": "EV", "help": "larch: end of the pre-edge line"}),
    ("--norm1", "normalization.norm1_ev", {"metavar": "EV", "help": "larch: start of the post-edge line"}),
    ("--norm2", "normalization.norm2_ev", {"metavar": "EV", "help": "larch: end of the post-edge line"}),
    (
        "--nnorm",
        "normalization.nnorm",
        {"metavar": "N", "help": "larch: degree of the post-edge line, 0 to 3"},
    ),
    (
        "--nvict",
        "normalization.nvict",
        {"metavar": "N", "help": "larch: exponent of Victoreen's formula, 0 to 4 (default: 0)"},
    ),
    (
        "--no-flatten",
        "normalization.flatten",
        {"action": "store_false", "help": "larch: leave the slope beyond the edge in the spectra"},
    ),
    (
        "--shared-slope",
        "normalization.shared_slope",
        {
            "action": "store_true",
            "help": "larch: all pixels have the pre-edge slope of the mean spectrum, for low signals",
        },
    ),
)
MAP: OptionTable = (
    ("--map", "map.kind", {"choices": MAP_KINDS, "metavar": "KIND", "help": "kind of map"}),
    ("--e0", "map.e0_ev", {"metavar": "EV", "help": "energy of the edge, eV (default: found)"}),
    (
        "--pre",
        "map.pre_ev",
        {"metavar": "A:B", "help": "energies of the pre-edge line, eV (default: automatic)"},
    ),
    (
        "--post",
        "map.post_ev",
        {"metavar": "A:B", "help": "energies of the post-edge line, eV (default: automatic)"},
    ),
    (
        "--at",
        "map.at_ev",
        {"metavar": "A:B", "help": "two energies, eV, of two_peaks and energy_difference"},
    ),
    ("--band", "map.band_ev", {"metavar": "A:B", "help": "energies of the first band, eV, of band_ratio"}),
    ("--over", "map.over_ev", {"metavar": "A:B", "help": "energies of the band it is divided by, eV"}),
    (
        "--peak",
        "map.peak_ev",
        {"metavar": "A:B", "help": "energies of the pre-edge peak, eV (default: found)"},
    ),
    (
        "--points",
        "map.points",
        {
            "nargs": "+",
            "action": "extend",
            "metavar": "V=EV[+-S]",
            "help": "valences and energies of compounds, with errors, as 2=8340.05+-0.03 3=8341.81+-0.03",
        },
    ),
    (
        "--of",
        "map.of",
        {"choices": ENERGY_KINDS, "metavar": "KIND", "help": "map that a valence follows from"},
    ),
    (
        "--shift",
        "map.shift_ev",
        {"metavar": "EV[+-S]", "help": "shift to add to the energies, with its error, as from a foil"},
    ),
    (
        "--bootstrap",
        "map.bootstrap",
        {"metavar": "N", "help": "also estimate errors of the map from N simulated repetitions (default: 0)"},
    ),
    *NORMALIZATION,
)
PARTICLES: OptionTable = (
    (
        "--labels",
        "particles.labels",
        {
            "metavar": "auto|FILE",
            "help": "image of labels (.tif, .npy, .h5 or .h5:NAME; 0: none), or auto (default): found",
        },
    ),
    (
        "--threshold",
        "particles.threshold",
        {"metavar": "S", "help": "least edge step of a particle (default: found)"},
    ),
    (
        "--split",
        "particles.split_px",
        {"metavar": "PX", "help": "narrowing of a waist at which particles are told apart, px"},
    ),
    (
        "--min-pixels",
        "particles.min_pixels",
        {"metavar": "N", "help": "smaller particles are left out"},
    ),
    (
        "--weights",
        "particles.weights",
        {
            "choices": WEIGHTS,
            "help": "how pixels count in a mean: by their edge step (default), or all alike",
        },
    ),
    ("--shell", "particles.shell_px", {"metavar": "PX", "help": "thickness of the shells of profiles, px"}),
    ("--draws", "particles.draws", {"metavar": "N", "help": "draws of the result for the errors"}),
)


def add_options(parser: argparse.ArgumentParser, options: OptionTable, **others: str) -> None:
    """Add the options of a table to a verb; those that the user leaves out are not in what is parsed.

    The verb also gets `flags`, the flag of each parameter, with the `others` that it has besides the table.
    """
    groups: dict[str, Any] = {}
    for flag, target, settings in options:
        section = target.partition(".")[0]
        if section not in groups:
            groups[section] = parser.add_argument_group(TITLES[section])
        settings = {"type": PARSERS[target], **settings} if target in PARSERS else settings
        groups[section].add_argument(flag, dest=target, default=argparse.SUPPRESS, **settings)
    parser.set_defaults(flags={target.partition(".")[2]: flag for flag, target, _ in options} | others)


def with_flag(note: XanesumError | XanesumWarning, flags: Mapping[str, str]) -> str:
    """Return the message with the flag of its parameter, where the verb has one."""
    flag = flags.get(note.parameter or "")
    return note.message if flag is None else f"{note.message} ({flag})"


def scan_options_in(arguments: argparse.Namespace) -> list[str]:
    """Return the flags that were given and that a saved result, which is denoised already, has no use for."""
    given = [flag for flag, target, _ in (*INPUT, *PARTS, *ALIGN, *DENOISE) if target in vars(arguments)]
    return given + ["--as-is"] * arguments.as_is


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe of the file, if one was named, with the options of the command line on top."""
    path = getattr(arguments, "recipe", None)
    sections: dict[str, dict[str, Any]] = {}
    for target, value in vars(arguments).items():
        section, dot, name = target.partition(".")
        if dot:
            sections.setdefault(section, {})[name] = value
    return (DEFAULT_RECIPE if path is None else read_recipe(path)).updated(sections)
