"""What a scan is, what was assumed about it, and what else its file holds: the content of `xanesum info`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xanesum.errors import StackError, XanesumWarning
from xanesum.io import describe, read_stack
from xanesum.io.registry import MONITOR
from xanesum.preprocess import find_unmeasured, settle_quantity
from xanesum.storage.memory import LAZY_BYTES
from xanesum.workflow.loading import reading_options
from xanesum.workflow.recipe import InputOptions

__all__ = ["inspect_scan"]

TOO_LARGE = "the scan is too large to be judged here: a run judges it by its edge"
REFERENCES = ("flat", "dark", "i0", MONITOR)  # coordinates that have to do with the incident light
CHOICES = ("data", "entry", "detector", "region", "index")  # parameters that choose a part of a file


def inspect_scan(
    source: str | Path, options: InputOptions, flags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what is known about a scan, with these options, before it is worked on.

    A scan up to 256 MiB whose quantity has to be judged is read, and judged as a run judges it.  Of any other
    one no pixels are read, except for those of a few frames at its end.

    Parameters
    ----------
    source : str or Path
        Scan of any known format.
    options : InputOptions
        How it is read.
    flags : mapping, optional
        What a user types for each parameter, as ``{"detector": "--detector"}``; by default the parameter.

    Returns
    -------
    dict
        Only types that JSON has.  docs/formats.md lists the keys.

    Raises
    ------
    ReadError, EnergyError
        As `xanesum.read_stack`.  What ends a run later, such as missing energies, is under `problem`.
    """
    flags = {} if flags is None else flags
    facts = describe(source, quantity=options.quantity, **options.source)
    heard: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", XanesumWarning)
        stack, settled, problem = _looked_at(source, options, facts)
    for warning in caught:
        note = warning.message
        if isinstance(note, XanesumWarning) and note.parameter not in CHOICES:
            heard.append(_with_flag(note, flags))
    n_energies, n_y, n_x = facts["shape"]
    final = settled if settled is not None else stack
    attrs = facts["attrs"] if stack is None else stack.attrs
    history = facts["history"] if final is None else final.attrs["history"]
    return {
        "scan": str(source),
        "format": facts["format"],
        "format_description": facts["description"],
        "dataset": facts["dataset"] or None,
        "shape": {"energy": n_energies, "y": n_y, "x": n_x},
        "stored_dtype": facts["dtype"],
        "bytes_in_memory": facts["nbytes"],
        "chunks": dict(zip(("energy", "y", "x"), facts["chunks"], strict=True)),
        "axes": {"in_file": facts["axes"], "assumed": facts["axes_assumed"]},
        "energies": _energies(facts, stack, options),
        "quantity": _quantity(facts, stack, settled, options),
        "i0": _i0(facts, stack, settled),
        "coordinates": _coordinates(facts, stack),
        "pixel_size_nm": _number(facts["pixel_size_nm"]),
        "saturation_counts": _number(attrs.get("saturation_counts")),
        "choices": _choices(facts, flags),
        "history": [str(line) for line in history],
        "notes": list(dict.fromkeys([*facts["notes"], *heard])),
        "problem": None if problem is None else _with_flag(problem, flags),
    }


def _looked_at(
    source: str | Path, options: InputOptions, facts: Mapping[str, Any]
) -> tuple[xr.DataArray | None, xr.DataArray | None, StackError | None]:
    """Return the stack as read, and as a run takes it, both None where nobody looked; and what ends a run."""
    given = bool(options.energies or options.i0 or options.flat or options.dark)
    is_open = facts["quantity_assumed"] or (
        facts["quantity"] == "counts" and not {"flat", "i0"} & set(facts["coordinates"])
    )
    lacks_energies = facts["energy_min_ev"] is None and not options.energies
    if not (given or is_open or lacks_energies) or (facts["nbytes"] > LAZY_BYTES and facts["computed"]):
        return None, None, None
    try:
        stack = read_stack(source, **reading_options(options))
    except StackError as error:
        if given:  # what the user gave is wrong
            raise
        return None, None, error
    if not is_open or facts["nbytes"] > LAZY_BYTES:
        return stack, None, None
    try:
        return stack, settle_quantity(find_unmeasured(stack)[0])[0], None
    except StackError as error:
        return stack, None, error


