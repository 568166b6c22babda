"""Projects of Athena (.prj): several spectra in one file, as lists of Perl or as JSON, usually compressed.

Athena is described in B. Ravel and M. Newville, J. Synchrotron Rad. 12, 537 (2005).
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError
from xanesum.io.scan import read_bytes, reading
from xanesum.io.spectrum import ABSORPTION, FLUORESCENCE, REFERENCE, TRANSMISSION, Reference

__all__ = ["is_athena", "read_athena"]

MARK = b"Athena project file"
GZIP = b"\x1f\x8b"
MAX_BYTES = 2**27  # of the text, uncompressed; a project of a hundred spectra has a few MB
LIST = re.compile(r"^@(\w+)\s*=\s*\((.*)\);?\s*$", re.DOTALL)
TOKEN = re.compile(r"'((?:[^'\\]|\\.)*)'|([^\s,()\[\]']+)|([\[\]])")
HEX = re.compile(r"\\x\{([0-9a-fA-F]{1,6})\}")
# what a group may be that is no absorption spectrum
OTHER_DATA = {
    "is_chi": "chi(k)",
    "is_bkg": "a background",
    "is_diff": "a difference",
    "is_pixel": "over pixels",
    "is_rsp": "in R space",
}


def is_athena(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a project of Athena."""
    if not head.startswith(GZIP):
        return MARK in head[:500]
    try:
        return MARK in zlib.decompressobj(31).decompress(head, 500)
    except zlib.error:
        return False


def read_athena(path: Path, wanted: str | None = None) -> list[Reference]:
    """Read the spectra of a project; groups that are no absorption spectrum are left out.

    An energy shift that the project holds is added to the energies, as Athena does.

    Parameters
    ----------
    path : Path
    wanted : str, optional
        Kind of the spectra that are read; all kinds by default.

    Raises
    ------
    ReadError
        If the project is damaged, or holds no spectrum.
    """
    found, left_out = [], []
    with reading(path):
        text = _text(path)
        groups = _json_groups(text) if text.lstrip().startswith("{") else _perl_groups(text)
        for facts, x, y in groups:
            label = str(facts.get("label", "")).strip() or "unnamed"
            what = next((words for key, words in OTHER_DATA.items() if _true(facts.get(key))), "")
            if what or x is None or y is None or len(x) != len(y):
                left_out.append(f"{label} ({what or 'values are missing'})")
                continue
            reference = _reference(path, label, facts, x, y)
            if wanted in (None, reference.kind):
                found.append(reference)
    if not found:
        raise ReadError(
            f"{path}: the project holds no absorption spectrum{f' of {wanted}' * bool(wanted)}"
            + f"; left out: {', '.join(left_out[:5])}" * bool(left_out)
        )
    return found


def _reference(
    path: Path, label: str, facts: Mapping[str, Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> Reference:
    shift = _number(facts.get("bkg_eshift")) or 0.0
    notes = (f"shifted by {shift:+.3f} eV, as the project says",) if shift else ()
    is_kev = _true(facts.get("is_kev")) and float(np.max(x)) < 1e3
    kind = _kind(facts)
    return Reference(
        label,
        (x * 1e3 if is_kev else x) + shift,
        y,
        f"{path.name}: {label}",
        element=str(facts.get("bkg_z") or "") or None,
        edge=str(facts.get("fft_edge") or "").upper() or None,
        e0_ev=_number(facts.get("bkg_e0")),
        normalized=_true(facts.get("is_nor")),
        kind=kind,
        sample=label,
        notes=notes,
    )


def _kind(facts: Mapping[str, Any]) -> str:
    """Return how a spectrum was measured, as its formula tells: a logarithm of counts is transmission."""
    formula = str(facts.get("xmu_string") or "")
    if re.search(r"\bref\b|^\s*ref", str(facts.get("label") or ""), re.IGNORECASE):
        return REFERENCE
    if formula and "ln" not in formula and "/" in formula:
        return FLUORESCENCE
    return TRANSMISSION if "ln" in formula else ABSORPTION


def _text(path: Path) -> str:
    data = read_bytes(path, MAX_BYTES + 1)
    if data.startswith(GZIP):
        unpacker = zlib.decompressobj(31)
        data = unpacker.decompress(data, MAX_BYTES + 1)
        if not unpacker.eof and len(data) <= MAX_BYTES:
            raise ReadError(f"{path}: the file is cut short; try another copy of it")
    if len(data) > MAX_BYTES:
        raise ReadError(f"{path}: more than {MAX_BYTES // 2**20} MB of text, too large for a project")
    return data.decode("utf-8", errors="replace")


Group = tuple[Mapping[str, Any], NDArray[np.float64] | None, NDArray[np.float64] | None]


def _perl_groups(text: str) -> Iterator[Group]:
    """Yield the facts, energies and values of each group in lists of Perl."""
    lists: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("[record]"):
            args = lists.get("args", [])
            facts = dict(zip(args[::2], args[1::2], strict=False))
            x, y = (_floats(lists[name]) if name in lists else None for name in ("x", "y"))
            yield facts, x, y
            lists = {}
        elif (match := LIST.match(line)) and match[1] in ("args", "x", "y"):
            lists[match[1]] = _items(match[2])


def _items(text: str) -> list[str]:
    """Return the items of a list of Perl; a list within it is one empty item."""
    items: list[str] = []
    depth = 0
    for quoted, bare, bracket in TOKEN.findall(text):
        if bracket:
            depth += 1 if bracket == "[" else -1
            if bracket == "]" and depth == 0:
                items.append("")
        elif depth == 0:
            items.append(_unescaped(quoted) if quoted or not bare else "" if bare == "undef" else bare)
    return items


def _unescaped(text: str) -> str:
    text = HEX.sub(lambda code: chr(min(int(code[1], 16), 0x10FFFF)), text)
    return re.sub(r"\\(.)", r"\1", text)


def _json_groups(text: str) -> Iterator[Group]:
    """Yield the facts, energies and values of each group in JSON."""
    content = json.loads(text)
    for group in content.values() if isinstance(content, dict) else ():
        if isinstance(group, dict) and "x" in group:
            args = group.get("args")
            facts = args if isinstance(args, dict) else {}
            if isinstance(args, list):
                facts = dict(zip(map(str, args[::2]), args[1::2], strict=False))
            yield facts, _floats(group["x"]), _floats(group["y"]) if "y" in group else None


def _floats(items: list[Any]) -> NDArray[np.float64]:
    return np.array([float(item) for item in items], dtype=np.float64)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _true(value: Any) -> bool:
    return bool(_number(value))
