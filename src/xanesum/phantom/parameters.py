"""Every number of the phantoms, frozen before any method is scored on them."""

from typing import Final

# Energies: the paper's Ni K scan runs from 8180 to 8562 eV; its simulated stacks have 969 images.
FIRST_EV: Final = 8180.0
LAST_EV: Final = 8562.0
EDGE_REGION_EV: Final = (8325.0, 8375.0)
EDGE_DENSITY: Final = 4.0
N_ENERGIES: Final = 969

# Spectra: five states of charge, 0.8 eV apart; heights are in units of the edge step.
HALF_STEP_EV: Final = (8340.0, 8340.8, 8341.6, 8342.4, 8343.2)
STEP_WIDTH_EV: Final = 4.0
WHITE_LINE_HEIGHT: Final = (0.62, 0.56, 0.53, 0.47, 0.45)
WHITE_LINE_OFFSET_EV: Final = 6.5
WHITE_LINE_WIDTH_EV: Final = 3.0
PRE_PEAK_HEIGHT: Final = 0.03
PRE_PEAK_OFFSET_EV: Final = 9.0
PRE_PEAK_WIDTH_EV: Final = 1.5
EXAFS_HEIGHT: Final = 0.06
EXAFS_RADIUS: Final = (0.98, 1.00, 1.02, 1.035, 1.05)
EXAFS_DECAY_EV: Final = 120.0

# Absorption of the rest of the sample: a line in energy, so that no frame is empty.
MATRIX_LEVEL: Final = 0.06
MATRIX_SLOPE_PER_EV: Final = -0.00004

# Values: PEAK is the largest of a clean stack.  Pixels with at least MASK_THICKNESS of the largest thickness
# belong to the sample.
PEAK: Final = 255.0
MASK_THICKNESS: Final = 0.2

# A detector as measured at SSRL 6-2c: a variance of 0.144 times the counts, plus 11.  The illumination
# changes smoothly in space, by 3 % (root mean square) between exposures.
GAIN: Final = 0.144
READ_VARIANCE: Final = 11.0
FLAT_DRIFT: Final = 0.03
DRIFT_ORDERS: Final = 4
VIGNETTING: Final = 0.15
N_FLATS: Final = 10
PEAK_DENSITY: Final = 1.5
