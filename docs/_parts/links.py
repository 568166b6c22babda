"""Links of pages that the repository shows too: a link to a file that is no page becomes its words alone."""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
# what the site has for files and folders outside of docs/, and for folders within
PLACES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/decisions": "decisions.md",
}


def relink(text: str, file: Path, page: Path, docs: Path) -> str:
    """Return the text of a `file` with links that are right on a `page` of the site."""

    def changed(found: re.Match[str]) -> str:
        words, target, fragment = found.groups(default="")
        path = (file.parent / target).resolve()
        place = PLACES.get(os.path.relpath(path, docs.parent))
        if place is not None:
            path = docs / place
        if not path.is_relative_to(docs) or path.is_dir():
            return words
        return f"[{words}]({os.path.relpath(path, page.parent)}{fragment})"

    return LINK.sub(changed, text)


def pages_below(readme: Path) -> str:
    """Return a list of the other pages of a folder, and of the first page of each folder in it."""
    others = [*readme.parent.glob("*.md"), *readme.parent.glob("*/README.md")]
    names = sorted(
        page.relative_to(readme.parent).with_suffix("").as_posix() for page in others if page != readme
    )
    return "\n".join(["\n```{toctree}", ":hidden:", "", *names, "```\n"]) if names else ""


def on_source_read(app: Sphinx, docname: str, source: list[str]) -> None:
    docs = Path(app.srcdir).resolve()
    page = docs / f"{docname}.md"
    source[0] = relink(source[0], page, page, docs)
    if page.name == "README.md":
        source[0] += pages_below(page)


def on_include(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    docs = Path(app.srcdir).resolve()
    source[0] = relink(source[0], (docs / path).resolve(), docs / f"{parent}.md", docs)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", on_source_read)
    app.connect("include-read", on_include)
    return {"parallel_read_safe": True}
