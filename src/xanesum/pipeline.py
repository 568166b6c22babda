"""From a file to a folder of results: a recipe, its steps in order, and everything written at once."""

from __future__ import annotations

import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import numpy as np
import xarray as xr

from xanesum.denoised import Denoised
from xanesum.denoising import denoise
from xanesum.errors import EdgeError, RecipeError, WriteError
from xanesum.io import read_stack, write_map_tiff, write_stack
from xanesum.preprocess import prepare
from xanesum.report import Findings, write_report
from xanesum.stack import add_history
from xanesum.xanes import chemical_map

__all__ = ["Recipe", "RunResult", "load_recipe", "prepared_stack", "run", "write_recipe"]

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class InputOptions:
    """How a scan is read and prepared; the names of the TOML keys below ``[input]``."""

    energies: str | None = None  # text file, first column in eV or keV
    i0: str | None = None  # spectrum of the incoming beam
    data: str | None = None  # path of the images inside an HDF5 file of unknown layout
    allow_missing: bool = False  # give NaN and empty frames weight 0 instead of refusing them
    bad_pixels: bool = True  # look for dead and hot pixels
    roi: str | None = None  # y0:y1,x0:x1 in pixels
    mask: str | None = None  # TIFF, not 0 where pixels count


@dataclass(frozen=True, slots=True)
class DenoiseOptions:
    """How a stack is denoised; see `xanesum.denoise`."""

    method: str = "sum"
    denoiser: str = "wavelet"
    rank: int | None = None
    sigma: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MapOptions:
    """How the chemical map is made; see `xanesum.chemical_map`."""

    kind: str = "auto"
    e0_ev: float | None = None
    pre_ev: list[float] | None = None
    post_ev: list[float] | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the options as `chemical_map` takes them."""
        pair = {n: tuple(v) if (v := getattr(self, n)) is not None else None for n in ("pre_ev", "post_ev")}
        return {"kind": self.kind, "e0_ev": self.e0_ev, **pair}


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every option of a run; what is None is found from the data."""

    input: InputOptions = field(default_factory=InputOptions)
    denoise: DenoiseOptions = field(default_factory=DenoiseOptions)
    map: MapOptions = field(default_factory=MapOptions)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Recipe:
        """Build a recipe from nested dictionaries.

        Raises
        ------
        RecipeError
            If a section or key is unknown, or a value has the wrong type.
        """
        sections = {f.name: f.default_factory for f in fields(cls)}
        _refuse_unknown(table, sections, "section")
        return cls(**{name: _section(sections[name], name, values) for name, values in table.items()})


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run found, and where it is written."""

    result: Denoised
    maps: xr.Dataset | None  # None where the scan has no edge to map
    folder: Path
    report: Path
    seconds: float


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises
    ------
    RecipeError
        If the file is missing, no TOML, or holds an unknown option.
    """
    try:
        return Recipe.from_dict(tomllib.loads(Path(path).read_text("utf-8")))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such recipe") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a TOML recipe ({error})") from error


def write_recipe(recipe: Recipe, path: str | Path, *, comments: Mapping[str, Any] | None = None) -> None:
    """Write a recipe as TOML, options left to the data as comments, `comments` on top."""
    lines = [f"# {key}: {value}" for key, value in (comments or {}).items()]
    for section in fields(recipe):
        lines += ["", f"[{section.name}]"]
        options = getattr(recipe, section.name)
        lines += [_toml_line(f.name, getattr(options, f.name)) for f in fields(options)]
    Path(path).write_text("\n".join(lines) + "\n", "utf-8")


def prepared_stack(source: str | Path, options: InputOptions) -> tuple[xr.DataArray, list[str]]:
    """Read a scan and bring it to what `denoise` takes; return it with a line for everything done to it."""
    stack = read_stack(source, energies=options.energies, i0=options.i0, data=options.data)
    if options.roi is not None:
        stack = _crop(stack, options.roi)
    if options.mask is not None:
        stack = _with_mask(stack, options.mask)
    stack, report = prepare(stack, allow_missing=options.allow_missing, bad_pixels=options.bad_pixels)
    return stack, report.lines()


def run(
    source: str | Path,
    out_dir: str | Path,
    *,
    recipe: Recipe | None = None,
    progress: Progress = lambda step, share: None,
) -> RunResult:
    """Denoise a scan, map its chemistry and write it all into a folder.

    The folder gets ``clean.h5`` (the clean stack), ``result.sum.h5`` (the factors), ``map.tif``,
    ``edge_step.tif`` and ``map_sigma.tif``, ``recipe.toml`` (every option that took effect) and
    ``report.html``.  They appear together at the end, or not at all; other files there stay.

    Parameters
    ----------
    source : path
        A scan in any format that `read_stack` knows.
    out_dir : path
        Made if it does not exist.
    recipe : Recipe, optional
        Options; all automatic by default.
    progress : callable
        Called with a step's name and the share of it that is done.

    Raises
    ------
    XanesumError
        With one line that says what is wrong and what to do.
    """
    started = time.perf_counter()
    recipe = Recipe() if recipe is None else recipe
    with _results_folder(Path(out_dir)) as folder:
        progress("read", 0.0)
        stack, changes = prepared_stack(source, recipe.input)
        options = recipe.denoise
        result = denoise(
            stack,
            method=options.method,
            denoiser=options.denoiser,
            rank=options.rank,
            sigma=options.sigma,
            rng=np.random.default_rng(options.seed),
            progress=progress,
        )
        progress("map", 0.0)
        maps, no_map = _maps(result, recipe.map)
        progress("write", 0.0)
        _write_results(folder, result, maps)
        write_recipe(recipe, folder / "recipe.toml", comments=result.provenance)
        progress("report", 0.0)
        seconds = time.perf_counter() - started
        findings = Findings(Path(source).name, stack, result, maps, no_map, tuple(changes), seconds)
        write_report(folder / "report.html", findings, options=_flat_options(recipe))
    return RunResult(
        result, maps, Path(out_dir), Path(out_dir) / "report.html", time.perf_counter() - started
    )


