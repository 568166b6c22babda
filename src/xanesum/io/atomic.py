"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xanesum.errors import WriteError, XanesumError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` at the end, or remove it if anything fails.

    Ctrl-C counts as a failure: whatever was at `path` before is still there.

    Raises
    ------
    WriteError
        If the folder is missing or cannot be written, or the disk is full.
    """
    target = Path(path)
    temporary = _reserve(target)
    try:
        yield temporary
        temporary.replace(target)
    except XanesumError:
        raise
    except OSError as error:
        raise WriteError(f"{target}: writing failed ({_reason(error)}); nothing was written") from error
    except RuntimeError as error:  # h5py's way to say that closing a file failed
        raise WriteError(f"{target}: writing failed ({_first_line(error)}); nothing was written") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _reserve(target: Path) -> Path:
    """Create an empty file beside `target`, readable by whom an ordinary new file is readable."""
    if target.is_dir():
        raise WriteError(f"{target}: is a folder; give the name of a file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
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
    if error.errno == errno.ENOSPC or "no space left" in str(error).lower():
        return "no space left on the device: free some or choose another disk"
    return error.strerror or _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
