"""Settings of the documentation site; `make docs` builds it.  See decision 18."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import xanesum

project = "xanesum"
author = "The xanesum developers"
release = version = xanesum.__version__
copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_parts.command_line",
    "_parts.docstrings",
    "_parts.equations",
    "_parts.links",
]
exclude_patterns = ["_build", "_parts"]

# Pages are Markdown that GitHub shows too: no syntax of its own, besides the lists of pages and `eval-rst`.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "none"

autodoc_typehints = "none"  # the docstrings have shapes and units
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False

html_theme = "furo"
html_title = f"xanesum {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
html_math_renderer = "mathml"
