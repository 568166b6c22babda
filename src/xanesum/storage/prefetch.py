"""Prefetch with a bound: later items are worked on while an earlier result is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Protocol, TypeVar

__all__ = ["Pending", "ahead", "in_threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Pending(Protocol[Result_co]):
    """A result that may not be there yet, such as a future of `concurrent.futures` or of Dask."""

    def result(self) -> Result_co:
        """Wait for the result and return it, or raise the error that came instead."""
        ...


def ahead(submit: Callable[[Item], Pending[Result]], items: Iterable[Item], n_ahead: int) -> Iterator[Result]:
    """Yield the result of each item, in order, with at most `n_ahead` other items submitted.

    Parameters
    ----------
    submit : callable
        Starts the work on an item.
    items : iterable
        Taken only when their work is to start.
    n_ahead : int
        Items submitted beyond the one whose result was yielded last, 1 or more.
    """
    coming = iter(items)
    submitted = deque(submit(item) for item in islice(coming, n_ahead))
    while submitted:
        result = submitted.popleft().result()
        submitted.extend(submit(item) for item in islice(coming, 1))
        yield result


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, n_threads: int, n_ahead: int
) -> Iterator[Result]:
    """Yield `function` of each item, in order; threads work on at most `n_ahead` items that follow.

    An error, an interrupt, or a loop that is left early waits for the calls that run, and starts no other.
    """
    pool = ThreadPoolExecutor(n_threads)
    try:
        yield from ahead(lambda item: pool.submit(function, item), items, n_ahead)
    finally:
        pool.shutdown(cancel_futures=True)
