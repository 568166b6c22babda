"""The verbs of the command line and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from xanesum.cli import (
    verbs,
    verbs_composition,
    verbs_example,
    verbs_particles,
    verbs_references,
    verbs_view,
)
from xanesum.cli.completion import SHELLS, complete
from xanesum.cli.default_names import ENDINGS
from xanesum.cli.examples import epilog_of
from xanesum.cli.option_values import count, number, size
from xanesum.cli.options import (
    ALIGN,
    ALIGN_ALONE,
    COMPUTE,
    DENOISE,
    INPUT,
    MAP,
    MEMORY,
    NORMALIZATION,
    PARTICLES,
    PARTS,
    VALUES,
    OptionTable,
    add_options,
)
from xanesum.io.spectrum import KINDS as CHANNELS
from xanesum.io.writers import FORMAT_NAMES, STACK_SUFFIXES
from xanesum.phantom import ALL_KINDS
from xanesum.phantom.demo import DEMO_SEED
from xanesum.workflow.live import EVERY
from xanesum.xanes import MAP_KINDS

__all__ = ["build_parser"]

SIMULATED_ENERGIES = 117  # energies of a simulated scan, unless --n-energies is given
SIMULATED_SIGMA = 60.0  # its noise level, unless --sigma is given; the clean stack reaches 255
FIGURES_HELP = "also write figures for a paper: SVG and PNG, 85 and 170 mm wide"
OF_WHOLE_SCANS = {"--energies", "--i0", "--data", *(option[0] for option in COMPUTE)}  # not for `watch`

Verb = Callable[[argparse.Namespace], None]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has `verb`, the function to call, and `flags`, see `add_options`."""
    parser = argparse.ArgumentParser(
        prog="xanesum",
        description="Denoise TXM-XANES scans and map their chemistry; there is nothing to tune.",
        epilog=epilog_of(),
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"xanesum {version('xanesum')}")
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    _add_judging(group)
    _add_convert(group)
    _add_working(group)
    _add_composition(group)
    _add_measuring(group)
    _add_watch(group)
    _add_view(group)
    _add_references(group)
    _add_simulate(group)
    text = "write the small scan that comes with the package, to try things out"
    _add_output(_add_verb(group, "example", verbs_example.example, text), "FILE (.h5)", "example.h5")
    demo = _add_verb(group, "demo", verbs.demo, "simulate a scan and run everything on it")
    _add_output(demo, "FOLDER", "demo")
    demo.add_argument(
        "--seed",
        type=count,
        default=DEMO_SEED,
        metavar="N",
        help="seed of scene and noise (default: %(default)s)",
    )
    _add_completion(group)
    return parser


