"""aXis2000 / ALS STXM stacks: a ``.hdr`` header and one ``_aNNN.xim`` text image per energy."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import Format, Scan, frame_reader, read_bytes, reading
from xanesum.io.text import i0_at

__all__ = ["FORMAT", "open_part"]

MAX_HEADER_BYTES = 2**24  # bytes of a header that are read; a larger file is something else
NM_PER = {"nm": 1.0, "um": 1e3, "mm": 1e6}  # nm per unit of length
SPECTRUM_SUFFIX = ".xsp"
OPTICAL_DENSITY = re.compile(r'\bUnit\s*=\s*"(?:OD|optical density)"', re.IGNORECASE)
DENSITY_LIMIT = 10.0  # no optical density that can be measured is larger


@dataclass(frozen=True, slots=True)
class Part:
    """One region and one channel of a scan, and what else there is."""

    region: int
    n_regions: int
    channel: int
    channels: tuple[str, ...]  # names, or empty if the header has none

    @property
    def text(self) -> str:
        """Say which part is read, if there are several."""
        region = f", region {self.region + 1}" * (self.n_regions > 1)
        return region + (f", channel {self.channels[self.channel]!r}" if len(self.channels) > 1 else "")

    @property
    def others(self) -> dict[str, tuple[str, ...]]:
        """The regions and channels that are not read, as `Scan.others`."""
        regions = tuple(str(i + 1) for i in range(self.n_regions) if i != self.region)
        channels = tuple(repr(name) for i, name in enumerate(self.channels) if i != self.channel)
        return {key: names for key, names in (("region", regions), ("detector", channels)) if names}


def open_part(path: Path, *, region: str | None = None, channel: str | None = None) -> Scan:
    """Open one region and one channel of a stack; the first of each by default.

    Parameters
    ----------
    path : Path
        The header (.hdr).
    region : str, optional
        Number of the region, from 1 on.
    channel : str, optional
        Name of the channel, as the header gives it, or its letter in the names of the images.

    Raises
    ------
    ReadError
        If the header is no stack of images over energies, has no such part, or no image of it is there.
    """
    header = read_bytes(path, MAX_HEADER_BYTES).decode("latin-1")
    _require_stack(path, header)
    part = _part(path, header, region, channel)
    own = _regions(header)[part.region] if part.n_regions > 1 else header
    energy = _points(path, header, "StackAxis")
    columns, rows = _points(path, own, "PAxis"), _points(path, own, "QAxis")
    images, missing = _images(path, energy.size, part, rows.size)
    known = np.flatnonzero([image is not None for image in images])
    there = [image for image in images if image is not None]
    shape = (known.size, rows.size, columns.size)
    energy = energy[known]
    i0 = _i0_path(path)
    spectrum = None if i0 is None else i0_at(i0, energy)
    is_declared = OPTICAL_DENSITY.search(header) is not None
    quantity, said = (
        ("optical_density", ()) if is_declared else _quantity(_read_image(there[0], shape[1:]), spectrum)
    )
    if i0 is not None and quantity == "optical_density":
        said = (*said, f"{i0.name} beside it was not applied")
        i0 = None
    return Scan(
        shape=shape,
        dtype=np.dtype(np.float32),
        read=frame_reader(known.size, lambda e: _read_image(there[e], shape[1:])),
        energy=energy,
        quantity=quantity,
        is_declared=is_declared,
        pixel_size_nm=_pixel_size_nm(own, columns),
        coords={} if i0 is None else {"i0": (("energy",), spectrum)},
        history=(f"read {path.name}{part.text} as {quantity}", *([f"I0 from {i0.name}"] if i0 else [])),
        notes=(*missing, *said),
        others=part.others,
    )


def _open(path: Path) -> Scan:
    return open_part(path)


def _require_stack(path: Path, header: str) -> None:
    """Raise ReadError for scans that are no stack of images over energies."""
    kind = re.search(r'\bType\s*=\s*"([^"]*)"', header)
    if re.search(r"\bStackAxis\s*=", header) is None and kind is not None and "Image Stack" not in header:
        what = "a line scan" if "line" in kind[1].lower() else "a single image or a spectrum"
        raise ReadError(
            f"{path}: is {what} ({kind[1][:40]!r}), no StackAxis with Points; expected an image stack over "
            "energies ('Image Stack')"
        )
    axis = re.search(r'\bStackAxis\s*=\s*\{[^}]*?\bName\s*=\s*"([^"]*)"', header)
    if axis is not None and not re.search("energy|stackaxis|photon|mono", axis[1], re.IGNORECASE):
        raise ReadError(f"{path}: is a stack over {axis[1][:40]!r}, expected one over photon energies")


def _part(path: Path, header: str, region: str | None, channel: str | None) -> Part:
    """Return the part that is asked for; the first if nothing is asked."""
    n_regions = max(1, len(_regions(header)))
    channels = _channel_names(header)
    numbers = [str(i + 1) for i in range(n_regions)]
    if region is not None and region not in numbers:
        raise ReadError(
            f"{path}: has no region {region!r}; there are {', '.join(numbers)}", parameter="region"
        )
    letters = [_letter(i) for i in range(len(channels))]
    if channel is not None and channel not in (*channels, *letters):
        known = ", ".join(map(repr, channels)) or "one channel without a name"
        raise ReadError(f"{path}: has no channel {channel!r}; there are {known}", parameter="detector")
    chosen = 0
    if channel is not None:
        chosen = channels.index(channel) if channel in channels else letters.index(channel)
    return Part(0 if region is None else int(region) - 1, n_regions, chosen, channels)


def _regions(header: str) -> list[str]:
    """Return the text of each region: it begins with its PAxis."""
    starts = [found.start() for found in re.finditer(r"\bPAxis\s*=", header)]
    return [header[a:b] for a, b in zip(starts, [*starts[1:], len(header)], strict=True)]


def _channel_names(header: str) -> tuple[str, ...]:
    found = re.search(r"\bChannels\s*=\s*\(\s*\d+\s*,(.*?)\)\s*;", header, re.DOTALL)
    return () if found is None else tuple(re.findall(r'\bName\s*=\s*"([^"]*)"', found[1]))


def _letter(channel: int) -> str:
    return chr(ord("a") + channel)


def _quantity(image: NDArray[np.float32], i0: NDArray[np.float64] | None) -> tuple[str, tuple[str, ...]]:
    """Return what the values of an image seem to be, and a note if that is not what the format has.

    Small values with fractions are no counts, unless I0 is as small.
    """
    low, high = float(image.min()), float(image.max())
    limit = DENSITY_LIMIT if i0 is None else min(DENSITY_LIMIT, float(np.median(i0)) / DENSITY_LIMIT)
    if high < limit and np.any(image != np.round(image)):
        return "optical_density", (
            f"values of {low:.3g} to {high:.3g} in the first image were taken for optical density",
        )
    return "counts", ()


def _points(path: Path, header: str, axis: str) -> NDArray[np.float64]:
    """Return the points of one axis; the first number in the brackets is their count."""
    found = re.search(rf"\b{axis}\s*=\s*\{{[^}}]*?Points\s*=\s*\(([^)]*)\)", header)
    if found is None:
        raise ReadError(
            f"{path}: no {axis} with Points in this .hdr; expected an image stack ('Image Stack')"
        )
    try:
        count, *points = [float(field) for field in found[1].split(",")]
    except ValueError as error:
        raise ReadError(f"{path}: {axis} holds something other than numbers ({error})") from error
    if count != len(points) or not points:
        raise ReadError(
            f"{path}: {axis} declares {count:g} points but lists {len(points)}; is the header cut short?"
        )
    return np.array(points)


def _images(
    path: Path, n_energies: int, part: Part, n_rows: int
) -> tuple[list[Path | None], tuple[str, ...]]:
    """Return the image at every energy, None where it is missing, and a note of those.

    Images are named after the header *file*, not after its Label: its stem, the letter of the channel, three
    digits of the energy or more, and a digit of the region if there are several.
    """
    digit = str(part.region) if part.n_regions > 1 else ""
    pattern = re.compile(
        rf"{re.escape(path.stem)}_{_letter(part.channel)}(\d{{3,}}){digit}\.xim", re.IGNORECASE
    )
    images: list[Path | None] = [None] * n_energies
    for file in sorted(path.parent.iterdir()):
        found = pattern.fullmatch(file.name)
        if found is not None and int(found[1]) < n_energies and file.is_file():
            images[int(found[1])] = file
    last = max((e for e, image in enumerate(images) if image is not None), default=None)
    if last is not None and (whole := images[last]) is not None and _n_rows(whole) < n_rows:
        images[last] = None  # the scan was stopped in this image
    lacking = [e for e, image in enumerate(images) if image is None]
    example = f"{path.stem}_{_letter(part.channel)}{lacking[0]:03d}{digit}.xim" if lacking else ""
    if len(lacking) == n_energies:
        raise ReadError(
            f"{path}: lists {n_energies} energies, but none of its images is whole and in its folder "
            f"(first: {example}); copy the whole scan into one folder"
        )
    if not lacking:
        return images, ()
    return images, (
        f"{len(lacking)} of {n_energies} images are missing or unfinished, and were left out "
        f"(first: {example})",
    )


def _n_rows(path: Path) -> int:
    return sum(bool(line.strip()) for line in read_bytes(path).splitlines())


def _read_image(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    data = read_bytes(path)
    with reading(path):
        image = np.loadtxt(io.BytesIO(data), dtype=np.float32, ndmin=2) if data.strip() else np.empty((0, 0))
    if image.shape != shape:
        raise ReadError(
            f"{path}: holds {image.shape[0]} x {image.shape[1]} numbers, the header says {shape}; cut short?"
        )
    return np.asarray(image, dtype=np.float32)


def _pixel_size_nm(header: str, points: NDArray[np.float64]) -> float | None:
    unit = re.search(r'\bPAxis\s*=\s*\{[^}]*?Unit\s*=\s*"([^"]*)"', header)
    if points.size < 2:
        return None
    step = float(np.abs(points[-1] - points[0])) / (points.size - 1)
    return round(step * NM_PER.get(unit[1] if unit else "um", 1e3), 6) or None


def _i0_path(path: Path) -> Path | None:
    """Return the file of the I0 spectrum in the same folder, if there is one."""
    files = {file.name.lower(): file for file in sorted(path.parent.iterdir()) if file.is_file()}
    for name in (f"{path.stem.lower()}{SPECTRUM_SUFFIX}", f"i0{SPECTRUM_SUFFIX}"):
        if name in files:
            return files[name]
    return None


def _matches(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".hdr" and b"ScanDefinition" in head


FORMAT = Format(
    name="axis2000",
    description="aXis2000 / ALS STXM stack (.hdr and .xim)",
    suffixes=(".hdr",),
    matches=_matches,
    open=_open,
    choose=lambda path, choice: open_part(path, region=choice.region, channel=choice.detector),
)
