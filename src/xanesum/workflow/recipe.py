"""All options of a run: sections with types and defaults, read from and written to TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xanesum.align.growth import MAGNIFICATIONS
from xanesum.denoisers import DEFAULT_DENOISER
from xanesum.errors import EdgeError, RecipeError, WriteError
from xanesum.flat_field.correct import DEFAULT_DRIFT
from xanesum.io.map_files import maps_stem
from xanesum.method.options import DEFAULT_METHOD, DEFAULT_NOISE
from xanesum.stack import QUANTITIES
from xanesum.streaming.resources import DEFAULT_DEVICE
from xanesum.streaming.torch_backend import DEVICES
from xanesum.workflow.option_types import UNFIT, Checked, Points, Range, Roi, fitting
from xanesum.xanes.composition.clusters import AT_MOST, METHODS
from xanesum.xanes.composition.reference_fit import BACKGROUNDS
from xanesum.xanes.larch_normalization import Normalization
from xanesum.xanes.particles.labels import MIN_PIXELS, SPLIT_PX, check_split
from xanesum.xanes.particles.states import DEFAULT_DRAWS, WEIGHTS, check_options

__all__ = [
    "DEFAULT_RECIPE",
    "NORMALIZATIONS",
    "AlignOptions",
    "ClusterOptions",
    "ComputeOptions",
    "DenoiseOptions",
    "FractionOptions",
    "InputOptions",
    "MapOptions",
    "NormalizationOptions",
    "ParticleOptions",
    "Recipe",
    "Region",
    "RegionOptions",
    "read_recipe",
]

# a size in bytes, as "2GB"
SIZE = re.compile(r"(?P<number>\d+(\.\d*)?)\s*(?P<unit>[KMGT]?i?B)?", re.IGNORECASE)
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}  # bytes; GiB counts as GB
AUTO, NONE = "auto", "none"  # instead of a file of shifts
LARCH = "larch"
NORMALIZATIONS = (AUTO, LARCH)
Region = str | tuple[tuple[float, float], ...]  # a file, or corners y, x in px


@dataclass(frozen=True, slots=True)
class InputOptions(Checked):
    """What is read, and which part of it is used."""

    energies: str | None = None  # text file of energies, used instead of those in the scan
    i0: str | None = None  # text file of two columns, energy and incident counts
    data: str | None = None  # dataset of an HDF5 file or a Zarr store
    allow_missing: bool = False  # NaN values and all-zero frames get weight 0
    roi: Roi | None = None  # y0, y1, x0, x1 in pixels; the ends are excluded
    mask: str | None = None  # .tif or .npy image; pixels that are not 0 are used
    quantity: str | None = None  # what the values are; None: what the file says, or what the values look like
    i0_region: Roi | None = None  # part of the whole images without sample, from which I0 is taken
    flat: tuple[str, ...] = ()  # files of images without the sample
    dark: tuple[str, ...] = ()  # files of images without light
    entry: str | None = None  # which of several scans in the file is read, see `xanesum.read_stack`
    detector: str | None = None
    region: str | None = None
    index: str | None = None  # along an axis that is none of energy, y and x, as "2" or "2,0"
    follow_links: bool = False  # links of an HDF5 file may lead out of its folder

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.quantity is not None and self.quantity not in QUANTITIES:
            raise RecipeError(
                f"quantity must be one of {', '.join(QUANTITIES)}, got {self.quantity!r}",
                parameter="quantity",
            )

    @property
    def source(self) -> dict[str, Any]:
        """What to read of a file, as arguments of `xanesum.io.read_stack` and `xanesum.io.describe`."""
        names = ("data", "entry", "detector", "region", "index", "follow_links")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class DenoiseOptions(Checked):
    """Options of `xanesum.denoise` and `xanesum.flat_field.correct`; None means automatic."""

    method: str = DEFAULT_METHOD
    denoiser: str = DEFAULT_DENOISER
    rank: int | None = None
    sigma: float | None = None  # unit of the stack
    noise: str = DEFAULT_NOISE
    flat_drift: str = DEFAULT_DRIFT
    seed: int = 0


@dataclass(frozen=True, slots=True)
class AlignOptions(Checked):
    """Options of `xanesum.estimate_shifts`, and whether frames are moved."""

    shifts: str = AUTO  # auto: where the sample surely moved; none; or a file of shifts
    magnification: str = "none"  # none, fit (linear in energy), energy (law of a zone plate)
    max_shift_px: float | None = None  # largest shift from the mean; None: a quarter of the field
    rotation: bool = False  # whether it is looked for; it is told, and not taken out

    @property
    def file(self) -> str | None:
        """The file of shifts; None if no file was named."""
        return None if self.shifts in (AUTO, NONE) else self.shifts

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.magnification not in MAGNIFICATIONS:
            raise RecipeError(
                f"magnification must be one of {', '.join(MAGNIFICATIONS)}, got {self.magnification!r}",
                parameter="magnification",
            )


@dataclass(frozen=True, slots=True)
class MapOptions(Checked):
    """Options of `xanesum.chemical_map` and `xanesum.diagnostics.bootstrap`; None means automatic."""

    kind: str = "auto"
    e0_ev: float | None = None
    pre_ev: Range | None = None
    post_ev: Range | None = None
    bootstrap: int = 0  # scans that are drawn for the errors of the map; 0 for none
    at_ev: Range | None = None  # two energies, of two peaks or of a difference
    band_ev: Range | None = None  # band of energies ...
    over_ev: Range | None = None  # ... and the one that it is divided by
    peak_ev: Range | None = None  # range of the pre-edge peak
    points: Points = ()  # of the line of valence
    of: str | None = None  # kind of the map of energies that a valence follows from
    shift_ev: Range | None = None  # added to the energies, and its standard error, as from a foil

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.bootstrap == 1:
            raise RecipeError("bootstrap must be 0 or at least 2 draws, got 1")

    @property
    def of_kind(self) -> dict[str, Any]:
        """The options that were given, as arguments of `xanesum.chemical_map`."""
        names = (f.name for f in fields(self) if f.name not in ("kind", "bootstrap"))
        return {name: value for name in names if (value := getattr(self, name)) not in (None, ())}


@dataclass(frozen=True, slots=True)
class NormalizationOptions(Checked):
    """How the spectra of a map are normalized; all but `lines` are settings of the lines "larch"."""

    lines: str = AUTO
    pre1_ev: float | None = None  # ranges relative to e0; see `Normalization`
    pre2_ev: float | None = None
    norm1_ev: float | None = None
    norm2_ev: float | None = None
    nnorm: int | None = None
    nvict: int = 0
    flatten: bool = True
    shared_slope: bool = False

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.lines not in NORMALIZATIONS:
            raise RecipeError(
                f"lines must be one of {', '.join(NORMALIZATIONS)}, got {self.lines!r}", parameter="lines"
            )
        settings = [(item.name, item.default) for item in fields(self)[1:]]
        given = next((name for name, default in settings if getattr(self, name) != default), None)
        if given is not None and self.lines == AUTO:
            raise RecipeError(
                f"{given} is a setting of the normalization {LARCH!r}; ask for that, too", parameter=given
            )
        try:
            self.normalization  # noqa: B018 - raises if the settings do not go together
        except EdgeError as error:
            raise RecipeError(error.message, parameter=error.parameter) from error

    @property
    def normalization(self) -> Normalization | None:
        """The normalization, or None for the automatic lines."""
        if self.lines == AUTO:
            return None
        return Normalization(**{item.name: getattr(self, item.name) for item in fields(self)[1:]})


@dataclass(frozen=True, slots=True)
class ComputeOptions(Checked):
    """Resources of a run.  With little memory, spectra are sought in coarser averages."""

    memory: str | None = None  # as "2GB"; None for most of the free memory
    work: str | None = None  # folder for temporary files; a killed run continues from it
    scheduler: str | None = None  # address of a Dask scheduler
    device: str = DEFAULT_DEVICE  # where sums over the stack are computed

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        self.memory_bytes  # noqa: B018 - raises if the text is no size
        if self.device not in DEVICES:
            raise RecipeError(f"device must be one of {', '.join(DEVICES)}, got {self.device!r}")

    @property
    def memory_bytes(self) -> float | None:
        """The memory in bytes; None for most of the free memory."""
        if self.memory is None:
            return None
        found = SIZE.fullmatch(self.memory.strip())
        if found is None or not float(found["number"]):
            raise RecipeError(f'memory must be a size as "2GB" or "500 MB", got {self.memory!r}')
        return float(found["number"]) * UNITS[(found["unit"] or "B").upper().replace("IB", "B")]


@dataclass(frozen=True, slots=True)
class ParticleOptions(Checked):
    """Options of `xanesum.xanes.particles.states`; None means automatic."""

    labels: str = NONE  # none: particles are not measured; auto: they are found; or a file of labels
    threshold: float | None = None  # least edge step of a particle, unit of the stack
    split_px: float = SPLIT_PX
    min_pixels: int = MIN_PIXELS
    weights: str = WEIGHTS[0]
    shell_px: float = 1.0
    draws: int = DEFAULT_DRAWS

    @property
    def file(self) -> str | None:
        """The file of labels; None if no file was named."""
        return None if self.labels in (AUTO, NONE) else self.labels

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        check_options(self.weights, self.shell_px, self.draws)
        check_split(self.threshold, self.split_px)


@dataclass(frozen=True, slots=True)
class FractionOptions(Checked):
    """Options of `xanesum.xanes.composition.fit_fractions`; without references nothing is fitted."""

    references: tuple[str, ...] = ()  # files of spectra
    at_most: int | None = None  # take the best subset of at most so many references
    non_negative: bool = True
    sum_to_one: bool = False
    background: str = "auto"
    range_ev: Range | None = None
    shift_ev: float = 0.0  # added to the energies of the references

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.background not in ("auto", *BACKGROUNDS):
            raise RecipeError(
                f"background must be one of auto, {', '.join(BACKGROUNDS)}, got {self.background!r}",
                parameter="background",
            )


@dataclass(frozen=True, slots=True)
class ClusterOptions(Checked):
    """Options of `xanesum.xanes.composition.find_clusters`."""

    find: bool = False  # whether clusters are looked for
    number: int | None = None  # None: it is found
    at_most: int = AT_MOST
    method: str = METHODS[0]

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.method not in METHODS:
            raise RecipeError(
                f"method must be one of {', '.join(METHODS)}, got {self.method!r}", parameter="method"
            )


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """Named regions: each option of the section is one, a file of a mask or the corners of a polygon."""

    named: tuple[tuple[str, Region], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "named", tuple((name, _region(name, value)) for name, value in self.named))
        if len({name.lower() for name, _ in self.named}) < len(self.named):
            raise RecipeError(
                "names of regions name files, so that they must differ by more than upper and lower case",
                parameter="regions",
            )

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are named."""
        return tuple(value for _, value in self.named if isinstance(value, str))


