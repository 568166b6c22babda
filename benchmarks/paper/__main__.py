"""Entry point of ``python -m benchmarks.paper``, from the folder of the repository."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

BENCHMARKS = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    if BENCHMARKS not in sys.path:  # the benchmarks import one another by the names of their files
        sys.path.insert(0, BENCHMARKS)
    sys.exit(import_module("paper.command").main())
