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
        '(stack.attrs.get("flat_field", False) and len(stack) >= MANY_FRAMES)',
        "False",
        "tests/test_align_pattern.py",
    ),
    Fault(
        "align: any pattern may be motion",
        "align/estimate.py",
        "again if again.p_still < SURELY_MOVES else shifts",
        "again",
        "tests/test_align_pattern.py",
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
