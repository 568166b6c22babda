"""Scores that need no truth, against what they must be for noise that is known."""

import holdout
import numpy as np
import pytest
from _holdout_metrics import between, block_scores, lag_one, mean_difference
from _scene_tables import crop_table, holdout_table, scene_table
from scipy.interpolate import BarycentricInterpolator
from scipy.ndimage import uniform_filter1d

from xanesum.stack import make_stack


def scan(shape=(24, 40, 36), noise=0.05, seed=0):
    """A smooth scan with noise that grows along energy, its truth and its noise."""
    energy = 7100 + 2.0 * np.arange(shape[0])
    y, x = np.mgrid[: shape[1], : shape[2]] / 10
    spectra = np.stack([1 / (1 + np.exp(-(energy - 7120) / 4)), np.exp(-(((energy - 7126) / 6) ** 2))])
    truth = np.tensordot(spectra.T, np.stack([1 + np.sin(x) * np.cos(y), 0.5 + 0.3 * np.cos(x + y)]), axes=1)
    sigma = noise * np.linspace(0.5, 1.5, shape[0])
    values = truth + sigma[:, None, None] * np.random.default_rng(seed).standard_normal(shape)
    return make_stack(values.astype(np.float32), energy), truth, sigma


class TestMetrics:
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_correlations_are_those_of_numpy(self, axis):
        residual = uniform_filter1d(np.random.default_rng(1).standard_normal((30, 40, 50)), 3, axis=axis)
        values = np.moveaxis(residual, axis, 0)

        found = lag_one(residual, axis)

        expected = np.corrcoef(values[1:].ravel(), values[:-1].ravel())[0, 1]
        assert found.value == pytest.approx(expected, abs=0.002)  # numpy subtracts means, which are near 0
        assert found.value == pytest.approx(2 / 3, abs=0.03)  # two of three values are shared

    def test_the_error_is_the_spread_over_draws_of_white_noise(self):
        rng = np.random.default_rng(2)
        found = [lag_one(rng.standard_normal((6, 10, 12)), 1) for _ in range(400)]

        spread = np.std([each.value for each in found])
        assert found[0].error == pytest.approx(spread, rel=0.12)  # 400 draws give it to 3.5 %
        assert lag_one(np.zeros((3, 4, 5)), 1).value == 0

    def test_interpolation_is_that_of_scipy_and_exact_for_cubics(self):
        at = np.array([0.0, 1.0, 2.5, 3.0, 5.0, 6.0, 7.5])
        values = np.random.default_rng(3).standard_normal((7, 2, 3))
        wanted = np.array([1.7, 2.6, 4.0])

        found = between(values, at, wanted, 0)

        for row, position in zip(found, wanted, strict=True):
            first = np.searchsorted(at, position) - 2
            near = slice(first, first + 4)
            np.testing.assert_allclose(row, BarycentricInterpolator(at[near], values[near])(position))
        cubic = (at**3 - at)[None, None] * np.ones((2, 3, 1))
        np.testing.assert_allclose(between(cubic, at, wanted, 2)[0, 0], wanted**3 - wanted)
        with pytest.raises(ValueError, match="fewer than two"):
            between(values, at, np.array([0.5]), 0)

    def test_a_perfect_prediction_scores_one_and_an_error_adds_its_square(self):
        rng = np.random.default_rng(4)
        sigma = np.array([0.5, 2.0])
        truth = rng.standard_normal((2, 60, 50))
        measured = truth + sigma[:, None, None] * rng.standard_normal(truth.shape)

        assert np.mean(block_scores(truth, measured, sigma)) == pytest.approx(1, abs=0.06)
        wrong = truth + 3 * sigma[:, None, None]
        assert np.mean(block_scores(wrong, measured, sigma)) == pytest.approx(10, abs=0.3)

    def test_differences_of_pairs(self):
        value, error = mean_difference([1.0, 2.0, 6.0], [0.0, 2.0, 4.0])

        assert value == pytest.approx(1)
        assert error == pytest.approx(1 / np.sqrt(3))


