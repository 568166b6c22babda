"""The whole job, step by step as the recipe says, and one folder of results."""

from __future__ import annotations

import json
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from xanesum.denoisers import get_denoiser
from xanesum.diagnostics.bootstrap import bootstrap_map
from xanesum.diagnostics.check import Finding, check_scan
from xanesum.diagnostics.residual import ResidualReport, examine_residual
from xanesum.errors import EdgeError, ReadError, RecipeError, XanesumWarning
from xanesum.flat_field.correct import correct_flat_drift
from xanesum.method.denoising import denoise_with
from xanesum.method.options import Options
from xanesum.method.problem import Progress
from xanesum.preprocess import prepare, settle_quantity
from xanesum.report.page import Sections, write_report
from xanesum.report.paper_figures import FIGURE_FILES, write_figures
from xanesum.report.texts import Facts
from xanesum.result import Denoised, holds_result, load_result
from xanesum.storage.atomic import staged_folder
from xanesum.storage.memory import available_memory
from xanesum.streaming.resources import DEFAULT_RESOURCES, Resources
from xanesum.viewer import write_explorer
from xanesum.viewer.plots import has_toolkit
from xanesum.workflow.composition import COMPOSED_FILES, Composed, compose, write_composed
from xanesum.workflow.loading import check_map_options, fitting_part, input_files, load_scan, read_scan
from xanesum.workflow.measure import Measured, measure, measured_files, read_named, write_measured
from xanesum.workflow.motion import MOTION_LINE, align_scan
from xanesum.workflow.notes import hear_notes
from xanesum.workflow.outputs import EXPLORER_FILE, OWN_FILES, SHIFTS_FILE, check_output, write_results
from xanesum.workflow.plan import least_memory
from xanesum.workflow.recipe import DEFAULT_RECIPE, DenoiseOptions, Recipe
from xanesum.workflow.resources import DENOISE_STEP, DRIFT_STEP, allocate
from xanesum.xanes import MAP_KINDS, chemical_map
from xanesum.xanes.references.spectra import read_references

__all__ = [
    "VERSIONS_OF",
    "RunResult",
    "check",
    "correct_scan",
    "denoise_scan",
    "load_result_and_scan",
    "load_result_or_scan",
    "map_result",
    "run",
]

VERSIONS_OF = ("numpy", "scipy", "xarray", "h5py", "scikit-image", "pywavelets", "torch")


def _silent(step: str, share: float) -> None:
    """Say nothing about the progress."""


# --- steps


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """The results of a run, and the folder that holds them."""

    folder: Path
    files: tuple[Path, ...]
    result: Denoised
    trust: ResidualReport
    maps: xr.Dataset | None  # None where the scan has no edge to map ...
    map_error: EdgeError | None  # ... for this reason
    counted: tuple[str, ...]  # changes by preprocessing, in words
    seconds: float

    @property
    def map_problem(self) -> str:
        """Why there is no map; empty if there is one."""
        return "" if self.map_error is None else self.map_error.message

    @property
    def report(self) -> Path:
        """Path of the report."""
        return self.folder / "report.html"

    @property
    def explorer(self) -> Path | None:
        """Path of the interactive page; None where its toolkit is not installed."""
        path = self.folder / EXPLORER_FILE
        return path if path in self.files else None


