"""Shifts as CSV: what was written is read again; every wrong file is one clear line."""

import numpy as np
import pytest

from xanesum.align import Shifts, read_shifts
from xanesum.align.shifts import has_energies
from xanesum.errors import ReadError, StackError, WriteError

N = 5
HEADER = "energy_ev,dy_px,dx_px,sigma_dy_px,sigma_dx_px,flag"
LINES = [f"{8300 + e},{e},{-e},0.1,0.2,aligned" for e in range(N)]


def some_shifts():
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((N, 2, 2))
    return Shifts(
        8300.25 + np.arange(N),
        rng.uniform(-4, 4, (N, 2)),
        roots @ roots.transpose(0, 2, 1),
        np.array(["aligned", "by drift", "left out", "aligned", "aligned"]),
        ("", "its image alone gives the shift to 3.0 px", 'holds "else", it seems', "", ""),
        2,
        np.linspace(0.99, 1.01, N),
        1e-5,
    )


def written(tmp_path, *lines):
    path = tmp_path / "shifts.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_what_was_written_is_read_again(tmp_path):
    shifts = some_shifts()

    found = read_shifts(shifts.write_shifts(tmp_path / "shifts.csv"))

    for name in ("energy_ev", "shifts_px", "covariance_px2", "magnification", "sigma_px"):
        np.testing.assert_allclose(getattr(found, name), getattr(shifts, name), rtol=1e-7)
    assert found.flag.tolist() == shifts.flag.tolist()
    assert found.reasons == shifts.reasons
    assert (tmp_path / "shifts.csv").read_text("utf-8").splitlines()[0].startswith(HEADER)


def test_six_columns_in_another_order_are_enough(tmp_path):
    names = HEADER.split(",")[::-1]
    lines = [",".join(line.split(",")[::-1]) for line in LINES]

    found = read_shifts(written(tmp_path, ",".join(names), *lines))

    np.testing.assert_array_equal(found.shifts_px, np.stack([np.arange(N), -np.arange(N)], 1))
    np.testing.assert_allclose(found.covariance_px2, np.broadcast_to(np.diag([0.01, 0.04]), (N, 2, 2)))
    assert (found.magnification == 1).all()
    assert np.isnan(found.p_still)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no rows of shifts found"),
        ([HEADER], "no rows of shifts found"),
        ([HEADER.replace("dx_px", "x"), *LINES], "no column dx_px"),
        ([HEADER, LINES[0], "8301,nan,0,1,1,aligned"], "line 3: dy_px is 'nan'; expected a finite number"),
        ([HEADER, "8301,far,0,1,1,aligned"], "line 2: dy_px is 'far'"),
        ([HEADER, "8301,1,0,1"], "line 2: sigma_dx_px is None"),
        ([HEADER, LINES[0], "8301,0,0,1,-1,aligned"], "line 3: an error is negative"),
        ([HEADER, "8301,0,0,1,1,good"], "unknown flag 'good'; use aligned, by drift, left out"),
        ([HEADER, LINES[1], LINES[0]], "line 3: energies must increase"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, lines, message):
    path = written(tmp_path, *lines)

    with pytest.raises(ReadError, match=message) as raised:
        read_shifts(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe")

    for name, problem in (("nothing.csv", "no such file"), ("image.csv", "is no table of shifts")):
        with pytest.raises(ReadError, match=problem):
            read_shifts(tmp_path / name)


def test_a_file_is_complete_or_absent(tmp_path):
    with pytest.raises(WriteError):
        some_shifts().write_shifts(tmp_path / "nowhere" / "shifts.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("energies", "shape", "message"),
    [
        (np.arange(4) + 8300.25, (30, 30), "5 shifts for 4 frames"),
        (np.arange(N) + 8300.75, (30, 30), "frame 0 is at 8300.25 eV, in the stack at 8300.75 eV"),
        (np.arange(N) + 8300.25, (30, 2), "more than the field of 30 x 2 px"),
    ],
)
def test_shifts_of_another_stack_are_refused(energies, shape, message):
    with pytest.raises(StackError, match=message):
        some_shifts().check_for(energies, shape)


def test_shifts_that_are_not_finite_are_refused():
    shifts = some_shifts()
    shifts.shifts_px[3, 1] = np.nan

    with pytest.raises(StackError, match="frame 3 has no finite shift"):
        shifts.check_for(shifts.energy_ev, (30, 30))


def test_a_magnification_of_zero_is_refused():
    shifts = some_shifts()
    shifts.magnification[2] = 0

    with pytest.raises(StackError, match="not positive"):
        shifts.check_for(shifts.energy_ev, (30, 30))


def test_shifts_at_other_energies_leave_out_what_is_not_known(tmp_path):
    shifts = some_shifts()

    found = shifts.at(np.array([8301.27, 8302.75, 8304.25]))

    np.testing.assert_array_equal(found.shifts_px, [shifts.shifts_px[1], [0, 0], shifts.shifts_px[4]])
    np.testing.assert_array_equal(found.covariance_px2[2], shifts.covariance_px2[4])
    assert found.flag.tolist() == ["by drift", "left out", "aligned"]
    assert found.reasons == (shifts.reasons[1], "no shift is known at its energy", "")
    found.check_for(np.array([8301.25, 8302.75, 8304.25]), (30, 30))
    with pytest.raises(StackError, match="all frames are left out"):
        shifts.at(shifts.energy_ev + 0.5).check_for(shifts.energy_ev + 0.5, (30, 30))


def test_only_own_files_and_broken_ones_have_energies(tmp_path):
    assert has_energies(some_shifts().write_shifts(tmp_path / "own.csv"))
    assert has_energies(tmp_path / "nowhere.csv")
    assert not has_energies(written(tmp_path, "1 2", "3 4"))