class TestSplits:
    @pytest.mark.parametrize("split_of", [holdout.second_rows, holdout.second_frames])
    def test_what_is_asked_for_was_not_seen_and_the_truth_predicts_it(self, split_of, monkeypatch):
        """Methods that return the truth score 1, and those that return the noisy part 1 plus 41 / 64."""
        monkeypatch.setattr(holdout, "CROP_PX", 32)
        stack, truth, sigma = scan()
        split = split_of(stack)
        clean = stack.copy(data=truth.astype(np.float32))
        monkeypatch.setattr(holdout, "noise_of_frames", lambda values: np.ones(len(values)))
        clean_split = split_of(clean)

        np.testing.assert_allclose(split.held_sigma.mean(), sigma.mean(), rtol=0.1)
        perfect = split.predict(clean_split.fitted.values)
        np.testing.assert_allclose(perfect, clean_split.held, atol=0.02 * np.ptp(truth))
        held_sigma = sigma if len(split.held) == len(sigma) else sigma[3:-3:2]
        assert np.mean(block_scores(perfect, split.held, held_sigma)) == pytest.approx(1, abs=0.15)
        noisy = split.predict(split.fitted.values)
        assert np.mean(block_scores(noisy, split.held, held_sigma)) == pytest.approx(1 + 41 / 64, abs=0.15)

    @pytest.mark.parametrize("split_of", [holdout.second_rows, holdout.second_frames])
    def test_nothing_that_is_asked_for_was_seen(self, split_of, monkeypatch):
        monkeypatch.setattr(holdout, "CROP_PX", 16)
        monkeypatch.setattr(holdout, "noise_of_frames", lambda values: np.ones(len(values)))
        stack = scan((16, 18, 20))[0]
        named = stack.copy(data=np.arange(stack.size, dtype=np.float32).reshape(stack.shape))

        split = split_of(named)

        assert not np.isin(split.held, split.fitted.values).any()
        np.testing.assert_allclose(split.predict(split.fitted.values), split.held)  # linear, so exact

    def test_rivals_get_the_same_noise_in_every_frame(self, monkeypatch):
        monkeypatch.setattr(holdout, "CROP_PX", 32)
        stack, truth, _ = scan()
        split = holdout.second_rows(stack)

        noise = split.whitened() - truth[:, 4:36:2, 2:34] * holdout.RIVAL_SIGMA / split.sigma[:, None, None]

        np.testing.assert_allclose(noise.std(axis=(1, 2)), holdout.RIVAL_SIGMA, rtol=0.2)

    def test_a_method_that_cannot_run_has_a_row_with_the_reason(self, monkeypatch):
        monkeypatch.delenv("XANESUM_RIVALS", raising=False)
        monkeypatch.setattr(holdout, "CROP_PX", 32)
        split = holdout.second_rows(scan()[0])

        rows = [holdout.measured("ALS, rows", name, split) for name in ("nothing", "xanesum", "FastHyDe")]

        assert rows[1]["score"] < rows[0]["score"]
        assert rows[2]["why not"].startswith("XANESUM_RIVALS")
        table = holdout_table(holdout.ordered(rows), "ALS, rows")
        assert [row["method"] for row in table] == ["xanesum", "nothing", "FastHyDe"]
        assert table[0]["score"] == f"**{rows[1]['score']:.4f}**"
        assert table[1]["more than xanesum"].startswith("+")
        assert len({tuple(row) for row in table}) == 1


def test_the_best_of_each_noise_is_bold_and_parts_have_a_table_of_their_own():
    known = {"scene": "Samson", "sigma": 10.0, "SSIM": 0.9, "SAM (deg)": 1.0, "K": ""}
    rows = [
        {**known, "size": "9 x 20 x 20", "method": "xanesum", "PSNR (dB)": 40.0, "K": 3},
        {**known, "size": "9 x 20 x 20", "method": "noisy", "PSNR (dB)": 30.0},
        {**known, "size": "9 x 20 x 20", "method": "BM4D", "why not": "not here"},
        {**known, "size": "9 x 8 x 8", "method": "noisy", "PSNR (dB)": 31.0},
    ]

    assert scene_table(rows, "Samson") == [
        {"method": "xanesum", "noise 10": "**40.00 dB**, 0.900, 1.00°, K = 3"},
        {"method": "noisy", "noise 10": "30.00 dB, 0.900, 1.00°"},
        {"method": "BM4D", "noise 10": "not here"},
    ]
    assert crop_table(rows, "Samson") == [{"method": "noisy", "noise 10": "**31.00 dB**, 0.900, 1.00°"}]


@pytest.mark.parametrize("name", list(holdout.SCANS))
def test_real_scans_are_split(name, real_data, monkeypatch):
    monkeypatch.setattr(holdout, "DATA", real_data)
    split = holdout.SCANS[name](real_data)

    row = holdout.measured(name, "nothing", split)

    assert split.predict(split.fitted.values).shape == split.held.shape
    assert row["removed"] == 0
    assert 1.5 < row["score"] < 8
