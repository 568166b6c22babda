"""Synthetic scenes to train image denoisers on: shapes like those of coefficient images, nothing measured.

Each family is a function ``(rng, side) -> (side, side)`` image; `draw_scene` picks one, mixes it now and then
with another, and brings it to mean 0 and standard deviation 1.  The families in `HELD_OUT` are never trained
on.  Nothing here is shared with `xanesum.phantom`, by which the networks are judged.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Image = NDArray[np.float32]
Family = Callable[[np.random.Generator, int], Image]


def draw_scene(rng: np.random.Generator, side: int, families: dict[str, Family] | None = None) -> Image:
    """Return one scene of `families` (`TRAINED` by default), shape (side, side), mean 0, deviation 1."""
    families = TRAINED if families is None else families
    names = [name for name in sorted(families) for _ in range(SHARES.get(name, 1))]
    image = families[names[rng.integers(len(names))]](rng, side)
    if families is TRAINED:
        image = _mix(image, families[names[rng.integers(len(names))]](rng, side), rng)
        image = _optics(image, rng)
    return _unit(image)


# --- fields from which the families are built


def texture(rng: np.random.Generator, side: int, exponent: float) -> Image:
    """Random field with amplitudes ``frequency ** -exponent``, mean 0, deviation 1; its ends do not meet."""
    size = side + side // 4
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-exponent
    return _unit(np.fft.irfft2(spectrum, (size, size))[:side, :side])


def _unit(image: NDArray[np.floating]) -> Image:
    image = image - image.mean(dtype=np.float64)
    return (image / max(float(image.std(dtype=np.float64)), 1e-6)).astype(np.float32)


def _grid(side: int) -> tuple[Image, Image]:
    y, x = np.indices((side, side), dtype=np.float32)
    return y, x


def _sizes(rng: np.random.Generator, count: int, least: float, most: float) -> NDArray[np.float64]:
    """Radii (count,) in pixels from a power law: many small, few large."""
    exponent = rng.uniform(0.8, 2.5)
    low, high = least**-exponent, most**-exponent
    return (low + rng.uniform(size=count) * (high - low)) ** (-1 / exponent)


def _levels(rng: np.random.Generator, field: Image, count: int) -> Image:
    """Cut a field at random quantiles and give each of the `count` regions a value of its own."""
    cuts = np.quantile(field[::3, ::3], np.sort(rng.uniform(0.02, 0.98, count - 1)))
    return rng.standard_normal(count).astype(np.float32)[np.searchsorted(cuts, field)]


def _cells(rng: np.random.Generator, side: int, count: int, rough: float) -> tuple[Image, NDArray[np.int64]]:
    """Distance to the border between the two nearest of `count` seeds, and the nearest one's index."""
    y, x = _grid(side)
    y = y + rough * texture(rng, side, 1.7)
    x = x + rough * texture(rng, side, 1.7)
    seeds = rng.uniform(-0.1 * side, 1.1 * side, (count, 2))
    distance, index = cKDTree(seeds).query(np.stack([y.ravel(), x.ravel()], axis=1), k=2)
    border = (distance[:, 1] - distance[:, 0]).reshape(side, side).astype(np.float32)
    return border, index[:, 0].reshape(side, side)


def _chemistry(rng: np.random.Generator, side: int) -> Image:
    """Return a map of chemical states: regions, a gradient, or both, with values of either sign."""
    kind = rng.integers(4)
    if kind == 0:
        return _levels(rng, texture(rng, side, rng.uniform(1.2, 2.2)), int(rng.integers(2, 7)))
    if kind == 1:
        return _unit(texture(rng, side, rng.uniform(1.5, 2.5))) + np.float32(rng.normal())
    if kind == 2:
        count = int(10 ** rng.uniform(0.8, 2.3))
        values = rng.choice(rng.standard_normal(int(rng.integers(2, 7))), count).astype(np.float32)
        return values[_cells(rng, side, count, rng.uniform(0, 4))[1]]
    return np.full((side, side), rng.normal(), np.float32)


