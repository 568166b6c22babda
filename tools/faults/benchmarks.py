"""Planted faults in benchmarks."""

from faults import Fault

FAULTS = (
    Fault(
        "metrics: PSNR with 10 log10 of the peak, not of its square",
        "benchmarks/_metrics.py",
        "10 * np.log10(peak**2 / np.maximum(mean_square, floor))",
        "10 * np.log10(peak / np.maximum(mean_square, floor))",
        "tests/test_benchmarks_metrics.py",
    ),
)
