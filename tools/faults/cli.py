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
        "printed.append(text)",
        "pass",
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
        "cli: a folder with files of others is written to",
        "cli/default_names.py",
        "and not is_own_folder(folder)",
        "and False",
        "tests/test_cli_manners.py",
    ),
    Fault(
        "cli: a file of a default name is replaced",
        "cli/default_names.py",
        "path.exists() and not arguments.force",
        "False",
        "tests/test_cli_manners.py",
    ),
    Fault(
        "cli: quiet is not quiet",
        "cli/answers.py",
        "elif not arguments.quiet:",
        "else:",
        "tests/test_cli_manners.py",
    ),
    Fault(
        "cli: a closed pipe is an error with a text",
        "cli/main.py",
        "        _drop_output()",
        "        print_error('closed')",
        "tests/test_cli_manners.py",
    ),
)
