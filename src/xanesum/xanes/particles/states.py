"""Chemistry of particles: mean state, its error, spread, and state against depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from xanesum.errors import EdgeError, RecipeError, StackError
from xanesum.result import Denoised
from xanesum.xanes.intensities import edge_step
from xanesum.xanes.kinds import ERROR_NAMES, MAP_NAMES
from xanesum.xanes.maps import chemical_map
from xanesum.xanes.particles.error_draws import ErrorDraws, measured_residual
from xanesum.xanes.particles.labels import Particles, without_small_holes
from xanesum.xanes.pixel_spectra import PixelSpectra, pixel_spectra_of

__all__ = [
    "DEFAULT_DRAWS",
    "WEIGHTS",
    "check_options",
    "depth_px",
    "error_name",
    "map_name",
    "measure_particles",
]

DEFAULT_DRAWS = 60  # a standard deviation from 60 draws has an error of 9 %
LEAST_DRAWS = 10
ROUNDS = 3  # rounds in which means of particles and of shells are made to fit both
AROUND_RESULT = ("state", "relative")  # whose errors are the scatter of the draws around the result
WEIGHTS = ("edge_step", "pixels")  # how pixels count in the mean of a particle
WITHOUT_SCAN = (  # reason against the errors of means
    "the scan was not at hand, so that means are those of denoised images, in which small particles "
    "are mixed with what surrounds them"
)
SPREAD_SIGMAS = 2.0  # standard errors by which a spread must exceed what errors explain

# from the spectra of all pixels to a Dataset of maps, each with its standard error and a mask
MapFunction = Callable[[Any], xr.Dataset]
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Geometry:
    """Which pixels belong to which particle, and how deep they lie."""

    pixels: NDArray[np.intp]  # (p,), flat index of the pixels of all particles that have a value
    particle: NDArray[np.intp]  # (p,), 0 ... N - 1
    shell: NDArray[
        np.intp
    ]  # (p,), 0 for the surface; -1 in particles that are cut by the border of the image
    n_particles: int
    n_shells: int

    def mean(self, values: Vector, weights: Vector) -> Vector:
        """Return the weighted mean (N,) of each particle; NaN where it has no pixel."""
        return _mean(values, weights, self.particle, self.n_particles)

    def mean_of_shells(self, values: Vector, weights: Vector) -> Vector:
        """Return the same for the shells of each particle, (N, D)."""
        inside = self.shell >= 0
        index = self.particle[inside] * self.n_shells + self.shell[inside]
        means = _mean(values[inside], weights[inside], index, self.n_particles * self.n_shells)
        return means.reshape(self.n_particles, self.n_shells)

    def measured_means(self, residual: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what makes the mean of images over particles and over shells that of the measured images.

        Parameters
        ----------
        residual : ndarray, shape (K, P)
            Measured images less denoised ones.
        """
        change = np.zeros_like(residual)
        whole = self.shell >= 0
        for left, out in zip(residual[:, self.pixels].astype(np.float64), change, strict=True):
            added = np.zeros_like(left)
            for _ in range(ROUNDS):
                of_shells = self.mean_of_depths(left - added, np.ones_like(left))
                added[whole] += of_shells[self.shell[whole]]
                added += self.mean(left - added, np.ones_like(left))[self.particle]
            out[self.pixels] = added
        return change

    def mean_of_depths(self, values: Vector, weights: Vector) -> Vector:
        """Return the same for the shells of all particles together, (D,)."""
        inside = self.shell >= 0
        return _mean(values[inside], weights[inside], self.shell[inside], self.n_shells)


