"""Workers of Dask that do the work of passes: how they are reached, and what is said when they fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from xanesum.errors import MissingExtraError, ReadError, RecipeError, XanesumError

__all__ = ["cluster_of", "result_of"]

CONNECT_S = 20  # seconds that a scheduler has to answer


@contextmanager
def cluster_of(scheduler: Any) -> Iterator[Any]:
    """Give a Dask client for a scheduler's address; what is no address (a client, None) as it is."""
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
    """Return what a worker found; what goes wrong there, or with the cluster, is one line."""
    try:
        return future.result()
    except (XanesumError, KeyboardInterrupt):
        raise
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ReadError(
            f"a worker of the cluster failed ({said}); do all see the scan under the same path?"
        ) from error