# --- families


def dead_leaves(rng: np.random.Generator, side: int) -> Image:
    """Opaque shapes that cover each other: ellipses, boxes and half planes, plain or shaded."""
    image = np.full((side, side), rng.normal(), np.float32)
    y, x = _grid(side)
    for radius in _sizes(rng, int(10 ** rng.uniform(1.3, 2.7)), 2.0, 0.5 * side):
        cy, cx, angle = rng.uniform(-10, side + 10), rng.uniform(-10, side + 10), rng.uniform(0, np.pi)
        window = _window(cy, cx, 1.5 * radius, side)
        if window is None:
            continue
        dy, dx = y[window] - cy, x[window] - cx
        u, v = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        v = v / rng.uniform(0.3, 1)
        if rng.uniform() < 0.3:
            inside = np.maximum(np.abs(u), np.abs(v)) < 0.8 * radius
        else:
            inside = u * u + v * v < radius**2
        shade = rng.normal() + rng.exponential(0.2) * (u * rng.normal() + v * rng.normal()) / radius
        image[window][inside] = shade[inside]
    return image


def particles(rng: np.random.Generator, side: int) -> Image:
    """Spheres and rough grains in projection, their thicknesses added, times a chemistry."""
    image = np.zeros((side, side), np.float32)
    y, x = _grid(side)
    rough = rng.uniform(0, 0.25) * texture(rng, side, rng.uniform(1.3, 2.0))
    own_state = rng.uniform() < 0.5
    states = rng.standard_normal(int(rng.integers(1, 6)))
    for radius in _sizes(rng, int(10 ** rng.uniform(0.5, 2.0)), 5.0, 0.4 * side):
        cy, cx = rng.uniform(0, side, 2)
        window = _window(cy, cx, 1.6 * radius, side)
        if window is None:
            continue
        distance = np.hypot(y[window] - cy, (x[window] - cx) * rng.uniform(0.7, 1.4)) / radius
        distance = distance * (1 + rough[window])
        thickness = radius * np.sqrt(np.maximum(1 - distance**2, 0))
        if rng.uniform() < 0.3:  # hollow, or with a core
            core = rng.uniform(0.3, 0.9)
            thickness -= rng.uniform(0.2, 1) * radius * np.sqrt(np.maximum(core**2 - distance**2, 0))
        if rng.uniform() < 0.3:  # layered from surface to core
            thickness *= 1 + rng.normal() * distance
        image[window] += thickness * (rng.choice(states) if own_state else 1)
    if rng.uniform() < 0.5:
        image *= 1 - _crack_lines(rng, side) * np.float32(rng.uniform(0.2, 1))
    return image if own_state else image * _chemistry(rng, side)


def porous(rng: np.random.Generator, side: int) -> Image:
    """A slice through a porous body: solid of several states, pores of none."""
    field = texture(rng, side, rng.uniform(1.0, 2.0))
    solid = field > np.quantile(field[::3, ::3], rng.uniform(0.1, 0.7))
    grey = 1 + rng.uniform(0, 0.3) * texture(rng, side, rng.uniform(0.3, 1.5))
    return (solid * grey * _chemistry(rng, side)).astype(np.float32)


def grains(rng: np.random.Generator, side: int) -> Image:
    """A slice through packed grains: cells with gaps between, each with a value or a gradient of its own."""
    count = int(10 ** rng.uniform(0.8, 2.6))
    border, index = _cells(rng, side, count, rng.uniform(0, 5))
    values = rng.standard_normal(count).astype(np.float32)
    if rng.uniform() < 0.5:
        values = rng.choice(values[: int(rng.integers(1, 6))], count)
    image = values[index]
    if rng.uniform() < 0.4:  # from surface to core
        image = image + np.float32(rng.normal()) * np.minimum(border / rng.uniform(3, 25), 1)
    gap = rng.uniform(0, 4)
    return np.where(border > gap, image, np.float32(rng.normal() * 0.5)).astype(np.float32)


