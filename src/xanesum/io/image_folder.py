"""A folder of one TIFF or .xrm image per energy: energies from headers or names, flats and darks by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import EnergyError, MissingExtraError, ReadError
from xanesum.io import tiff, txm_wizard, xrm
from xanesum.io.names import (
    DARK,
    FLAT,
    LEAST_EV,
    SAMPLE,
    energies_of_labels,
    energy_in_name,
    kind_of,
    scan_name,
)
from xanesum.io.references import between
from xanesum.io.scan import Format, Key, Scan, float_dtype, frame_reader
from xanesum.stack import DIMS

__all__ = ["FORMAT", "is_image"]

SUFFIXES = (*tiff.SUFFIXES, ".xrm")
LISTS = ("energies.txt", "energies.csv", "energy.txt", "energies.npy")
NAMED = 3  # files that a message names, at most
EVERYTHING = (slice(None),) * 3


@dataclass(frozen=True, slots=True)
class Image:
    """One file of the folder."""

    path: Path
    kind: str
    energy_ev: float | None
    scan: Scan

    def read(self) -> NDArray[np.float64]:
        """Return its image (Y, X), the mean of all if it holds several; NaN where it is saturated."""
        values = self.scan.read(EVERYTHING).astype(np.float64)
        limit = self.scan.attrs.get("saturation_counts")
        if limit is not None:
            values[values >= limit] = np.nan
        mean: NDArray[np.float64] = values.mean(axis=0)
        return mean

    @property
    def seconds(self) -> float | None:
        """Its exposure time; None if the file does not say."""
        dims_and_values = self.scan.coords.get("exposure_s")
        if dims_and_values is None:
            return None
        time = float(np.mean(dims_and_values[1]))
        return time if time > 0 else None


def is_image(path: Path) -> bool:
    """Return whether a file may be one image of a scan, by its name."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _open(path: Path) -> Scan:
    images, notes = _images(path)
    samples = [image for image in images if image.kind == SAMPLE]
    _require_one_scan(path, samples)
    samples, energies, more = _with_energies(path, samples)
    groups = _groups(samples, energies)
    repeated = max(map(len, groups))
    if repeated > 1:
        more = (*more, f"up to {repeated} images of one energy were averaged")
    flats = [image for image in images if image.kind == FLAT]
    darks = [image for image in images if image.kind == DARK]
    shape, dtype = _common_shape(path, [*samples, *flats, *darks], len(groups))
    is_counts = bool(flats) or all(image.scan.quantity == "counts" for image in samples)
    quantity = "counts" if is_counts else samples[0].scan.quantity
    energy = np.array(sorted({e for e in energies if e is not None})) if len(groups) > 0 else None
    known = energy is not None and len(energy) == len(groups)
    limits = {image.scan.attrs.get("saturation_counts") for image in samples} if repeated == 1 else {None}
    return Scan(
        shape=shape,
        dtype=dtype,
        read=_reader(groups, plain=repeated == 1),
        energy=energy if known else None,
        quantity=quantity,
        is_declared=all(image.scan.is_declared and image.scan.quantity == quantity for image in samples),
        pixel_size_nm=samples[0].scan.pixel_size_nm,
        coords={
            **_flat_coords(shape, flats, energy if known else None),
            **({} if not darks else {"dark": (DIMS[1:], _mean(darks).astype(np.float32))}),
            **_times(groups, flats),
        },
        attrs={}
        if limits == {None} or len(limits) > 1 or not is_counts
        else {"saturation_counts": limits.pop()},
        history=(_summary(path, samples, flats, darks, quantity),),
        notes=(*notes, *more),
        computed=repeated > 1,
        beside=tuple(path / name for name in LISTS),
    )


def _images(path: Path) -> tuple[list[Image], tuple[str, ...]]:
    """Return the images of the folder that can be read, and a note of those that cannot."""
    images: list[Image] = []
    damaged: list[str] = []
    files = [file for file in sorted(path.iterdir(), key=lambda each: _natural(each.name)) if is_image(file)]
    kinds = [kind_of(file.stem) for file in files]
    if SAMPLE not in kinds:  # a scan of a reference or of a flat by itself
        kinds = [SAMPLE] * len(kinds)
    for file, kind in zip(files, kinds, strict=True):
        try:
            scan = (xrm if file.suffix.lower() == ".xrm" else tiff).FORMAT.open(file)
        except MissingExtraError:
            raise
        except (ReadError, EnergyError):
            damaged.append(file.name)
            continue
        image = Image(file, kind, _energy_of(file, scan), scan)
        if kind == SAMPLE and scan.shape[0] > 1 and image.energy_ev is None:
            raise ReadError(
                f"{path}: {file.name} in it holds {scan.shape[0]} images by itself; give that file, not its "
                "folder"
            )
        images.append(image)
    if not any(image.kind == SAMPLE for image in images):
        raise ReadError(f"{path}: none of its {len(files)} images can be read; the first is {files[0].name}")
    return images, (f"files that cannot be read were left out ({_some(damaged)})",) if damaged else ()


