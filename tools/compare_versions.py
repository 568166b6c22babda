"""Run two versions of xanesum on the same eight scans, and compare every number that they write.

    python tools/compare_versions.py --old ../older               a source folder, which holds src/xanesum
    python tools/compare_versions.py --old ../env/bin/python      an interpreter that has the older version
    python tools/compare_versions.py --old ... --new ...          another new version than this repository
    python tools/compare_versions.py --old ... --quick            two small scans
    python tools/compare_versions.py --old ... --keep FOLDER      keep scans, results and arrays there

A source folder of an older commit is made by ``git archive COMMIT | tar -x -C FOLDER``.

Six scans are phantoms, one of each kind, and two are measured; these lie in the folder that XANESUM_TEST_DATA
names, or in ``shared/data`` beside the repository, and are left out where there is none.  Both versions work
side by side with one thread each for sums, so that they take the same time, and the order of sums is the
same.  Exit 1 if an array differs by more than the limit, or is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

REPO = Path(__file__).resolve().parents[1]
LIMIT = 1e-6  # largest difference that is rounding, relative to the largest absolute value of the array
WORKER = "worker"  # hidden subcommand
RESULT_ARRAYS = (
    "spectra",
    "coefficients",
    "error_images",
    "error_mixing",
    "sigma",
    "sigma_energy",
    "sigma_pixel",
    "sigma_common",
)
RESULT_TABLES = ("components", "risk")
FACTS = ("denoiser_fingerprint", "scale")  # of the provenance; others may change with rounding
SAME_FOR_ALL = {"compute": {"memory": "2GB", "device": "cpu"}}  # block sizes must not follow the free memory
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
Arrays = Mapping[str, NDArray[Any]]
Options = Mapping[str, Mapping[str, Any]]


class Scan(NamedTuple):
    """A scan to be compared on: a phantom, or a file of measured data."""

    name: str
    options: Options = MappingProxyType({})  # of the recipe, where they are not the default
    shape: tuple[int, int] = (96, 96)  # of a phantom, whose kind is its name
    n_energies: int = 40
    sigma: float | None = None  # of white noise; None for what a detector counts, with flat drift
    file: str = ""  # below the folder of measured data
    energies: str = ""  # ... file of energies


SCANS = (
    Scan("particle", shape=(400, 520)),  # averages over 2 x 2 px in the search for spectra
    Scan(  # optical density is kept in a file and read in blocks, as it does not fit in so little memory
        "catalyst", {"denoise": {"denoiser": "wavelet"}, "compute": {"memory": "3MB"}}, shape=(120, 160)
    ),
    Scan("round", {"map": {"bootstrap": 3}}, sigma=30.0),
    Scan(  # averages, of white noise
        "electrode", {"denoise": {"denoiser": "wavelet"}}, shape=(352, 352), n_energies=48, sigma=60.0
    ),
    Scan("wedge", {"denoise": {"denoiser": "tv"}}, sigma=60.0),
    Scan("brine", {"denoise": {"method": "sum", "denoiser": "nlm"}}, sigma=40.0),
    Scan("ALS Fe L edge", file="als_fe_l_edge/71214098.hdr"),
    Scan("HXN Fe K", file="hxn_fe_k_tiff/Site4um.tiff", energies="hxn_fe_k_tiff/tmp_data.txt"),
)
QUICK_SCANS = (
    Scan("particle", {"denoise": {"denoiser": "wavelet"}}, shape=(48, 64), n_energies=24),
    Scan("round", {"denoise": {"denoiser": "wavelet"}}, shape=(48, 48), n_energies=24, sigma=30.0),
)


# --- the worker, which runs in the version that is looked at, and uses nothing but public names


def work(out: Path, *, quick: bool, data: Path | None, opens: Path | None) -> int:
    """Write arrays of each scan into a folder; return 1 if one failed.

    With `opens`, the arrays are those of results that another version left in that folder.
    """
    import xanesum

    versions = {name: sys.modules[name].__version__ for name in ("numpy", "h5py")}
    said = {"version": xanesum.__version__, "file": str(Path(xanesum.__file__).resolve()), **versions}
    (out / "version.json").write_text(json.dumps(said), "utf-8")
    warnings.simplefilter("ignore")
    failed = 0
    for scan in usable_scans(quick=quick, data=data):
        started = time.perf_counter()
        folder = out / slug(scan)
        try:
            if opens is None:
                found = run_scan(scan, folder, data)
                found |= {**result_arrays(folder), **map_arrays(folder), **trust_arrays(folder)}
            elif not (opens / slug(scan)).is_dir():  # that version failed, and said so
                continue
            else:
                found = result_arrays(opens / slug(scan))
        except Exception:
            traceback.print_exc()
            failed = 1
            continue
        seconds = time.perf_counter() - started
        np.savez(out / f"{slug(scan)}.npz", seconds=np.array(seconds), **found)
        if opens is None:
            print(f"{out.name}: {scan.name}, {seconds:.1f} s", flush=True)
    return failed


def run_scan(scan: Scan, folder: Path, data: Path | None) -> dict[str, NDArray[Any]]:
    """Make the scan where it is a phantom, and do the whole job; return means of the scan as it was read."""
    import xanesum as xs

    if scan.file and data is not None:
        source = data / scan.file
    else:
        source = folder.with_suffix(".h5")
        make_phantom(scan, source)
    energies = str(data / scan.energies) if scan.energies and data is not None else None
    recipe = xs.Recipe().updated(SAME_FOR_ALL).updated(scan.options)
    xs.run(source, folder, recipe=recipe.updated({"input": {"energies": energies}}))
    stack = xs.read_stack(source, energies=energies)
    values = np.asarray(stack.values, np.float64)
    return {
        "scan/energy_ev": np.asarray(stack["energy"]),
        "scan/mean_spectrum": values.mean(axis=(1, 2)),
        "scan/mean_image": values.mean(axis=0),
    }


def make_phantom(scan: Scan, path: Path) -> None:
    """Write a phantom as a scan file; its numbers depend on its kind alone."""
    import xanesum as xs
    from xanesum.phantom import KINDS, expose

    scene, noise = np.random.default_rng([KINDS.index(scan.name), 0xC0]).spawn(2)
    phantom = xs.simulate(scan.name, shape=scan.shape, n_energies=scan.n_energies, rng=scene)
    if scan.sigma is None:
        stack = expose(phantom, 2000.0, flat_drift=0.03, rng=noise).stack
    else:
        stack = phantom.noisy(scan.sigma, rng=noise)
    xs.write_stack(stack, path)


def result_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Return factors, errors, noise levels and tables of a result."""
    import xanesum

    result = xanesum.load_result(folder / "result.sum.h5")
    found = {}
    for name in RESULT_ARRAYS:
        if hasattr(result, name):
            found[name] = np.asarray(getattr(result, name))
    for table in RESULT_TABLES:
        columns = getattr(result, table)
        for name in (*columns.coords, *columns.data_vars):
            found[f"{table}/{name}"] = np.asarray(columns[name])
    for name in FACTS:
        if name in result.provenance:
            found[f"provenance/{name}"] = np.asarray(result.provenance[name])
    return found


