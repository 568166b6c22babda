"""Shifts of the sample from frame to frame, with their errors; saved as CSV, read from that and others."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xanesum.align.foreign import Foreign, read_foreign
from xanesum.errors import ReadError, StackError, XanesumWarning
from xanesum.storage.atomic import atomic_path

__all__ = ["ALIGNED", "BY_DRIFT", "LEFT_OUT", "Rotation", "Shifts", "has_energies", "read_shifts"]

Array = NDArray[np.float64]

ALIGNED: Final = "aligned"
BY_DRIFT: Final = "by drift"
LEFT_OUT: Final = "left out"
FLAGS: Final = (ALIGNED, BY_DRIFT, LEFT_OUT)
COLUMNS: Final = ("energy_ev", "dy_px", "dx_px", "sigma_dy_px", "sigma_dx_px", "flag")
OPTIONAL: Final = ("covariance_dy_dx_px2", "magnification", "reason")
ANGLES: Final = ("rotation_deg", "sigma_rotation_deg")
NO_SHIFT = "no shift is known at its energy"  # reason of a frame that is left out
BY_CHANCE = 0.01  # chance of rest below which a sample moves
SAME_EV = 0.05  # energies that differ by less are the same


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """By which angle the content of each frame is turned, from x towards y, about the centre of the field.

    A common angle of all frames is no rotation; the mean angle is zero, weighted by one over its variance.
    """

    angle_deg: Array  # (E,); 0 where it is not known
    sigma_deg: Array  # (E,) standard errors; infinite where the angle is not known
    p_none: float  # probability of angles as large where nothing turns

    @property
    def turns(self) -> bool:
        """Whether a sample that does not turn would seem to turn as much in less than 1 % of all scans."""
        return self.p_none < BY_CHANCE


@dataclass(frozen=True, slots=True, eq=False)
class Shifts:
    """Where the content of each frame lies: that much towards larger y and x.

    The content at pixel p of the aligned stack is seen at ``c + magnification * (p - c) + shift``, with c the
    centre of the field.  A common shift of all frames is no motion.  `estimate_shifts` chooses it so that the
    mean shift is zero, each frame weighted by one over the trace of its shift's covariance.
    """

    energy_ev: Array  # (E,)
    shifts_px: Array  # (E, 2) in (y, x)
    covariance_px2: Array  # (E, 2, 2)
    flag: NDArray[np.str_]  # (E,) "aligned", "by drift" or "left out"
    reasons: tuple[str, ...]  # (E,) why a frame is not aligned by its own image; "" where it is
    rank: int  # number of spectra of the model; 0 where the shifts were read from a file
    magnification: Array  # (E,), 1 where none
    p_still: float  # probability of as much motion as seen where nothing moves; NaN where it is not known
    rotation: Rotation | None = None  # only where it was asked for; frames are not turned back
    pattern: NDArray[np.float32] | None = None  # (Y, X) noise of the flat, in optical density, if it is known

    @property
    def moves(self) -> bool:
        """Whether a sample at rest would seem to move as much in less than 1 % of all scans."""
        return self.p_still < BY_CHANCE

    @property
    def sigma_px(self) -> Array:
        """Standard errors (E, 2) in pixels."""
        return np.sqrt(np.diagonal(self.covariance_px2, axis1=1, axis2=2))

    def write_shifts(self, path: str | Path) -> Path:
        """Write the shifts as CSV, one line per frame; the file is complete or absent.

        The columns are energy_ev, dy_px, dx_px, sigma_dy_px, sigma_dx_px, flag; then the covariance of dy and
        dx, the magnification, and the reason of the flag; and angles with their errors where rotation was
        looked for.  The noise of a flat is not written.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            angles = () if self.rotation is None else (self.rotation.angle_deg, self.rotation.sigma_deg)
            writer.writerow((*COLUMNS, *OPTIONAL, *ANGLES[: len(angles)]))
            for e, energy in enumerate(self.energy_ev):
                numbers = (energy, *self.shifts_px[e], *self.sigma_px[e])
                writer.writerow(
                    (
                        *(f"{number:.9g}" for number in numbers),
                        self.flag[e],
                        f"{self.covariance_px2[e, 0, 1]:.9g}",
                        f"{self.magnification[e]:.9g}",
                        self.reasons[e],
                        *(f"{each[e]:.9g}" for each in angles),
                    )
                )
        return Path(path)

    def at(self, energy_ev: Array) -> Shifts:
        """Return the shifts of frames at these energies (n,), in eV; a frame without a shift is left out."""
        apart = np.abs(self.energy_ev - np.asarray(energy_ev, np.float64)[:, None])
        at = np.argmin(apart, axis=1)
        known = apart.min(axis=1) <= SAME_EV
        reasons = [self.reasons[e] if there else NO_SHIFT for e, there in zip(at, known, strict=True)]
        return Shifts(
            np.array(energy_ev, np.float64),
            np.where(known[:, None], self.shifts_px[at], 0),
            np.where(known[:, None, None], self.covariance_px2[at], 0),
            np.where(known, self.flag[at], LEFT_OUT),
            tuple(reasons),
            self.rank,
            np.where(known, self.magnification[at], 1),
            self.p_still,
            pattern=self.pattern,
        )

    def check_for(self, energy_ev: Array, shape: tuple[int, int], *, source: str = "these shifts") -> None:
        """Raise unless the shifts fit a stack.

        Parameters
        ----------
        energy_ev : ndarray, shape (E,)
            Energies of the stack.
        shape : (int, int)
            Y and X of its frames.
        source : str
            What the message calls the shifts.

        Raises
        ------
        StackError
            If number or energies differ, the pattern has another size, a number is missing, a shift is larger
            than the field, or all frames are left out.
        """
        if len(self.energy_ev) != len(energy_ev):
            raise StackError(
                f"{source}: {len(self.energy_ev)} shifts for {len(energy_ev)} frames; "
                "take the shifts of this scan"
            )
        if self.pattern is not None and self.pattern.shape != shape:
            raise StackError(f"{source}: they are of frames of another size; take the shifts of this scan")
        apart = np.abs(self.energy_ev - energy_ev)
        if not np.all(apart <= SAME_EV):
            e = int(np.argmax(~(apart <= SAME_EV)))
            raise StackError(
                f"{source}: frame {e} is at {self.energy_ev[e]:.2f} eV, "
                f"in the stack at {energy_ev[e]:.2f} eV; take the shifts of this scan"
            )
        numbers = np.column_stack([self.shifts_px, self.sigma_px, self.magnification])
        if not np.isfinite(numbers).all():
            e = int(np.argmax(~np.isfinite(numbers).all(axis=1)))
            raise StackError(f"{source}: frame {e} has no finite shift; correct or remove the shifts")
        if np.any(self.magnification <= 0):
            raise StackError(f"{source}: a magnification is not positive; correct it")
        if np.all(self.flag == LEFT_OUT):
            raise StackError(f"{source}: all frames are left out; take the shifts of this scan")
        large = np.abs(self.shifts_px) >= np.asarray(shape)
        if large.any():
            e = int(np.argmax(large.any(axis=1)))
            d_y, d_x = self.shifts_px[e]
            raise StackError(
                f"{source}: frame {e} is shifted by ({d_y:.1f}, {d_x:.1f}) px, more than the field of "
                f"{shape[0]} x {shape[1]} px; correct the shifts"
            )