class _Help(argparse.HelpFormatter):
    """Help whose examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return super()._fill_text(text, width, indent)


def _add_judging(group: Any) -> None:
    """Add the verbs that only look at a scan."""
    info = _add_verb(group, "info", verbs.info, "show what a file holds")
    _add_scan(info, INPUT)
    check = _add_verb(group, "check", verbs.check, "judge a scan before it is denoised")
    edge = tuple(option for option in MAP if option[0] == "--e0")
    _add_scan(check, (*INPUT, *PARTS, *edge, MEMORY))
    plan = _add_verb(group, "plan", verbs.plan, "predict time, memory and disk space of a run")
    _add_scan(plan, (*INPUT, *PARTS, *ALIGN, *DENOISE, *COMPUTE))


def _add_convert(group: Any) -> None:
    """Add the verb that writes a scan in another format."""
    text = "write a scan in the format of another program"
    parser = _add_verb(group, "convert", verbs.convert, text)
    parts = tuple(option for option in PARTS if option[0] != "--allow-missing")
    _add_scan(parser, (*INPUT, *parts), format="--to", overwrite="--overwrite")
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        nargs="?",
        help=f"file to write ({', '.join(STACK_SUFFIXES)}), or folder (default: by the scan and --to)",
    )
    parser.add_argument(
        "--to",
        dest="format",
        choices=FORMAT_NAMES,
        help="format (default: that of the suffix); pyxas and txm-wizard are only written if named",
    )
    parser.add_argument(
        "--overwrite", "--force", action="store_true", help="replace the file if it is there already"
    )


def _add_working(group: Any) -> None:
    """Add the verbs that denoise a scan."""
    to_denoise = (*INPUT, *PARTS, *ALIGN, *DENOISE, *COMPUTE)
    align = _add_verb(group, "align", verbs.align, "write the scan with its frames moved back")
    _add_scan(align, (*INPUT, *PARTS, *ALIGN_ALONE, MEMORY))
    _add_output(align, "FILE (.h5, .tif, .zarr, .hspy)", "SCAN_aligned.h5")
    align.add_argument("--shifts", dest="table", metavar="FILE", help="table of shifts to write (.csv)")
    denoise = _add_verb(group, "denoise", verbs.denoise, "write the clean stack")
    _add_scan(denoise, to_denoise)
    _add_output(denoise, "FILE (.h5, .tif, .zarr, .hspy)", "SCAN_clean.h5")
    text = "write the chemical map of a scan, which is denoised first, or of a saved result (result.sum.h5)"
    mapping = _add_verb(group, "map", verbs.map_, text)
    _add_scan(mapping, (*to_denoise, *MAP))
    text = f"the same as --map: {', '.join(MAP_KINDS)}"
    mapping.add_argument(
        "--kind", dest="map.kind", choices=MAP_KINDS, metavar="KIND", default=argparse.SUPPRESS, help=text
    )
    _add_output(mapping, "FILE (.tif, .h5)", "SCAN_map.tif")
    mapping.add_argument("--as-is", action="store_true", help="map the scan without denoising it")
    run = _add_verb(group, "run", verbs.run, "denoise, map, and write a report")
    _add_scan(run, (*to_denoise, *MAP))
    _add_output(run, "FOLDER", "SCAN_results")
    run.add_argument("--figures", action="store_true", help=FIGURES_HELP)


def _add_composition(group: Any) -> None:
    """Add the verbs that tell what a scan, which is denoised first, or a saved result consists of."""
    to_denoise = (*INPUT, *PARTS, *ALIGN, *DENOISE, *COMPUTE)
    verbs_of = (
        ("fit", verbs_composition.fit, verbs_composition.add_fit_options, "map the fractions of references"),
        (
            "cluster",
            verbs_composition.cluster,
            verbs_composition.add_cluster_options,
            "find regions of one state",
        ),
    )
    for name, verb, add, text in verbs_of:
        parser = _add_verb(group, name, verb, f"{text}, of a scan or of a saved result (result.sum.h5)")
        flags = add(parser)
        lines = NORMALIZATION if name == "fit" else ()
        _add_scan(parser, (*to_denoise, *lines), **flags)
        _add_output(parser, "FOLDER", f"SCAN{ENDINGS[name]}")
        parser.add_argument("--as-is", action="store_true", help="use the scan without denoising it")


def _add_measuring(group: Any) -> None:
    """Add the verbs that measure particles and regions."""
    to_denoise = (*INPUT, *PARTS, *ALIGN, *DENOISE, *COMPUTE)
    mapping = tuple(option for option in MAP if option[0] != "--bootstrap")
    text = "measure the state of each particle of a scan, which is denoised first, or of a saved result"
    particles = _add_verb(group, "particles", verbs_particles.particles, text)
    _add_scan(particles, (*to_denoise, *mapping, *PARTICLES))
    _add_output(particles, "FOLDER", "SCAN_particles")
    text = "write mean spectra of regions, with errors, before and after denoising"
    regions = _add_verb(group, "regions", verbs_particles.regions, text)
    _add_scan(regions, to_denoise, where="--where", regions="--where")
    _add_output(regions, "FOLDER", "SCAN_regions")
    regions.add_argument(
        "--where",
        action="append",
        metavar="NAME=FILE|NAME=Y0:Y1,X0:X1",
        help="a region: an image whose pixels that are not 0 belong to it, or a box; may be repeated",
    )


def _add_watch(group: Any) -> None:
    text = "follow a scan while it is measured; write a map and a report after every few frames"
    parser = _add_verb(group, "watch", verbs.watch, text)
    options = tuple(option for option in (*VALUES, *PARTS, *DENOISE, *MAP) if option[0] not in OF_WHOLE_SCANS)
    _add_scan(parser, options, n_frames="--frames", every="--every")
    _add_output(parser, "FOLDER", "SCAN_live")
    parser.add_argument(
        "--frames", type=count, metavar="N", help="number of frames of the whole scan (default: until Ctrl-C)"
    )
    parser.add_argument(
        "--every",
        type=count,
        default=EVERY,
        metavar="N",
        help="frames between two maps (default: %(default)s)",
    )


def _add_view(group: Any) -> None:
    text = "show a saved result in the browser of this computer, with the scan if it is given"
    parser = _add_verb(group, "view", verbs_view.view_result, text)
    flags = verbs_view.add_view_options(parser)
    mapping = tuple(option for option in MAP if option[0] != "--bootstrap")
    add_options(parser, (*INPUT, *PARTS, *mapping, MEMORY), **flags)
    text = "write figures for a paper of a saved result: map, error, histogram, spectra"
    figures = _add_verb(group, "figures", verbs_view.draw_figures, text)
    flags = verbs_view.add_figure_options(figures)
    add_options(figures, (*INPUT, *PARTS, *mapping, MEMORY), **flags)
    _add_output(figures, "FOLDER", "RESULT_figures")


def _add_references(group: Any) -> None:
    text = "list spectra of references, plot them, and check them against a scan"
    parser = _add_verb(group, "references", verbs_references.references, text)
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="XDI, Athena project (.prj), text in columns, saved result (result.sum.h5), or a folder",
    )
    parser.add_argument("--scan", metavar="SCAN", help="scan, or saved result, that they are compared with")
    parser.add_argument(
        "--recipe", metavar="FILE", help="TOML file of options; options of the command line override it"
    )
    parser.add_argument(
        "--area",
        action="append",
        metavar="NAME=Y0:Y1,X0:X1",
        help="part of the scan whose mean spectrum is a reference; may be given several times",
    )
    parser.add_argument(
        "--channel", choices=CHANNELS, help="which spectrum to read of files that hold several"
    )
    parser.add_argument("--plot", metavar="FILE", help="figure to write (.png, .pdf, .svg)")
    edge = tuple(option for option in MAP if option[0] == "--e0")
    flags = {name: f"--{name}" for name in ("scan", "area", "channel")}
    add_options(parser, (*INPUT, *PARTS, *edge, *NORMALIZATION), **flags)


def _add_simulate(group: Any) -> None:
    parser = _add_verb(group, "simulate", verbs.simulate_scan, "write a simulated scan")
    parser.add_argument("kind", metavar="KIND", choices=ALL_KINDS, help=", ".join(ALL_KINDS))
    _add_output(parser, "FILE (.h5, .tif, .zarr, .hspy)", "KIND.h5")
    parser.add_argument(
        "--shape", type=size, metavar="YxX", help="size of the images (default: each kind has its own)"
    )
    parser.add_argument(
        "--n-energies",
        type=count,
        default=SIMULATED_ENERGIES,
        metavar="E",
        help="number of energies (default: %(default)s)",
    )
    parser.add_argument(
        "--sigma",
        type=number,
        default=SIMULATED_SIGMA,
        metavar="S",
        help="noise level; the largest clean value is 255 (default: %(default)s)",
    )
    parser.add_argument("--seed", type=count, default=0, metavar="N", help="seed of scene and noise")
    parser.set_defaults(flags={"sigma": "--sigma", "shape": "--shape", "n_energies": "--n-energies"})


def _add_completion(group: Any) -> None:
    parser = _add_verb(group, "completion", complete, "print a script with which a shell completes xanesum")
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(build_parser=build_parser)


def _add_verb(group: Any, name: str, verb: Verb, text: str) -> argparse.ArgumentParser:
    description = text[:1].upper() + text[1:] + "."
    parser: argparse.ArgumentParser = group.add_parser(
        name, help=text, description=description, epilog=epilog_of(name), formatter_class=_Help
    )
    parser.set_defaults(verb=verb, flags={})
    screen = parser.add_argument_group("what is printed")
    how_much = screen.add_mutually_exclusive_group()
    how_much.add_argument("-q", "--quiet", action="store_true", help="print notes and errors only")
    how_much.add_argument(
        "-v", "--verbose", action="store_true", help="print versions, each step with its time, and the memory"
    )
    screen.add_argument("--json", action="store_true", help="print the answer as one JSON document")
    return parser


def _add_scan(parser: argparse.ArgumentParser, options: OptionTable, **other_flags: str) -> None:
    """Add the scan and its options; a recipe can hold them too, unless they only say how to read it."""
    parser.add_argument("scan", metavar="SCAN", help="file of any known format, or folder of images")
    if options != INPUT:
        parser.add_argument(
            "--recipe", metavar="FILE", help="TOML file of options; options of the command line override it"
        )
    add_options(parser, options, **other_flags)


def _add_output(parser: argparse.ArgumentParser, form: str, default: str) -> None:
    """Add the output; `form` begins with FILE or FOLDER."""
    kind = form.split()[0]
    parser.add_argument("-o", "--output", metavar=kind, help=f"{form} to write (default: {default})")
    what = "write into a folder that holds files of others"
    if kind != "FOLDER":
        what = "replace a file of the default name, if it is there already"
    parser.add_argument("--force", action="store_true", help=what)
