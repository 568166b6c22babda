"""Results of long passes, kept in a folder until the run ends, so that a killed run can be resumed."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xanesum.errors import WriteError
from xanesum.storage.atomic import atomic_path

__all__ = ["Checkpoint", "clear_folder", "digest_of"]

PREFIX = "xanesum-pass-"  # of the files' names; files of other names are not touched
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with the results of passes over one stack, each under the digest of its request."""

    folder: Path
    stack: str  # digest that distinguishes this stack from others

    def remember(self, request: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return the result of `compute`, or the one that an earlier run has left in the folder.

        Parameters
        ----------
        request : str
            Digest of everything that the result depends on, except the stack.
        compute : callable
            Returns named arrays.

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        path = self.folder / f"{PREFIX}{digest_of(self.stack, request)[:32]}.npz"
        found = _read(path)
        if found is not None:
            return found
        result = compute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(
                f"{self.folder}: cannot keep checkpoints there ({error.strerror}); choose another folder"
            ) from error
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **result)
        return result

    def clear(self) -> None:
        """Remove the results, see `clear_folder`."""
        clear_folder(self.folder)


def clear_folder(folder: Path) -> None:
    """Remove the results of passes, and the folder if it is then empty; files of other names stay."""
    for path in folder.glob(f"{PREFIX}*.npz"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def digest_of(*parts: str | ArrayLike | None) -> str:
    """Return one SHA-256 digest of strings, arrays and None, which depends on their order."""
    total = hashlib.sha256()
    for part in parts:
        array = None if part is None or isinstance(part, str) else np.ascontiguousarray(part)
        text = repr(part) if array is None else f"{array.dtype}{array.shape}"
        total.update(f"{len(text)}:{text}".encode())
        if array is not None:
            total.update(array.data)
    return total.hexdigest()


def _read(path: Path) -> Arrays | None:
    """Return the arrays of a file, or None where it is missing or damaged."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
