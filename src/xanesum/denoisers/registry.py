"""Denoisers by name: built-ins, and entry points of the group "xanesum.denoisers"; imported when needed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import NamedTuple, cast

from xanesum.denoisers.protocol import Denoiser, RoundingDenoiser
from xanesum.errors import DenoiserError, MissingExtraError

__all__ = [
    "BUILTINS",
    "DEFAULT_DENOISER",
    "GROUP",
    "Availability",
    "Builtin",
    "available_denoisers",
    "exact_form",
    "get_denoiser",
]

GROUP = "xanesum.denoisers"
DEFAULT_DENOISER = "network"


class Builtin(NamedTuple):
    """Module and class of a built-in denoiser, and the optional dependency that it needs."""

    target: str  # "module:class"
    extra: str | None = None  # also the name of the module that the extra brings
    needs: str | None = None  # a required module that may fail to load on some computers


class Availability(NamedTuple):
    """Whether a denoiser can be used here, and the extra that it needs."""

    installed: bool
    extra: str | None


# The same table is in pyproject.toml, and a test compares the two.  It is needed here for a source tree that
# is not installed.
BUILTINS: Mapping[str, Builtin] = {
    "bm3d": Builtin("xanesum.denoisers.bm3d:BM3DDenoiser", extra="bm3d"),
    "dncnn": Builtin("xanesum.denoisers.network:DnCNNDenoiser", needs="torch"),
    "network": Builtin("xanesum.denoisers.network:NetworkDenoiser", needs="torch"),
    "nlm": Builtin("xanesum.denoisers.nlm:NonLocalMeansDenoiser"),
    "none": Builtin("xanesum.denoisers.none:NoDenoiser"),
    "tv": Builtin("xanesum.denoisers.tv:TotalVariationDenoiser"),
    "wavelet": Builtin("xanesum.denoisers.wavelet:WaveletDenoiser"),
}


def get_denoiser(name_or_object: str | Denoiser, **options: object) -> Denoiser:
    """Return a denoiser by name, or check an object and return it.

    Parameters
    ----------
    name_or_object : str or Denoiser
        A name of `available_denoisers`, or an instance that follows the `Denoiser` protocol.
    **options
        Keyword options of the named denoiser's class.

    Returns
    -------
    Denoiser
        A new instance for a name, the object itself otherwise.

    Raises
    ------
    DenoiserError
        If the name is unknown, the object does not follow the protocol, an option has no such name, or
        options come with an object.
    MissingExtraError
        If the denoiser needs a package that is not installed.
    """
    if isinstance(name_or_object, str):
        factory = _load(name_or_object)
        _require_known_options(name_or_object, factory, options)
        return factory(**options)
    _require_denoiser(name_or_object)
    if options:
        raise DenoiserError(f"options {sorted(options)} need a denoiser's name; set them on the object")
    return name_or_object


def exact_form(denoiser: Denoiser) -> Denoiser:
    """Return the form of `denoiser` that rounds no more coarsely than float32; see `RoundingDenoiser`."""
    exact = denoiser.exact if isinstance(denoiser, RoundingDenoiser) else denoiser
    return exact if isinstance(exact, Denoiser) else denoiser


def available_denoisers() -> dict[str, Availability]:
    """Return all registered names, sorted; for each, whether it can be used, and the extra that it needs.

    Built-ins are not imported for this; plug-ins are.
    """
    names = sorted({*BUILTINS, *_plugins()})
    return {name: _availability(name) for name in names}


def _availability(name: str) -> Availability:
    """Return whether the registered `name` can be used here, and the extra that it needs."""
    if builtin := BUILTINS.get(name):
        modules = [module for module in (builtin.extra, builtin.needs) if module]
        return Availability(all(find_spec(module) for module in modules), builtin.extra)
    try:
        factory = _load(name)
    except MissingExtraError:
        return Availability(False, None)
    extra = getattr(factory, "extra", None)
    return Availability(extra is None or find_spec(extra) is not None, extra)


def _load(name: str) -> Callable[..., Denoiser]:
    """Import the class registered under `name`, and nothing else."""
    if builtin := BUILTINS.get(name):
        _require_extra(name, builtin.extra)
        module, _, attribute = builtin.target.partition(":")
        try:
            return cast("Callable[..., Denoiser]", getattr(importlib.import_module(module), attribute))
        except (ImportError, OSError) as error:  # a library of PyTorch that cannot be loaded is an OSError
            raise MissingExtraError(
                f"denoiser {name!r} cannot be loaded ({_first_line(error)}); "
                f"install {builtin.needs or builtin.extra or 'xanesum'} again, or use denoiser 'wavelet'"
            ) from error
    plugins = _plugins()
    if name not in plugins:
        known = ", ".join(sorted({*BUILTINS, *plugins}))
        raise DenoiserError(f"no denoiser is called {name!r}; known are {known}")
    try:
        return cast("Callable[..., Denoiser]", plugins[name].load())
    except ImportError as error:
        target = plugins[name].value
        raise MissingExtraError(f"denoiser {name!r} ({target}) cannot be imported: {error}") from error


def _plugins() -> dict[str, EntryPoint]:
    """Return the entry points of other packages; a built-in name cannot be replaced by one."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILTINS}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _require_extra(name: str, extra: str | None) -> None:
    """Raise MissingExtraError unless the module that `extra` brings is installed."""
    if extra is not None and find_spec(extra) is None:
        raise MissingExtraError(
            f'denoiser {name!r} needs a package that is not installed: pip install "xanesum[{extra}]"'
        )


def _require_known_options(
    name: str, factory: Callable[..., Denoiser], options: Mapping[str, object]
) -> None:
    """Raise DenoiserError for an option that `factory` does not have."""
    parameters = inspect.signature(factory).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            close = get_close_matches(option, parameters, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            allowed = ", ".join(parameters) or "none"
            raise DenoiserError(f"denoiser {name!r} has no option {option!r}, allowed: {allowed}{hint}")


def _require_denoiser(candidate: object) -> None:
    """Raise DenoiserError unless `candidate` is an instance that follows the protocol."""
    if isinstance(candidate, type):
        raise DenoiserError(f"got the class {candidate.__name__}; pass an instance or a registered name")
    if not isinstance(candidate, Denoiser):
        needed = "denoise, name, uses_sigma, takes_sigma_map, device, extra"
        raise DenoiserError(f"{type(candidate).__name__} is not a denoiser: it needs the attributes {needed}")