def measure_particles(
    data: Denoised | xr.DataArray,
    particles: Particles,
    *,
    stack: xr.DataArray | None = None,
    mapped: MapFunction = chemical_map,
    name: str | None = None,
    weights: str = "edge_step",
    shell_px: float = 1.0,
    n_draws: int = DEFAULT_DRAWS,
    rng: np.random.Generator | None = None,
    progress: Callable[[str, float], None] = lambda step, share: None,
) -> xr.Dataset:
    """Measure the state of each particle in a map, with standard errors.

    Errors are those of `ErrorDraws`: the result is drawn again with the errors that it states, and mapped
    again with the edge found again. The standard deviation of the draws is the error of a spread and of a
    profile. That of a mean state is their scatter around the result: the map is not linear, so their mean
    may differ from it. Errors that neighbours or all pixels share are thereby in it.

    A denoiser knows no particles, and smooths states over their borders. Where the scan is at hand, its mean
    over the pixels of a particle, and over a shell of all particles, replaces that of the denoised images.
    Then the denoiser has no influence on these means, and their noise is that of the scan.

    Parameters
    ----------
    data : Denoised or DataArray (energy, y, x)
        Errors of a stack that was not denoised are NaN.
    particles : Particles
        From `find_particles` or `check_labels`.
    stack : DataArray (energy, y, x), optional
        The scan that was denoised.
    mapped : callable
        From the data to a Dataset of maps with their `mask`.  It must also take the `PixelSpectra` of a draw.
    name : str, optional
        The map that is the state; by default the first one.
    weights : {"edge_step", "pixels"}
        Pixels count by their edge step, so that the mean is that of the material, or all alike.
    shell_px : float
        Thickness of the shells of the profile.
    n_draws : int
        At least 10.
    rng : numpy.random.Generator, optional
        ``default_rng(0)`` by default.
    progress : callable
        Called with the name of the step and the share of it that is done.

    Returns
    -------
    Dataset
        Along ``particle``: ``n_pixels``, ``n_mapped`` (pixels with a state), ``area``, ``diameter`` (of the
        circle of this area), ``y``, ``x`` (middle, px), ``is_cut`` (by the border of the image), ``state``,
        ``state_sigma``, ``state_sigma_relative`` (of the difference from the mean of all particles, in which
        errors that all share cancel), ``spread`` (standard deviation within, beyond what the errors explain;
        a lower limit), ``spread_upper`` (upper limit, as if errors were detail that the denoiser removed),
        ``spread_sigma`` (holds the distance of both), ``spread_is_real`` (it exceeds what errors explain),
        ``thickness`` (mean edge step), ``thickness_sigma``. Along ``particle`` and
        ``depth`` (px from the surface, middle of the shell): ``profile``, ``profile_sigma``,
        ``profile_pixels``. Along ``depth``, for all whole particles: ``depth_state``, ``depth_state_sigma``,
        ``depth_difference`` (from the mean of the particle), ``depth_difference_sigma``, ``depth_pixels``,
        ``depth_particles`` (particles that are so deep).
        ``labels`` (y, x), and the maps ``map``, ``map_sigma``, ``edge_step``.

    Raises
    ------
    RecipeError
        If an option is out of range.
    EdgeError, StackError
        As the map; or if no particle has a pixel with a value.
    """
    check_options(weights, shell_px, n_draws)
    rng = np.random.default_rng(0) if rng is None else rng
    spectra = pixel_spectra_of(data)
    if particles.labels.shape != spectra.mask.shape:
        raise StackError(
            f"the labels have shape {particles.labels.shape}, the images have {spectra.mask.shape} (y, x)",
            parameter="labels",
        )
    maps = mapped(data)
    name = map_name(maps) if name is None else name
    if name not in maps:
        raise EdgeError(f"there is no map {name!r}; there are {', '.join(map(str, maps.data_vars))}")
    thickness = _thickness(maps, spectra)
    values = maps[name].values.astype(np.float64)
    usable = maps["mask"].values & np.isfinite(values) & (thickness > 0)
    geometry = _geometry(particles, usable, shell_px)
    if not geometry.pixels.size:
        raise EdgeError("no pixel of any particle has a value in the map")
    correction, alike = None, 1.0
    if stack is not None and isinstance(data, Denoised):
        correction = geometry.measured_means
        residual, alike = measured_residual(data, stack)
        corrected = mapped(replace(spectra, images=spectra.images + correction(residual)))
        values, thickness = corrected[name].values.astype(np.float64), _thickness(corrected, spectra)
    base = _statistics(values, thickness, geometry, weights)
    drawn: list[dict[str, Vector]] = []
    if isinstance(data, Denoised):
        draws = ErrorDraws.of(data, alike=alike)
        for n in range(n_draws):
            progress("particles", n / n_draws)
            drawn += _drawn(draws.draw(rng, correction), mapped, name, values, geometry, weights)
        if len(drawn) < LEAST_DRAWS:
            raise EdgeError(f"no errors: {_without_map(n_draws - len(drawn), n_draws)}")
    found = _described(particles, geometry, shell_px) | _with_errors(base, drawn, geometry)
    dataset = xr.Dataset(
        found | _maps(maps, name, thickness, particles), coords=_coords(particles, geometry, shell_px)
    )
    counted = "weighted by the edge step" if weights == "edge_step" else "all pixels alike"
    how = f"{counted}; errors from {len(drawn)} draws; shells of {shell_px:g} px"
    facts = _facts(maps, name, particles, how, spectra) | {"n_draws": len(drawn)}
    doubts = [WITHOUT_SCAN] if correction is None and drawn else []
    if drawn and len(drawn) < n_draws:
        doubts.append(_without_map(n_draws - len(drawn), n_draws))
    reasons = [*facts["reasons"], *doubts]
    return dataset.assign_attrs(facts | {"intervals_hold": not reasons, "reasons": reasons})


