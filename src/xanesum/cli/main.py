"""The command ``xanesum``: every error becomes one line and an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from xanesum.cli.options import with_flag
from xanesum.cli.output import print_error, printed_notes
from xanesum.cli.parser import build_parser
from xanesum.errors import XanesumError

__all__ = ["main"]

EXIT_ERROR, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 130, 143  # argparse itself ends with 2
AGAIN_S = 0.05  # seconds until an interrupt that was lost is raised again


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 if all went well, 1 after an error that one line on stderr explains, 130 after Ctrl-C, 143 after
        SIGTERM.  A command that was misspelt ends the program with 2.
    """
    arguments = build_parser().parse_args(argv)
    try:
        with printed_notes(arguments.flags), _interruptible():
            arguments.verb(arguments)
    except _Terminated:
        print("xanesum: terminated; nothing was written", file=sys.stderr)
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        print("xanesum: interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MemoryError:
        print_error("not enough memory; work on a part of the images (--roi), or use a larger machine")
    except XanesumError as error:
        print_error(with_flag(error, arguments.flags) or type(error).__name__)
    except OSError as error:
        print_error(str(error) or type(error).__name__)
    except RuntimeError as error:  # PyTorch's
        if "out of memory" not in str(error):
            raise
        print_error("not enough memory on the GPU; work without it (--device cpu)")
    else:
        return 0
    return EXIT_ERROR


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
