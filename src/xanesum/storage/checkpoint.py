"""Results of long passes, kept in a folder until all is done, so that a killed run goes on where it was."""

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

PREFIX = "xanesum-pass-"
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder that holds what passes over one stack found, each under the digest of what was asked for."""

    folder: Path
    stack: str  # digest that tells one stack from another

    def remember(self, what: str, compute: Callable[[], Arrays]) -> Arrays:
        """Return what `compute` gives, from the folder where an earlier run has put it there.

        Parameters
        ----------
        what : str
            Digest of everything that the result depends on beside the stack.
        compute : callable
            Returns named arrays.

        Raises
        ------
        WriteError
            If the folder cannot be written.
        """
        path = self.folder / f"{PREFIX}{digest_of(self.stack, what)[:32]}.npz"
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
        """Remove what passes found, see `clear_folder`."""
        clear_folder(self.folder)


def clear_folder(folder: Path) -> None:
    """Remove what passes found; files of other names stay, and so does a folder that holds some."""
    for path in folder.glob(f"{PREFIX}*.npz"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def digest_of(*parts: str | ArrayLike | None) -> str:
    """Return one digest of strings and arrays, in their order."""
    total = hashlib.sha256()
    for part in parts:
        array = None if part is None or isinstance(part, str) else np.ascontiguousarray(part)
        said = repr(part) if array is None else f"{array.dtype}{array.shape}"
        total.update(f"{len(said)}:{said}".encode())
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
