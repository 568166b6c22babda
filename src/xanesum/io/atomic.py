"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xanesum.errors import WriteError

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
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise WriteError(f"{target}: cannot write there ({error.strerror}); choose another output path") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise WriteError(f"{target}: writing failed ({error.strerror or error}); nothing was written") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