def map_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Return every dataset of the map and its numbers; nothing where the scan has no edge to map."""
    found: dict[str, NDArray[Any]] = {}
    path = folder / "map.h5"
    if not path.exists():
        return found

    def take(name: str, item: Any) -> None:
        for key, value in item.attrs.items():
            if np.issubdtype(np.asarray(value).dtype, np.number):
                found[f"map/{name}@{key}"] = np.asarray(value)
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
            found[f"map/{name}"] = np.asarray(item[()])

    with h5py.File(path, "r") as file:
        file.visititems(take)
    return found


def trust_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Return what the residual says."""
    figures = json.loads((folder / "trust.json").read_text("utf-8"))
    return {f"trust/{name}": np.asarray(value) for name, value in flattened(figures)}


def flattened(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables with their full names."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{name}/")
        else:
            yield before + name, value


# --- the comparison


class Comparison(NamedTuple):
    """How alike two sets of arrays are."""

    n_arrays: int = 0
    n_identical: int = 0  # to the bit
    largest: float = 0.0  # relative difference; infinite where two arrays cannot be compared
    where: str = ""  # the array that has it
    problems: tuple[str, ...] = ()  # what is missing or has another shape


def compare(old: Arrays, new: Arrays) -> Comparison:
    """Compare arrays of the same names."""
    problems = [f"{name}: only in the old version" for name in old.keys() - new.keys()]
    problems += [f"{name}: only in the new version" for name in new.keys() - old.keys()]
    both = [name for name in old if name in new]
    differences = {name: difference(old[name], new[name]) for name in both}
    for name, size in differences.items():
        a, b = old[name], new[name]
        if a.shape != b.shape:
            problems.append(f"{name}: shape {a.shape} in the old version, {b.shape} in the new one")
        elif np.isinf(size):
            problems.append(f"{name}: other text, NaN or infinities than in the old version")
    n_identical = sum(identical(old[name], new[name]) for name in both)
    where = max(differences, key=differences.__getitem__, default="")
    largest = differences.get(where, 0.0)
    n_arrays = len(old.keys() | new.keys())
    return Comparison(n_arrays, n_identical, largest, where if largest else "", tuple(sorted(problems)))


