"""Particles and regions: which pixels they are, their mean states and spectra, with errors."""

from xanesum.xanes.particles.labels import Particles, check_labels, find_particles
from xanesum.xanes.particles.regions import region_spectra
from xanesum.xanes.particles.states import measure_particles

__all__ = ["Particles", "check_labels", "find_particles", "measure_particles", "region_spectra"]
