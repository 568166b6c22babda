"""Planted faults in preprocess."""

from faults import Fault

FAULTS = (
    Fault(
        "bad frames: any misfit, chemistry too",
        "preprocess/bad_frames.py",
        "bool(stands and _outside(frames[e], frames[others]) > OUTSIDE)",
        "bool(stands)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: defects amid light taken for noise",
        "preprocess/density.py",
        "linear = low & (around < DIM) & is_exposed",
        "linear = low & is_exposed",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: low values next to brighter pixels lost",
        "preprocess/density.py",
        "linear = low & (around < DIM) & is_exposed",
        "linear = low & (around < DARK) & is_exposed",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: dead pixels amid light taken for dim ones",
        "preprocess/density.py",
        "((counts <= 0) | (low & ~(around < DARK)))",
        "(counts <= 0)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: pixels without light kept",
        "preprocess/density.py",
        "n_without_light > BAD_SHARE * len(stack)",
        "n_without_light > 2 * len(stack)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "bad frames: one excuses another",
        "preprocess/bad_frames.py",
        "np.delete(about[e], left_out)",
        "about[e]",
        "tests/test_preprocess.py",
    ),
    Fault(
        "law: offset of the dark forgotten",
        "preprocess/density.py",
        'variance = stack["noise_read_variance"].values + stack["noise_gain"].values * pedestal',
        'variance = stack["noise_read_variance"].values + 0 * pedestal',
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: the noise in the dark from negative counts alone",
        "preprocess/density.py",
        'if depth.size and "noise_read_variance" in stack.coords:',
        "if False:",
        "tests/test_noise_law.py",
    ),
    Fault(
        "preprocess: pixels with few good neighbours not judged",
        "preprocess/bad_pixels.py",
        "    for neighbours in (NEAR, FAR):",
        "    for neighbours in (NEAR,):",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: exposure time of the sample forgotten",
        "preprocess/density.py",
        "log_flat + log_times, limit, floor",
        "log_flat, limit, floor",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: optical density with the wrong sign",
        "preprocess/density.py",
        "return log_reference - np.log(counts), np.False_, PreprocessReport()",
        "return np.log(counts) - log_reference, np.False_, PreprocessReport()",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: exposure times of sample and flat swapped",
        "preprocess/density.py",
        "np.log(sample) - np.log(flat)",
        "np.log(flat) - np.log(sample)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: saturated counts kept",
        "preprocess/density.py",
        "saturated = finite & (frame >= limit)",
        "saturated = finite & (frame > limit)",
        "tests/test_preprocess.py",
    ),
)
