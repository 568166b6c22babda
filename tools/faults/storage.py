"""Planted faults in storage."""

from faults import Fault

FAULTS = (
    Fault(
        "workspace: frames of a file read from its beginning",
        "storage/scratch.py",
        "_read_into(values, file, 4 * energies.start * n_y * n_x)",
        "_read_into(values, file, 0)",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: missing values put into the wrong frame",
        "storage/lazy.py",
        "(e - energies.start)[inside]",
        "e[inside]",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: frames out of order",
        "storage/prefetch.py",
        "result = submitted.popleft().result()",
        "result = submitted.pop().result()",
        "tests/test_storage_prefetch.py",
    ),
    Fault(
        "workspace: chunks of several energies read for every frame",
        "storage/scratch.py",
        "if not is_lazy(stack) or n_energies == 1:",
        "if True:",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: rows of frames written one row off",
        "storage/scratch.py",
        "file.seek((frame * n_y + row) * n_x * data.itemsize)",
        "file.seek((frame * n_y + row + 1) * n_x * data.itemsize)",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "passes: blocks that cut chunks apart",
        "storage/lazy.py",
        "n_stored = min(chunks[0], n_energies)",
        "n_stored = 1",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "lazy: frames of a chunk are taken one by one",
        "storage/lazy.py",
        "n_whole = -(-n_together // n_stored) * n_stored",
        "n_whole = n_together",
        "tests/test_storage_scratch.py",
    ),
)
