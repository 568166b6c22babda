"""Planted faults in linalg."""

from faults import Fault

FAULTS = (
    Fault(
        "gram: squared singular values passed off as singular values",
        "linalg/subspace.py",
        "np.sqrt(np.maximum(values[::-1], 0))",
        "np.maximum(values[::-1], 0)",
        "tests/test_linalg.py",
    ),
    Fault(
        "gram: every block of rows takes the mask of the first",
        "linalg/subspace.py",
        "mask[start : start + rows].ravel()",
        "mask[: block.shape[1]].ravel()",
        "tests/test_linalg.py",
    ),
    Fault(
        "randomized: no power passes",
        "linalg/subspace.py",
        "for _ in range(n_power + 1):",
        "for _ in range(1):",
        "tests/test_linalg.py",
    ),
    Fault(
        "fill_missing: missing values left at zero",
        "linalg/imputation.py",
        "np.where(seen, pixels, spectra.T @ _fit_seen(spectra, pixels, seen))",
        "np.where(seen, pixels, 0)",
        "tests/test_linalg.py",
    ),
    Fault(
        "average: blocks without their last pixel",
        "linalg/binning.py",
        "np.add.reduce(bands, axis=-2,",
        "np.add.reduce(bands[..., :-1, :], axis=-2,",
        "tests/test_linalg.py",
    ),
    Fault(
        "blocks: an image in steps instead of lines",
        "linalg/binning.py",
        "image = low + (share[:, None] if axis == 0 else share) * (high - low)",
        "image = low",
        "tests/test_linalg.py",
    ),
    Fault(
        "blocks: means over the wrong axes",
        "linalg/binning.py",
        "blocks.mean(axis=(-3, -1), dtype=dtype)",
        "blocks.mean(axis=(-4, -2), dtype=dtype)",
        "tests/test_linalg.py",
    ),
    Fault(
        "eigenvalue: noise the same at all energies",
        "linalg/largest_eigenvalue.py",
        "n_energies, relative = len(variance), variance / variance.max()",
        "n_energies, relative = len(variance), np.full_like(variance, variance.mean() / variance.max())",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
    Fault(
        "eigenvalue: pixels that are alike count in full",
        "linalg/largest_eigenvalue.py",
        "return min(float(found), float(n_samples))",
        "return float(n_samples)",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
    Fault(
        "eigenvalue: known spectra left in",
        "linalg/largest_eigenvalue.py",
        "rest = gram - within @ known - known.T @ within.T + known.T @ (known @ within) @ known",
        "rest = gram",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
    Fault(
        "eigenvalue: width of the law for another number of pixels",
        "linalg/largest_eigenvalue.py",
        "n_free ** (-2 / 3)",
        "n_free ** (-1 / 3)",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
    Fault(
        "eigenvalue: the centre of another law",
        "linalg/largest_eigenvalue.py",
        "centre = (1 + share * ratio.mean()) / c",
        "centre = (1 - share * ratio.mean()) / c",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
    Fault(
        "eigenvalue: the second for the largest",
        "linalg/largest_eigenvalue.py",
        "float(values[-2]), np.asarray(vectors[:, -1])",
        "float(values[-2]), np.asarray(vectors[:, -2])",
        "tests/test_linalg_largest_eigenvalue.py",
    ),
)
