"""The verb that prints a script with which a shell completes commands, options and names of files."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

from xanesum.cli.answers import answer
from xanesum.errors import MissingExtraError

__all__ = ["SHELLS", "complete"]

SHELLS = ("bash", "zsh", "fish")
FILES, FOLDERS = ("FILE", "SCAN", "RESULT", "OUTPUT"), ("FOLDER",)  # how metavars begin


def complete(arguments: argparse.Namespace) -> None:
    """Print the script of a shell.

    Raises
    ------
    MissingExtraError
        If shtab, which writes the script, is not installed.
    """
    if find_spec("shtab") is None:
        raise MissingExtraError('completion needs: pip install "xanesum[completion]"')
    shtab = import_module("shtab")
    parser = arguments.build_parser()
    for each in (parser, *_verbs_of(parser)):
        for action in each._actions:
            _complete_files(action, shtab)
    script = shtab.complete(parser, shell=arguments.shell)
    answer(arguments, {"shell": arguments.shell, "script": script}, script.splitlines())


def _verbs_of(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the parsers of all verbs."""
    groups = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [each for group in groups for each in group.choices.values()]


def _complete_files(action: argparse.Action, shtab: object) -> None:
    """Say that an option names a file or a folder, where its metavar does."""
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    for begins, kind in ((FILES, "FILE"), (FOLDERS, "DIRECTORY")):
        if metavar.startswith(begins):
            action.complete = getattr(shtab, kind)  # type: ignore[attr-defined]  # where shtab looks for it
