"""A folder into which a scan is written: factors after every frame, map and report in the background."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import EnergyError, ReadError, RecipeError, StackError, XanesumError
from xanesum.growing import FEWEST, Factors, GrowingScan
from xanesum.io import describe, read_exposures, read_stack
from xanesum.io.ssrl import energy_of
from xanesum.pipeline import RunResult, check_output, cut_scan, run_stack
from xanesum.preprocess import prepare, to_optical_density
from xanesum.recipe import DEFAULT_RECIPE, Recipe
from xanesum.stack import usable_mask

__all__ = ["Arrival", "Watched", "arrivals", "watch"]

NAMED = re.compile(r"(?<![\d.])(\d{2,5}(?:[.p]\d+)?)[ _-]?eV", re.IGNORECASE)
SUFFIXES = (".xrm", ".tif", ".tiff", ".h5", ".hdf5", ".nxs")
EVERY = 10  # frames after which a map is made anew
SETTLED_S = 3.0  # seconds that the files of a frame have to stay as they are
POLL_S = 0.2
Tell = Callable[[str], None]


class Arrival(NamedTuple):
    """A frame that is complete."""

    energy_ev: float
    density: NDArray[np.float32]  # (Y, X), NaN where nothing was measured
    name: str  # of its file, or of one of them


@dataclass(slots=True)
class Watched:
    """What was seen of a scan while it was taken."""

    n_frames: int = 0
    seconds: list[float] = field(default_factory=list)  # that each update of the factors took
    refreshed: list[int] = field(default_factory=list)  # frames that there were at each map
    left_out: int = 0  # files, or groups of them, that could not be used
    factors: Factors | None = None
    last: RunResult | None = None


def watch(
    folder: str | Path,
    out_dir: str | Path,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    flat: str | Path | None = None,
    n_frames: int | None = None,
    every: int = EVERY,
    settled_s: float = SETTLED_S,
    stop: Callable[[], bool] = lambda: False,
    tell: Tell = lambda said: None,
) -> Watched:
    """Follow a scan while it is taken.

    Every frame that is complete updates the subspace.  After every ten, a map and a report are made in the
    background of what there is; while that lasts no more than ten further frames are taken up, the others
    wait in their files.  At the end everything is made as `xanesum.pipeline.run` makes it.

    Parameters
    ----------
    folder : str or Path
        Where the files arrive: exposures and flats of SSRL 6-2c, or files of one frame each, whose energy
        they say themselves or in their name (as ``scan_8340.5eV.tif``).
    out_dir : str or Path
        Folder for the results.
    recipe : Recipe
        Everything that can be chosen.
    flat : str or Path, optional
        File of images without the sample, whose mean is used, for frames that are counts.
    n_frames : int, optional
        Frames after which the scan is complete; without it `stop` says when.
    every : int
        Frames after which map and report are made anew.
    settled_s : float
        Seconds that the files of a frame have to stay as they are.
    stop : callable
        Asked again and again whether to end.
    tell : callable
        Called with a line of text after every frame and map, and for every file that cannot be used.

    Raises
    ------
    ReadError, RecipeError, WriteError
        If a folder or an option is wrong.
    StackError
        If there were too few frames for a result when it ended.
    """
    folder, out_dir = Path(folder), Path(out_dir)
    if not folder.is_dir():
        raise ReadError(f"{folder}: no such folder; give the one that the scan is written to")
    if every < 1:
        raise RecipeError(f"a map is made after every frame at most, got every = {every}")
    check_output(out_dir, is_folder=True)
    this = _Watch(folder.name, out_dir, recipe, every, tell)
    coming = arrivals(folder, recipe, _mean_image(flat), settled_s, this.leave_out)
    with this.background:
        while not (stop() or (n_frames is not None and len(this.scan) >= n_frames)):
            arrival = next(coming) if this.has_time() else None
            if arrival is None:
                time.sleep(POLL_S)
            else:
                this.take_up(arrival)
        this.finish_map()
    if len(this.scan) < FEWEST:
        raise StackError(f"{len(this.scan)} frames came, too few for a result; it takes {FEWEST}")
    this.watched.last = this.make(last=True)
    this.watched.refreshed.append(len(this.scan))
    return this.watched


@dataclass(slots=True)
class _Watch:
    """A scan as far as it has come, and the map that is being made of it."""

    name: str
    out_dir: Path
    recipe: Recipe
    every: int
    tell: Tell
    watched: Watched = field(default_factory=Watched)
    scan: GrowingScan = field(default_factory=lambda: GrowingScan(allow_missing=True))
    background: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    n_made: int = 0  # frames that the last map was started with
    refresh: Future[RunResult] | None = None

    def leave_out(self, reason: str) -> None:
        """Count and tell what could not be used."""
        self.watched.left_out += 1
        self.tell(f"left out: {reason}")

    def has_time(self) -> bool:
        """Start a map where one is due; return whether a frame can be taken up before the next is."""
        if self.refresh is not None and self.refresh.done():
            self.finish_map()
        due = len(self.scan) - self.n_made >= self.every and len(self.scan) >= FEWEST
        if due and self.refresh is None:
            self.n_made, due = len(self.scan), False
            self.refresh = self.background.submit(self.make, last=False)
        return not due

    def finish_map(self) -> None:
        """Wait for the map that is being made, if any."""
        if self.refresh is None:
            return
        refresh, self.refresh = self.refresh, None
        try:
            self.watched.last = refresh.result()
        except XanesumError as error:  # the next one may be better
            self.tell(f"no map of {self.n_made} frames: {error}")
            return
        self.watched.refreshed.append(self.n_made)
        self.tell(f"map of {self.n_made} frames: {self.watched.last.report}")

    def take_up(self, arrival: Arrival) -> None:
        """Add a frame."""
        started = time.perf_counter()
        try:
            self.watched.factors = self.scan.add(arrival.density, arrival.energy_ev)
        except StackError as error:
            self.leave_out(f"{arrival.name}: {error}")
            return
        self.watched.seconds.append(time.perf_counter() - started)
        self.watched.n_frames = len(self.scan)
        self.tell(f"frame {len(self.scan)}, {arrival.energy_ev:.2f} eV: {arrival.name}")

    def make(self, *, last: bool) -> RunResult:
        """Make map and report of what there is; of the whole scan the clean stack, too."""
        stack, report = prepare(self.scan.stack(), allow_missing=True)
        counted = tuple(report.lines())
        return run_stack(
            stack, self.out_dir, name=self.name, recipe=self.recipe, counted=counted, with_stack=last
        )


def arrivals(
    folder: Path,
    recipe: Recipe,
    flat: NDArray[np.float64] | None,
    settled_s: float,
    leave_out: Tell,
) -> Iterator[Arrival | None]:
    """Yield frames as they are complete, and None whenever there is no other yet; it never ends."""
    since: dict[Path, tuple[tuple[int, float], float]] = {}  # size and time of change, since when they are so
    done: set[Path] = set()
    while True:
        now = time.monotonic()
        groups: dict[object, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            if path in done or path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
                continue
            found = path.stat()
            state = (found.st_size, found.st_mtime)
            if path not in since or since[path][0] != state:
                since[path] = (state, now)
            groups.setdefault(energy_of(path) or path, []).append(path)
        for files in groups.values():
            if any(now - since[path][1] < settled_s for path in files) or not _complete(files):
                continue
            done.update(files)
            try:
                yield _frame(folder, files, recipe, flat)
            except (ReadError, StackError) as error:
                leave_out(str(error))
        yield None


def _complete(files: list[Path]) -> bool:
    """Whether a frame can be made: SSRL files of one energy need exposures and flats."""
    flats = ["_ref_" in path.name.lower() for path in files]
    return energy_of(files[0]) is None or (any(flats) and not all(flats))


def _frame(folder: Path, files: list[Path], recipe: Recipe, flat: NDArray[np.float64] | None) -> Arrival:
    """Return a frame, as optical density where it can be."""
    of_ssrl = energy_of(files[0]) is not None
    stack = read_exposures(folder, files) if of_ssrl else _single(files[0])
    has_flat = "flat" in stack.coords
    if flat is not None and not has_flat:
        if flat.shape != stack.shape[1:]:
            raise StackError(f"{files[0]}: has {stack.shape[1:]} pixels (y, x), the flat has {flat.shape}")
        stack = stack.assign_coords(flat=(stack.dims[1:], flat))
        stack.attrs["quantity"] = "counts"  # whatever the kind of numbers, as there is a flat for them
    stack = cut_scan(stack, recipe.input)
    density = to_optical_density(stack)[0]
    values = np.where(usable_mask(density), density.values[0], np.nan)
    return Arrival(float(stack.energy[0]), np.asarray(values, np.float32), files[0].name)


def _single(path: Path) -> xr.DataArray:
    """Read a file that holds one frame."""
    facts = describe(path)
    if facts["shape"][0] != 1:
        raise ReadError(f"{path}: holds {facts['shape'][0]} images; a file that arrives holds one")
    if facts["energy_min_ev"] is not None:
        return read_stack(path)
    named = NAMED.search(path.stem)
    if named is None:
        raise EnergyError(f"{path}: says no photon energy; put it in the name, as scan_8340.5eV{path.suffix}")
    return read_stack(path, energies=[float(named[1].replace("p", "."))])


def _mean_image(path: str | Path | None) -> NDArray[np.float64] | None:
    """Return the mean of the images in a file."""
    if path is None:
        return None
    n_images = describe(path)["shape"][0]
    images = read_stack(path, energies=np.arange(n_images) + 1000.0).values
    return np.asarray(images.mean(axis=0), np.float64)
