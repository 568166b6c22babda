"""Result of denoising: a few spectra and as many images, which give any part of the clean stack."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from xanesum.errors import RankError, ReadError, StackError
from xanesum.io.hdf5_file import RESULT, is_result, scalar_text
from xanesum.io.hdf5_text import stored_text
from xanesum.result.display import Shown
from xanesum.result.hyperspy_signal import signal_of
from xanesum.result.mean_spectra import MeanSpectra
from xanesum.result.spectrum_errors import filled_spectra
from xanesum.stack import DIMS, QUANTITIES, add_history
from xanesum.storage.atomic import atomic_path
from xanesum.storage.lazy import lazy_array

__all__ = ["Denoised", "holds_result", "load_result"]

COMPONENT_COLUMNS = {
    "singular_value": "size of the stack along the spectrum, noise included",
    "share": "share of the sum of squares above the noise",
    "spectrum_error": "standard error of the spectrum at one energy",
    "noisy_risk": "mean squared error of the image before denoising, estimated",
    "risk": "mean squared error of the image after it, estimated",
    "weight_noisy": "weight of the noisy image",
    "weight_denoised": "weight of the denoised image",
    "p_value": "how often noise alone would look as real; NaN where it was not computed",
}
DIMS_OF = {  # of every array
    "spectra": ("component", "energy"),
    "coefficients": ("component", "y", "x"),
    "sigma_energy": ("energy",),
    "sigma_common": ("energy",),
    "sigma_pixel": ("y", "x"),
    "sigma_drift": ("y", "x"),
    "error_images": ("source", "y", "x"),
    "error_mixing": ("component", "source"),
    "error_spectra": ("source", "energy"),
    "error_freedom": ("source", "energy"),
    "hidden_spectrum": ("energy",),
    "hidden_size": ("y", "x"),
}
MAY_BE_NAN = ("sigma_energy", "sigma_pixel", "sigma_drift")
NOT_NEGATIVE = (
    "sigma_energy",
    "sigma_common",
    "sigma_pixel",
    "sigma_drift",
    "error_images",
    "error_spectra",
    "hidden_size",
)
LARGEST_ERROR = 1e30
ARRAYS = (
    "spectra",
    "coefficients",
    "sigma_energy",
    "sigma_common",
    "sigma_pixel",
    "sigma_drift",
    "error_images",
    "error_mixing",
    "error_spectra",
    "error_freedom",
    "hidden_spectrum",
    "hidden_size",
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Denoised(MeanSpectra, Shown):
    """A clean stack as factors: ``spectra`` times ``coefficients``."""

    spectra: xr.DataArray  # (component, energy), orthonormal rows; 0 at energies of weight 0
    coefficients: xr.DataArray  # (component, y, x), float32, denoised, unit of the stack
    components: xr.Dataset  # along tried: see `COMPONENT_COLUMNS`; components that were left out come last
    sigma: float  # noise level that the denoiser was given, unit of the stack
    sigma_energy: xr.DataArray  # (energy,), noise level at each energy, unit of the stack
    sigma_common: xr.DataArray  # (energy,), level of additional noise that all energies share, or 0
    sigma_pixel: xr.DataArray  # (y, x), noise level of each pixel, relative to their mean; 1 for even noise
    sigma_drift: xr.DataArray  # (y, x), error by removed drift of the light, at one energy, unit of the stack
    # The errors of the coefficients are sums of independent errors, given by two arrays:
    error_images: xr.DataArray  # (source, y, x), float32, standard error of each source
    error_mixing: xr.DataArray  # (component, source), factor of each source in a component
    # (source, energy), standard error of the spectrum of each source before it was smoothed along energy ...
    error_spectra: xr.DataArray
    error_freedom: xr.DataArray  # ... and the share of its variance that was left, 0 to 1
    hidden_spectrum: xr.DataArray  # (energy,), of a component that noise may hide ...
    hidden_size: xr.DataArray  # ... and (y, x), the standard deviation of its image, unit of the stack
    # along rank: risk, standard_error, difference_error (from the least risk), divergence, chosen
    risk: xr.Dataset
    attrs: dict[str, Any]  # of the stack: quantity, pixel_size_nm, history
    provenance: dict[str, Any]  # method, options, versions, hash of the input, seconds
    reasons: tuple[str, ...] = ()  # why the stated errors may not hold, as far as it is known

    @property
    def rank(self) -> int:
        """Number of components kept; may be 0."""
        return int(self.spectra.sizes["component"])

    @property
    def intervals_hold(self) -> bool:
        """Whether nothing is known that speaks against the stated errors."""
        return not self.reasons

    @property
    def shape(self) -> tuple[int, int, int]:
        """(E, Y, X) of the clean stack."""
        return self.spectra.sizes["energy"], self.coefficients.sizes["y"], self.coefficients.sizes["x"]

    @property
    def noise_is_even(self) -> bool:
        """Whether the noise was taken as equal in all pixels and at all energies."""
        return bool((self.sigma_pixel == 1).all())

    @property
    def sigma_used(self) -> NDArray[np.float64]:
        """Noise level that was used for each energy, shape (E,); the same for all where the noise is even."""
        return np.full(self.sigma_energy.size, self.sigma) if self.noise_is_even else self.sigma_energy.values

    def truncated(self, rank: int) -> Denoised:
        """Return the result with the first `rank` components only.

        Raises
        ------
        RankError
            If the result has fewer components.
        """
        if not 0 <= rank <= self.rank:
            raise RankError(f"rank must lie in 0..{self.rank}, the components of this result, got {rank}")
        first = {"component": slice(rank)}
        chosen = self.risk["rank"] == rank
        return replace(
            self,
            spectra=self.spectra.isel(first),
            coefficients=self.coefficients.isel(first),
            error_mixing=self.error_mixing.isel(first),
            risk=self.risk.assign(chosen=chosen),
        )

    def reconstruct(self, *, out: NDArray[np.floating] | None = None) -> xr.DataArray:
        """Return the clean stack (energy, y, x), float32; values are computed when they are used.

        ``result.reconstruct().isel(energy=3)`` computes one frame, and ``.isel(y=5, x=7)`` one spectrum.  At
        energies of weight 0 the spectra are interpolated.

        Parameters
        ----------
        out : ndarray of floats, shape (E, Y, X), optional
            Array for the values, such as that of the noisy stack, or one that is mapped to a file.  It is
            filled at once, frame by frame, and the returned stack holds it.

        Raises
        ------
        StackError
            If `out` is no array of floats of this shape.
        """
        if out is not None and not _is_place(out, self.shape):
            raise StackError(f"out must be a NumPy array of floats of shape {self.shape}")
        spectra = filled_spectra(self.spectra)
        images = self.coefficients.values

        def read(key: tuple[Any, ...]) -> NDArray[np.float32]:
            return np.tensordot(spectra[:, key[0]].T, images[(slice(None), *key[1:])], axes=1)

        coords = {**self.coefficients.coords, **self.spectra.coords}
        values = lazy_array(self.shape, read)
        if out is not None:
            for e, frame in enumerate(out):
                frame[:] = read((e, slice(None), slice(None)))
            values = xr.Variable(DIMS, out)
        stack = xr.DataArray(values, coords=coords, name="stack", attrs=dict(self.attrs))
        stack.attrs.pop("missing_values", None)
        return add_history(stack, f"denoised by xanesum {self.provenance.get('xanesum')}, rank {self.rank}")

    def to_hyperspy(self) -> Any:
        """Return the clean stack as a `hyperspy.signals.Signal1D`: spectra at positions (y, x), float32.

        Its metadata hold, under `xanesum`, sigma, rank, and why errors may not hold.  The whole clean stack
        is in memory, of four bytes for each value.  `xanesum.write_stack` writes ``.hspy`` without HyperSpy.

        Raises
        ------
        MissingExtraError
            If HyperSpy is not installed.
        """
        facts = {"sigma": self.sigma, "rank": self.rank, "reasons": list(self.reasons)}
        return signal_of(self.reconstruct(), facts)

    def save(self, path: str | Path) -> Path:
        """Write the result to one HDF5 file, completely or not at all; `load_result` reads it.

        Raises
        ------
        WriteError
            If the file cannot be written.
        """
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["default"] = "entry"
            entry = file.create_group("entry")
            entry.attrs.update({"NX_class": "NXentry", "default": "coefficients"})
            entry["definition"] = RESULT
            for name in ARRAYS:
                _write_array(entry, name, getattr(self, name))
            for group, table in (("risk", self.risk), ("components", self.components)):
                for name in (*table.coords, *table.data_vars):
                    entry[f"{group}/{name}"] = table[name].values
            entry["sigma"] = self.sigma
            process = entry.create_group("process")
            process.attrs["NX_class"] = "NXprocess"
            process["program"] = "xanesum"
            process["attrs"] = json.dumps(self.attrs, default=_plain)
            process["provenance"] = json.dumps(self.provenance, default=_plain)
            process["reasons"] = json.dumps(self.reasons)
        return Path(path)


def load_result(path: str | Path) -> Denoised:
    """Read a result written by `Denoised.save`.

    Raises
    ------
    ReadError
        If the file is missing, damaged, or not a result.
    """
    try:
        with h5py.File(path, "r") as file:
            entry = file["entry"]
            if not is_result(file):
                raise KeyError(RESULT)
            if absent := sorted({*ARRAYS, "components", "risk", "sigma", "process"} - set(entry)):
                raise ReadError(f"{path}: not a whole xanesum result: it lacks {', '.join(absent)}")
            components = _read_table(entry["components"], "tried")
            if missing := sorted(set(COMPONENT_COLUMNS) - set(components.data_vars)):
                raise KeyError(f"written by an earlier version, without {', '.join(missing)}")
            result = Denoised(
                **{name: _read_array(entry[name]) for name in ARRAYS},
                components=components,
                sigma=float(entry["sigma"][()]),
                risk=_read_table(entry["risk"], "rank"),
                attrs=_read_json(entry["process/attrs"]),
                provenance=_read_json(entry["process/provenance"]),
                reasons=tuple(_read_json(entry["process/reasons"])),
            )
            if problem := _problem_of(result):
                raise ReadError(f"{path}: not a whole xanesum result: {problem}")
            return result
    except ReadError:
        raise
    except FileNotFoundError as error:
        raise ReadError(f"{path}: no such file") from error
    except (OSError, KeyError, ValueError, AttributeError, TypeError, RuntimeError) as error:
        raise ReadError(
            f"{path}: not a xanesum result ({error}); expected a file written by Denoised.save"
        ) from error


def holds_result(path: str | Path) -> bool:
    """Return whether a file says that it is a result of `Denoised.save`, whole or not."""
    try:
        with h5py.File(path, "r") as file:
            return is_result(file)
    except (ReadError, OSError, KeyError, ValueError, AttributeError, TypeError, RuntimeError):
        return False


def _problem_of(result: Denoised) -> str:
    """Return what is wrong with the parts of a result, as shapes that do not fit; empty if nothing is."""
    if problem := _problem_of_arrays(result):
        return problem
    if not 0 <= result.sigma < LARGEST_ERROR:
        return f"sigma is {result.sigma}"
    if len(result.components["tried"]) < result.rank or "risk" not in result.risk:
        return "its tables have fewer rows than it has components"
    if not isinstance(result.attrs, dict) or not isinstance(result.provenance, dict):
        return "it does not say how it was made"
    if result.attrs.get("quantity") not in QUANTITIES:
        return "it does not say what its values are"
    energy = result.spectra["energy"].values if "energy" in result.spectra.coords else np.zeros(2)
    if not (np.isfinite(energy).all() and (np.diff(energy) > 0).all()):
        return "its energies are not in order"
    return ""


def _problem_of_arrays(result: Denoised) -> str:
    """Return the same for the arrays alone."""
    sizes = {**result.spectra.sizes, **result.coefficients.sizes, **result.error_images.sizes}
    for name, dims in DIMS_OF.items():
        array = getattr(result, name)
        shape = tuple(sizes.get(dim, -1) for dim in dims)
        if array.dims != dims or array.shape != shape:
            return f"{name} has shape {array.shape}, where {shape} is expected"
        if not np.issubdtype(array.dtype, np.floating):
            return f"{name} holds no numbers of floating point"
        known = array.values[np.isfinite(array.values)]
        if array.size != known.size and name not in MAY_BE_NAN:
            return f"{name} holds {array.size - known.size} values that are not finite"
        if name in NOT_NEGATIVE and known.size and not 0 <= known.min() <= known.max() < LARGEST_ERROR:
            return f"{name} holds values that no error can have"
    return ""


def _is_place(out: object, shape: tuple[int, ...]) -> bool:
    return isinstance(out, np.ndarray) and out.shape == shape and np.issubdtype(out.dtype, np.floating)


def _write_array(parent: h5py.Group, name: str, array: xr.DataArray) -> None:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": [str(d) for d in array.dims]})
    group["data"] = array.values
    for key, coord in array.coords.items():
        dataset = group.create_dataset(str(key), data=coord.values)
        dataset.attrs["dims"] = [str(d) for d in coord.dims]
        if key == "energy":
            dataset.attrs["units"] = "eV"


def _read_array(group: h5py.Group) -> xr.DataArray:
    coords = {
        key: ([str(d) for d in group[key].attrs["dims"]], group[key][()]) for key in group if key != "data"
    }
    return xr.DataArray(group["data"][()], dims=[str(d) for d in group.attrs["axes"]], coords=coords)


def _read_json(dataset: h5py.Dataset) -> Any:
    return json.loads(scalar_text(stored_text(dataset)))


def _read_table(group: h5py.Group, dim: str) -> xr.Dataset:
    columns = {name: (dim, group[name][()]) for name in group}
    return xr.Dataset(columns).set_coords(dim)


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: a list for arrays and tuples, a plain number, or text."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)
