"""Entry point of ``xanesum`` and ``python -m xanesum``: set up the process, then call `xanesum.cli.main`."""

import os
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
    let_idle_threads_sleep()
    from xanesum.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
