"""What the field uses today, to compare with."""

from xanesum.baselines.median3 import median3

__all__ = ["median3"]
