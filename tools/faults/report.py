"""Planted faults in the report."""

from faults import Fault

FAULTS = (
    Fault(
        "report: the legend of spectra lies on the spectra",
        "report/paper_figures.py",
        "bbox_to_anchor=(0, 1), ",
        "",
        "tests/test_report_figures.py",
    ),
    Fault(
        "report: energies below a histogram run together",
        "report/figures.py",
        'axes.locator_params(axis="x", nbins=5)',
        'axes.locator_params(axis="x", nbins=9)',
        "tests/test_report_figures.py",
    ),
    Fault(
        "report: an exposure gained is stated though the errors may not hold",
        "report/summary.py",
        "if gain is not None and not doubts:",
        "if gain is not None:",
        "tests/test_report.py",
    ),
    Fault(
        "report: errors are not above the least",
        "report/texts.py",
        "plain((float(risk) - least) / unit, 3)",
        "plain((float(risk) + least) / unit, 3)",
        "tests/test_report.py",
    ),
    Fault(
        "report: errors before and after are swapped",
        "report/texts.py",
        'for name in ("noisy_risk", "risk")',
        'for name in ("risk", "noisy_risk")',
        "tests/test_report.py",
    ),
    Fault(
        "report: a negative estimate is shown as an error",
        "report/numbers.py",
        "if value <= 0 else",
        "if value <= -np.inf else",
        "tests/test_report.py",
    ),
    Fault(
        "report: digits are cut off, not rounded",
        "report/numbers.py",
        'rounded = float(f"{value:.{digits - 1}e}")',
        'rounded = float(f"{value * 0.999:.{digits - 1}e}")',
        "tests/test_report.py tests/test_report_numbers.py",
    ),
    Fault(
        "report: noise reduction from images that are still noisy",
        "report/texts.py",
        'result.components["risk"].values[: result.rank].sum()',
        'result.components["noisy_risk"].values[: result.rank].sum()',
        "tests/test_report.py",
    ),
    Fault(
        "report: labels of low pictures cut off",
        "report/drawing.py",
        "LEAST_RATIO = 0.48",
        "LEAST_RATIO = 0.2",
        "tests/test_report_drawing.py",
    ),
    Fault(
        "report: the residual is not in units of its noise",
        "report/figures.py",
        "(raw - smooth) / noise_of(result, e)",
        "(raw - smooth)",
        "tests/test_report.py",
    ),
    Fault(
        "report: a scale bar of twice its length",
        "report/drawing.py",
        "share = length_nm / pixel_nm / width_px",
        "share = 2 * length_nm / pixel_nm / width_px",
        "tests/test_report_drawing.py",
    ),
    Fault(
        "report: the verdict is good where signal was lost",
        "report/summary.py",
        "    if trust.lost.found:\n        return Verdict",
        "    if False:\n        return Verdict",
        "tests/test_report.py",
    ),
)