def layers(rng: np.random.Generator, side: int) -> Image:
    """Bent layers of different width, as in a coated electrode."""
    y, x = _grid(side)
    angle = rng.uniform(0, np.pi)
    depth = y * np.cos(angle) + x * np.sin(angle) + rng.uniform(0, 25) * texture(rng, side, 1.8)
    count = int(rng.integers(2, 25))
    edges = np.sort(rng.uniform(depth.min(), depth.max(), count))
    values = rng.standard_normal(count + 1).astype(np.float32)
    return values[np.searchsorted(edges, depth)] + rng.uniform(0, 0.3) * texture(rng, side, 1.0)


def clouds(rng: np.random.Generator, side: int) -> Image:
    """A power-law texture, rough to smooth."""
    return texture(rng, side, rng.uniform(0.6, 2.8))


def states(rng: np.random.Generator, side: int) -> Image:
    """A chemistry inside one rough outline, nothing outside: a weak component of a single particle."""
    y, x = _grid(side)
    cy, cx = rng.uniform(0.2 * side, 0.8 * side, 2)
    rough = 1 + rng.uniform(0, 0.4) * texture(rng, side, 1.7)
    inside = np.hypot(y - cy, (x - cx) * rng.uniform(0.6, 1.6)) * rough < rng.uniform(0.15, 0.8) * side
    return (inside * _chemistry(rng, side)).astype(np.float32)


def dots(rng: np.random.Generator, side: int) -> Image:
    """A few small bright spots on nothing, or on a gradient."""
    image = np.zeros((side, side), np.float32)
    at = rng.integers(0, side, (2, int(10 ** rng.uniform(0.3, 2.3))))
    image[at[0], at[1]] = rng.standard_normal(at.shape[1])
    image = _unit(ndimage.gaussian_filter(image, rng.uniform(0.6, 5)))
    return image + np.float32(rng.exponential(0.3)) * texture(rng, side, 2.5)


def gradients(rng: np.random.Generator, side: int) -> Image:
    """Smooth: a polynomial of low degree, with a weak texture on top."""
    y, x = (2 * axis / side - 1 for axis in _grid(side))
    image = sum(rng.normal() * y**i * x**j for i in range(4) for j in range(4 - i))
    return np.asarray(image + rng.exponential(0.05) * texture(rng, side, 1.0), np.float32)


def ridges(rng: np.random.Generator, side: int) -> Image:
    """Straight and round seams of any profile and height, as contacts and scratches are."""
    y, x = _grid(side)
    count = int(10 ** rng.uniform(0.5, 1.6))
    nearest = np.full((side, side), np.inf, np.float32)
    owner = np.zeros((side, side), np.intp)
    round_share = rng.uniform()
    for number in range(count):
        curve = _circle if rng.uniform() < round_share else _segment
        distance = curve(rng, side, y, x)
        owner[distance < nearest] = number
        np.minimum(nearest, distance, out=nearest)
    heights = np.float32(rng.normal()) + np.float32(rng.exponential(0.7)) * rng.standard_normal(count)
    width = 10 ** rng.uniform(-0.2, 1.2)
    return (heights[owner] * _profile(rng, nearest / np.float32(width))).astype(np.float32)