def identical(old: NDArray[Any], new: NDArray[Any]) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    return bool(old.dtype == new.dtype) and old.shape == new.shape and old.tobytes() == new.tobytes()


def difference(old: NDArray[Any], new: NDArray[Any]) -> float:
    """Return the largest difference over the largest absolute value; infinite where there is none to tell.

    NaN and infinities in the same places count as equal.
    """
    if old.shape != new.shape:
        return np.inf
    if not {old.dtype.kind, new.dtype.kind} <= set("biuf"):
        return 0.0 if np.array_equal(old, new) else np.inf
    a, b = old.astype(np.float64), new.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(
        a[~finite], b[~finite], equal_nan=True
    ):
        return np.inf
    most = max(np.abs(a[finite]).max(initial=0.0), np.abs(b[finite]).max(initial=0.0))
    gap = float(np.abs(a[finite] - b[finite]).max(initial=0.0))
    return gap / float(most) if gap else 0.0


def compare_folders(old: Path, new: Path, names: Sequence[str]) -> list[Comparison]:
    """Compare the files of arrays that two versions left, one for each name."""
    found = []
    for name in names:
        lost = [place.name for place in (old, new) if not (place / f"{name}.npz").exists()]
        if lost:
            found.append(Comparison(problems=(f"no arrays of the version in {' and '.join(lost)}",)))
        else:
            found.append(compare(load(old, name), load(new, name)))
    return found


