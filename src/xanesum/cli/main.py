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

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130  # argparse itself ends with 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 if all went well, 1 after an error that one line on stderr explains, 130 after Ctrl-C.  A command
        that was misspelt ends the program with 2.
    """
    arguments = build_parser().parse_args(argv)
    try:
        with printed_notes(arguments.flags), _sigterm_as_ctrl_c():
            arguments.verb(arguments)
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


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let a scheduler's SIGTERM end a command as Ctrl-C does, so that nothing is left behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
