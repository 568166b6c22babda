"""Planted faults in the command line."""

from faults import Fault

FAULTS = (
    Fault(
        "cli: messages name the Python parameter, not the flag",
        "cli/options.py",
        "return note.message if flag is None else",
        "return str(note) if True else",
        "tests/test_cli.py",
    ),
    Fault(
        "cli: a note is printed every time",
        "cli/output.py",
        "printed.add(text)",
        "printed.discard(text)",
        "tests/test_cli.py",
    ),
    Fault(
        "cli: a saved result follows options of a scan",
        "workflow/pipeline.py",
        "if options_of_scan:",
        "if False:",
        "tests/test_cli_bad_input.py",
    ),
    Fault(
        "cli: the example replaces a file that is there",
        "cli/verbs_example.py",
        "if path.exists():",
        "if False:",
        "tests/test_phantom_example.py",
    ),
)