def _energies(facts: Mapping[str, Any], stack: xr.DataArray | None, options: InputOptions) -> dict[str, Any]:
    """Return number, range and source of the energies, and whether they were taken for keV."""
    low, high, source = facts["energy_min_ev"], facts["energy_max_ev"], facts["energy_source"]
    kev_assumed, count = facts["kev_assumed"], facts["n_energies"]
    if stack is not None:
        low, high, count = float(stack.energy[0]), float(stack.energy[-1]), len(stack)
    if options.energies:
        source = str(options.energies)
        kev_assumed = stack is not None and any("taken for keV" in line for line in stack.attrs["history"])
    return {
        "count": count if low is not None else 0,
        "min_ev": low,
        "max_ev": high,
        "source": source,
        "kev_assumed": kev_assumed,
    }


def _quantity(
    facts: Mapping[str, Any],
    stack: xr.DataArray | None,
    settled: xr.DataArray | None,
    options: InputOptions,
) -> dict[str, Any]:
    """Return what the values are, whether that was assumed, why, and what a run takes them for."""
    value = facts["quantity"] if stack is None else stack.attrs["quantity"]
    assumed = facts["quantity_assumed"] if stack is None else bool(stack.attrs.get("quantity_assumed", False))
    taken = None if assumed else value
    if options.quantity is not None:
        why = "given by the user"
    elif not assumed:
        why = "the file says so"
    else:
        why = "the file does not say it"
        if settled is not None:
            taken = settled.attrs["quantity"]
            said = settled.attrs["history"][len(stack.attrs["history"]) if stack is not None else 0 :]
            why += "".join(f"; {line}" for line in said if "taken as" in line or "left as" in line)
        elif facts["nbytes"] > LAZY_BYTES:
            why += f"; {TOO_LARGE}"
    return {"value": value, "assumed": assumed, "why": why, "run_takes": taken}


def _i0(facts: Mapping[str, Any], stack: xr.DataArray | None, settled: xr.DataArray | None) -> dict[str, Any]:
    """Return where the incident light comes from, for counts and fluorescence."""
    final = settled if settled is not None else stack
    quantity = facts["quantity"] if final is None else final.attrs["quantity"]
    there = set(facts["coordinates"]) if final is None else {str(name) for name in final.coords}
    if quantity not in ("counts", "fluorescence"):
        return {"source": None, "text": f"not needed for {quantity.replace('_', ' ')}"}
    before = set() if stack is None else {str(name) for name in stack.coords}
    if "flat" in there:
        return {"source": "flat", "text": "flat images"}
    if settled is not None and "i0" in there - before:
        return {"source": "empty pixels", "text": str(settled.attrs["history"][-1])}
    if "i0" in there:
        return {"source": "i0", "text": "an I0 spectrum"}
    if quantity == "fluorescence" and MONITOR in there:
        return {"source": MONITOR, "text": "the monitor of the file"}
    return {"source": None, "text": "none was found"}


def _coordinates(facts: Mapping[str, Any], stack: xr.DataArray | None) -> dict[str, list[str]]:
    """Return the coordinates besides the energies, with their dimensions."""
    if stack is None:
        return dict(facts["coordinates"])
    names = sorted(str(name) for name in stack.coords if name != "energy")
    return {name: [str(dim) for dim in stack[name].dims] for name in names}


def _choices(facts: Mapping[str, Any], flags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what else the file holds, and the option that chooses it."""
    others = {name: list(facts["others"].get(name, ())) for name in CHOICES}
    others["data"] = list(dict.fromkeys([*others["data"], *facts["stacks"]]))
    return [
        {"parameter": name, "option": flags.get(name, name), "names": names}
        for name, names in others.items()
        if names
    ]


def _number(value: Any) -> float | None:
    """Return a finite number, or None; a file may say anything."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


def _with_flag(note: StackError | XanesumWarning, flags: Mapping[str, str]) -> str:
    flag = flags.get(note.parameter or "")
    return note.message if flag is None else f"{note.message} ({flag})"
