"""HDF5 files: opened, also while they are written; searched without leaving their folder; honest errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xanesum.errors import ReadError, XanesumError
from xanesum.io.hdf5_text import stored_text
from xanesum.io.scan import reading

__all__ = [
    "RESULT",
    "children",
    "definition_of",
    "find",
    "following_links",
    "has_keys",
    "is_hdf5",
    "is_result",
    "links_are_followed",
    "may_be_read",
    "natural",
    "numbers",
    "open_h5",
    "opened",
    "quoted",
    "scalar_text",
    "target_of",
    "texts",
    "walk",
]

MAGIC = b"\x89HDF\r\n\x1a\n"
RESULT = "xanesum_result"  # content of entry/definition of a saved result
MOST_NUMBERS = 2**20  # values of a list that is read at once
MOST_LINKS = 20  # soft links that lead to soft links
MOST_OBJECTS = 20_000  # objects of a file that are looked at
# what HDF5 says of a file that is damaged for certain: a signature, a checksum or compressed data are wrong
DAMAGED = re.compile(
    r"signature|checksum|inflate|corrupt|bad object|bad heap|deserialize|wrong .*version|exceeds EOA"
    r"|filter returned failure",  # whether the filters are there is asked before anything is read
    re.IGNORECASE,
)
_FOLLOW: ContextVar[bool] = ContextVar("follow_links", default=False)


@contextmanager
def following_links(follow: bool) -> Iterator[None]:
    """Let links lead out of the folder of their file, or not, in what is done meanwhile."""
    token = _FOLLOW.set(follow)
    try:
        yield
    finally:
        _FOLLOW.reset(token)


def links_are_followed() -> bool:
    """Return whether links may lead out of the folder of their file."""
    return _FOLLOW.get()


def quoted(text: object) -> str:
    """Return a text from a file as it may be printed: characters that a terminal obeys are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))[:200]


def is_hdf5(path: Path, head: bytes) -> bool:
    """Return whether a file is HDF5; its signature is at the start, or after a user block."""
    return head.startswith(MAGIC) or (bool(head) and bool(h5py.is_hdf5(path)))


@contextmanager
def open_h5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; every error inside becomes a ReadError.

    A file that another program writes in SWMR mode is read as far as it is there.
    """
    with reading(path), _truthful(path), opened(path) as file:
        yield file


def is_result(file: h5py.File) -> bool:
    """Return whether a file is a saved result of xanesum."""
    item = find(file, "entry/definition")
    return isinstance(item, h5py.Dataset) and not item.shape and scalar_text(stored_text(item)) == RESULT


def definition_of(path: str | Path) -> str:
    """Return what a file of xanesum says that it holds, as ``xanesum_result``; empty for any other file."""
    try:
        with opened(Path(path)) as file:
            item = find(file, "entry/definition")
            is_text = isinstance(item, h5py.Dataset) and not item.shape
            text = scalar_text(stored_text(item)) if is_text else ""
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError):
        return ""
    return text if text.startswith("xanesum_") else ""


def has_keys(path: Path, head: bytes, *keys: str) -> bool:
    """Return whether `path` is an HDF5 file that has all of `keys`."""
    if not is_hdf5(path, head):
        return False
    with open_h5(path) as file:
        return all(_has(file, key) for key in keys)


def find(group: h5py.Group, name: str, *, n_links: int = 0) -> h5py.Group | h5py.Dataset | None:
    """Return the object of that name below a group, or None; a name with a leading / starts at the root.

    Raises
    ------
    ReadError
        If a link on the way leads to a file that is not there, or outside the folder of the scan.
        A soft link that leads nowhere, or round in circles, is no object.
    """
    here: Any = group.file if name.startswith("/") else group
    for part in filter(None, name.split("/")):
        if not isinstance(here, h5py.Group):
            return None
        link = here.get(part, getlink=True) if part in _names(here) else None
        if link is None:
            return None
        if isinstance(link, h5py.SoftLink):
            here = find(here, link.path, n_links=n_links + 1) if n_links < MOST_LINKS else None
        else:
            if isinstance(link, h5py.ExternalLink):
                _require_target(here, part, link)
            here = here.get(part)
    return here


def target_of(file: h5py.File, name: str) -> str:
    """Return where the soft link of that name leads, or an empty string if it is none."""
    parent, _, last = name.strip("/").rpartition("/")
    group = find(file, parent) if parent else file
    link = group.get(last, getlink=True) if isinstance(group, h5py.Group) and last in _names(group) else None
    return str(link.path) if isinstance(link, h5py.SoftLink) else ""


def children(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield name and object of the members of a group that can be opened, in natural order of the names."""
    for name in sorted(_names(group), key=natural):
        with suppress(ReadError, RuntimeError, KeyError, OSError):
            item = find(group, name)
            if item is not None:
                yield name, item


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a key that sorts names as people do: entry2 before entry10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """Yield path and object of everything below a group, each once; links that lead nowhere are left out."""
    seen: set[Any] = set()
    waiting: list[tuple[str, h5py.Group]] = [("", group)]
    while waiting and len(seen) < MOST_OBJECTS:
        prefix, parent = waiting.pop(0)
        for name, item in children(parent):
            if item.id in seen:
                continue
            seen.add(item.id)
            yield f"{prefix}{name}", item
            if isinstance(item, h5py.Group):
                waiting.append((f"{prefix}{name}/", item))


