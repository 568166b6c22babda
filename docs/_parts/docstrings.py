"""References in docstrings as plain text: footnotes of many docstrings do not fit on one page."""

import re

from sphinx.application import Sphinx

CITED, LISTED = re.compile(r"\[(\d+)\]_"), re.compile(r"^(\s*)\.\. (\[\d+\] .*)$")


def without_footnotes(lines: list[str]) -> list[str]:
    """Return the lines of a docstring with its footnotes as paragraphs."""
    plain: list[str] = []
    indent = None  # of the footnote whose lines these are
    for line in lines:
        listed = LISTED.match(line)
        if listed:
            indent = listed[1]
            plain += ["", indent + listed[2]]
        elif indent is not None and line.startswith(indent + " "):
            plain.append(indent + line.strip())
        else:
            indent = None
            plain.append(CITED.sub(r"[\1]", line))
    return plain


def on_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = without_footnotes(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", on_docstring)
    return {"parallel_read_safe": True}