def _maps(result: Denoised, options: MapOptions) -> tuple[xr.Dataset | None, str]:
    """Return the maps, or None and the reason why there are none."""
    try:
        return chemical_map(result, **options.keywords()), ""
    except EdgeError as error:
        if options != MapOptions():
            raise
        return None, str(error)


def _write_results(folder: Path, result: Denoised, maps: xr.Dataset | None) -> None:
    write_stack(result.reconstruct(), folder / "clean.h5")
    result.save(folder / "result.sum.h5")
    if maps is None:
        return
    value, error = list(maps.data_vars)[:2]
    write_map_tiff(maps[value].where(maps["mask"]).values, folder / "map.tif")
    write_map_tiff(maps[error].where(maps["mask"]).values, folder / "map_sigma.tif")
    write_map_tiff(maps["edge_step"].values, folder / "edge_step.tif")


@contextmanager
def _results_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`; move its files into `target` at the end, or remove it."""
    if target.exists() and not target.is_dir():
        raise WriteError(f"{target}: is a file; give the name of a folder")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise WriteError(f"{target}: cannot write there ({error.strerror}); choose another folder") from error
    try:
        yield temporary
        target.mkdir(exist_ok=True)
        for file in sorted(temporary.iterdir()):
            file.replace(target / file.name)
    except OSError as error:
        if isinstance(error, WriteError) or not error.errno:
            raise
        raise WriteError(f"{target}: writing failed ({error.strerror})") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)


def _crop(stack: xr.DataArray, roi: str) -> xr.DataArray:
    """Cut out y0:y1,x0:x1, given in pixels."""
    try:
        (y0, y1), (x0, x1) = ((int(n) for n in part.split(":")) for part in roi.split(","))
    except ValueError as error:
        raise RecipeError(f"roi must be y0:y1,x0:x1 in pixels, got {roi!r}") from error
    n_y, n_x = stack.shape[1:]
    if not (0 <= y0 < y1 <= n_y and 0 <= x0 < x1 <= n_x):
        raise RecipeError(f"roi {roi} does not lie inside the image of {n_y} x {n_x} pixels (y, x)")
    return add_history(stack.isel(y=slice(y0, y1), x=slice(x0, x1)), f"cut to pixels y, x = {roi}")


def _with_mask(stack: xr.DataArray, path: str) -> xr.DataArray:
    """Add the mask in a TIFF file to that of the stack."""
    mask = read_stack(path, energies=[1000.0]).values[0] != 0
    if mask.shape != stack.shape[1:]:
        raise RecipeError(f"{path}: the mask has {mask.shape} pixels (y, x), the images {stack.shape[1:]}")
    if "mask" in stack.coords:
        mask &= stack["mask"].values
    return add_history(stack.assign_coords(mask=(("y", "x"), mask)), f"masked by {Path(path).name}")


def _section(make: Any, name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise RecipeError(f"[{name}] must be a section of options, got {values!r}")
    hints = get_type_hints(make)
    _refuse_unknown(values, hints, f"option of [{name}]")
    return make(**{key: _checked(f"{name}.{key}", value, hints[key]) for key, value in values.items()})


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return `value` if it is of the hinted type; whole numbers pass for real ones."""
    allowed = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    plain = [getattr(t, "__origin__", t) for t in allowed]
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) not in plain:
        names = " or ".join("nothing" if t is type(None) else t.__name__ for t in plain)
        raise RecipeError(f"{name} must be {names}, got {value!r}")
    if isinstance(value, list) and not (len(value) == 2 and all(isinstance(v, int | float) for v in value)):
        raise RecipeError(f"{name} must be two numbers in eV, got {value!r}")
    return value


def _refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for name in given:
        if name not in known:
            raise RecipeError(f"unknown {what}: {name!r}; allowed are {', '.join(known)}")


def _toml_line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name}: found from the data"
    if isinstance(value, bool):
        return f"{name} = {str(value).lower()}"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name} = "{escaped}"'
    return f"{name} = {value}"


def _flat_options(recipe: Recipe) -> dict[str, Any]:
    return {
        f"{section.name}.{option.name}": getattr(getattr(recipe, section.name), option.name)
        for section in fields(recipe)
        for option in fields(getattr(recipe, section.name))
    }
