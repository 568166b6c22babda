"""Shifts that other programs wrote: ImageJ (MultiStackReg, TurboReg), PyXAS and TXM-Sandbox.

MultiStackReg writes landmarks: a point of the source image, and the same point of the target image.  Their
difference is where the content of the source lies, as in `xanesum.align.Shifts`.  PyXAS and TXM-Sandbox
write the shift that they apply to a frame; where its content lies is the negative of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.stack import KEV_LIMIT

__all__ = ["Foreign", "read_foreign"]

Array = NDArray[np.float64]
Lines = list[tuple[int, str]]  # number of a line, from 1 on, and its text; no line is empty

MULTISTACKREG, TURBOREG, TABLE, TXM_SANDBOX = "MultiStackReg", "TurboReg", "a table of dy dx", "TXM-Sandbox"
HEAD_BYTES = 4096  # of a file, by which a text is told from other files
MSR_TITLE = "MultiStackReg Transformation File"
MSR_HEADER = 3  # lines: title, version, and whether images were aligned with another stack (1) or not (0)
MSR_BLOCK = 8  # lines: transformation, names of images, 3 points of the source, 3 points of the target
MSR_IMAGES = re.compile(r"Source img:\s*(\d+)\s+Target img:\s*(\d+)")
TURBOREG_TITLE, SOURCE_POINTS, TARGET_POINTS = (
    "Transformation",
    "Refined source landmarks",
    "Target landmarks",
)
TRANSLATION: Final = "TRANSLATION"
TXM_SHIFTS = "registration_results/reg_parameters/user_determined_shift/absolute_shift"
TXM_ENERGIES = "registration_results/reg_results/eng_list"
NO_TURN = 1e-6  # largest difference of a matrix from that of a translation


@dataclass(frozen=True, slots=True, eq=False)
class Foreign:
    """Shifts as another program knows them."""

    program: str
    shifts_px: Array  # (n, 2) in (y, x): where the content of each frame lies
    energy_ev: Array | None  # (n,), increasing; None where the file has none


def read_foreign(path: Path, n_frames: int | None) -> Foreign | None:
    """Read shifts of another program.

    Parameters
    ----------
    path : Path
        A file that exists.
    n_frames : int, optional
        Number of frames of the stack.

    Returns
    -------
    Foreign or None
        None if the file is none of another program that is known.

    Raises
    ------
    ReadError
        If it is such a file, but holds no shifts, other transformations than translations, or numbers that
        are not finite.
    """
    if h5py.is_hdf5(path):
        return _txm_sandbox(path)
    lines = _lines(path)
    if not lines:
        return None
    first = lines[0][1]
    if first == MSR_TITLE:
        return Foreign(MULTISTACKREG, _multistackreg(path, lines), None)
    if first == TURBOREG_TITLE:
        return Foreign(TURBOREG, _turboreg(path, lines, n_frames), None)
    if _numbers(first) is not None:
        return Foreign(TABLE, _table(path, lines), None)
    return None


def _lines(path: Path) -> Lines:
    """Return the lines of a text that are neither empty nor comments; none of any other file."""
    try:
        with path.open("rb") as file:
            if b"\0" in file.read(HEAD_BYTES):
                return []
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    numbered = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]


def _numbers(line: str) -> list[float] | None:
    """Return the numbers of a line, or None if it holds anything else."""
    try:
        return [float(word) for word in line.replace(",", " ").split()]
    except ValueError:
        return None


def _pair(path: Path, number: int, line: str, meaning: str) -> Array:
    """Return the two finite numbers of a line."""
    found = _numbers(line)
    if found is None or len(found) != 2 or not np.isfinite(found).all():
        raise ReadError(
            f"{path}: line {number}: expected two finite numbers, {meaning}, got {line[:60]!r}; correct it"
        )
    return np.array(found)


# --- a table of dy dx, as PyXAS writes it


def _table(path: Path, lines: Lines) -> Array:
    """Return the shifts (n, 2) of a table of applied shifts dy, dx, one line per frame."""
    return -np.array([_pair(path, *line, "dy and dx of a frame") for line in lines])


# --- ImageJ


def _multistackreg(path: Path, lines: Lines) -> Array:
    """Return the shifts (n, 2) of a file of MultiStackReg."""
    flag = lines[2][1] if len(lines) >= MSR_HEADER else "nothing"
    if flag not in ("0", "1"):
        raise ReadError(
            f"{path}: the third line must be 0 or 1, got {flag!r}; save the transformations again"
        )
    own: dict[int, Array] = {}
    onto: dict[int, int] = {}
    for source, target, shift in _msr_blocks(path, lines[MSR_HEADER:]):
        if source in own:
            raise ReadError(f"{path}: two transformations of image {source}; save them again")
        own[source], onto[source] = shift, target
    if not own:
        raise ReadError(f"{path}: holds no transformation; save the transformations again")
    n = max(*own, *onto.values())
    absent = [i for i in range(1, n + 1) if i not in own]
    if flag == "1":  # aligned with another stack, each image for itself
        if absent:
            raise ReadError(f"{path}: no transformation of image {absent[0]}; save the transformations again")
        return np.array([own[i] for i in range(1, n + 1)])
    if len(absent) > 1:
        named = " and ".join(map(str, absent[:2]))
        raise ReadError(f"{path}: no transformation of images {named}; save the transformations again")
    targets = set(onto.values())
    if len(targets) == 1:  # only the first target is named, but each image was aligned with its neighbour
        (target,) = targets
        onto = {source: source + (1 if source < target else -1) for source in own if source != target}
    return _added_up(path, own, onto, n)


def _msr_blocks(path: Path, lines: Lines) -> Iterator[tuple[int, int, Array]]:
    """Yield source, target, and the shift (2,) in (y, x) of the source against the target."""
    for start in range(0, len(lines), MSR_BLOCK):
        block = lines[start : start + MSR_BLOCK]
        number, kind = block[0]
        _require_translation(path, number, kind)
        images = MSR_IMAGES.fullmatch(block[1][1]) if len(block) == MSR_BLOCK else None
        if images is None:
            raise ReadError(
                f"{path}: line {number}: expected {TRANSLATION}, 'Source img: 1 Target img: 2', and 3 points "
                "of each image; save the transformations again"
            )
        source, target = (int(image) for image in images.groups())
        if not (source and target):
            raise ReadError(f"{path}: line {number + 1}: images count from 1; save the transformations again")
        x_y = [_pair(path, *block[at], "x and y of a point") for at in (2, 5)]  # the other points are 0
        yield source, target, (x_y[0] - x_y[1])[::-1]


def _added_up(path: Path, own: dict[int, Array], onto: dict[int, int], n: int) -> Array:
    """Return shifts (n, 2) against one image; `own` are those of images against the images `onto`."""
    total = {i: np.zeros(2) for i in range(1, n + 1) if i not in onto}
    left = dict(onto)
    while left:
        ready = [source for source, target in left.items() if target in total]
        if not ready:
            raise ReadError(
                f"{path}: image {min(left)} is aligned with no image whose shift is known; "
                "save the transformations again"
            )
        for source in ready:
            total[source] = total[left.pop(source)] + own[source]
    return np.array([total[i] for i in range(1, n + 1)])


def _turboreg(path: Path, lines: Lines, n_frames: int | None) -> Array:
    """Return the shifts (n, 2) of landmarks of TurboReg: each source image against one target image."""
    if len(lines) < 2:
        raise ReadError(f"{path}: holds no transformation; save the landmarks again")
    _require_translation(path, *lines[1])
    points = {
        title: [
            _pair(path, *below, "x and y of a point") for (_, line), below in pairwise(lines) if line == title
        ]
        for title in (SOURCE_POINTS, TARGET_POINTS)
    }
    source, target = points[SOURCE_POINTS], points[TARGET_POINTS]
    if not source or len(source) != len(target):
        raise ReadError(
            f"{path}: {len(source)} points of source images and {len(target)} of target images; "
            "expected as many of both, save the landmarks again"
        )
    shifts = (np.array(source) - np.array(target))[:, ::-1]
    if n_frames == len(shifts) + 1:  # the first frame was the target
        return np.vstack([np.zeros(2), shifts])
    return np.asarray(shifts, np.float64)


def _require_translation(path: Path, number: int, kind: str) -> None:
    if kind != TRANSLATION:
        raise ReadError(
            f"{path}: line {number}: expected {TRANSLATION}, got {kind[:60]!r}; "
            "only translations can be used, so register the scan again with translations"
        )


# --- TXM-Sandbox


def _txm_sandbox(path: Path) -> Foreign:
    """Return the shifts, and the energies if there are any, of a registration of a 2-D scan."""
    try:
        with h5py.File(path) as file:
            group, energies = file.get(TXM_SHIFTS), file.get(TXM_ENERGIES)
            if not isinstance(group, h5py.Group) or not len(group):
                raise ReadError(
                    f"{path}: holds no shifts; expected those of TXM-Sandbox in {TXM_SHIFTS}, or give a table"
                )
            shifts = np.array([_txm_shift(path, name, group[name]) for name in sorted(group)])
            energy_ev = None if energies is None else np.array(energies[()], np.float64).ravel()
    except ReadError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReadError(
            f"{path}: the shifts cannot be read ({error}); save the registration again"
        ) from error
    if energy_ev is None:
        return Foreign(TXM_SANDBOX, shifts, None)
    if len(energy_ev) != len(shifts) or not np.isfinite(energy_ev).all():
        raise ReadError(
            f"{path}: {int(np.isfinite(energy_ev).sum())} energies for {len(shifts)} shifts; "
            "save the registration again"
        )
    order = np.argsort(energy_ev, kind="stable")
    energy_ev = energy_ev * (1e3 if energy_ev.max() < KEV_LIMIT else 1.0)
    return Foreign(TXM_SANDBOX, shifts[order], energy_ev[order])


def _txm_shift(path: Path, name: str, dataset: Any) -> Array:
    """Return where the content of a frame lies (2,): of the applied (dy, dx), or of a matrix (3, 3)."""
    applied = np.array(dataset[()], np.float64)
    if not np.isfinite(applied).all():
        raise ReadError(f"{path}: the shift of frame {name} is not finite; correct the registration")
    if applied.shape == (2,):
        return -applied
    if applied.shape != (3, 3):
        raise ReadError(
            f"{path}: the shift of frame {name} has shape {applied.shape}, expected (2,) or (3, 3); "
            "only registrations of 2-D scans can be used"
        )
    shift = applied[1::-1, 2].copy()  # it leads from a point (x, y, 1) of the result to one of the frame
    applied[:2, 2] = 0
    if np.abs(applied - np.eye(3)).max() > NO_TURN:
        raise ReadError(
            f"{path}: frame {name} is also turned or scaled; "
            "only translations can be used, so register the scan again with translations"
        )
    return shift