def _region(name: str, value: Any) -> Region:
    """Return a region as a recipe gives it, checked."""
    try:
        maps_stem(name)
    except WriteError as error:
        raise RecipeError(f"name of a region: {error.message}", parameter="regions") from error
    if isinstance(value, str | Path):
        return str(value)
    corners = value if isinstance(value, list | tuple) else ()
    pairs = tuple(
        tuple(fitting(each, float | None) for each in corner) for corner in corners if _is_pair(corner)
    )
    if len(pairs) < 3 or len(pairs) != len(corners) or any(UNFIT in pair or None in pair for pair in pairs):
        raise RecipeError(
            f"region {name} must be a file, or at least three corners [y, x] of finite numbers, got "
            f"{value!r}",
            parameter="regions",
        )
    return pairs


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """All options of a run; paths are relative to the working directory."""

    input: InputOptions = field(default_factory=InputOptions)
    denoise: DenoiseOptions = field(default_factory=DenoiseOptions)
    map: MapOptions = field(default_factory=MapOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    align: AlignOptions = field(default_factory=AlignOptions)
    normalization: NormalizationOptions = field(default_factory=NormalizationOptions)
    particles: ParticleOptions = field(default_factory=ParticleOptions)
    regions: RegionOptions = field(default_factory=RegionOptions)
    fractions: FractionOptions = field(default_factory=FractionOptions)
    clusters: ClusterOptions = field(default_factory=ClusterOptions)

    def updated(self, sections: Mapping[str, Mapping[str, Any]]) -> Recipe:
        """Return a recipe in which the given options replace the own ones.

        Parameters
        ----------
        sections : mapping
            ``{section: {name: value}}``.

        Raises
        ------
        RecipeError
            If a section or option is unknown, or a value has a wrong type.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {name: _section(name, own.get(name), given) for name, given in sections.items()}
        return replace(self, **changed)

    def to_toml(self) -> str:
        """Return the recipe as TOML, with all defaults; automatic options become comments."""
        blocks = []
        for section in fields(self):
            options = getattr(self, section.name)
            named = (
                options.named
                if isinstance(options, RegionOptions)
                else [(f.name, getattr(options, f.name)) for f in fields(options)]
            )
            lines = [_toml_line(*each) for each in named]
            blocks.append("\n".join([f"[{section.name}]", *lines]))
        return "\n\n".join(blocks) + "\n"


DEFAULT_RECIPE = Recipe()


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe from a TOML file; options that are not in it have their defaults.

    Raises
    ------
    RecipeError
        If the file is missing or is not TOML, or if a section, an option or a type in it is wrong.
    """
    try:
        content = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: recipe cannot be read ({error.strerror}); check the name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: recipe is not valid TOML ({error})") from error
    try:
        return DEFAULT_RECIPE.updated(content)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error.message}", parameter=error.parameter) from error


def _section(name: str, options: Any, given: Any) -> Any:
    """Return one section of a recipe in which `given` options replace its own."""
    sections = ", ".join(f.name for f in fields(Recipe))
    if options is None:
        raise RecipeError(f"unknown section [{name}]; allowed: {sections}")
    if not isinstance(given, Mapping):
        raise RecipeError(f"{name} must be a section of options, got {given!r}; sections are {sections}")
    if isinstance(options, RegionOptions):
        return RegionOptions(tuple({**dict(options.named), **given}.items()))
    allowed = [f.name for f in fields(options)]
    for key in given:
        if key not in allowed:
            raise RecipeError(f"unknown option {key!r} in [{name}]; allowed: {', '.join(allowed)}")
    try:
        return replace(options, **given)
    except RecipeError as error:
        raise RecipeError(f"[{name}] {error.message}", parameter=error.parameter) from error


def _toml_line(name: str, value: Any) -> str:
    """Return one option as a line of TOML."""
    if value is None:
        return f"# {name}: automatic"
    return f"{name} = {_toml_value(value)}"


def _toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