def numbers(file: h5py.Group, name: str) -> NDArray[np.float64] | None:
    """Return a small dataset as float64, or None if there is none; numbers that are stored as text count."""
    item = find(file, name)
    if not isinstance(item, h5py.Dataset) or item.size is None or item.size > MOST_NUMBERS:
        return None
    if item.dtype.kind in "iuf":
        return np.asarray(item[()], dtype=np.float64)
    if item.dtype.kind in "OS" and item.size:
        with suppress(ValueError):
            return np.array([float(text.split()[0]) for text in texts(item[()]) if text.strip()])
    return None


def scalar_text(value: Any) -> str:
    """Return a string that HDF5 stores in any of the usual ways as str."""
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else ""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def texts(value: Any) -> list[str]:
    """Return strings that HDF5 stores as an array, a list or one string."""
    many = value.ravel() if isinstance(value, np.ndarray) else value if isinstance(value, list) else [value]
    return [scalar_text(each) for each in many]


def may_be_read(group: h5py.Group, target: str, *, link: str = "") -> Path:
    """Return the file that a name in the file of `group` means; `link` is the member of it that says so.

    Raises
    ------
    ReadError
        If it lies outside the folder, unless links are followed; or if it is not there.
    """
    path = Path(group.file.filename)
    folder, name = path.resolve().parent, _path_of(group, link)
    file = (folder / target).resolve()
    if not links_are_followed() and not file.is_relative_to(folder):
        raise ReadError(
            f"{path}: {quoted(name)} refers to {quoted(target)} outside its folder; "
            "copy that file into the folder, or allow such links",
            parameter="follow_links",
        )
    if not file.exists():
        raise ReadError(
            f"{path}: {quoted(name)} refers to {quoted(target)}, which is not there; "
            "copy that file to where the link expects it"
        )
    return file


def _require_target(group: h5py.Group, name: str, link: h5py.ExternalLink) -> None:
    """Raise if an external link may not be followed, or its target is not there."""
    file = may_be_read(group, link.filename, link=name)
    with _truthful(file), opened(file) as other:
        if link.path.strip("/") and link.path not in other:
            raise ReadError(
                f"{group.file.filename}: {quoted(_path_of(group, name))} refers to {quoted(link.path)} in "
                f"{quoted(link.filename)}, and that file has no such object"
            )


def _path_of(group: h5py.Group, member: str) -> str:
    """Return the path of a member of a group, or that of the group itself where `member` is empty."""
    return f"{group.name.rstrip('/')}/{member}" if member else str(group.name)


def _names(group: h5py.Group) -> set[str]:
    return set(group)


def _has(file: h5py.File, key: str) -> bool:
    """Return whether a file has an object, or a link that says where it is."""
    parent, _, name = key.rpartition("/")
    try:
        group = find(file, parent) if parent else file
    except ReadError:
        return False
    return isinstance(group, h5py.Group) and name in _names(group)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file in the first way that works: as usual, as one being written, on a disk without locks."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if not (_is_marked_open(error) or _is_lock(error)):
            raise
        try:
            file = h5py.File(path, "r", swmr=True)
        except OSError:
            if not _is_lock(error) or error.errno in (errno.EAGAIN, errno.EACCES):
                raise error from None
            file = h5py.File(path, "r", locking=False)  # a disk without locks: nobody holds one
    with file:
        yield file


def _is_lock(error: OSError) -> bool:
    return "unable to lock file" in str(error)


def _is_marked_open(error: OSError) -> bool:
    return "already open for" in str(error)


@contextmanager
def _truthful(path: Path) -> Iterator[None]:
    """Raise ReadError with what is known for certain about the cause of an error of HDF5."""
    try:
        yield
    except XanesumError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
        reason = _reason(text)
        if isinstance(error, PermissionError | FileNotFoundError) or (reason is None and path.is_dir()):
            said = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else text
            raise ReadError(f"{path}: cannot be opened ({said})") from error
        raise ReadError(f"{path}: {reason or f'cannot be read ({quoted(text)})'}") from error


def _reason(text: str) -> str | None:
    """Return why HDF5 could not read a file, or None if its message does not tell."""
    if "unable to lock file" in text and ("errno = 11" in text or "errno = 35" in text):
        return (
            "another program has it open for writing, and not in SWMR mode; "
            "close it there, or wait until it is written, then read it again"
        )
    if "already open for" in text:
        return (
            "it is marked as being written: either another program still writes it, or that program ended "
            "without closing it; if it ended, h5clear --status FILE takes the mark away"
        )
    if "file signature not found" in text:
        return "it is no HDF5 file"
    if size := re.search(r"truncated file: eof = (\d+).*stored_eof = (\d+)", text):
        return f"it was cut short: {size[1]} of its {size[2]} bytes are there; copy it again"
    if DAMAGED.search(text):
        return f"it is damaged ({quoted(text)}); copy it again"
    return None
