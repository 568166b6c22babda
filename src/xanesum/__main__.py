"""The command ``xanesum``, also ``python -m xanesum``: settings of the process, then `xanesum.cli.main`."""

import os
import sys

__all__ = ["let_idle_threads_sleep", "main"]


def let_idle_threads_sleep() -> None:
    """Set how long idle threads of NumPy and SciPy look for more work, unless the user did.

    PyTorch has threads of its own, which the others keep from the cores in a loop of 2 to the power of 26
    cycles; of 14, they soon sleep.  It is read when these libraries are loaded.
    """
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "14")


def main() -> int:
    """Run the command, and return its exit code."""
    let_idle_threads_sleep()
    from xanesum.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
