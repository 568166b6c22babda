"""A client of a Dask cluster, and errors of its workers as errors of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from xanesum.errors import MissingExtraError, ReadError, RecipeError, XanesumError

__all__ = ["cluster_of", "result_of"]

CONNECT_S = 20  # seconds within which a scheduler has to answer


@contextmanager
def cluster_of(scheduler: Any) -> Iterator[Any]:
    """Yield a Dask client for a scheduler's address; a client, or None, is yielded as it is.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    RecipeError
        If no scheduler answers at the address.
    """
    if not isinstance(scheduler, str):
        yield scheduler
        return
    try:
        distributed = import_module("distributed")
    except ImportError as error:
        raise MissingExtraError('a Dask scheduler needs: pip install "xanesum[cluster]"') from error
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RecipeError(f"no Dask scheduler answers at {scheduler!r}; is its address right?") from error
    with client:
        yield client


def result_of(future: Any) -> Any:
    """Return the result of a worker.

    Raises
    ------
    XanesumError
        If the work raised it.
    ReadError
        If anything else went wrong, in the work or in the cluster; the message is one line.
    """
    try:
        return future.result()
    except (XanesumError, KeyboardInterrupt):
        raise
    except Exception as error:
        description = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ReadError(
            f"a worker of the cluster failed ({description}); do all see the scan under the same path?"
        ) from error