def run(
    source: str | Path,
    out_dir: str | Path,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    figures: bool = False,
    progress: Progress = _silent,
) -> RunResult:
    """Do the whole job: read, prepare, denoise, map; write the results and a report into one folder.

    The folder appears, or its files are replaced, when everything is done.  A run that fails leaves nothing
    behind.  Files of other names in an existing folder are not touched.

    Parameters
    ----------
    source : str or Path
        A scan of any known format.
    out_dir : str or Path
        Folder for the results; made if missing, within a folder that exists.
    recipe : Recipe
        Everything that can be chosen.
    figures : bool
        Whether figures for a paper are written too; see `xanesum.report.paper_figures.write_figures`.
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
    check_output(out_dir, inputs=input_files(source, recipe), is_folder=True)
    with allocate(recipe.compute, beside=folder) as resources:
        return _run(source, folder, recipe, resources, progress, figures=figures)


def _run(
    source: Path, folder: Path, recipe: Recipe, resources: Resources, progress: Progress, *, figures: bool
) -> RunResult:
    started = time.perf_counter()
    progress("read", 0.0)
    notes: list[str] = []
    with hear_notes(lambda note: notes.append(note.message), pass_on=True):
        stack, counted = load_scan(source, recipe.input, to_map=recipe.map, resources=resources)
        _require_room_for_draws(stack.shape, recipe, resources)
        _tell_least_memory(stack.shape, recipe)
        read_references(*recipe.fractions.references)  # before any long work
        named = read_named(recipe, (stack.shape[1], stack.shape[2]))
        stack, motion = align_scan(stack, recipe.align, resources=resources, progress=progress)
        stack, corrected = correct_scan(stack, recipe.denoise, resources=resources, progress=progress)
        result = denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)
        progress("trust", 0.0)
        rng = np.random.default_rng(recipe.denoise.seed)
        trust = examine_residual(stack, result, memory=resources.memory, rng=rng)
        result = replace(result, reasons=trust.reasons)
        progress("map", 0.0)
        maps, map_error = _map_or_reason(result, recipe, resources, progress)
        composed = compose(result, recipe, rng=np.random.default_rng(recipe.denoise.seed))
        measured = measure(result, stack, recipe, named, progress=progress)
        if measured.particle_problem:
            _tell(f"no particles: {measured.particle_problem}")
        _tell(*composed.problems)
    _tell(*trust.notes)  # the report shows them in a section of their own
    seconds = time.perf_counter() - started
    effective = _effective_recipe(recipe, source.name, result)
    counted += corrected if motion is None else (f"{MOTION_LINE} {motion.text}", *corrected)
    problem = "" if map_error is None else map_error.message
    said = tuple(dict.fromkeys(notes))
    facts = Facts(source.name, seconds, counted, problem, effective, motion=motion, notes=said)
    progress("write", 0.0)
    own = (*OWN_FILES, SHIFTS_FILE, *measured_files(recipe), *COMPOSED_FILES, *FIGURE_FILES)
    with staged_folder(folder, own=own) as temporary:
        write_results(temporary, result, maps, trust, facts.recipe)
        write_measured(temporary, measured, result, recipe)
        write_composed(temporary, composed)
        if motion is not None and motion.is_removed and motion.shifts is not None:
            motion.shifts.write_shifts(temporary / SHIFTS_FILE)
        progress("report", 0.0)
        shown = _sections(measured, composed)
        write_report(temporary / "report.html", stack, result, maps, trust, facts=facts, measured=shown)
        if has_toolkit():
            page = temporary / EXPLORER_FILE
            write_explorer(result, page, maps=maps, title=source.name, map_problem=problem)
        if figures:
            write_figures(temporary, result, maps, stack=stack)
        names = sorted(path.name for path in temporary.iterdir())
    files = tuple(folder / name for name in names)
    return RunResult(folder, files, result, trust, maps, map_error, counted, time.perf_counter() - started)


def _tell(*notes: str) -> None:
    for note in notes:
        warnings.warn(note, XanesumWarning, stacklevel=4)


def _sections(measured: Measured, composed: Composed) -> Sections:
    """Return what the report shows besides the map."""
    fractions = None if composed.fractions is None else composed.fractions.maps
    return Sections(
        measured.particles,
        measured.regions,
        measured.particle_problem,
        fractions,
        composed.clusters,
        composed.problems,
    )


def check(
    source: str | Path, *, recipe: Recipe = DEFAULT_RECIPE, progress: Progress = _silent
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Judge a scan before it is denoised; see `xanesum.diagnostics.check.check_scan`.

    Returns
    -------
    findings : tuple of Finding
    changes : tuple of str
        The changes by preprocessing, and the values it left out, in words.
    """
    progress("read", 0.0)
    memory = recipe.compute.memory_bytes
    whole = read_scan(source, recipe.input)
    check_map_options(whole.energy.values, recipe.map)
    part = fitting_part(whole.shape, available_memory() if memory is None else memory)
    is_part = whole.isel(part).size < whole.size
    whole, note = settle_quantity(whole) if is_part else (whole, "")  # empty pixels may lie beyond the part
    raw = whole.isel(part)
    stack, report = prepare(raw, allow_missing=recipe.input.allow_missing)
    counted = (note,) * bool(note) + tuple(report.lines())
    if is_part:
        counted += (f"judged by the middle {raw.sizes['y']} x {raw.sizes['x']} px",)
    counts = None
    if raw.attrs["quantity"] == "counts" and raw.attrs.get("unit") != "counts/s" and "flat" in raw.coords:
        dark = float(np.median(raw["dark"].values)) if "dark" in raw.coords else 0.0
        counts = float(np.median(raw["flat"].values)) - dark
    progress("check", 0.0)
    rng = np.random.default_rng(recipe.denoise.seed)
    return check_scan(stack, e0_ev=recipe.map.e0_ev, open_counts=counts, rng=rng), counted