def _without_map(n_failed: int, n_draws: int) -> str:
    return f"with errors as they are stated, the map cannot be made in {n_failed} of {n_draws} draws"


def map_name(maps: xr.Dataset) -> str:
    """Return the name of the map in a Dataset of maps: that of its kind, or the first one with an error."""
    named = MAP_NAMES.get(str(maps.attrs.get("kind")))
    if named in maps:
        return str(named)
    return next(
        (str(each) for each in maps.data_vars if f"{each}_sigma" in maps), str(next(iter(maps.data_vars)))
    )


def error_name(maps: xr.Dataset, name: str) -> str | None:
    """Return the name of the standard error of a map in a Dataset of maps; None if it has none."""
    known = {MAP_NAMES[kind]: error for kind, error in ERROR_NAMES.items()}
    return next((each for each in (f"{name}_sigma", known.get(name)) if each in maps), None)


def check_options(weights: str, shell_px: float, n_draws: int) -> None:
    """Raise RecipeError for options that `measure_particles` cannot follow."""
    if weights not in WEIGHTS:
        raise RecipeError(
            f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}", parameter="weights"
        )
    if not (np.isfinite(shell_px) and shell_px >= 0.5):
        raise RecipeError(f"shells must be at least 0.5 px thick, got {shell_px}", parameter="shell_px")
    if n_draws < LEAST_DRAWS:
        raise RecipeError(
            f"errors of particles need at least {LEAST_DRAWS} draws, got {n_draws}", parameter="draws"
        )


def _thickness(maps: xr.Dataset, spectra: PixelSpectra) -> NDArray[np.float64]:
    """Return the edge step (Y, X) of the maps, or of the spectra where the maps have none."""
    source = maps if "edge_step" in maps else edge_step(spectra)  # type: ignore[arg-type]
    return np.asarray(source["edge_step"].values, np.float64)


def _geometry(particles: Particles, usable: NDArray[np.bool_], shell_px: float) -> _Geometry:
    """Return the usable pixels of the particles."""
    labels = particles.labels
    pixels = np.flatnonzero((labels > 0) & usable)
    particle = labels.ravel()[pixels].astype(np.intp) - 1
    shells = np.floor(np.maximum(depth_px(labels) - 0.5, 0) / shell_px).astype(np.intp).ravel()[pixels]
    shells[_cut(labels, len(particles.names))[particle]] = -1
    return _Geometry(pixels, particle, shells, len(particles.names), int(shells.max(initial=0)) + 1)


