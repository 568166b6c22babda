"""The command ``xanesum``: every error becomes one line and an exit code."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from xanesum.cli.default_names import settle_output
from xanesum.cli.options import with_flag
from xanesum.cli.output import print_error, print_memory, print_versions, printed_notes
from xanesum.cli.parser import build_parser
from xanesum.errors import XanesumError
from xanesum.io.scan import is_address, local_path

__all__ = ["main"]

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_CLOSED, EXIT_TERMINATED = 1, 130, 141, 143  # argparse itself ends with 2
AGAIN_S = 0.05  # seconds until an interrupt that was lost is raised again
NO_FILES = ("compute.scheduler",)  # what may be an address


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 if all went well, 1 after an error that one line on stderr explains, 130 after Ctrl-C, 141 if the
        program that reads the output has ended, 143 after SIGTERM.  A command that was misspelt ends the
        program with 2.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # what is still in the buffer may not find its reader, either
    except BrokenPipeError:
        _drop_output()
        return EXIT_CLOSED


def _run(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    try:
        with printed_notes(arguments.flags) as arguments.heard, _interruptible():
            _do(arguments)
    except _Terminated:
        print("xanesum: terminated; nothing was written", file=sys.stderr)
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        print("xanesum: interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        raise
    except (MemoryError, XanesumError, OSError, RuntimeError) as error:
        print_error(_sentence_of(error, arguments))
        return EXIT_ERROR
    return 0


def _do(arguments: argparse.Namespace) -> None:
    if arguments.verbose:
        print_versions()
    _refuse_addresses(arguments)
    settle_output(arguments)
    arguments.verb(arguments)
    if arguments.verbose:
        print_memory()


def _sentence_of(error: Exception, arguments: argparse.Namespace) -> str:
    """Return what the user is told about an error; raise one that nobody foresaw."""
    if isinstance(error, MemoryError):
        return "not enough memory; work on a part of the images (--roi), or use a larger machine"
    if isinstance(error, XanesumError):
        return with_flag(error, arguments.flags) or type(error).__name__
    if isinstance(error, RuntimeError):  # PyTorch's
        if "out of memory" not in str(error):
            raise error
        return "not enough memory on the GPU; work without it (--device cpu)"
    return str(error) or type(error).__name__


def _refuse_addresses(arguments: argparse.Namespace) -> None:
    """Raise ReadError where an address stands in place of a file, before it is taken for a path."""
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list | tuple) else [value]:
            if name not in NO_FILES and is_address(text):
                local_path(text)


def _drop_output() -> None:
    """Send what is still to be printed nowhere, so that the end of the process does not complain."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a stream of a test or a notebook has no number
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does, so that nothing is left behind."""


def _signal_main_thread(number: int) -> None:
    """Send a signal to the thread that works; where the system can, it also ends its waiting."""
    main_thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main_thread is not None:
        signal.pthread_kill(main_thread, number)
    else:
        signal.raise_signal(number)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and a scheduler's SIGTERM end a command, wherever they meet it.

    An exception that is raised within a callback, as of a weak reference, is lost.  It is raised again.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def terminate(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    report = sys.unraisablehook

    def raise_again(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            report(lost)
            return
        number = signal.SIGTERM if isinstance(lost.exc_value, _Terminated) else signal.SIGINT
        timer = threading.Timer(AGAIN_S, _signal_main_thread, (number,))
        timer.daemon = True
        timer.start()

    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = report
        for number, handler in before.items():
            signal.signal(number, handler)
