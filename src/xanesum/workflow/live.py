"""Follow a scan while it is written: components after every frame, map and report in the background."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.align.shifts import Shifts, has_energies, read_shifts
from xanesum.errors import EnergyError, ReadError, RecipeError, StackError, WriteError
from xanesum.io import describe, read_exposures, read_stack, write_stack
from xanesum.io.names import energy_in_name
from xanesum.io.references import Files, files_of
from xanesum.io.ssrl import all_there, energy_of
from xanesum.preprocess import to_optical_density
from xanesum.stack import usable_mask
from xanesum.workflow.incremental import FEWEST, IncrementalScan, RunningFactors
from xanesum.workflow.loading import cut_scan, with_i0_region
from xanesum.workflow.motion import MOTION_LINE
from xanesum.workflow.outputs import check_output
from xanesum.workflow.pipeline import RunResult, run
from xanesum.workflow.recipe import DEFAULT_RECIPE, NONE, AlignOptions, InputOptions, Recipe

__all__ = ["Arrival", "DetectorImages", "Watched", "arrivals", "watch"]

SUFFIXES = (".xrm", ".tif", ".tiff", ".h5", ".hdf5", ".nxs")  # files that may hold a frame
KEPT_ATTRS = ("quantity", "flat_field", "pixel_size_nm")  # attributes of a frame that the stack gets
EVERY = 10  # frames after which a new map is made
SETTLED_S = 3.0  # seconds for which the files of a frame must not change before they are read
POLL_S = 0.2  # seconds between two looks at the folder
Tell = Callable[[str], None]


class Arrival(NamedTuple):
    """A frame that is complete."""

    energy_ev: float
    frame: NDArray[np.float32]  # (Y, X), optical density where possible; NaN if missing, 0 outside the mask
    mask: NDArray[np.bool_]  # (Y, X), pixels that count
    attrs: dict[str, Any]  # attributes of a stack of such frames
    files: tuple[Path, ...]


@dataclass(slots=True)
class Watched:
    """Summary of a scan that was followed."""

    n_frames: int = 0
    seconds: list[float] = field(default_factory=list)  # for each update of the components
    refreshed: list[int] = field(default_factory=list)  # number of frames at each map
    left_out: int = 0  # files, or groups of files, that could not be used
    factors: RunningFactors | None = None
    last: RunResult | None = None


def watch(
    folder: str | Path,
    out_dir: str | Path,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    flat: Files | None = None,
    n_frames: int | None = None,
    every: int = EVERY,
    settled_s: float = SETTLED_S,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = lambda text: None,
) -> Watched:
    """Follow a scan while it is taken.

    Every complete frame updates the components.  After every tenth frame a process of its own makes a map and
    a report of the frames so far.  Meanwhile at most ten further frames are added; others wait in their
    files.  At the end everything is made as `xanesum.run` makes it.  A folder of SSRL is then read from its
    files, with all repeats and with the noise law that they give.

    Frames of a sample that moves are moved back for every map, by shifts that are estimated anew from all
    frames so far, or by those of the recipe's file.  A file without energies can be used at the end only.
    The components after every frame are those of frames as they came.

    Parameters
    ----------
    folder : str or Path
        Where the files arrive: exposures and flats of SSRL 6-2c, or files of one frame each, with the energy
        in the file or in its name (as ``scan_8340.5eV.tif``).
    out_dir : str or Path
        Folder for the results; not that of the scan.
    recipe : Recipe
        All options; all frames are held in memory.
    flat : path or sequence of paths, optional
        Files of images without the sample, for frames that are counts; their mean is used.  Without it, those
        of the recipe are used.  The dark is that of the recipe.
    n_frames : int, optional
        Number of frames, used or not, after which the scan is complete; without it `stop` decides.
    every : int
        Number of frames after which map and report are made again.
    settled_s : float
        Seconds for which the files of a frame must not change before they are read.
    stop : callable
        Called again and again; true ends the scan.
    tell : callable
        Called with a line of text after every frame and map, and for every file that cannot be used.

    Raises
    ------
    ReadError, RecipeError, WriteError
        If a folder or an option is wrong.
    StackError
        If there were too few frames for a result at the end.
    """
    check_output(out_dir, is_folder=True)
    folder, out_dir = Path(folder), Path(out_dir)
    _check_options(folder, out_dir, every, n_frames)
    with tempfile.TemporaryDirectory(prefix="xanesum-watch-") as place:
        live = _LiveScan(folder, out_dir, recipe, every, tell, Path(place), _given_shifts(recipe.align, tell))
        flats = files_of(flat) or files_of(recipe.input.flat)
        images = DetectorImages(_mean_image(flats), _mean_image(files_of(recipe.input.dark)))
        coming = arrivals(folder, recipe, images, settled_s, live.leave_out)
        try:
            live.follow(coming, n_frames, stop)
            live.finish_map(wait=True)
        finally:
            live.abandon_map()
        live.make_last()
    return live.watched


def _check_options(folder: Path, out_dir: Path, every: int, n_frames: int | None) -> None:
    if not folder.is_dir():
        raise ReadError(f"{folder}: no such folder; give the one that the scan is written to")
    if every < 1:
        raise RecipeError(f"a map is made after every frame at most, got every = {every}")
    if n_frames is not None and n_frames < FEWEST:
        raise RecipeError(f"a result takes {FEWEST} frames, got frames = {n_frames}")
    if folder.resolve() == out_dir.resolve():
        raise WriteError(f"{out_dir}: the scan is written there; choose another folder for the results")


@dataclass(slots=True)
class _LiveScan:
    """The frames of a scan so far, and the process that makes a map of them."""

    folder: Path
    out_dir: Path
    recipe: Recipe
    every: int
    tell: Tell
    place: Path  # temporary folder, for the frames of which a map is made
    given: Shifts | None = None  # shifts of a file that has their energies
    watched: Watched = field(default_factory=Watched)
    scan: IncrementalScan = field(default_factory=lambda: IncrementalScan(allow_missing=True))
    first: Arrival | None = None
    n_mapped: int = 0  # number of frames when the last map was started
    process: subprocess.Popen[str] | None = None

    def follow(
        self, coming: Iterator[Arrival | None], n_frames: int | None, stop: Callable[[], bool]
    ) -> None:
        """Add frames until the scan is complete, or until `stop`; then those that have arrived already."""
        while not stop() and not self.is_complete(n_frames):
            arrival = next(coming) if self.has_time() else None
            if arrival is None:
                time.sleep(POLL_S)
            else:
                self.add(arrival)
        while not self.is_complete(n_frames) and (arrival := next(coming)) is not None:
            self.add(arrival)

    def is_complete(self, n_frames: int | None) -> bool:
        """Return whether all frames of the scan have arrived."""
        return n_frames is not None and len(self.scan) + self.watched.left_out >= n_frames

    def leave_out(self, reason: str) -> None:
        """Count a file, or a group of files, that cannot be used, and tell the reason."""
        self.watched.left_out += 1
        self.tell(f"left out: {reason}")

    def add(self, arrival: Arrival) -> None:
        """Add a frame, or leave it out with a reason."""
        started = time.perf_counter()
        try:
            self.watched.factors = self.scan.add(arrival.frame, arrival.energy_ev)
        except StackError as error:
            self.leave_out(f"{arrival.files[0].name}: {error.message}")
            return
        self.first = self.first or arrival
        self.watched.seconds.append(time.perf_counter() - started)
        self.watched.n_frames = len(self.scan)
        self.tell(f"frame {len(self.scan)}, {arrival.energy_ev:.2f} eV: {arrival.files[0].name}")

    def has_time(self) -> bool:
        """Start a map if one is due; return whether frames can be added before the next one is due."""
        self.finish_map(wait=False)
        due = len(self.scan) - self.n_mapped >= self.every and len(self.scan) >= FEWEST
        if due and self.process is None:
            self.n_mapped, due = len(self.scan), False
            self.start_map()
        return not due

    def write_scan(self) -> tuple[Path, Recipe]:
        """Write the frames so far; return the file, and the recipe for it."""
        scan = write_stack(_labelled(self.scan.stack(), self.first), self.place / f"{self.folder.name}.h5")
        return scan, replace(self.with_shifts(), input=InputOptions(allow_missing=True))

    def with_shifts(self) -> Recipe:
        """Return the recipe, with shifts of a file for the frames that there are."""
        energy_ev = np.array(self.scan.energies)
        if self.given is None or np.array_equal(self.given.energy_ev, energy_ev):
            return self.recipe
        path = self.given.at(energy_ev).write_shifts(
            self.place / f"{Path(self.recipe.align.shifts).stem}.csv"
        )
        return replace(self.recipe, align=replace(self.recipe.align, shifts=str(path)))

    def start_map(self) -> None:
        """Start a process that makes map and report of the frames so far."""
        scan, recipe = self.write_scan()
        if self.given is None and recipe.align.file is not None:  # a file without energies is for all frames
            recipe = replace(recipe, align=replace(recipe.align, shifts=NONE))
        (self.place / "recipe.toml").write_text(recipe.to_toml(), "utf-8")
        command = [sys.executable, "-m", "xanesum", "run", str(scan), "-o", str(self.out_dir)]
        self.process = subprocess.Popen(
            [*command, "--recipe", str(self.place / "recipe.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish_map(self, *, wait: bool) -> None:
        """Tell that the map is there, if it is; with `wait`, wait for it."""
        if self.process is None or not (wait or self.process.poll() is not None):
            return
        said, errors = (text.strip().splitlines() for text in self.process.communicate())
        if self.process.returncode:  # the next one may succeed
            self.tell(f"no map of {self.n_mapped} frames: {(errors or ['it failed'])[-1]}")
        else:
            self.watched.refreshed.append(self.n_mapped)
            self.tell(f"map of {self.n_mapped} frames: {self.out_dir / 'report.html'}")
            for line in said:
                if MOTION_LINE in line:
                    self.tell(line[line.index(MOTION_LINE) :])
        self.process = None

    def abandon_map(self) -> None:
        """End the process that makes a map, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def make_last(self) -> None:
        """Make the results of all frames."""
        if len(self.scan) < FEWEST:
            raise StackError(f"{len(self.scan)} frames came, too few for a result; it takes {FEWEST}")
        is_ssrl = self.first is not None and energy_of(self.first.files[0]) is not None
        scan, recipe = (self.folder, self.with_shifts()) if is_ssrl else self.write_scan()
        self.watched.last = run(scan, self.out_dir, recipe=recipe)
        self.watched.refreshed.append(len(self.scan))


