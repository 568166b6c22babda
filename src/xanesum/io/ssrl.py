"""A folder of SSRL 6-2c images (.xrm): sample exposures and flats, with their energies in the file names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Format, Scan, float_dtype, frame_reader
from xanesum.io.xrm import XrmInfo, read_image, read_info
from xanesum.noise.detector import LAW_EXPOSURES, Coords, law_coords
from xanesum.stack import DIMS
from xanesum.storage.lazy import lazy_array

__all__ = ["FORMAT", "all_there", "energy_of", "open_files"]

# rep01_[000001_ref_]<sample>_08324.0_eV_001of003.xrm
NAME = re.compile(
    r"rep\d+_(?:(?P<flat>\d+_ref)_)?(?P<sample>.+)_(?P<energy>\d+(?:\.\d+)?)_eV_"
    r"\d+of(?P<total>\d+)\.xrm",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Exposure:
    """One file of the folder."""

    path: Path
    sample: str
    energy_ev: float
    is_flat: bool
    info: XrmInfo


@dataclass(frozen=True, slots=True)
class Point:
    """All exposures at one energy."""

    energy_ev: float
    exposures: tuple[Exposure, ...]
    flats: tuple[Exposure, ...]


def open_files(path: Path, files: Iterable[Path]) -> Scan:
    """Open some of the files of a folder as a scan.

    Raises
    ------
    ReadError
        If no energy has both a sample exposure and a flat, or the files do not belong to one scan.
    """
    exposures, damaged = _exposures(path, files)
    points, incomplete = _points(exposures, damaged)
    if not points:
        left_out = _left_out(damaged, incomplete)
        raise ReadError(f"{path}: no energy has both a sample exposure and a flat ('_ref_'); {left_out}")
    shape, dtype = _common_shape(path, points)
    rate = _rates([point.exposures for point in points])
    flat = lazy_array(shape, _rates([point.flats for point in points]), dtype=np.float32)
    return Scan(
        shape=shape,
        dtype=dtype,
        read=rate,
        energy=np.array([point.energy_ev for point in points]),
        quantity="counts",
        is_declared=True,
        pixel_size_nm=points[0].exposures[0].info.pixel_size_nm,
        coords={
            "flat": (DIMS, flat),
            "exposure_s": (("energy",), _mean_time([point.exposures for point in points])),
            "flat_exposure_s": (("energy",), _mean_time([point.flats for point in points])),
            **_noise_law(points),
        },
        attrs={"unit": "counts/s"},
        history=(_summary(path, points),),
        notes=(note,) if (note := _left_out(damaged, incomplete)) else (),
        computed=True,
    )


def energy_of(path: Path) -> float | None:
    """Return the energy in eV from the name of an exposure; None for files with other names."""
    found = NAME.fullmatch(path.name)
    return None if found is None else float(found["energy"])


def all_there(files: Iterable[Path]) -> bool:
    """Return whether files of one energy are complete: all exposures and flats that their names announce.

    A file with another name is a frame by itself.
    """
    counts: dict[bool, list[int]] = {False: [], True: []}
    for path in files:
        found = NAME.fullmatch(path.name)
        if found is None:
            return True
        counts[found["flat"] is not None].append(int(found["total"]))
    return all(totals and len(totals) >= max(totals) for totals in counts.values())


def _open(path: Path) -> Scan:
    return open_files(path, (file for file in path.iterdir() if file.suffix.lower() == ".xrm"))


def _exposures(folder: Path, files: Iterable[Path]) -> tuple[list[Exposure], list[str]]:
    """Return the exposures that can be read, and the names of the damaged files."""
    good: list[Exposure] = []
    damaged: list[str] = []
    for path in sorted(files):
        found = NAME.fullmatch(path.name)
        if found is None:
            continue
        try:
            info = read_info(path)
        except ReadError:
            damaged.append(path.name)
            continue
        _require_time(path, info)
        good.append(Exposure(path, found["sample"], float(found["energy"]), found["flat"] is not None, info))
    samples = sorted({exposure.sample for exposure in good})
    if len(samples) > 1:
        raise ReadError(
            f"{folder}: holds {len(samples)} samples ({', '.join(samples[:4])}); give each its folder"
        )
    return good, damaged


def _require_time(path: Path, info: XrmInfo) -> None:
    if not info.exposure_s[0] > 0:
        raise ReadError(
            f"{path}: has no exposure time (ImageInfo/ExpTimes), so it cannot be compared with a flat"
        )


def _points(exposures: Sequence[Exposure], damaged: Sequence[str]) -> tuple[list[Point], list[float]]:
    """Return the energies with both kinds of image, and those with only one kind or none."""
    groups: dict[float, tuple[list[Exposure], list[Exposure]]] = defaultdict(lambda: ([], []))
    for exposure in exposures:
        groups[exposure.energy_ev][exposure.is_flat].append(exposure)
    for name in damaged:
        if (found := NAME.fullmatch(name)) is not None:
            groups[float(found["energy"])]  # so that an energy is listed even if nothing is left of it
    points = [Point(e, tuple(s), tuple(f)) for e, (s, f) in sorted(groups.items()) if s and f]
    return points, sorted(e for e, (s, f) in groups.items() if not (s and f))


def _left_out(damaged: Sequence[str], incomplete: Sequence[float]) -> str:
    """Return a sentence that names what was left out, or an empty string."""
    parts = []
    if damaged:
        parts.append(f"damaged files were left out ({', '.join(damaged)})")
    if incomplete:
        energies = ", ".join(f"{energy:.1f}" for energy in incomplete)
        parts.append(f"energies without a sample exposure or without a flat were left out ({energies} eV)")
    return "; ".join(parts)


def _common_shape(folder: Path, points: Sequence[Point]) -> tuple[tuple[int, int, int], np.dtype[np.generic]]:
    infos = [exposure.info for point in points for exposure in (*point.exposures, *point.flats)]
    shapes = {info.shape for info in infos}
    if len(shapes) > 1 or infos[0].shape[0] != 1:
        raise ReadError(
            f"{folder}: expected single images of one size, got {', '.join(map(str, sorted(shapes)))}"
        )
    return (len(points), *infos[0].shape[1:]), float_dtype(infos[0].dtype)


def _rates(groups: Sequence[Sequence[Exposure]]) -> Callable[..., NDArray[np.float32]]:
    return frame_reader(len(groups), lambda e: _mean_rate(groups[e]))


def _mean_rate(exposures: Sequence[Exposure]) -> NDArray[np.float32]:
    """Return the mean of repeats in counts per second, each divided by its own exposure time.

    A pixel that is saturated in one repeat is NaN: the mean of the other repeats would be too small.
    """
    total = np.zeros(exposures[0].info.shape[1:], dtype=np.float64)
    for exposure in exposures:
        total += _counts(exposure) / exposure.info.exposure_s[0]
    return (total / len(exposures)).astype(np.float32)


def _counts(exposure: Exposure) -> NDArray[np.float64]:
    """Return the counts of an exposure, NaN where it was saturated."""
    counts = read_image(exposure.path, exposure.info).astype(np.float64)
    counts[counts == exposure.info.saturation_counts] = np.nan
    return counts


def _mean_time(groups: Sequence[Sequence[Exposure]]) -> NDArray[np.float64]:
    return np.array([np.mean([exposure.info.exposure_s[0] for exposure in group]) for group in groups])


def _noise_law(points: Sequence[Point]) -> Coords:
    """Return the noise law of the rates, from the first energy with repeated flats of equal exposure."""
    for flats in (point.flats for point in points):
        if len(flats) > 1 and len({flat.info.exposure_s[0] for flat in flats}) == 1:
            return law_coords(
                np.stack([_counts(flat) for flat in flats[:LAW_EXPOSURES]]),
                repeats=[len(point.exposures) for point in points],
                seconds=_mean_time([point.exposures for point in points]),
                n_energies=len(points),
            )
    return {}


def _summary(folder: Path, points: Sequence[Point]) -> str:
    n_flats = sum(len(point.flats) for point in points)
    n_exposures = sum(len(point.exposures) for point in points)
    counted = f"{n_exposures} exposures and {n_flats} flats at {len(points)} energies"
    return f"read {counted} of {folder.name}, as counts/s"


def _matches(path: Path, head: bytes) -> bool:
    return path.is_dir() and any(NAME.fullmatch(entry.name) for entry in path.iterdir())


FORMAT = Format(
    name="ssrl",
    description="folder of SSRL 6-2c .xrm exposures and flats",
    suffixes=(),
    matches=_matches,
    open=_open,
)