def _energy_of(path: Path, scan: Scan) -> float | None:
    """Return the energy in eV of an image, from its header, or else from its name."""
    named = energy_in_name(path.stem)
    if scan.energy is None or scan.shape[0] > 1:
        return named
    said = float(scan.energy[0])
    is_rounded = named is not None and abs(said - named) < txm_wizard.STEP_EV
    return said if path.suffix.lower() == ".xrm" or is_rounded else named


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a key that sorts names as their numbers: ``a_2`` before ``a_10``."""
    digits = "".join(c if c.isdigit() else " " for c in name).split()
    letters = "".join(" " if c.isdigit() else c for c in name).split()
    return tuple((0, word) for word in letters) + tuple((int(number), "") for number in digits)


def _require_one_scan(path: Path, samples: Sequence[Image]) -> None:
    names = sorted({scan_name(image.path.stem) for image in samples if image.energy_ev is not None})
    if len(names) > 1:
        listed = ", ".join(name or "without a name" for name in names[:NAMED])
        raise ReadError(f"{path}: holds images of {len(names)} scans ({listed}); give each its own folder")


def _with_energies(
    path: Path, samples: list[Image]
) -> tuple[list[Image], list[float | None], tuple[str, ...]]:
    """Return the images of the sample that have energies, and these; or all, if none has one."""
    known = [image for image in samples if image.energy_ev is not None]
    if not known:
        bare = _numbers_that_are_energies([image.path.stem for image in samples])
        if bare is None:
            return samples, [None] * len(samples), ()
        said = f"{min(bare):g} to {max(bare):g} in the names were taken for energies in eV"
        return samples, [*bare], (said,)
    lacking = [image.path.name for image in samples if image.energy_ev is None]
    note = (f"images without an energy in their names were left out ({_some(lacking)})",) if lacking else ()
    return known, [image.energy_ev for image in known], note


def _numbers_that_are_energies(stems: Sequence[str]) -> list[float] | None:
    """Return the numbers of the names that may be energies; None unless one place of the names has such."""
    numbers = [re.findall(r"\d+(?:\.\d+)?", stem) for stem in stems]
    if len({len(each) for each in numbers}) != 1:
        return None
    found = []
    for column in zip(*numbers, strict=True):
        energy = energies_of_labels(column)
        if energy is None or len(set(column)) < len(stems) or energy.min() < LEAST_EV:
            continue
        if "." in "".join(column) or np.any(np.diff(energy) != 1):  # those that count on are no energies
            found.append(energy)
    return [float(value) for value in found[0]] if len(found) == 1 else None


def _groups(samples: Sequence[Image], energies: Sequence[float | None]) -> list[list[Image]]:
    """Return the images of each energy, in its order; each image by itself if there are no energies."""
    by_energy: dict[float, list[Image]] = defaultdict(list)
    for e, (image, energy) in enumerate(zip(samples, energies, strict=True)):
        by_energy[float(e) if energy is None else energy].append(image)
    return [by_energy[energy] for energy in sorted(by_energy)]


def _common_shape(
    path: Path, images: Iterable[Image], n_energies: int
) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    shapes = sorted({image.scan.shape[1:] for image in images})
    if len(shapes) > 1:
        listed = ", ".join(f"{y} x {x}" for y, x in shapes[:NAMED])
        raise ReadError(f"{path}: expected images of one size (y, x), got {listed}")
    dtypes = {float_dtype(image.scan.dtype) for image in images}
    return (n_energies, *shapes[0]), np.dtype(np.float64) if len(dtypes) > 1 else dtypes.pop()


def _reader(groups: Sequence[Sequence[Image]], *, plain: bool) -> Callable[[Key], NDArray[Any]]:
    def frame(e: int) -> NDArray[Any]:
        if plain and groups[e][0].scan.shape[0] == 1:  # saturation is left to the steps that follow
            return groups[e][0].scan.read((0, slice(None), slice(None)))
        return _mean(groups[e])

    return frame_reader(len(groups), frame)


def _mean(images: Sequence[Image]) -> NDArray[np.float64]:
    total = images[0].read()
    for image in images[1:]:
        total += image.read()
    return total / len(images)


def _flat_coords(
    shape: tuple[int, int, int], flats: Sequence[Image], energy: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Return the coordinate `flat`: one image, or one per energy, linear between those of the flats."""
    if not flats:
        return {}
    if energy is None or any(flat.energy_ev is None for flat in flats):
        return {"flat": (DIMS[1:], _mean(flats).astype(np.float32))}
    groups = _groups(flats, [flat.energy_ev for flat in flats])
    known = np.array(sorted({flat.energy_ev for flat in flats if flat.energy_ev is not None}))
    return {"flat": (DIMS, between(shape, lambda i: _mean(groups[i]), known, energy))}


def _times(groups: Sequence[Sequence[Image]], flats: Sequence[Image]) -> dict[str, Any]:
    """Return exposure times, where every image of the sample and every flat has one."""
    of_samples = [[image.seconds for image in group] for group in groups]
    of_flats = [flat.seconds for flat in flats]
    if not flats or None in of_flats or any(None in times for times in of_samples):
        return {}
    mean = [float(np.mean([time for time in times if time is not None])) for times in of_samples]
    flat = float(np.mean([time for time in of_flats if time is not None]))
    return {
        "exposure_s": (DIMS[:1], np.array(mean)),
        "flat_exposure_s": (DIMS[:1], np.full(len(groups), flat)),
    }


def _summary(
    path: Path, samples: Sequence[Image], flats: Sequence[Image], darks: Sequence[Image], quantity: str
) -> str:
    parts = [f"{len(samples)} images", *([f"{len(flats)} flats"] * bool(flats))]
    parts += [f"{len(darks)} darks"] * bool(darks)
    return f"read {', '.join(parts)} of {path.name or 'the folder'}, as {quantity}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _matches(path: Path, head: bytes) -> bool:
    return path.is_dir() and any(is_image(file) for file in path.iterdir())


FORMAT = Format(
    name="image_folder",
    description="folder of one TIFF or .xrm image per energy",
    suffixes=(),
    matches=_matches,
    open=_open,
    writer=txm_wizard.WRITER,
)
