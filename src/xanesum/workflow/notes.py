"""Notes: what the package warns of, heard by those who show them to the user."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xanesum.errors import XanesumWarning

__all__ = ["hear_notes"]


@contextmanager
def hear_notes(listener: Callable[[XanesumWarning], None], *, pass_on: bool) -> Iterator[None]:
    """Call `listener` with every `XanesumWarning` inside the block, even where warnings are silenced.

    Parameters
    ----------
    listener : callable
        Called with the warning itself, once for each time it is raised.
    pass_on : bool
        Whether the warning is shown as usual too, where the filters outside the block allow it.  All other
        warnings are always passed on.
    """
    with warnings.catch_warnings():
        show_as_usual, is_shown = warnings.showwarning, pass_on and _notes_are_shown()

        def show(message: Any, category: Any, *place: Any, **more: Any) -> None:
            is_note = isinstance(message, XanesumWarning)
            if is_note:
                listener(message)
            if is_shown or not is_note:
                show_as_usual(message, category, *place, **more)

        if not is_shown:
            warnings.simplefilter("always", XanesumWarning)
        warnings.showwarning = show
        yield


def _notes_are_shown() -> bool:
    """Return whether the present filters show an `XanesumWarning`, or raise it."""
    for action, _, category, *_ in warnings.filters:
        if issubclass(XanesumWarning, category):
            return action != "ignore"
    return True
