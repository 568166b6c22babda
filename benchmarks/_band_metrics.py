"""How close a hyperspectral image is to the truth: structural similarity of bands, angle of spectra."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

__all__ = ["band_ssim", "spectral_angle_deg"]

PEAK = 255.0


def band_ssim(estimate: NDArray[np.floating], truth: NDArray[np.floating], *, peak: float = PEAK) -> float:
    """Return the mean over bands of the structural similarity, by scikit-image with its defaults.

    Parameters
    ----------
    estimate, truth : (E, Y, X) arrays
        Both sides at least 7 pixels.
    peak : float
        The value that counts as full signal.

    References
    ----------
    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Process. 13 (2004) 600-612.
    """
    bands = zip(np.asarray(estimate, np.float64), np.asarray(truth, np.float64), strict=True)
    return float(np.mean([structural_similarity(e, t, data_range=peak) for e, t in bands]))


def spectral_angle_deg(estimate: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return the mean over pixels of the angle between the two spectra, in degrees.

    Pixels of which either spectrum is 0 have no angle, and are left out.

    Parameters
    ----------
    estimate, truth : (E, Y, X) arrays

    References
    ----------
    F. A. Kruse et al., "The spectral image processing system (SIPS)", Remote Sens. Environ. 44 (1993)
    145-163.
    """
    one, other = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (estimate, truth))
    lengths = np.linalg.norm(one, axis=0), np.linalg.norm(other, axis=0)
    known = (lengths[0] > 0) & (lengths[1] > 0)
    if not known.any():
        return float("nan")
    one, other = one[:, known] / lengths[0][known], other[:, known] / lengths[1][known]
    # Exact for small angles, where the arc cosine of the product is not.
    angles = 2 * np.arctan2(np.linalg.norm(one - other, axis=0), np.linalg.norm(one + other, axis=0))
    return float(np.degrees(angles.mean()))
