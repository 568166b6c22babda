"""Planted faults in the entry point."""

from faults import Fault

FAULTS = (
    Fault(
        "command: idle threads keep the cores",
        "__main__.py",
        '"OPENBLAS_THREAD_TIMEOUT", "14"',
        '"OPENBLAS_THREAD_TIMEOUT", "26"',
        "tests/test_cli.py",
    ),
)
