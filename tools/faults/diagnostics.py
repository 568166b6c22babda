"""Planted faults in diagnostics."""

from faults import Fault

FAULTS = (
    Fault(
        "trust: common noise is not whitened",
        "diagnostics/residual.py",
        "return CommonNoise(along, float(1 / np.hypot(1, size)))",
        "return CommonNoise(along, 1.0)",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: the residual is not divided by the pixel's noise",
        "diagnostics/residual.py",
        "np.where(self.mask, 1 / self.result.sigma_pixel.values, 0)",
        "np.where(self.mask, 1.0, 0)",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: correlation of the noise counts as signal",
        "diagnostics/whiteness.py",
        "return along[0] * along[1]",
        "return 1.0",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: what the fit takes counts as correlation",
        "diagnostics/whiteness.py",
        "energy = seen - np.diag(left, 1).sum() / max(_pair_power(noise), 1e-30)",
        "energy = seen",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "chance: less than noise leaves can stand out",
        "diagnostics/extreme_values.py",
        "return max(largest, 2 * float(norm.sf(value)))",
        "return largest",
        "tests/test_diagnostics_extreme_values.py",
    ),
    Fault(
        "chance: averages are not those of the pixels that count",
        "diagnostics/extreme_values.py",
        "count, before = block_sums(mask.astype(np.float32), scales[0]), scales[0]",
        "count, before = block_sums(np.ones_like(mask, np.float32), scales[0]), scales[0]",
        "tests/test_diagnostics_extreme_values.py",
    ),
    Fault(
        "trust: correlations along x and y swapped",
        "diagnostics/whiteness.py",
        "for axis in (2, 1))",
        "for axis in (1, 2))",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "bootstrap: drawn without what energies share",
        "diagnostics/bootstrap.py",
        " + result.sigma_common.values[e] * shared",
        "",
        "tests/test_diagnostics_bootstrap.py",
    ),
    Fault(
        "bootstrap: noise the same in every pixel",
        "diagnostics/bootstrap.py",
        "noise = pixel * rng.standard_normal(pixel.shape)",
        "noise = rng.standard_normal(pixel.shape)",
        "tests/test_diagnostics_bootstrap.py",
    ),
    Fault(
        "bootstrap: spread about zero, not about the mean",
        "diagnostics/bootstrap.py",
        "np.nansum((values - mean) ** 2, axis=0)",
        "np.nansum((values - maps[name].values + 1) ** 2, axis=0)",
        "tests/test_diagnostics_bootstrap.py",
    ),
    Fault(
        "workspace: residual of blocks in the wrong unit",
        "diagnostics/residual.py",
        "images /= np.sqrt(np.maximum(counts, 1))",
        "pass",
        "tests/test_storage_scratch.py",
    ),
)
