"""Files and folders that are complete or absent: written under another name, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree

from xanesum.errors import ReadError, WriteError, XanesumError
from xanesum.storage.leftovers import remove_leftovers, temporary_name

__all__ = ["atomic_path", "atomic_paths", "new_folder", "replace_all", "staged_folder"]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; rename it to `path` at the end.

    If anything fails, Ctrl-C included, the temporary file is removed and `path` is as it was.

    Raises
    ------
    WriteError
        If the folder is missing or cannot be written, or the disk is full.
    """
    with atomic_paths(path) as (temporary,):
        yield temporary


@contextmanager
def atomic_paths(*paths: str | Path) -> Iterator[tuple[Path, ...]]:
    """Give a temporary name for each of `paths`; at the end all are renamed, or none.

    Raises
    ------
    WriteError
        As `atomic_path`.
    """
    targets = [Path(path) for path in paths]
    temporaries: list[Path] = []
    try:
        for target in targets:
            temporaries.append(_reserve(target))
        yield tuple(temporaries)
        replace_all(list(zip(temporaries, targets, strict=True)))
    except XanesumError:
        raise
    except OSError as error:
        raise WriteError(f"{targets[0]}: writing failed ({_reason(error)}); nothing was written") from error
    except RuntimeError as error:  # h5py raises it where closing a file fails
        raise WriteError(
            f"{targets[0]}: writing failed ({_first_line(error)}); nothing was written"
        ) from error
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink()


def replace_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Rename each (temporary, target); if one fails, every target is as it was before.

    Raises
    ------
    OSError
        If a target cannot be replaced, or is a folder.
    """
    if len(moves) == 1 and not moves[0][1].is_dir():  # one renaming is atomic by itself
        moves[0][0].replace(moves[0][1])
        return
    begun: list[tuple[Path, Path, bool]] = []  # (target, name of its old content, whether it had any)
    try:
        for temporary, target in moves:
            before = temporary.with_name(f"{temporary.name}.before")
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
            begun.append((target, before, target.exists()))
            if target.exists():
                target.replace(before)
            temporary.replace(target)
    except BaseException:
        for target, before, was_there in reversed(begun):
            if before.exists():
                before.replace(target)
            elif not was_there:
                target.unlink(missing_ok=True)
        raise
    for _, before, _ in begun:
        with suppress(OSError):
            before.unlink(missing_ok=True)


@contextmanager
def staged_folder(folder: Path, *, own: tuple[str, ...] = ()) -> Iterator[Path]:
    """Give a temporary folder; at the end it becomes `folder`, or its files replace those in `folder`.

    Files named in `own` are removed from an existing folder, if they were not written this time.  If
    anything fails, Ctrl-C included, the temporary folder is removed and `folder` is as it was.

    Raises
    ------
    WriteError
        If the folder cannot be written.
    """
    temporary = new_folder(folder if folder.is_dir() else folder.parent, folder.name)
    try:
        yield temporary
        _publish(temporary, folder, own)
    except OSError as error:
        if isinstance(error, ReadError | WriteError):
            raise
        raise WriteError(
            f"{folder}: writing failed ({error.strerror or error}); choose another folder"
        ) from error
    finally:
        rmtree(temporary, ignore_errors=True)


def new_folder(place: Path, name: str) -> Path:
    """Make a hidden folder of a new name in `place`, for the folder or file `name` that is to be there.

    What a killed run has left there for the same name is removed.

    Raises
    ------
    WriteError
        If it cannot be made.
    """
    remove_leftovers(place, name)
    temporary = place / temporary_name(name)
    try:
        temporary.mkdir()
    except OSError as error:
        hint = f"folder {place} is missing or is a file" if not place.is_dir() else str(error.strerror)
        raise WriteError(
            f"{place / name}: cannot write there ({hint}); choose another output path"
        ) from error
    return temporary


def _publish(temporary: Path, folder: Path, own: tuple[str, ...]) -> None:
    """Move the files to their place.  The report comes last, so that it never names missing files."""
    if not folder.is_dir():
        temporary.rename(folder)
        return
    made = sorted(temporary.iterdir(), key=lambda path: path.suffix == ".html")
    replace_all([(path, folder / path.name) for path in made])
    for name in set(own) - {path.name for path in made}:
        (folder / name).unlink(missing_ok=True)


def _reserve(target: Path) -> Path:
    """Create an empty file in the folder of `target`, with the permissions of an ordinary new file."""
    if target.is_dir():
        raise WriteError(f"{target}: is a folder; give the name of a file")
    remove_leftovers(target.parent, target.name)
    try:
        prefix = f"{temporary_name(target.name)}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise WriteError(
            f"{target}: cannot write there ({_reason(error)}); choose another output path"
        ) from error
    os.close(handle)
    umask = os.umask(0)
    os.umask(umask)
    with suppress(OSError):  # some network file systems have no permissions to set
        Path(name).chmod(0o666 & ~umask)
    return Path(name)


def _reason(error: OSError) -> str:
    """Return the cause of an error in one line, with the remedy where the disk is full."""
    if error.errno == errno.ENOSPC or "no space left" in str(error).lower():
        return "no space left on the device: free some or choose another disk"
    return error.strerror or _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
