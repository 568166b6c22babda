"""What pixels consist of: fractions of references, spectra without references, clusters of one state."""

from xanesum.xanes.composition.clusters import find_clusters
from xanesum.xanes.composition.composite import colour_composite
from xanesum.xanes.composition.fractions import fit_fractions
from xanesum.xanes.composition.subsets import choose_references
from xanesum.xanes.composition.unmixing import unmix

__all__ = ["choose_references", "colour_composite", "find_clusters", "fit_fractions", "unmix"]
