"""The whole job as a recipe says: its steps, and one folder of results."""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile
import xarray as xr
from numpy.typing import NDArray

from xanesum.denoisers import get_denoiser
from xanesum.diagnostics.bootstrap import bootstrap_map
from xanesum.diagnostics.check import Finding, check_scan
from xanesum.diagnostics.residual import ResidualReport, examine_residual
from xanesum.errors import EdgeError, ReadError, RecipeError, StackError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.io import read_stack
from xanesum.io.scan import reading
from xanesum.io.tiff import energies_candidates
from xanesum.method.denoising import denoise_with
from xanesum.method.options import Options
from xanesum.preprocess import prepare
from xanesum.report.page import write_report
from xanesum.report.texts import Facts
from xanesum.result import Denoised
from xanesum.stack import add_history, usable_mask
from xanesum.storage.atomic import staged_folder
from xanesum.storage.memory import available_memory
from xanesum.storage.scratch import Workspace
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources
from xanesum.workflow.notes import hear_notes
from xanesum.workflow.outputs import OWN_FILES, check_output, write_results
from xanesum.workflow.recipe import DEFAULT_RECIPE, DenoiseOptions, InputOptions, Recipe
from xanesum.workflow.resources import DENOISE_STEP, DRIFT_STEP, allocate
from xanesum.xanes import MAP_KINDS, chemical_map

__all__ = [
    "RunResult",
    "check",
    "correct_scan",
    "cut_scan",
    "denoise_scan",
    "input_files",
    "load_scan",
    "map_result",
    "run",
]

Progress = Callable[[str, float], None]
VERSIONS_OF = ("numpy", "scipy", "xarray", "h5py", "scikit-image", "pywavelets", "torch")


def _silent(step: str, share: float) -> None:
    """Say nothing about the progress."""


# --- steps


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run made, and where it was written."""

    folder: Path
    files: tuple[Path, ...]
    result: Denoised
    trust: ResidualReport
    maps: xr.Dataset | None  # None where the scan has no edge to map ...
    map_error: EdgeError | None  # ... for this reason
    counted: tuple[str, ...]  # what preprocessing changed, in words
    seconds: float

    @property
    def map_problem(self) -> str:
        """Why there is no map; empty if there is one."""
        return "" if self.map_error is None else str(self.map_error)

    @property
    def report(self) -> Path:
        """Path of the report."""
        return self.folder / "report.html"


def run(
    source: str | Path, out_dir: str | Path, *, recipe: Recipe = DEFAULT_RECIPE, progress: Progress = _silent
) -> RunResult:
    """Do the whole job: read, prepare, denoise, map; write the results and a report into one folder.

    The folder appears, or its files are replaced, when everything is done; what fails leaves nothing behind.
    Files of other names in an existing folder are not touched.

    Parameters
    ----------
    source : str or Path
        A scan of any known format.
    out_dir : str or Path
        Folder for the results; made if missing, within a folder that exists.
    recipe : Recipe
        Everything that can be chosen.
    progress : callable
        Called with a step's name and the share of it that is done.

    Raises
    ------
    ReadError, StackError, EnergyError, RecipeError
        If the scan or an option is wrong.
    WriteError
        If the results cannot be written, or would replace the scan itself.
    """
    source, folder = Path(source), Path(out_dir)
    check_output(folder, inputs=input_files(source, recipe), is_folder=True)
    with allocate(recipe.compute, beside=folder) as resources:
        return _run(source, folder, recipe, resources, progress)


def _run(source: Path, folder: Path, recipe: Recipe, resources: Resources, progress: Progress) -> RunResult:
    started = time.perf_counter()
    progress("read", 0.0)
    notes: list[str] = []
    with hear_notes(lambda note: notes.append(str(note)), pass_on=True):
        stack, counted = load_scan(source, recipe.input, resources=resources)
        _require_room_for_draws(stack.shape, recipe, resources)
        stack, corrected = correct_scan(stack, recipe.denoise, resources=resources, progress=progress)
        result = denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)
        progress("map", 0.0)
        maps, map_error = _map_or_reason(result, recipe, resources, progress)
    progress("trust", 0.0)
    trust = examine_residual(
        stack, result, memory=resources.memory, rng=np.random.default_rng(recipe.denoise.seed)
    )
    for note in trust.notes:  # the report has them in their place
        warnings.warn(note, XanesumWarning, stacklevel=3)
    seconds = time.perf_counter() - started
    effective = _effective_recipe(recipe, source.name, result)
    counted += corrected
    problem = "" if map_error is None else str(map_error)
    facts = Facts(source.name, seconds, counted, problem, effective, tuple(dict.fromkeys(notes)))
    progress("write", 0.0)
    with staged_folder(folder, own=OWN_FILES) as temporary:
        write_results(temporary, result, maps, trust, facts.recipe)
        progress("report", 0.0)
        write_report(temporary / "report.html", stack, result, maps, trust, facts=facts)
        names = sorted(path.name for path in temporary.iterdir())
    files = tuple(folder / name for name in names)
    return RunResult(folder, files, result, trust, maps, map_error, counted, time.perf_counter() - started)


def load_scan(
    source: str | Path, options: InputOptions, *, resources: Resources = DEFAULT_RESOURCES
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Read a scan, cut out what the options name, and preprocess it.

    Returns
    -------
    stack : DataArray, dims (energy, y, x)
        Ready to be denoised.
    counted : tuple of str
        What preprocessing changed and left out.
    """
    stack, report = prepare(
        _read(source, options), allow_missing=options.allow_missing, workspace=resources.workspace
    )
    return stack, tuple(report.lines())