def _given_shifts(options: AlignOptions, tell: Tell) -> Shifts | None:
    """Return the shifts of the file that the options name, or None; tell if they are for a whole scan only.

    Raises
    ------
    ReadError
        If the file cannot be read.
    """
    if options.file is None:
        return None
    if has_energies(options.file):
        return read_shifts(options.file)
    tell(
        f"the shifts of {Path(options.file).name} have no energies, so frames are moved back at the end; "
        "maps until then are of frames as they came"
    )
    return None


def _labelled(stack: xr.DataArray, like: Arrival | None) -> xr.DataArray:
    """Return the stack with the attributes and the mask of one of its frames."""
    if like is None:
        return stack
    stack = stack.assign_attrs(like.attrs)
    return stack if like.mask.all() else stack.assign_coords(mask=(stack.dims[1:], like.mask))


class DetectorImages(NamedTuple):
    """Images for frames that are counts; None where there are none."""

    flat: NDArray[np.float64] | None = None  # (Y, X), without the sample
    dark: NDArray[np.float64] | None = None  # (Y, X), without light


State = tuple[int, float]  # size of a file in bytes, and the time of its last change in seconds


def arrivals(
    folder: Path,
    recipe: Recipe,
    references: DetectorImages | None,
    settled_s: float,
    leave_out: Tell,
) -> Iterator[Arrival | None]:
    """Yield frames when they are complete, and None when there is no further one yet; never end.

    A file that cannot be read is tried again after it has changed.

    Parameters
    ----------
    folder : Path
    recipe : Recipe
        Its section ``input`` is used.
    references : DetectorImages, optional
        Images without the sample and without light.
    settled_s : float
        Seconds for which the files of a frame must not change before they are read.
    leave_out : callable
        Called with the reason for every frame that cannot be read.
    """
    since: dict[Path, tuple[State, float]] = {}
    done: dict[Path, State] = {}
    while True:
        groups: dict[object, list[Path]] = {}
        now = time.monotonic()
        for path, state in _states(folder):
            if done.get(path) == state:
                continue
            if path not in since or since[path][0] != state:
                since[path] = (state, now)
            groups.setdefault(energy_of(path) or path, []).append(path)
        for files in groups.values():
            if any(now - since[path][1] < settled_s for path in files) or not all_there(files):
                continue
            done.update({path: since[path][0] for path in files})
            try:
                yield _frame(folder, files, recipe, references or DetectorImages())
            except (ReadError, StackError) as error:
                leave_out(error.message)
        yield None


