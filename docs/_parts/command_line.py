"""The reference of the command line, written from the parsers themselves."""

import argparse

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from xanesum.cli.parser import build_parser


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser in their order, without other names of the same."""
    (group,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(group.choices)


def usage_of(action: argparse.Action) -> str:
    """Return an option with its value as one types it, or the name of a value."""
    names = "|".join(map(str, action.choices or ()))
    value = action.metavar or names or (action.dest.upper() if action.nargs != 0 else "")
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return value + (" ..." if action.nargs in ("*", "+") else "")
    many = " ..." if action.nargs in ("*", "+") else ""
    return ", ".join(action.option_strings) + (f" {value}{many}" if value else "")


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Return the text of an option, with its default filled in."""
    return (action.help or "") % {**vars(action), "prog": parser.prog}


def table(parser: argparse.ArgumentParser) -> nodes.definition_list:
    """Return the options of a command and what they do."""
    rows = nodes.definition_list(classes=["options"])
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction):
            continue
        term = nodes.term("", "", nodes.literal("", usage_of(action)))
        body = nodes.definition("", nodes.paragraph("", help_of(parser, action)))
        rows += nodes.definition_list_item("", term, body)
    return rows


class CommandLine(Directive):
    """All commands, each as a section with its line of usage and its options."""

    def run(self):
        """Return one section for each command."""
        parser = build_parser()
        sections = []
        for name, verb in verbs_of(parser).items():
            title = f"xanesum {name}"
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += nodes.title(title, title)
            section += nodes.paragraph("", verb.description or "")
            usage = verb.format_usage().removeprefix("usage: ")
            section += nodes.literal_block(usage, usage, language="none")
            section += table(verb)
            if verb.epilog:
                section += nodes.literal_block(verb.epilog, verb.epilog, language="none")
            sections.append(section)
        return sections


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
