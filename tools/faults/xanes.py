"""Planted faults in xanes."""

from faults import Fault

FAULTS = (
    Fault(
        "pre-edge: used though the edge rises there",
        "xanes/normalization.py",
        "    if slope > RISING * steepest:\n",
        "    if False:\n",
        "tests/test_few_energies.py",
    ),
    Fault(
        "pre-edge: no error though the edge may rise there",
        "xanes/maps.py",
        'edge.pre_doubt_ev if kind == "half_step" else 0.0',
        "0.0",
        "tests/test_few_energies.py",
    ),
    Fault(
        "maps' errors the same in every pixel",
        "xanes/pixel_spectra.py",
        "** 2 * self.errors[:, pixels].T ** 2, axis=1)",
        "** 2 * self.errors.mean(axis=1) ** 2, axis=1)",
        "tests/test_method_uneven.py",
    ),
    Fault(
        "xanes: exposure gained of evenly lit pixels",
        "xanes/pixel_spectra.py",
        "before * self.noise_pixel[pixels] ** 2 / error**2",
        "before / error**2",
        "tests/test_xanes.py tests/test_method_uneven.py",
    ),
    Fault(
        "xanes: first crossing instead of the last",
        "xanes/maps.py",
        "index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)",
        "index = np.argmax(rises, axis=0)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: crossing one energy too late",
        "xanes/maps.py",
        "index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)",
        "index = np.minimum(len(rises) - np.argmax(rises[::-1], axis=0), len(rises) - 1)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: crossing not interpolated",
        "xanes/maps.py",
        "energies[index] + width * share, np.nan)",
        "energies[index] + 0 * share, np.nan)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: pre-edge line taken at the wrong end of the step",
        "xanes/normalization.py",
        "_post_line(energy_ev, ranges, at_e0) - _pre_line(energy_ev, ranges, at_e0)",
        "_post_line(energy_ev, ranges, at_e0) - _pre_line(energy_ev, ranges, energy_ev[:1])",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: a second maximum that competes is not in the error",
        "xanes/peaks.py",
        "return np.hypot(of_noise, peaks.distance_to_second(spectra, peak, pixels)), gain",
        "return of_noise, gain",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: errors of smoothed spectra taken as independent",
        "linalg/covariance.py",
        "self._with_alike(scaled) @ scaled.T",
        "scaled @ scaled.T",
        "tests/test_xanes_covariance.py",
    ),
    Fault(
        "xanes: what noise may hide is not in the error",
        "result/spectrum_errors.py",
        "if result.hidden_size.values.any():",
        "if False:",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: drift that was removed is not in the error",
        "result/spectrum_errors.py",
        "if result.sigma_drift.values.any():",
        "if False:",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: the step is not added to spectra beyond the edge",
        "xanes/normalization.py",
        "taken -= beyond.sum(axis=-1)[..., None] * step_operator(energy_ev, ranges)",
        "taken -= 0",
        "tests/test_xanes_covariance.py",
    ),
)