def read_shifts(path: str | Path, energy_ev: Array | None = None) -> Shifts:
    """Read shifts that `Shifts.write_shifts` or another program wrote.

    Parameters
    ----------
    path : str or Path
        One of these, which is found by content:

        - CSV.  First line: the names energy_ev, dy_px, dx_px, sigma_dy_px, sigma_dx_px, flag in any order;
          columns covariance_dy_dx_px2, magnification and reason may follow, and others are not read.
        - Transformations of MultiStackReg or landmarks of TurboReg (ImageJ), translations only.  Those of
          MultiStackReg are added up from frame to frame, as it does.
        - A text of two numbers a line, dy and dx in pixels, one line for each frame: the shift that was
          applied to that frame, against one reference.  PyXAS saves this.
        - A registration of a 2-D scan by TXM-Sandbox, HDF5.

        All but the first are taken as exact, with a `XanesumWarning`, since they have no errors.
    energy_ev : ndarray, shape (E,), optional
        Energies of the stack, increasing.  Texts of other programs have none, and are taken to be of these
        frames in this order.

    Raises
    ------
    ReadError
        If the file is missing, is no text, lacks a column, or has a value that is no finite number, an error
        that is negative, an unknown flag, or energies that do not increase; if it holds other transformations
        than translations, or needs `energy_ev` and has another number of frames.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such file; check the name of the shifts")
    found = read_foreign(path, None if energy_ev is None else len(energy_ev))
    return _read_csv(path) if found is None else _without_errors(path, found, energy_ev)


def has_energies(path: str | Path) -> bool:
    """Whether `read_shifts` finds the energies in the file itself; true also of a file that it refuses.

    Raises
    ------
    ReadError
        If it is a file of another program, but holds no shifts that can be used.
    """
    found = read_foreign(Path(path), None)
    return found is None or found.energy_ev is not None


def _without_errors(path: Path, found: Foreign, energy_ev: Array | None) -> Shifts:
    """Return shifts of another program, and warn that their errors are not known."""
    n = len(found.shifts_px)
    energies = energy_ev if found.energy_ev is None else found.energy_ev
    if energies is None:
        raise ReadError(
            f"{path}: {found.program} has no energies; give those of the stack to read_shifts as energy_ev"
        )
    if len(energies) != n:
        raise ReadError(
            f"{path}: {n} shifts ({found.program}) for {len(energies)} frames; take the shifts of this scan"
        )
    warnings.warn(
        f"{path.name}: shifts of {found.program} have no errors; "
        "they were taken as exact, so the errors of the map do not include them",
        XanesumWarning,
        stacklevel=3,
    )
    return Shifts(
        np.array(energies, np.float64),
        found.shifts_px,
        np.zeros((n, 2, 2)),
        np.full(n, ALIGNED),
        ("",) * n,
        0,
        np.ones(n),
        float("nan"),
    )


def _read_csv(path: Path) -> Shifts:
    """Read what `Shifts.write_shifts` wrote."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(
            f"{path}: is no table of shifts ({error}); give a CSV file as `xanesum align` writes it"
        ) from error
    if not rows:
        raise ReadError(f"{path}: no rows of shifts found; expected a line of names and one line per frame")
    if missing := [name for name in COLUMNS if name not in rows[0]]:
        raise ReadError(f"{path}: no column {missing[0]}; the columns must be {', '.join(COLUMNS)}")
    columns = {name: _numbers(path, rows, name) for name in COLUMNS[:-1]}
    n = len(rows)
    extra = {
        name: _numbers(path, rows, name) if name in rows[0] else np.full(n, default)
        for name, default in (("covariance_dy_dx_px2", 0.0), ("magnification", 1.0))
    }
    flags = [(row["flag"] or "").strip() for row in rows]
    if odd := [flag for flag in flags if flag not in FLAGS]:
        raise ReadError(f"{path}: unknown flag {odd[0]!r}; use {', '.join(FLAGS)}")
    if np.any(np.diff(columns["energy_ev"]) <= 0):
        e = int(np.argmax(np.diff(columns["energy_ev"]) <= 0)) + 1
        raise ReadError(f"{path}: line {e + 2}: energies must increase; sort the lines, one per energy")
    sigma = np.column_stack([columns["sigma_dy_px"], columns["sigma_dx_px"]])
    if np.any(sigma < 0):
        e = int(np.argmax((sigma < 0).any(axis=1)))
        raise ReadError(f"{path}: line {e + 2}: an error is negative; correct it")
    covariance = np.zeros((n, 2, 2))
    covariance[:, [0, 1], [0, 1]] = sigma**2
    covariance[:, 0, 1] = covariance[:, 1, 0] = extra["covariance_dy_dx_px2"]
    return Shifts(
        columns["energy_ev"],
        np.column_stack([columns["dy_px"], columns["dx_px"]]),
        covariance,
        np.array(flags),
        tuple((row.get("reason") or "").strip() for row in rows),
        0,
        extra["magnification"],
        float("nan"),
    )


def _numbers(path: Path, rows: list[dict[str, str]], name: str) -> Array:
    """Return a column as finite numbers."""
    found = np.empty(len(rows))
    for i, row in enumerate(rows):
        try:
            found[i] = float(row[name])
        except (TypeError, ValueError):
            found[i] = np.nan
        if not np.isfinite(found[i]):
            raise ReadError(
                f"{path}: line {i + 2}: {name} is {row[name]!r}; expected a finite number, correct the line"
            )
    return found
