"""Prefetch: order, bound, errors, and an early end, with futures under control and with threads."""

import threading
import time
from concurrent.futures import Future

import pytest

from xanesum.storage.prefetch import ahead, in_threads


def done(value):
    future = Future()
    future.set_result(value)
    return future


@pytest.mark.parametrize("n_ahead", [1, 3, 100])
@pytest.mark.parametrize("n_items", [0, 1, 7])
def test_results_come_in_order(n_items, n_ahead):
    assert list(ahead(lambda n: done(n * n), range(n_items), n_ahead)) == [n * n for n in range(n_items)]


@pytest.mark.parametrize("n_ahead", [1, 4])
def test_no_more_items_than_the_bound_are_on_their_way(n_ahead):
    taken = []

    def submit(n):
        taken.append(n)
        return done(n)

    for n in ahead(submit, iter(range(10)), n_ahead):
        assert len(taken) == min(n + 1 + n_ahead, 10)


def test_nothing_is_taken_before_the_first_result_is_wanted():
    items = iter(range(3))
    results = ahead(done, items, 2)
    assert next(items) == 0
    assert list(results) == [1, 2]


def test_an_error_comes_in_its_turn():
    def work(n):
        if n == 2:
            raise OSError("no such frame")
        return n

    results = in_threads(work, range(100), n_threads=2, n_ahead=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(OSError, match="no such frame"):
        next(results)
    assert list(results) == []


def test_threads_give_results_in_order_whichever_is_first():
    def work(n):
        time.sleep(0.02 if n % 3 == 0 else 0)
        return n

    assert list(in_threads(work, range(20), n_threads=4, n_ahead=8)) == list(range(20))


def test_so_many_threads_work_at_the_same_time():
    together = threading.Barrier(3, timeout=10)
    list(in_threads(lambda n: together.wait(), range(6), n_threads=3, n_ahead=6))


@pytest.mark.parametrize("how", ["left early", "interrupted"])
def test_an_early_end_starts_no_other_item(how):
    """Of the many items submitted, only the two whose threads run may finish."""
    started = []
    go_on = threading.Event()

    def work(n):
        started.append(n)
        if n:
            go_on.wait(10)
        return n

    def loop():
        for _ in in_threads(work, range(1000), n_threads=2, n_ahead=500):
            threading.Timer(0.1, go_on.set).start()  # the threads that run are waited for
            if how == "interrupted":
                raise KeyboardInterrupt
            break

    if how == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            loop()
    else:
        loop()

    assert len(started) <= 1 + 2
    assert go_on.is_set()
