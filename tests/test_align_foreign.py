"""Shifts of ImageJ, PyXAS and TXM-Sandbox: read with the right sign; wrong files are one clear line."""

import h5py
import numpy as np
import pytest
from scan_motion import GOOD
from scipy import ndimage

from xanesum.align import align, read_shifts
from xanesum.align.foreign import TXM_ENERGIES, TXM_SHIFTS
from xanesum.cli.main import main
from xanesum.errors import ReadError, StackError, XanesumWarning
from xanesum.io import read_stack, write_stack
from xanesum.stack import make_stack

N = 5
ENERGY_EV = 8330.0 + np.arange(N)
CONTENT = np.array([[0.0, 0.0], [1.5, -2.0], [3.0, 1.0], [2.0, 4.0], [-1.0, 2.5]])  # where it lies, (y, x)


def text(tmp_path, *lines):
    path = tmp_path / "shifts.txt"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def block(source, target, shift, kind="TRANSLATION"):
    """Lines of MultiStackReg for a source image whose content lies `shift` (y, x) from the target's."""
    y, x = 32.0 + np.asarray(shift)
    rest = ["0.0\t0.0"] * 2
    images = f"Source img: {source} Target img: {target}"
    return [kind, images, f"{x}\t{y}", *rest, "", "32.0\t32.0", *rest, ""]


def multistackreg(tmp_path, *blocks, other_stack=0):
    lines = [line for each in blocks for line in each]
    return text(tmp_path, "MultiStackReg Transformation File", "File Version 1.0", str(other_stack), *lines)


def neighbours(first):
    """Blocks of a stack aligned from frame `first` (from 0) outwards, as MultiStackReg writes them."""
    for step, frames in ((-1, range(first - 1, -1, -1)), (1, range(first + 1, N))):
        for e in frames:
            yield block(e + 1, first + 1, CONTENT[e] - CONTENT[e - step])


def turboreg(tmp_path, frames, kind="TRANSLATION"):
    lines = ["Transformation", kind, "", "Source size", "64\t64", "", "Target size", "64\t64", ""]
    for e in frames:
        y, x = 32 + CONTENT[e]
        lines += ["Refined source landmarks", f"{x}\t{y}", "", "Target landmarks", "32.0\t32.0", ""]
    return text(tmp_path, *lines)


def txm_sandbox(tmp_path, shifts, energy=ENERGY_EV / 1000):
    path = tmp_path / "registered.h5"
    with h5py.File(path, "w") as file:
        for e, shift in enumerate(shifts):
            file[f"{TXM_SHIFTS}/{e:03d}"] = shift
        if energy is not None:
            file[TXM_ENERGIES] = np.asarray(energy, np.float32)
    return path


def matrices():
    """What StackReg gives for these frames: from points (x, y, 1) of the reference to those of the frame."""
    found = np.tile(np.eye(3), (N, 1, 1))
    found[:, 0, 2], found[:, 1, 2] = CONTENT[:, 1], CONTENT[:, 0]
    return found


def read(path, energy_ev=ENERGY_EV):
    with pytest.warns(XanesumWarning, match="have no errors; they were taken as exact"):
        return read_shifts(path, energy_ev)


@pytest.mark.parametrize("first", [0, 2, N - 1])
def test_steps_of_multistackreg_add_up(tmp_path, first):
    found = read(multistackreg(tmp_path, *neighbours(first)))

    np.testing.assert_allclose(found.shifts_px, CONTENT - CONTENT[first])
    np.testing.assert_array_equal(found.energy_ev, ENERGY_EV)
    assert (found.sigma_px == 0).all()


def test_targets_that_are_named_are_used(tmp_path):
    """Frame 1 is the reference of 2 and 3, and 3 that of 4 and 5."""
    onto = {2: 1, 3: 1, 4: 3, 5: 3}
    blocks = [block(i, j, CONTENT[i - 1] - CONTENT[j - 1]) for i, j in onto.items()]

    np.testing.assert_allclose(read(multistackreg(tmp_path, *blocks)).shifts_px, CONTENT)


def test_images_aligned_with_another_stack_do_not_add_up(tmp_path):
    blocks = [block(e + 1, 1, CONTENT[e]) for e in range(N)]

    np.testing.assert_allclose(read(multistackreg(tmp_path, *blocks, other_stack=1)).shifts_px, CONTENT)


@pytest.mark.parametrize("frames", [range(N), range(1, N)])
def test_landmarks_of_turboreg_are_against_one_target(tmp_path, frames):
    np.testing.assert_allclose(read(turboreg(tmp_path, frames)).shifts_px, CONTENT)


def test_a_table_is_what_was_applied(tmp_path):
    np.savetxt(tmp_path / "row_col_shift.txt", -CONTENT, "%3.2f")

    np.testing.assert_allclose(read(tmp_path / "row_col_shift.txt").shifts_px, CONTENT)


def test_a_table_may_have_commas_and_comments(tmp_path):
    lines = [f"{-y}, {-x}" for y, x in CONTENT]

    np.testing.assert_allclose(read(text(tmp_path, "# dy, dx", *lines)).shifts_px, CONTENT)


@pytest.mark.parametrize("shifts", [-CONTENT, matrices()], ids=["dy dx", "matrices"])
def test_a_registration_of_txm_sandbox_brings_its_energies(tmp_path, shifts):
    found = read(txm_sandbox(tmp_path, shifts), None)

    np.testing.assert_allclose(found.shifts_px, CONTENT)
    np.testing.assert_allclose(found.energy_ev, ENERGY_EV, atol=1e-3)
    found.check_for(ENERGY_EV, (64, 64))


