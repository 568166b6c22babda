"""Motion of the sample as a step of a run: found, removed or left alone, and said."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scan_motion import errors_of, scan_of

import xanesum as xs
from xanesum.align import Shifts, estimate_shifts, read_shifts
from xanesum.cli.main import main
from xanesum.errors import StackError
from xanesum.storage.lazy import lazy_array, with_values
from xanesum.storage.memory import FRAME_BYTES_PER_VALUE, N_THREADS, STACK_COPIES
from xanesum.storage.scratch import Workspace
from xanesum.streaming.resources import Resources
from xanesum.workflow import motion as step
from xanesum.workflow.motion import align_scan
from xanesum.workflow.pipeline import run
from xanesum.workflow.recipe import DEFAULT_RECIPE, AlignOptions
from xanesum.xanes.pixel_spectra import pixel_spectra_of

QUICK = DEFAULT_RECIPE.updated({"denoise": {"denoiser": "wavelet"}})


@pytest.fixture(scope="module")
def moving():
    return scan_of("brine", sigma=10.0, jitter_px=3.0, shape=(64, 72))


@pytest.fixture(scope="module")
def still():
    return scan_of("brine", sigma=10.0, shape=(64, 72))


@pytest.fixture(scope="module")
def done(moving, tmp_path_factory):
    folder = tmp_path_factory.mktemp("motion")
    path = xs.write_stack(moving.stack, folder / "scan.h5")
    return path, run(path, folder / "out", recipe=QUICK)


def test_a_sample_that_moves_is_moved_back(done, moving):
    _, result = done
    shifts = read_shifts(result.folder / "shifts.csv")

    error = shifts.shifts_px - moving.motion.shifts_px
    error -= error[moving.strong].mean(axis=0)
    assert np.abs(error[moving.strong]).max() < 0.3
    assert result.result.rank < 6  # as it was measured, there are many
    assert any(line.startswith("motion of the sample: over") for line in result.counted)


def test_the_report_shows_how_it_moved(done):
    page = done[1].report.read_text("utf-8")
    section = page[page.index('<section id="motion">') :]
    section = section[: section.index("</section>")]
    assert "frames were moved back" in section
    assert section.count("<img") == 3


def test_a_sample_at_rest_is_left_alone(still):
    stack, motion = align_scan(still.stack, AlignOptions())
    assert stack is still.stack
    assert not motion.is_removed
    assert motion.text.startswith("none")


def test_nobody_looks_where_that_is_asked_for(moving):
    stack, motion = align_scan(moving.stack, AlignOptions(shifts="none"))
    assert stack is moving.stack
    assert motion is None


def test_shifts_of_a_file_are_taken(done, moving, tmp_path):
    found = read_shifts(done[1].folder / "shifts.csv")
    path = replace(found, shifts_px=found.shifts_px + np.array([1.0, -2.0])).write_shifts(
        tmp_path / "given.csv"
    )

    stack, motion = align_scan(moving.stack, AlignOptions(shifts=str(path)))

    np.testing.assert_allclose(stack["shift_y_px"] - found.shifts_px[:, 0], 1.0, atol=1e-6)
    np.testing.assert_allclose(stack["shift_x_px"] - found.shifts_px[:, 1], -2.0, atol=1e-6)
    assert "given.csv" in motion.text


def test_shifts_of_another_scan_are_refused(done, moving):
    path = done[1].folder / "shifts.csv"
    with pytest.raises(StackError, match=r"shifts\.csv: 40 shifts for 39 frames"):
        align_scan(moving.stack[1:], AlignOptions(shifts=str(path)))


def test_the_command_writes_scan_and_shifts(done, tmp_path, capsys):
    scan, _ = done
    first, second, table = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "found.csv"

    assert main(["align", str(scan), "-o", str(first), "--shifts", str(table)]) == 0
    assert "motion of the sample: over" in capsys.readouterr().out
    assert main(["align", str(scan), "-o", str(second), "--use", str(table)]) == 0

    one, two = (xs.read_stack(path) for path in (first, second))
    np.testing.assert_allclose(one.values, two.values, atol=1e-4)
    assert {"shift_y_px", "shift_sigma_x_px"} <= set(one.coords)


def test_a_table_that_is_the_scan_is_refused(done, tmp_path, capsys):
    scan, _ = done
    assert main(["align", str(scan), "-o", str(tmp_path / "a.h5"), "--shifts", str(scan)]) == 1
    assert "use one of .csv" in capsys.readouterr().err


def test_uncertain_shifts_count_where_the_image_is_steep(done):
    """One spectrum: a frame is wrong by its slope times the error of its shift, and all frames add up."""
    result = done[1].result.truncated(1)
    sigma = 0 * result.spectra["shift_sigma_y_px"]
    exact, wrong = (
        replace(result, spectra=result.spectra.assign_coords(shift_sigma_y_px=each, shift_sigma_x_px=sigma))
        for each in (sigma, sigma + 2.0)
    )
    spectrum = result.spectra.values[0]

    before, after = (pixel_spectra_of(each).error(spectrum) for each in (exact, wrong))

    inside = pixel_spectra_of(result).mask.ravel()
    slope = np.abs(np.gradient(result.coefficients.values[0])[0]).ravel()
    expected = 2.0 * slope * np.sqrt(np.sum(spectrum**4))
    np.testing.assert_allclose(np.sqrt(after**2 - before**2)[inside], expected[inside], rtol=1e-3, atol=1e-3)


def test_a_saved_result_keeps_the_errors_of_its_shifts(done):
    saved = xs.load_result(done[1].folder / "result.sum.h5")
    np.testing.assert_array_equal(
        saved.spectra["shift_sigma_y_px"], done[1].result.spectra["shift_sigma_y_px"]
    )


@pytest.fixture(scope="module")
def large():
    return scan_of("brine", sigma=10.0, jitter_px=3.0, shape=(130, 151))


def lazy(stack, reads=None):
    """The stack, read when it is used; `reads` gets the number of frames of every read."""
    values = stack.values

    def read(key):
        if reads is not None:
            reads.append(np.atleast_3d(values[key]).size // values[0].size)
        return values[key]

    return with_values(stack, lazy_array(stack.shape, read))


def little(folder, stack, share):
    """Resources that hold a `share` of the stack, and all that is made of that."""
    return Resources(Workspace(STACK_COPIES * share * 4 * stack.size, folder))


@pytest.mark.parametrize(("share", "scale"), [(0.9, 2), (0.24, 4)])
def test_what_does_not_fit_in_memory_is_aligned_by_averages(large, tmp_path, share, scale):
    whole = estimate_shifts(large.stack)
    resources, reads = little(tmp_path, large.stack, share), []

    tracemalloc.start()
    stack, motion = align_scan(lazy(large.stack, reads), AlignOptions(), resources=resources)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert f"(estimated on averages of {scale} x {scale} pixels)" in motion.text
    assert max(reads) == 1
    assert peak < resources.memory + N_THREADS * FRAME_BYTES_PER_VALUE * large.stack[0].size
    assert any(tmp_path.iterdir())  # frames are in the folder
    np.testing.assert_allclose(stack["shift_x_px"], motion.shifts.shifts_px[:, 1])
    strong = large.strong
    sigma = motion.shifts.sigma_px[strong]
    scaled = errors_of(motion.shifts, large)[strong] / sigma
    assert 0.6 < np.sqrt(np.mean(scaled**2)) < 1.4
    apart = (errors_of(motion.shifts, large) - errors_of(whole, large))[strong]
    assert np.all(np.abs(apart) < 5 * np.hypot(sigma, whole.sigma_px[strong]))


def test_a_sample_at_rest_that_does_not_fit_in_memory_is_left_alone(still, tmp_path):
    stack, motion = align_scan(
        lazy(still.stack), AlignOptions(), resources=little(tmp_path, still.stack, 0.9)
    )

    assert not motion.is_removed
    assert motion.text.endswith("(estimated on averages of 2 x 2 pixels)")
    assert "shift_y_px" not in stack.coords


def test_where_averages_do_not_fit_nobody_looks(moving, tmp_path):
    stack = lazy(moving.stack)
    found, motion = align_scan(stack, AlignOptions(), resources=little(tmp_path, stack, 0.005))

    assert found is stack
    assert motion.text.startswith("not looked for: the scan does not fit in memory")


def test_averages_keep_the_mean_and_white_noise():
    rng = np.random.default_rng(1)
    stack = xs.make_stack(rng.normal(5.0, 1.0, (2, 258, 257)).astype(np.float32), [8330, 8331])

    found = step._averaged(stack, 4)

    assert found.shape == (2, 64, 64)
    assert found.values.mean() == pytest.approx(5.0, abs=0.02)
    assert found.values.std() == pytest.approx(0.25, rel=0.05)
    waves = np.abs(np.fft.fft2(found.values - found.values.mean())) ** 2
    high = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)) > 0.35
    assert waves[:, high].mean() == pytest.approx(waves[:, ~high].mean(), rel=0.1)


def test_averages_know_what_is_missing():
    values = np.full((2, 40, 40), 3.0, np.float32)
    values[1, :2, :1] = np.nan  # half of a pixel of 2 x 2
    values[1, 4:6, 4:6] = values[1, 4, 6] = np.nan
    mask = np.ones((40, 40), bool)
    mask[:, 10:20] = False
    mask[0, 20] = False
    stack = xs.make_stack(values, [8330, 8331])
    stack = stack.assign_coords(mask=(("y", "x"), mask), weight=("energy", [0.0, 2.0]))

    found = step._averaged(stack, 2)

    expected = np.ones((20, 20), bool)
    expected[:, 5:10] = False
    np.testing.assert_array_equal(found["mask"], expected)
    np.testing.assert_array_equal(found["weight"] > 0, [False, True])
    gone = np.argwhere(~np.isfinite(found.values[1]) & expected)
    assert gone.tolist() == [[2, 2]]
    np.testing.assert_allclose(found.values[1][expected & np.isfinite(found.values[1])], 3.0, rtol=1e-5)


def test_shifts_of_averages_are_those_of_pixels(monkeypatch):
    """A magnified frame has its fixed point at the centre, which is another one without the last row."""
    shape, scale, growth = (35, 33), 2, 1.01
    n = 2
    found = Shifts(
        8330.0 + np.arange(n),
        np.array([[0.5, -0.25], [0.0, 1.0]]),
        np.tile(np.diag([0.01, 0.04]), (n, 1, 1)),
        np.array(["aligned", "by drift"]),
        ("", "its image alone gives the shift to 1.5 px"),
        1,
        np.array([growth, 1.0]),
        0.0,
    )
    asked = {}
    monkeypatch.setattr(step, "estimate_shifts", lambda stack, **options: asked.update(options) or found)
    stack = xs.make_stack(np.ones((n, *shape), np.float32), found.energy_ev)

    shifts = step._estimated(stack, scale, AlignOptions(max_shift_px=7.0), lambda *_: None)

    assert asked["max_shift"] == 3.5
    np.testing.assert_allclose(shifts.sigma_px, [[0.2, 0.4]] * n)
    assert shifts.reasons == ("", "its image alone gives the shift to 3.0 px")
    at = np.array([10.0, 20.0])  # a pixel; its place among the averages, where it is seen there, and back
    coarse = (at - (scale - 1) / 2) / scale
    centre = (np.array(shape) // scale - 1) / 2
    seen = scale * (centre + growth * (coarse - centre) + found.shifts_px[0]) + (scale - 1) / 2
    centre = (np.array(shape) - 1) / 2
    np.testing.assert_allclose(centre + growth * (at - centre) + shifts.shifts_px[0], seen)
    np.testing.assert_allclose(shifts.shifts_px[1], [0.0, 2.0])