def depth_px(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the distance (Y, X) in px of each pixel from the surface of its particle; 0 where there is none.

    A pixel at the surface has the distance 0.5. The surface is where another particle or the background
    begins; small holes within a particle are no surface.
    """
    distance = np.zeros(labels.shape)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            own = labels[wider] == number
            inside = ndimage.distance_transform_edt(np.pad(without_small_holes(own), 1))[1:-1, 1:-1]
            distance[wider][own] = inside[own] - 0.5
    return distance


def _cut(labels: NDArray[np.integer], n: int) -> NDArray[np.bool_]:
    """Return which particles (N,) reach the border of the image."""
    cut = np.zeros(n + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        cut[edge] = True
    return cut[1:]


def _statistics(
    values: NDArray[np.float64], thickness: NDArray[np.float64], geometry: _Geometry, weights: str
) -> dict[str, Vector]:
    """Return the means of a map (Y, X) over particles and shells, and the variance within."""
    state, step = values.ravel()[geometry.pixels], thickness.ravel()[geometry.pixels]
    known = np.isfinite(state) & np.isfinite(step)
    state = np.where(known, state, 0.0)
    count = np.where(known, np.maximum(step, 0) if weights == "edge_step" else 1.0, 0.0)
    mean = geometry.mean(state, count)
    beside = state - np.nan_to_num(mean)[geometry.particle]
    middle = np.nansum(mean * np.bincount(geometry.particle, count, geometry.n_particles)) / max(
        count.sum(), 1e-300
    )
    return {
        "state": mean,
        "relative": mean - middle,
        "variance": geometry.mean(beside**2, count),
        "thickness": geometry.mean(np.nan_to_num(step), known.astype(float)),
        "profile": geometry.mean_of_shells(state, count),
        "depth_state": geometry.mean_of_depths(state, count),
        "depth_difference": geometry.mean_of_depths(beside, count),
    }


def _drawn(
    spectra: PixelSpectra,
    mapped: MapFunction,
    name: str,
    values: NDArray[np.float64],
    geometry: _Geometry,
    weights: str,
) -> list[dict[str, Vector]]:
    """Return the statistics of one draw, and the variance within of its errors; none if it has no map."""
    try:
        maps = mapped(spectra)
    except EdgeError:  # the edge of this draw is too near to the first or the last energy
        return []
    again, thickness = maps[name].values.astype(np.float64), _thickness(maps, spectra)
    found = _statistics(again, thickness, geometry, weights)
    errors = _statistics(again - values, thickness, geometry, weights)
    return [found | {"error_variance": errors["variance"]}]


def _with_errors(
    base: dict[str, Vector], drawn: list[dict[str, Vector]], geometry: _Geometry
) -> dict[str, tuple[tuple[str, ...], Vector]]:
    """Return the statistics and their standard errors, by name.

    Errors of a denoised image are noise that is left, which adds to the variance within a particle, or detail
    that is lost, which is missing there. Nobody knows how much is which. So the true variance lies between
    that of the image less that of the errors, and their sum. On phantoms it is near to the sum.
    """

    def sigma(name: str) -> Vector:
        if not drawn:
            return np.full(base[name].shape, np.nan)
        values = np.array([each[name] for each in drawn])
        around = base[name] if name in AROUND_RESULT else values.mean(axis=0)
        return np.asarray(np.sqrt(np.sum((values - around) ** 2, axis=0) / (len(values) - 1)))

    explained = np.mean([each["error_variance"] for each in drawn], axis=0) if drawn else np.nan
    beyond, of_variance = base["variance"] - explained, sigma("variance")
    spread, most = np.sqrt(np.maximum(beyond, 0)), base["variance"] + explained
    with np.errstate(divide="ignore", invalid="ignore"):
        of_spread = of_variance / (2 * np.maximum(spread, np.sqrt(of_variance)))
    of_spread = np.hypot(of_spread, np.sqrt(most) - spread)
    single = geometry.n_particles == 1
    by_particle, by_shell, by_depth = ("particle",), ("particle", "depth"), ("depth",)
    return {
        "state": (by_particle, base["state"]),
        "state_sigma": (by_particle, sigma("state")),
        "state_sigma_relative": (by_particle, sigma("relative") * (np.nan if single else 1.0)),
        "spread": (by_particle, spread),
        "spread_sigma": (by_particle, of_spread),
        "spread_upper": (by_particle, np.sqrt(most + SPREAD_SIGMAS * of_variance)),
        "spread_is_real": (by_particle, beyond > SPREAD_SIGMAS * of_variance),
        "thickness": (by_particle, base["thickness"]),
        "thickness_sigma": (by_particle, sigma("thickness")),
        "profile": (by_shell, base["profile"]),
        "profile_sigma": (by_shell, sigma("profile")),
        "depth_state": (by_depth, base["depth_state"]),
        "depth_state_sigma": (by_depth, sigma("depth_state")),
        "depth_difference": (by_depth, base["depth_difference"]),
        "depth_difference_sigma": (by_depth, sigma("depth_difference")),
    }


def _described(particles: Particles, geometry: _Geometry, shell_px: float) -> dict[str, Any]:
    """Return size and place of the particles, and how many pixels have a value."""
    labels, n = particles.labels, geometry.n_particles
    numbers = np.arange(1, n + 1)
    middle = np.array(ndimage.center_of_mass(labels > 0, labels, numbers)).reshape(n, 2)
    inside = geometry.shell >= 0
    cells = np.bincount(
        geometry.particle[inside] * geometry.n_shells + geometry.shell[inside],
        minlength=n * geometry.n_shells,
    ).reshape(n, geometry.n_shells)
    return {
        "n_pixels": (("particle",), np.bincount(labels.ravel(), minlength=n + 1)[1:]),
        "n_mapped": (("particle",), np.bincount(geometry.particle, minlength=n)),
        "y_px": (("particle",), middle[:, 0]),
        "x_px": (("particle",), middle[:, 1]),
        "is_cut": (("particle",), _cut(labels, n)),
        "profile_pixels": (("particle", "depth"), cells),
        "depth_pixels": (("depth",), cells.sum(axis=0)),
        "depth_particles": (("depth",), np.count_nonzero(cells, axis=0)),
    }


def _maps(
    maps: xr.Dataset, name: str, thickness: NDArray[np.float64], particles: Particles
) -> dict[str, tuple[tuple[str, str], NDArray[Any]]]:
    """Return the images that the numbers come from."""
    image = ("y", "x")
    error = error_name(maps, name)
    sigma = np.full(thickness.shape, np.nan) if error is None else maps[error].values
    numbers = np.concatenate([[0], particles.names])
    return {
        "map": (image, maps[name].where(maps["mask"]).values),
        "map_sigma": (image, np.where(maps["mask"].values, sigma, np.nan)),
        "edge_step": (image, thickness.astype(np.float32)),
        "labels": (image, numbers[particles.labels].astype(np.int64)),
    }


def _coords(particles: Particles, geometry: _Geometry, shell_px: float) -> dict[str, Any]:
    middles = (np.arange(geometry.n_shells) + 0.5) * shell_px
    return {"particle": particles.names, "depth": ("depth", middles, {"units": "px"})}


def _facts(
    maps: xr.Dataset, name: str, particles: Particles, how: str, spectra: PixelSpectra
) -> dict[str, Any]:
    """Return the attributes of the result; `how` says how particles were measured."""
    facts = {
        key: maps.attrs[key] for key in ("e0_ev", "pre_ev", "post_ev") if maps.attrs.get(key) is not None
    }
    kind = str(maps.attrs.get("kind", name))
    return facts | {
        "kind": "particles",
        "map": name,
        "map_kind": kind,
        "definition": (
            f"mean of {name} ({kind.replace('_', ' ')} map) over the pixels of each particle, {how}; "
            f"particles: {particles.definition}"
        ),
        "map_definition": str(maps.attrs.get("definition", "")),
        "threshold": np.nan if particles.threshold is None else particles.threshold,
        "pixel_size_nm": float(spectra.source.attrs.get("pixel_size_nm") or np.nan),
        "intervals_hold": not spectra.reasons,
        "reasons": list(spectra.reasons),
    }


def _mean(values: Vector, weights: Vector, index: NDArray[np.intp], n: int) -> Vector:
    """Return the weighted means (n,) of groups of values; NaN for an empty group."""
    total = np.bincount(index, weights, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, np.bincount(index, weights * values, n) / total, np.nan))
