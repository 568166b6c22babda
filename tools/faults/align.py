"""Planted faults in align."""

from faults import Fault

FAULTS = (
    Fault(
        "align: frames are moved the wrong way",
        "align/moving.py",
        "np.exp(2j * np.pi * self.f_y * shift_px[0])",
        "np.exp(-2j * np.pi * self.f_y * shift_px[0])",
        "tests/test_align_resample.py",
    ),
    Fault(
        "align: borders of a moved frame come round from the other side",
        "align/moving.py",
        "            within = (place > -1e-6) & (place < n - 1 + 1e-6)",
        "            within = (place > -1e9) & (place < n + 1e9)",
        "tests/test_align_resample.py",
    ),
    Fault(
        "align: masked values are moved as they are",
        "align/resample.py",
        "mover.moved_back(filled(frame, there), *where)",
        "mover.moved_back(np.nan_to_num(frame), *where)",
        "tests/test_align_resample.py",
    ),
    Fault(
        "align: mirrored ends do not fade out",
        "align/moving.py",
        "        self.fade = np.outer(*fades).astype(np.float32)",
        "        self.fade = np.ones(self.size, np.float32)",
        "tests/test_align_resample.py",
    ),
    Fault(
        "align: shifts of another scan are taken",
        "align/shifts.py",
        "        if not np.all(apart <= SAME_EV):",
        "        if False:",
        "tests/test_align_shifts.py",
    ),
    Fault(
        "align: the noise of a flat holds the sample",
        "align/estimate.py",
        "self.levels = {b: level.less(pattern.values) for b, level in self.levels.items()}",
        "pass",
        "tests/test_align_pattern.py",
    ),
    Fault(
        "align: the pattern at rest is all of the mean frame",
        "align/pattern.py",
        "variance / np.maximum(uniform_filter1d(power, 5), 1e-30), 0, 1)[rings]",
        "np.ones_like(power), 0, 1)[rings]",
        "tests/test_align_pattern.py",
    ),
    Fault(
        "align: light that drifts is taken for motion",
        "align/estimate.py",
        "n_fields = N_FIELDS if by_flat else 1",
        "n_fields = 1",
        "tests/test_align_pattern.py",
    ),
    Fault(
        "align: a field of light is not turned to where the sample is",
        "align/light.py",
        "turns[:, 1, 0], turns[:, 2, 0] = -a, -b",
        "turns[:, 1, 0], turns[:, 2, 0] = a, b",
        "tests/test_align_light.py",
    ),
    Fault(
        "align: errors of shifts are not in the result",
        "method/labelling.py",
        '("energy", "weight", *SHIFT_COORDS)',
        '("energy", "weight")',
        "tests/test_workflow_motion.py",
    ),
    Fault(
        "align: a sample at rest is moved",
        "workflow/motion.py",
        "    if shifts.moves:",
        "    if True:",
        "tests/test_workflow_motion.py",
    ),
    Fault(
        "align: halves of the field that disagree are no reason for doubt",
        "align/estimate.py",
        "    if len(stack) <= FEW_FRAMES:",
        "    if False:",
        "tests/test_align_estimate.py",
    ),
)
