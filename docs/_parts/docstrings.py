"""Numbers of references in docstrings, which start at 1 in each of them, made different on one page."""

import re

from sphinx.application import Sphinx

CITED, LISTED = re.compile(r"\[(\d+)\]_"), re.compile(r"^(\s*)\.\. \[(\d+)\] ")


def number_apart(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    label = re.sub(r"\W|_", "-", name)
    for n, line in enumerate(lines):
        cited = CITED.sub(rf"[#{label}-\1]_", line)
        lines[n] = LISTED.sub(rf"\1.. [#{label}-\2] ", cited)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", number_apart)
    return {"parallel_read_safe": True}
