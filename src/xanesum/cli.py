"""The command ``xanesum``: parse, call, print."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from xanesum.denoised import load_result
from xanesum.denoising import denoise
from xanesum.errors import ReadError, WriteError, XanesumError, XanesumWarning
from xanesum.io import describe, write_map_tiff, write_stack
from xanesum.phantom import KINDS, simulate
from xanesum.pipeline import Recipe, load_recipe, prepared_stack, run
from xanesum.xanes import MAP_KINDS, chemical_map

__all__ = ["main"]

GOOD, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
DEMO = {"kind": "particle", "shape": (379, 520), "n_energies": 117, "sigma": 60.0}
LABELS = {
    "read": "reading",
    "noise": "estimating the noise",
    "subspace": "finding the subspace",
    "components": "denoising components",
    "map": "mapping the edge",
    "write": "writing",
    "report": "drawing the report",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 good, 1 an error in one line, 2 usage, 130 Ctrl-C."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    options = _parser().parse_args(arguments)
    warnings.simplefilter("always", XanesumWarning)
    with warnings.catch_warnings(), _notes(console):
        try:
            options.verb(options, console)
        except XanesumError as error:
            return _fail(console, str(error))
        except KeyboardInterrupt:
            console.print("xanesum: interrupted; nothing was written")
            return INTERRUPTED
        except MemoryError:
            return _fail(console, "not enough memory for this scan; cut it (--roi) or use a larger machine")
        except OSError as error:
            return _fail(console, f"{error.filename or 'input or output'}: {error.strerror or error}")
    return GOOD


def _fail(console: Console, message: str) -> int:
    console.print("xanesum: error: " + " ".join(message.split()), markup=False)
    return FAILED


@contextmanager
def _notes(console: Console) -> Iterator[None]:
    """Show the package's warnings as notes of one line."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, XanesumWarning):
            console.print(f"note: {message}", markup=False)
        else:
            usual(message, category, *rest, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show one bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("{task.description:<22}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, share: bar.update(task, description=LABELS.get(step, step), completed=share)


def _info(options: argparse.Namespace, console: Console) -> None:
    for key, value in describe(options.scan).items():
        print(f"{key + ':':<18} {value}")


def _denoise(options: argparse.Namespace, console: Console) -> None:
    started = time.perf_counter()
    recipe = _recipe(options)
    _require_writable(options.output)
    with _progress(console) as progress:
        stack, changes = prepared_stack(options.scan, recipe.input)
        how = recipe.denoise
        result = denoise(
            stack,
            method=how.method,
            denoiser=how.denoiser,
            rank=how.rank,
            sigma=how.sigma,
            rng=np.random.default_rng(how.seed),
            progress=progress,
        )
        if options.output.name.endswith(".sum.h5"):
            result.save(options.output)
        else:
            write_stack(result.reconstruct(), options.output)
    for change in changes:
        print(change)
    print(f"{result.rank} components at sigma {result.sigma:.4g}, {time.perf_counter() - started:.1f} s")
    print(f"clean stack: {options.output}")


def _map(options: argparse.Namespace, console: Console) -> None:
    recipe = _recipe(options)
    _require_writable(options.output)
    with _progress(console) as progress:
        try:
            data: Any = load_result(options.scan)
        except ReadError:
            data, _ = prepared_stack(options.scan, recipe.input)
        progress("map", 0.0)
        maps = chemical_map(data, **recipe.map.keywords())
    name = str(next(iter(maps.data_vars)))
    write_map_tiff(maps[name].where(maps["mask"]).values, options.output)
    values = maps[name].values[maps["mask"].values]
    middle = f"{np.median(values):.2f} eV" if values.size else "no pixel with an edge"
    e0 = f"e0 {maps.attrs['e0_ev']:.1f} eV"
    print(f"{name}: median {middle}, {values.size} of {maps['mask'].size} pixels, {e0}")
    print(f"map: {options.output}")


def _run(options: argparse.Namespace, console: Console) -> None:
    with _progress(console) as progress:
        done = run(options.scan, options.output, recipe=_recipe(options), progress=progress)
    print(f"{done.result.rank} components at sigma {done.result.sigma:.4g}, {done.seconds:.1f} s")
    print(f"results: {done.folder}")
    print(f"report: {done.report}")


def _simulate(options: argparse.Namespace, console: Console) -> None:
    _require_writable(options.output)
    rng = np.random.default_rng(options.seed)
    phantom = simulate(options.kind, shape=options.shape, n_energies=options.n_energies, rng=rng)
    stack = phantom.noisy(options.sigma, rng=rng)
    write_stack(stack, options.output)
    n_energies, n_y, n_x = stack.shape
    print(f"{options.kind}: {n_energies} energies of {n_y} x {n_x} pixels, sigma {options.sigma:g}, peak 255")
    print(f"scan: {options.output}")


def _demo(options: argparse.Namespace, console: Console) -> None:
    folder = options.output
    if folder.is_file():
        raise WriteError(f"{folder}: is a file; give the name of a folder")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    phantom = simulate(DEMO["kind"], shape=DEMO["shape"], n_energies=DEMO["n_energies"], rng=rng)  # type: ignore[arg-type]
    write_stack(phantom.noisy(float(DEMO["sigma"]), rng=rng), folder / "scan.h5")  # type: ignore[arg-type]
    print(f"simulated scan: {folder / 'scan.h5'} (particle, 117 energies, noise 60 on a scale of 255)")
    _run(argparse.Namespace(**{**vars(options), "scan": folder / "scan.h5"}), console)


def _recipe(options: argparse.Namespace) -> Recipe:
    """Return the recipe file, if one is named, overruled by the options given."""
    given = vars(options)
    base = load_recipe(given["recipe"]) if given.get("recipe") else Recipe()
    tables: dict[str, dict[str, Any]] = {}
    for section, names in _RECIPE_OPTIONS.items():
        values = getattr(base, section)
        tables[section] = {n: v for n in values.__dataclass_fields__ if (v := getattr(values, n)) is not None}
        tables[section] |= {n: given[n] for n in names if given.get(n) is not None}
    return Recipe.from_dict(tables)


_RECIPE_OPTIONS = {
    "input": ("energies", "i0", "data", "allow_missing", "roi", "mask"),
    "denoise": ("method", "denoiser", "rank", "sigma", "seed"),
    "map": ("kind", "e0_ev", "pre_ev", "post_ev"),
}


def _require_writable(path: Path) -> None:
    """Refuse, before the long work, an output whose folder is not there."""
    if not path.parent.is_dir():
        raise WriteError(
            f"{path}: there is no folder {path.parent}; make it first or choose another output path"
        )


def _range_ev(text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected two energies in eV as A:B, got {text!r}") from error
    return [low, high]


def _shape(text: str) -> tuple[int, int]:
    try:
        n_y, n_x = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected pixels as YxX, got {text!r}") from error
    if min(n_y, n_x) < 1:
        raise argparse.ArgumentTypeError(f"expected pixels as YxX, both at least 1, got {text!r}")
    return n_y, n_x


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xanesum", description="Denoise TXM-XANES scans and map their chemistry, with nothing to tune."
    )
    parser.add_argument("--version", action="version", version=f"xanesum {version('xanesum')}")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_verb(verbs, "info", _info, "say what a file holds", scan=True)
    for name, call, text, default in (
        ("denoise", _denoise, "write a clean stack (.h5, .tif) or result (.sum.h5)", None),
        ("map", _map, "write the chemical map of a scan or result as TIFF", None),
        ("run", _run, "all of it, with a report, into a folder", None),
    ):
        verb = _add_verb(verbs, name, call, text, scan=True)
        verb.add_argument("-o", "--output", type=Path, required=default is None, help="where the results go")
        _add_recipe_options(verb)
    demo = _add_verb(verbs, "demo", _demo, "simulate a noisy scan and run the whole job on it")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo"), help="folder (default: demo)")
    make = _add_verb(verbs, "simulate", _simulate, "write a synthetic scan with known truth")
    make.add_argument("kind", choices=KINDS)
    make.add_argument("-o", "--output", type=Path, required=True, help="file (.h5 or .tif)")
    make.add_argument("--shape", type=_shape, help="pixels as YxX")
    make.add_argument("--n-energies", type=int, default=117)
    make.add_argument("--sigma", type=float, default=60.0, help="noise on a scale of 255")
    make.add_argument("--seed", type=int, default=0)
    return parser


def _add_verb(
    verbs: Any, name: str, call: Callable[..., None], text: str, *, scan: bool = False
) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text)
    verb.set_defaults(verb=call)
    if scan:
        verb.add_argument("scan", type=Path, help="file or folder")
    return verb


def _add_recipe_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--recipe", type=Path, help="TOML file of options; those given here overrule it")
    verb.add_argument("--energies", help="text file of photon energies, first column, eV or keV")
    verb.add_argument("--i0", help="text file of the incoming intensity")
    verb.add_argument("--data", help="path of the images inside an HDF5 file of unknown layout")
    verb.add_argument("--roi", help="pixels to keep: y0:y1,x0:x1")
    verb.add_argument("--mask", help="TIFF, not 0 where pixels count")
    verb.add_argument(
        "--allow-missing", action="store_const", const=True, help="NaN and empty frames get weight 0"
    )
    verb.add_argument("--method", help="sum")
    verb.add_argument("--denoiser", help="wavelet (default), nlm, tv, bm3d, none, or a plug-in's name")
    verb.add_argument("--rank", type=int, help="number of components (default: of least risk)")
    verb.add_argument("--sigma", type=float, help="noise level in the unit of the stack (default: estimated)")
    verb.add_argument("--seed", type=int, help="of the random probes (default: 0)")
    verb.add_argument("--map", dest="kind", choices=MAP_KINDS, help="kind of map")
    verb.add_argument("--e0", dest="e0_ev", type=float, help="edge energy in eV")
    verb.add_argument("--pre", dest="pre_ev", type=_range_ev, help="pre-edge range in eV, A:B")
    verb.add_argument("--post", dest="post_ev", type=_range_ev, help="post-edge range in eV, A:B")
