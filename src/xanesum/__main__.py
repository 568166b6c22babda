"""The command ``xanesum``, also ``python -m xanesum``: settings of the process, then `xanesum.cli`."""

import os
import sys

__all__ = ["main"]

# NumPy, SciPy and PyTorch bring threads of their own.  Those of the first two look for more work in a loop
# of 2 to the power of 26 cycles, which keeps the cores from the others; of 14, they soon sleep.
THREAD_TIMEOUT = {"OPENBLAS_THREAD_TIMEOUT": "14"}


def main() -> int:
    """Run the command, and return its exit code."""
    for name, value in THREAD_TIMEOUT.items():  # read when the libraries are loaded
        os.environ.setdefault(name, value)
    from xanesum.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