def check(
    source: str | Path, *, recipe: Recipe = DEFAULT_RECIPE, progress: Progress = _silent
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Judge a scan before it is denoised; see `xanesum.diagnostics.check.check_scan`.

    Returns
    -------
    findings : tuple of Finding
    counted : tuple of str
        What preprocessing changed and left out.
    """
    progress("read", 0.0)
    memory = recipe.compute.memory_bytes
    whole = _read(source, recipe.input)
    part = _fitting_part(whole.shape, available_memory() if memory is None else memory)
    raw = whole.isel(part)
    stack, report = prepare(raw, allow_missing=recipe.input.allow_missing)
    counted = tuple(report.lines())
    if raw.size < whole.size:
        counted += (f"judged by the middle {raw.sizes['y']} x {raw.sizes['x']} px, which fit in memory",)
    counts = None
    if raw.attrs["quantity"] == "counts" and raw.attrs.get("unit") != "counts/s" and "flat" in raw.coords:
        dark = float(np.median(raw["dark"].values)) if "dark" in raw.coords else 0.0
        counts = float(np.median(raw["flat"].values)) - dark
    progress("check", 0.0)
    rng = np.random.default_rng(recipe.denoise.seed)
    return check_scan(stack, open_counts=counts, rng=rng), counted


def correct_scan(
    stack: xr.DataArray,
    options: DenoiseOptions,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Remove what a changing illumination added to a stack, as the options say, and tell what was removed."""
    stack, removed = correct_flat_drift(
        stack,
        drift=options.flat_drift,
        denoiser=options.denoiser,
        resources=resources.for_step(DRIFT_STEP),
        rng=np.random.default_rng(options.seed),
        progress=progress,
    )
    if removed is None:
        return stack, ()
    beside = "empty pixels" if removed.empty.any() else "spectra only, for want of empty pixels"
    said = (
        f"flat drift of {removed.rms:.3f} rms (optical density) was removed, told from the sample by {beside}"
    )
    return stack, (said,)


def denoise_scan(
    stack: xr.DataArray,
    options: DenoiseOptions,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
) -> Denoised:
    """Denoise a stack as the options say; see `xanesum.denoise`."""
    chosen = Options(options.method, options.rank, options.sigma, options.noise)
    return denoise_with(
        stack,
        chosen,
        get_denoiser(options.denoiser),
        resources.for_step(DENOISE_STEP),
        rng=np.random.default_rng(options.seed),
        progress=progress,
    )


def map_result(
    data: Denoised | xr.DataArray,
    recipe: Recipe,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
) -> xr.Dataset:
    """Map the edge as the recipe says; see `xanesum.chemical_map` and `xanesum.diagnostics.bootstrap`."""
    options = recipe.map
    if isinstance(data, Denoised):
        _require_room_for_draws(data.shape, recipe, resources)
    if options.bootstrap and not isinstance(data, Denoised):
        raise RecipeError(
            "a stack that was not denoised cannot be drawn again; leave out the bootstrap",
            parameter="bootstrap",
        )
    maps = chemical_map(
        data, kind=options.kind, e0_ev=options.e0_ev, pre_ev=options.pre_ev, post_ev=options.post_ev
    )
    if not options.bootstrap or not isinstance(data, Denoised):
        return maps
    return bootstrap_map(
        data,
        maps,
        n_draws=options.bootstrap,
        denoiser=recipe.denoise.denoiser,
        rng=np.random.default_rng(recipe.denoise.seed),
        progress=progress,
    )


def _require_room_for_draws(shape: tuple[int, ...], recipe: Recipe, resources: Resources) -> None:
    """Raise where a bootstrap is asked for whose stacks would not fit in memory."""
    if recipe.map.bootstrap and not resources.workspace.holds(shape):
        raise RecipeError(
            "a bootstrap draws whole stacks, which do not fit in memory here; leave out the bootstrap, "
            "or allow more memory",
            parameter="memory",
        )


# --- details


def _map_or_reason(
    result: Denoised, recipe: Recipe, resources: Resources, progress: Progress
) -> tuple[xr.Dataset | None, EdgeError | None]:
    try:
        return map_result(result, recipe, resources=resources, progress=progress), None
    except EdgeError as error:
        if recipe.map.kind not in MAP_KINDS:
            raise
        return None, error


def input_files(source: str | Path, recipe: Recipe) -> list[Path]:
    """Return the files that a run reads: the scan, energies beside it, and those that the recipe names."""
    source = Path(source)
    named = (recipe.input.energies, recipe.input.i0, recipe.input.mask)
    return [source, *energies_candidates(source), *(Path(name) for name in named if name is not None)]


def cut_scan(stack: xr.DataArray, options: InputOptions) -> xr.DataArray:
    """Return the region of interest that the options name, with their mask in addition to its own."""
    if options.mask is not None:
        mask = _read_mask(Path(options.mask), stack.shape[1:])
        stack = stack.assign_coords(mask=(("y", "x"), usable_mask(stack) & mask))
        stack = add_history(stack, f"mask {Path(options.mask).name}: {int(mask.sum())} of {mask.size} pixels")
    if options.roi is not None:
        y0, y1, x0, x1 = options.roi
        ny, nx = stack.shape[1:]
        if not (0 <= y0 < y1 <= ny and 0 <= x0 < x1 <= nx):
            raise RecipeError(
                f"roi {y0}:{y1},{x0}:{x1} does not lie within the image of {ny} x {nx} pixels (y, x)"
            )
        stack = add_history(
            stack.isel(y=slice(y0, y1), x=slice(x0, x1)), f"region {y0}:{y1},{x0}:{x1} of {ny} x {nx} (y, x)"
        )
    if not usable_mask(stack).any():
        raise StackError(
            "the mask leaves no pixel of the region to work on; change one of them", parameter="mask"
        )
    return stack


def _read(source: str | Path, options: InputOptions) -> xr.DataArray:
    """Read a scan and cut out what the options name."""
    stack = read_stack(source, energies=options.energies, i0=options.i0, data=options.data)
    return cut_scan(stack, options)


def _fitting_part(shape: tuple[int, ...], memory: float) -> dict[str, slice]:
    """Return the middle of the images (E, Y, X), as much of it as may be worked on in memory."""
    wanted = Workspace(memory, Path())
    n_y, n_x = shape[1:]
    while not wanted.holds((shape[0], n_y, n_x)) and max(n_y, n_x) > 1:
        n_y, n_x = (n_y, -(-n_x // 2)) if n_x >= n_y else (-(-n_y // 2), n_x)
    starts = [(whole - part) // 2 for whole, part in zip(shape[1:], (n_y, n_x), strict=True)]
    return {"y": slice(starts[0], starts[0] + n_y), "x": slice(starts[1], starts[1] + n_x)}


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if not path.is_file():
        raise ReadError(f"{path}: no such file; check the name of the mask")
    with reading(path):
        values = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else tifffile.imread(path)
        mask: NDArray[np.bool_] = np.asarray(values) != 0
    if mask.shape != shape:
        raise StackError(f"{path}: the mask has shape {mask.shape}, the images have {shape} (y, x)")
    if not mask.any():
        raise StackError(f"{path}: the mask is 0 everywhere, so no pixel is left to work on")
    return mask


def _effective_recipe(recipe: Recipe, name: str, result: Denoised) -> str:
    """Return the recipe as used, with versions, source, input hash and what was chosen on top."""
    versions = ", ".join(f"{package} {version(package)}" for package in VERSIONS_OF)
    head = [
        f"xanesum {version('xanesum')}, Python {platform.python_version()}, {versions}",
        f"scan {json.dumps(name)}, digest of the values denoised {result.provenance['input_digest']}",
        f"chosen: sigma {result.sigma:.6g} {result.attrs['quantity']}, rank {result.rank}",
    ]
    return "".join(f"# {line}\n" for line in head) + "\n" + recipe.to_toml()