def _states(folder: Path) -> Iterator[tuple[Path, State]]:
    """Yield the files of a folder that may be frames; files that vanish meanwhile are skipped."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                with suppress(OSError):
                    found = path.stat()
                    yield path, (found.st_size, found.st_mtime)


def _frame(folder: Path, files: list[Path], recipe: Recipe, references: DetectorImages) -> Arrival:
    """Return a frame as optical density, or as it is if it cannot be converted."""
    is_ssrl = energy_of(files[0]) is not None
    stack = read_exposures(folder, files) if is_ssrl else _single(files[0], recipe.input.quantity)
    for name, image in references._asdict().items():
        if image is None or name in stack.coords:
            continue
        if image.shape != stack.shape[1:]:
            raise StackError(f"{files[0]}: has {stack.shape[1:]} pixels (y, x), the {name} has {image.shape}")
        stack = stack.assign_coords({name: (stack.dims[1:], image)})
        if stack.attrs["quantity"] != "fluorescence":
            stack.attrs["quantity"] = "counts"  # also for floats, as there is a flat for them
    stack = cut_scan(with_i0_region(stack, recipe.input), recipe.input)
    density, mask = to_optical_density(stack)[0], usable_mask(stack)
    attrs = {name: density.attrs[name] for name in KEPT_ATTRS if name in density.attrs}
    frame = np.where(mask, density.values[0], 0).astype(np.float32)
    return Arrival(float(stack.energy[0]), frame, mask, attrs, tuple(files))


def _single(path: Path, quantity: str | None) -> xr.DataArray:
    """Read a file that holds one frame."""
    facts = describe(path)
    if facts["shape"][0] != 1:
        raise ReadError(f"{path}: holds {facts['shape'][0]} images; a file that arrives holds one")
    if facts["energy_min_ev"] is not None:
        return read_stack(path, quantity=quantity)
    energy_ev = energy_in_name(path.stem)
    if energy_ev is None:
        raise EnergyError(f"{path}: has no photon energy; put it in the name, as scan_8340.5eV{path.suffix}")
    return read_stack(path, energies=[energy_ev], quantity=quantity)


def _mean_image(paths: Sequence[Path]) -> NDArray[np.float64] | None:
    """Return the mean of the images in some files; None if there are no files."""
    total, n_images = np.zeros(()), 0
    for path in paths:
        n_here = describe(path)["shape"][0]
        images = read_stack(path, energies=np.linspace(1000.0, 2000.0, n_here)).values
        if n_images and images.shape[1:] != total.shape:
            raise StackError(f"{path}: its images have another size than those of the first file")
        total, n_images = total + images.sum(axis=0, dtype=np.float64), n_images + n_here
    return total / n_images if n_images else None
