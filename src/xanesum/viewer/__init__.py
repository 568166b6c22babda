"""The explorer: a page that shows a result, as one file or served to one computer."""

from xanesum.viewer.page import write_explorer
from xanesum.viewer.server import Viewer, view

__all__ = ["Viewer", "view", "write_explorer"]