def _segment(rng: np.random.Generator, side: int, y: Image, x: Image) -> Image:
    """Distance of every pixel from a random straight piece."""
    (y0, x0), (y1, x1) = rng.uniform(-0.2 * side, 1.2 * side, (2, 2))
    along = ((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / ((y1 - y0) ** 2 + (x1 - x0) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0)).astype(np.float32)


def _circle(rng: np.random.Generator, side: int, y: Image, x: Image) -> Image:
    """Distance of every pixel from the rim of a random circle."""
    cy, cx = rng.uniform(-0.2 * side, 1.2 * side, 2)
    return np.abs(np.hypot(y - cy, x - cx) - rng.uniform(0.02, 0.7) * side).astype(np.float32)


def _profile(rng: np.random.Generator, distance: Image) -> Image:
    """Turn a distance in units of a width into a height: box, tent, bell, cusp or long tail."""
    profiles = (
        lambda d: np.clip(1.5 - d, 0, 1),
        lambda d: np.maximum(1 - d, 0),
        lambda d: np.exp(-0.5 * d * d),
        lambda d: np.maximum(1 - np.sqrt(d), 0),
        lambda d: np.exp(-d),
        lambda d: 1 / (1 + d),
    )
    return np.asarray(profiles[rng.integers(len(profiles))](distance), np.float32)


def fibres(rng: np.random.Generator, side: int) -> Image:
    """Held out: curved threads that cross, added up."""
    image = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(3, 30))):
        field = texture(rng, side, rng.uniform(1.8, 2.4)) - rng.normal()
        slope = np.hypot(*np.gradient(field)) + 1e-3
        image += rng.normal() * np.exp(-0.5 * (field / slope / rng.uniform(1, 4)) ** 2)
    return image


def foam(rng: np.random.Generator, side: int) -> Image:
    """Held out: bright walls between cells, dark hearts, and a chemistry of the walls."""
    border, _ = _cells(rng, side, int(10 ** rng.uniform(1.2, 2.4)), rng.uniform(0, 3))
    walls = np.exp(-border / rng.uniform(1, 6))
    return (walls * (1.5 + _chemistry(rng, side))).astype(np.float32)


TRAINED: dict[str, Family] = {
    "clouds": clouds,
    "dead leaves": dead_leaves,
    "dots": dots,
    "gradients": gradients,
    "grains": grains,
    "layers": layers,
    "particles": particles,
    "porous": porous,
    "ridges": ridges,
    "states": states,
}
SHARES = {"dead leaves": 2, "grains": 2, "particles": 4, "porous": 2, "ridges": 2, "states": 2}  # others 1
HELD_OUT: dict[str, Family] = {"fibres": fibres, "foam": foam}


# --- what happens to every trained scene


def _mix(first: Image, second: Image, rng: np.random.Generator) -> Image:
    """Leave the first alone, add the second, multiply by it, or show it inside the first's brighter part."""
    kind = rng.uniform()
    if kind < 0.55:
        return first
    first, second = _unit(first), _unit(second)
    if kind < 0.75:
        return first + np.float32(rng.exponential(0.4)) * second
    if kind < 0.88:
        return first * (1 + np.float32(rng.exponential(0.4)) * second)
    return np.where(first > np.quantile(first[::3, ::3], rng.uniform(0.2, 0.8)), second, np.float32(0))


def _optics(image: Image, rng: np.random.Generator) -> Image:
    """Blur as a microscope does; now and then cracks, or a fine grain."""
    if rng.uniform() < 0.12:
        image = image * (1 - _crack_lines(rng, image.shape[0]) * np.float32(rng.uniform(0.3, 1)))
    if rng.uniform() < 0.5:
        image = ndimage.gaussian_filter(image, rng.uniform(0.3, 1.4))
    if rng.uniform() < 0.25:
        image = image + image.std() * np.float32(rng.uniform(0.01, 0.15)) * texture(rng, image.shape[0], 0.5)
    return image


def _crack_lines(rng: np.random.Generator, side: int) -> Image:
    field = texture(rng, side, rng.uniform(1.3, 1.9))
    return (np.abs(field) < rng.uniform(0.01, 0.08)).astype(np.float32)


def _window(cy: float, cx: float, reach: float, side: int) -> tuple[slice, slice] | None:
    y0, y1 = max(0, int(cy - reach)), min(side, int(cy + reach) + 2)
    x0, x1 = max(0, int(cx - reach)), min(side, int(cx + reach) + 2)
    return (slice(y0, y1), slice(x0, x1)) if y1 > y0 and x1 > x0 else None
