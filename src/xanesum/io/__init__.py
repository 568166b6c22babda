"""Files: read a scan of any known format, describe it, write it."""

from xanesum.io.registry import describe, read_exposures, read_stack
from xanesum.io.tiff import write_map_tiff
from xanesum.io.writers import STACK_SUFFIXES, write_stack

__all__ = ["STACK_SUFFIXES", "describe", "read_exposures", "read_stack", "write_map_tiff", "write_stack"]
