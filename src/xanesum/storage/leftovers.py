"""Names of temporary files that tell which process made them: those of a killed run can be removed."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from shutil import rmtree

import psutil

__all__ = ["remove_leftovers", "temporary_name"]

OWNER = re.compile(r"\.(?P<computer>[0-9a-f]{8})-(?P<process>\d+)-(?P<since>\d+)-[0-9a-f]{6,}")


def temporary_name(name: str) -> str:
    """Return a new hidden name for what is to become `name`; it tells the computer and the process."""
    process = psutil.Process()
    return f".{name}.{_computer()}-{process.pid}-{int(process.create_time())}-{token_hex(6)}"


def remove_leftovers(place: Path, name: str) -> None:
    """Remove files and folders for `name` in a folder that ended processes of this computer have left."""
    with suppress(OSError):
        for path in place.iterdir():
            rest = path.name.removeprefix(f".{name}")
            found = OWNER.match(rest) if rest != path.name else None
            if found is None or found["computer"] != _computer() or _is_alive(found):
                continue
            if path.is_dir() and not path.is_symlink():
                rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _computer() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_alive(owner: re.Match[str]) -> bool:
    """Return whether the process runs, or cannot be asked about."""
    number = int(owner["process"])
    if number == os.getpid():
        return True
    try:
        return abs(int(psutil.Process(number).create_time()) - int(owner["since"])) <= 1
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OverflowError):
        return True