def correct_scan(
    stack: xr.DataArray,
    options: DenoiseOptions,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
) -> tuple[xr.DataArray, tuple[str, ...]]:
    """Remove the drift of the illumination, as the options say; return the stack and a description."""
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
    means = "empty pixels" if removed.empty.any() else "its spectra only, as too few pixels are empty"
    kinds = {"level": "a level in each frame", "slow": "slow flat drift"}
    text = (
        f"{kinds.get(removed.kind, 'flat drift')} of {removed.rms:.3f} rms (optical density) was removed; "
        f"it was separated from the sample by {means}"
    )
    return stack, (text,)


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
    normalization = recipe.normalization.normalization
    maps = chemical_map(data, kind=options.kind, normalization=normalization, **options.of_kind)
    if not options.bootstrap or not isinstance(data, Denoised):
        return maps
    return bootstrap_map(
        data,
        maps,
        n_draws=options.bootstrap,
        denoiser=recipe.denoise.denoiser,
        normalization=normalization,
        rng=np.random.default_rng(recipe.denoise.seed),
        progress=progress,
    )


def load_result_or_scan(
    source: str | Path,
    recipe: Recipe,
    *,
    as_is: bool = False,
    options_of_scan: Sequence[str] = (),
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
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
        Memory, folders, workers and device.
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
        if holds_result(source):
            raise
        progress("read", 0.0)
        stack = load_scan(source, recipe.input, to_map=recipe.map, resources=resources)[0]
    else:
        if options_of_scan:
            raise RecipeError(
                f"{source}: is a saved result, so {', '.join(options_of_scan)} cannot be followed; "
                "map the scan itself, or leave them out"
            )
        return result
    if as_is:
        return stack
    stack = align_scan(stack, recipe.align, resources=resources, progress=progress)[0]
    stack = correct_scan(stack, recipe.denoise, resources=resources, progress=progress)[0]
    return denoise_scan(stack, recipe.denoise, resources=resources, progress=progress)


def load_result_and_scan(
    source: str | Path,
    recipe: Recipe,
    *,
    check: Callable[[tuple[int, int]], object],
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress = _silent,
) -> tuple[Denoised, xr.DataArray | None]:
    """Return a saved result, or read a scan and denoise it; and the scan that was denoised, if it was read.

    `check` gets the size (Y, X) of the images before any long work, and may raise.  The other parameters are
    those of `load_result_or_scan`.
    """
    if holds_result(source):
        result = load_result(source)
        check(result.shape[1:])
        return result, None
    progress("read", 0.0)
    stack = load_scan(source, recipe.input, to_map=recipe.map, resources=resources)[0]
    check((stack.shape[1], stack.shape[2]))
    stack = align_scan(stack, recipe.align, resources=resources, progress=progress)[0]
    stack = correct_scan(stack, recipe.denoise, resources=resources, progress=progress)[0]
    return denoise_scan(stack, recipe.denoise, resources=resources, progress=progress), stack


def _require_room_for_draws(shape: tuple[int, ...], recipe: Recipe, resources: Resources) -> None:
    """Raise RecipeError for a bootstrap whose stacks would not fit in memory."""
    if recipe.map.bootstrap and not resources.workspace.holds(shape):
        raise RecipeError(
            "a bootstrap draws whole stacks, which do not fit in memory here; leave out the bootstrap, "
            "or allow more memory",
            parameter="memory",
        )


def _tell_least_memory(shape: tuple[int, ...], recipe: Recipe) -> None:
    """Warn where the memory that the recipe allows is less than a run of a stack (E, Y, X) takes at least."""
    given, least = recipe.compute.memory_bytes, least_memory(shape, recipe.denoise.denoiser)
    if given is not None and given < least:
        text = (
            f"{recipe.compute.memory} of memory cannot be kept: a run of this scan takes at least "
            f"{least / 1e9:.1f} GB, most of it for the program itself"
        )
        warnings.warn(text, XanesumWarning, stacklevel=3)


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


def _effective_recipe(recipe: Recipe, name: str, result: Denoised) -> str:
    """Return the recipe as used; a comment on top has versions, source and automatic choices."""
    versions = ", ".join(f"{package} {version(package)}" for package in VERSIONS_OF)
    head = [
        f"xanesum {version('xanesum')}, Python {platform.python_version()}, {versions}",
        f"scan {json.dumps(name)}, digest of the values denoised {result.provenance['input_digest']}",
        f"chosen: sigma {result.sigma:.6g} {result.attrs['quantity']}, rank {result.rank}",
    ]
    return "".join(f"# {line}\n" for line in head) + "\n" + recipe.to_toml()
