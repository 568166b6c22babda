"""Planted faults in flat_field."""

from faults import Fault

FAULTS = (
    Fault(
        "drift: spectra from a stack that still drifts",
        "flat_field/correct.py",
        "remove_smooth(means, fields),",
        "means,",
        "tests/test_flat_field_correct.py",
    ),
    Fault(
        "drift: removed where there is none",
        "flat_field/correct.py",
        "if drift.rms < NEGLIGIBLE * found.sigma * prepared.scale:",
        "if drift.rms < 0:",
        "tests/test_flat_field_correct.py",
    ),
    Fault(
        "drift: frames that are left out written to",
        "flat_field/correct.py",
        "energy_ev = stack.energy.values[used].astype(float)",
        "energy_ev, used = stack.energy.values[used].astype(float), used | True",
        "tests/test_flat_field_correct.py",
    ),
    Fault(
        "drift: what is predictable along energy is removed too",
        "flat_field/estimate.py",
        "left_alone = _with_predictable(spectra, smooth, sigma)",
        "left_alone = spectra",
        "tests/test_flat_field_estimate.py",
    ),
    Fault(
        "drift: what looks like the sample stays",
        "flat_field/estimate.py",
        "if changes.any() and len(directions):",
        "if False:",
        "tests/test_flat_field_estimate.py",
    ),
    Fault(
        "drift: fields that do not change are removed too",
        "flat_field/estimate.py",
        "changes = np.diag(scatter) > (ABOVE_NOISE - 1) * sigma**2",
        "changes = np.diag(scatter) > -np.inf",
        "tests/test_flat_field_estimate.py",
    ),
    Fault(
        "drift: neighbours are not asked",
        "flat_field/estimate.py",
        "range(N_ROBUST if len(a) else 0)",
        "range(0)",
        "tests/test_flat_field_estimate.py",
    ),
    Fault(
        "drift: the constant change is spread over the spectra",
        "flat_field/estimate.py",
        "np.linalg.qr(np.vstack([left_alone, _constant_and_line(energy_ev)]).T).Q",
        "left_alone.T",
        "tests/test_flat_field_estimate.py",
    ),
    Fault(
        "workspace: drift of blocks taken for that of pixels",
        "flat_field/estimate.py",
        "tuple(n * scale for n in shape)",
        "tuple(shape)",
        "tests/test_storage_scratch.py",
    ),
)