def load(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of one scan, without the time it took."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files if key != "seconds"}


def seconds_of(folder: Path, name: str) -> float:
    """Return the time that a scan took; NaN where it failed."""
    path = folder / f"{name}.npz"
    if not path.exists():
        return np.nan
    with np.load(path, allow_pickle=False) as file:
        return float(file["seconds"])


def agrees(comparison: Comparison) -> bool:
    """Whether nothing is missing or beyond the limit."""
    return bool(comparison.n_arrays) and not comparison.problems and comparison.largest <= LIMIT


# --- scans, versions and what is printed


def usable_scans(*, quick: bool, data: Path | None) -> list[Scan]:
    """Return the scans that can be had."""
    return [scan for scan in (QUICK_SCANS if quick else SCANS) if not reason_to_skip(scan, data)]


def reason_to_skip(scan: Scan, data: Path | None) -> str:
    """Say why a scan cannot be had; nothing where it can."""
    if not scan.file:
        return ""
    if data is None:
        return "no folder of measured data; XANESUM_TEST_DATA can name one"
    missing = [name for name in (scan.file, scan.energies) if name and not (data / name).is_file()]
    return f"{data} has no {missing[0]}" if missing else ""


def measured_data() -> Path | None:
    """Return the folder of measured data, if there is one."""
    folder = Path(os.environ.get("XANESUM_TEST_DATA") or REPO.parent / "shared" / "data").absolute()
    return folder if folder.is_dir() else None


def slug(scan: Scan) -> str:
    """Return the name of the files of a scan."""
    return scan.name.lower().replace(" ", "_")


def command_for(version: Path) -> tuple[str, dict[str, str]]:
    """Return the interpreter and the environment that a version is run with.

    Raises
    ------
    SystemExit
        If `version` is neither an interpreter nor a source folder.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= ENVIRONMENT
    if version.is_file():
        return str(version.absolute()), environment
    source = version.absolute() / "src"
    if not (source / "xanesum").is_dir():
        raise SystemExit(f"{version}: neither a Python interpreter nor a folder that holds src/xanesum")
    return sys.executable, environment | {"PYTHONPATH": str(source)}


def start(version: Path, out: Path, *, quick: bool, data: Path | None, opens: Path | None = None) -> Any:
    """Start a worker of a version."""
    interpreter, environment = command_for(version)
    out.mkdir(parents=True, exist_ok=True)
    command = [interpreter, "-P", str(Path(__file__).resolve()), WORKER, "--out", str(out)]
    command += ["--quick"] if quick else []
    command += ["--data", str(data)] if data is not None else []
    command += ["--opens", str(opens)] if opens is not None else []
    return subprocess.Popen(command, env=environment, cwd=out)


def run_all(commands: Sequence[tuple[Path, Path]], *, quick: bool, data: Path | None) -> None:
    """Run the workers of (version, folder) side by side."""
    with ExitStack() as stack:
        started = [stack.enter_context(start(*each, quick=quick, data=data)) for each in commands]
        try:
            for worker in started:
                worker.wait()
        except BaseException:
            for worker in started:
                worker.kill()
            raise


def require_version(folder: Path, version: Path) -> str:
    """Return what was run, in words; refuse another copy of xanesum than the one that was named."""
    path = folder / "version.json"
    if not path.exists():
        raise SystemExit(f"{version}: xanesum could not be imported")
    said = json.loads(path.read_text("utf-8"))
    if version.is_dir() and not Path(said["file"]).is_relative_to(version.resolve()):
        raise SystemExit(f"{version}: {said['file']} was imported instead")
    return f"xanesum {said['version']} in {Path(said['file']).parent}, numpy {said['numpy']}"


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def table_rows(
    scans: Sequence[Scan], compared: Sequence[Comparison], old: Path, new: Path
) -> Iterator[tuple[str, ...]]:
    """Yield the head of the table and a row for each scan."""
    yield "scan", "arrays", "bit-identical", "largest difference", "differs most", "seconds old/new"
    for scan, each in zip(scans, compared, strict=True):
        times = " / ".join(f"{seconds_of(place, slug(scan)):.1f}" for place in (old, new))
        numbers = str(each.n_arrays), str(each.n_identical), f"{each.largest:.1e}" if each.largest else "0"
        yield scan.name, *numbers, each.where or "-", times


def compare_versions(old: Path, new: Path, place: Path, *, quick: bool) -> int:
    """Run both versions, compare, and print what was found; return the exit status."""
    began, data = time.perf_counter(), measured_data()
    wanted = QUICK_SCANS if quick else SCANS
    for scan in wanted:
        if reason := reason_to_skip(scan, data):
            print(f"skipped: {scan.name}: {reason}", flush=True)
    folders = {name: place / name for name in ("old", "new")}
    run_all([(old, folders["old"]), (new, folders["new"])], quick=quick, data=data)
    for name, version in (("old", old), ("new", new)):
        print(f"{name}: {require_version(folders[name], version)}")
    scans = usable_scans(quick=quick, data=data)
    names = [slug(scan) for scan in scans]
    compared = compare_folders(folders["old"], folders["new"], names)
    print_table(list(table_rows(scans, compared, folders["old"], folders["new"])))
    for scan, each in zip(scans, compared, strict=True):
        for problem in each.problems:
            print(f"{scan.name}: {problem}")
    n_opened = opened_by_new(folders["old"], new, place / "opened", names, quick=quick, data=data)
    print(
        f"results of the old version opened by the new one, with the same values: {n_opened} of {len(names)}"
    )
    print(f"took {time.perf_counter() - began:.0f} s in all")
    good, largest = sum(map(agrees, compared)), max((each.largest for each in compared), default=0.0)
    n_arrays = sum(each.n_arrays for each in compared)
    n_identical = sum(each.n_identical for each in compared)
    print(
        f"{good} of {len(wanted)} scans: {n_identical} of {n_arrays} arrays are bit-identical; "
        f"largest relative difference {largest:.1e} (limit {LIMIT:.0e})"
    )
    return int(good < len(scans) or n_opened < len(scans))


def opened_by_new(
    old: Path, new: Path, place: Path, names: Sequence[str], *, quick: bool, data: Path | None
) -> int:
    """Return how many results of the old version the new one opens and reads the same values from."""
    with start(new, place, quick=quick, data=data, opens=old) as worker:
        worker.wait()
    same = 0
    for name in names:
        if not all((folder / f"{name}.npz").exists() for folder in (old, place)):
            continue
        known, found = load(old, name), load(place, name)
        same += bool(found) and all(key in known and identical(known[key], found[key]) for key in found)
    return same


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and do what it says."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == WORKER:
        parser = argparse.ArgumentParser()
        parser.add_argument("--out", type=Path, required=True)
        parser.add_argument("--quick", action="store_true")
        parser.add_argument("--data", type=Path)
        parser.add_argument("--opens", type=Path)
        given = parser.parse_args(arguments[1:])
        return work(given.out, quick=given.quick, data=given.data, opens=given.opens)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", type=Path, required=True, help="interpreter or source folder")
    parser.add_argument("--new", type=Path, default=REPO, help="... this repository by default")
    parser.add_argument("--quick", action="store_true", help="two small scans")
    parser.add_argument("--keep", type=Path, help="new folder for scans, results and arrays")
    given = parser.parse_args(arguments)
    for version in (given.old, given.new):
        command_for(version)  # refuses what is no version
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        if any(given.keep.iterdir()):
            raise SystemExit(f"{given.keep}: is not empty; choose another folder")
        return compare_versions(given.old, given.new, given.keep.absolute(), quick=given.quick)
    with tempfile.TemporaryDirectory(prefix="xanesum-compare-") as place:
        return compare_versions(given.old, given.new, Path(place), quick=given.quick)


if __name__ == "__main__":
    sys.exit(main())
