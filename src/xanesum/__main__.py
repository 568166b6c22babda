"""Entry point of ``xanesum`` and ``python -m xanesum``: set up the process, then call `xanesum.cli.main`."""

import os
import signal
import sys

__all__ = ["let_idle_threads_sleep", "main"]


def let_idle_threads_sleep() -> None:
    """Let idle threads of OpenBLAS sleep, unless the user has set how long they wait.

    Idle OpenBLAS threads spin for 2**26 cycles and take cores from PyTorch.  After 2**14 cycles they sleep.
    The variable is read when NumPy and SciPy are loaded.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")


def main() -> int:
    """Run the command, and return its exit code."""
    # While modules are loaded nothing can be left behind, but a KeyboardInterrupt may be lost in one of them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end_at_once)
    let_idle_threads_sleep()
    from xanesum.cli.main import main as run

    code = run()
    for number in (signal.SIGINT, signal.SIGTERM):  # all is written: only the process is to end
        signal.signal(number, signal.SIG_IGN)
    return code


def _end_at_once(number: int, _: object) -> None:
    """End the process with one line."""
    what = "interrupted" if number == signal.SIGINT else "terminated"
    os.write(2, f"xanesum: {what}; nothing was written\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
