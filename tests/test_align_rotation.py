"""Rotation of the sample about the beam: its angle, its error, and what is said of it."""

import numpy as np
import pytest
from scan_motion import scan_of
from scipy.ndimage import affine_transform

from xanesum.align import estimate_shifts
from xanesum.align.shifts import Rotation
from xanesum.stack import make_stack
from xanesum.workflow.motion import rotation_text


def turned(scan, angle_deg):
    """Return the stack of a scan with its clean frames turned from x towards y, and the same noise."""
    angle = np.radians(angle_deg)
    back = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return deformed(scan, np.moveaxis(back, 2, 0))


def deformed(scan, back):
    """Return the stack with clean frames read at places by matrices (E, 2, 2), and the same noise."""
    noise = scan.stack.values - scan.clean
    centre = (np.array(scan.clean.shape[1:]) - 1) / 2
    frames = np.empty_like(scan.stack.values)
    for out, frame, matrix in zip(frames, scan.clean, back, strict=True):
        affine_transform(frame, matrix, centre - matrix @ centre, output=out, order=3, mode="nearest")
    return scan.stack.copy(data=frames + noise)


@pytest.mark.parametrize(("kind", "span_deg"), [("brine", 2.0), ("electrode", 0.5)])
def test_a_sample_that_turns_is_told_with_an_error(kind, span_deg):
    scan = scan_of(kind, sigma=10.0, jitter_px=2.0)
    angle_deg = np.linspace(-span_deg / 2, span_deg / 2, len(scan.stack))

    found = estimate_shifts(turned(scan, angle_deg), rotation=True).rotation

    weight = found.sigma_deg**-2.0
    z = (found.angle_deg - (angle_deg - weight @ angle_deg / weight.sum())) / found.sigma_deg
    assert found.turns
    assert np.sqrt(np.mean(z**2)) < 1.4
    assert np.median(found.sigma_deg) < 0.05
    assert f"it turns over {np.ptp(found.angle_deg):.2g} degrees" in rotation_text(found)


@pytest.mark.parametrize("kind", ["particle", "wedge"])
def test_chemistry_is_no_rotation(kind):
    scan = scan_of(kind, sigma=10.0, jitter_px=2.0)

    found = estimate_shifts(scan.stack, rotation=True).rotation

    assert not found.turns
    assert "no rotation beyond errors of" in rotation_text(found)


def test_lines_of_a_scanning_microscope_that_stretch_are_no_rotation():
    scan = scan_of("electrode", sigma=3.0, jitter_px=2.0)
    stretch = 0.004 * np.random.default_rng(8).standard_normal(len(scan.stack))
    back = np.broadcast_to(np.eye(2), (len(stretch), 2, 2)).copy()
    back[:, 1, 1] += stretch

    still = estimate_shifts(scan.stack, rotation=True).rotation
    found = estimate_shifts(deformed(scan, back), rotation=True).rotation

    assert np.median(found.sigma_deg) > 2 * np.median(still.sigma_deg)
    assert not found.turns


def test_rotation_is_looked_for_on_request_only():
    assert estimate_shifts(scan_of("brine", sigma=10.0, jitter_px=2.0).stack).rotation is None


def test_a_frame_without_weight_has_no_angle(tmp_path):
    stack = scan_of("brine", sigma=10.0, jitter_px=2.0).stack.copy()
    weight = np.ones(len(stack))
    weight[3] = 0

    shifts = estimate_shifts(stack.assign_coords(weight=("energy", weight)), rotation=True)

    assert shifts.rotation.angle_deg[3] == 0
    assert np.isinf(shifts.rotation.sigma_deg[3])
    table = shifts.write_shifts(tmp_path / "shifts.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].endswith("reason,rotation_deg,sigma_rotation_deg")
    assert table[4].endswith(",0,inf")


def test_of_noise_alone_no_angle_is_known():
    noise = np.random.default_rng(0).standard_normal((12, 48, 56)).astype(np.float32)

    found = estimate_shifts(make_stack(noise, 8300.0 + np.arange(12)), rotation=True).rotation

    assert np.isinf(found.sigma_deg).all()
    assert not found.turns


def test_where_no_angle_is_known_the_text_says_so():
    unknown = Rotation(np.zeros(3), np.full(3, np.inf), 1.0)

    assert rotation_text(unknown) == "; of rotation nothing is known"