def test_a_registration_from_high_to_low_energy_is_sorted(tmp_path):
    found = read(txm_sandbox(tmp_path, -CONTENT[::-1], ENERGY_EV[::-1]), None)

    np.testing.assert_allclose(found.shifts_px, CONTENT)
    np.testing.assert_allclose(found.energy_ev, ENERGY_EV)


def test_a_registration_without_energies_takes_those_of_the_stack(tmp_path):
    np.testing.assert_array_equal(read(txm_sandbox(tmp_path, -CONTENT, None)).energy_ev, ENERGY_EV)


def test_frames_that_a_program_moved_back_are_moved_back(tmp_path):
    """Frames are made by `scipy.ndimage.shift`, with which PyXAS applies its shifts."""
    at_rest = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((64, 64)), 4) * 10
    frames = np.array([ndimage.shift(at_rest, shift, order=5, mode="mirror") for shift in CONTENT])
    np.savetxt(tmp_path / "shifts.txt", -CONTENT)

    aligned = align(make_stack(frames.astype(np.float32), ENERGY_EV), read(tmp_path / "shifts.txt"))

    inside = aligned["mask"].values
    assert np.abs((aligned.values - at_rest)[:, inside]).max() < 0.05 * at_rest.std()


WRONG = {
    "turned": ([block(1, 2, (0, 0), "RIGID_BODY")], "line 4: expected TRANSLATION, got 'RIGID_BODY'"),
    "cut short": ([block(1, 2, (0, 0))[:6]], "and 3 points of each image"),
    "nothing": ([], "holds no transformation"),
    "two of one": ([block(1, 2, (0, 0))] * 2, "two transformations of image 1"),
    "gap": ([block(1, 4, (0, 0)), block(3, 4, (0, 0))], "no transformation of images 2 and 4"),
    "circle": ([block(1, 2, (0, 0)), block(2, 1, (0, 0)), block(3, 4, (0, 0))], "image 1 is aligned with no"),
    "nan": ([block(1, 2, (np.nan, 0))], "two finite numbers, x and y of a point, got '32.0"),
    "from 0": ([block(0, 1, (0, 0))], "line 5: images count from 1"),
}


@pytest.mark.parametrize(("blocks", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_of_multistackreg_is_refused(tmp_path, blocks, message):
    refused(multistackreg(tmp_path, *blocks), message)


def refused(path, message, energy_ev=ENERGY_EV):
    with pytest.raises(ReadError, match=message) as raised:
        read_shifts(path, energy_ev)
    assert str(raised.value).startswith(str(path))
    assert str(raised.value).count(str(path)) == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 2"] * 4, "4 shifts .a table of dy dx. for 5 frames; take the shifts of this scan"),
        (["1 2"] * 4 + ["1 nan"], "line 5: expected two finite numbers, dy and dx of a frame, got '1 nan'"),
        (["1 2 3"] * 5, "line 1: expected two finite numbers"),
        (["1 2"] * 4 + ["far"], "line 5: expected two finite numbers"),
        (
            ["MultiStackReg Transformation File", "File Version 1.0"],
            "third line must be 0 or 1, got 'nothing'",
        ),
        (["Transformation"], "holds no transformation"),
        (["Transformation", "AFFINE"], "line 2: expected TRANSLATION, got 'AFFINE'"),
        (["Transformation", "TRANSLATION"], "0 points of source images and 0 of target images"),
    ],
)
def test_a_wrong_text_is_refused(tmp_path, lines, message):
    refused(text(tmp_path, *lines), message)


def test_a_text_without_energies_needs_those_of_the_stack(tmp_path):
    refused(text(tmp_path, *["1 2"] * N), "has no energies; give those of the stack", None)


def turned():
    found = matrices()
    found[3, 0, 1] = 0.01
    return found


@pytest.mark.parametrize(
    ("shifts", "energy", "message"),
    [
        ([], ENERGY_EV, "holds no shifts; expected those of TXM-Sandbox in registration_results"),
        (turned(), ENERGY_EV, "frame 003 is also turned or scaled"),
        (np.zeros((N, 3)), ENERGY_EV, r"has shape \(3,\), expected \(2,\)"),
        (np.full((N, 2), np.nan), ENERGY_EV, "the shift of frame 000 is not finite"),
        (CONTENT, ENERGY_EV[1:], "4 energies for 5 shifts"),
        (["far"] * N, ENERGY_EV, "the shifts cannot be read"),
    ],
)
def test_a_wrong_registration_is_refused(tmp_path, shifts, energy, message):
    refused(txm_sandbox(tmp_path, shifts, energy), message)


def test_the_command_takes_a_table(tmp_path, capsys):
    scan = write_stack(GOOD.stack, tmp_path / "scan.h5")
    np.savetxt(tmp_path / "table.txt", -GOOD.motion.shifts_px)
    command = ["align", str(scan), "-o", str(tmp_path / "aligned.h5"), "--use"]

    assert main([*command, str(tmp_path / "table.txt")]) == 0
    said = capsys.readouterr()
    np.testing.assert_allclose(
        read_stack(tmp_path / "aligned.h5")["shift_y_px"], GOOD.motion.shifts_px[:, 0], atol=1e-6
    )
    assert "with errors that are not known (shifts of table.txt)" in said.out
    assert "have no errors; they were taken as exact" in said.err

    np.savetxt(tmp_path / "far.txt", -GOOD.motion.shifts_px + [0, 1000])
    assert main([*command, str(tmp_path / "far.txt")]) == 1
    assert "more than the field" in capsys.readouterr().err


def test_shifts_of_another_scan_are_refused(tmp_path):
    found = read(txm_sandbox(tmp_path, -CONTENT, ENERGY_EV + 1), None)

    with pytest.raises(StackError, match=r"frame 0 is at 8331\.00 eV, in the stack at 8330\.00 eV"):
        found.check_for(ENERGY_EV, (64, 64))
