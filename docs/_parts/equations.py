"""Equations as MathML, which browsers draw by themselves: no script, no network."""

from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx


def mathml(tex: str, *, is_block: bool) -> str:
    """Return an equation as MathML."""
    return tex2mathml(tex, as_block=is_block)


def show_inline(translator, node):
    translator.body.append(mathml(node.astext(), is_block=False))


def show_block(translator, node):
    translator.body.append(f'<div class="equation">{mathml(node.astext(), is_block=True)}</div>\n')


def leave(translator, node):
    """Nothing is left to write: the text of the node is in the MathML."""


def skip_text(visit):
    """Return a visitor that does not write the text of the node a second time."""

    def visited(translator, node):
        visit(translator, node)
        node.children = []

    return visited


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (skip_text(show_inline), leave), (skip_text(show_block), leave))
    return {"parallel_read_safe": True}
