"""Hyperspectral scenes: how they are read and scored, and the rival that groups similar patches."""

import json

import hyperspectral
import numpy as np
import pytest
import scipy.io
from _band_metrics import band_ssim, spectral_angle_deg
from rivals import RIVALS, UnavailableError
from rivals.non_local import (
    PATCH_PX,
    STEP_PX,
    WINDOW_PX,
    ngmeet,
    settings_for,
    similar_patches,
    weighted_nuclear_norm,
)


def low_rank_scene(shape=(20, 24, 26), rank=2):
    """A scene of broad stripes and a spot."""
    y, x = np.mgrid[: shape[1], : shape[2]] / 8
    images = np.stack([np.sin(x) + np.cos(y / 2), np.exp(-((x - 1.5) ** 2) - (y - 1.5) ** 2)])[:rank]
    spectra = np.random.default_rng(0).uniform(0.2, 1, (shape[0], rank))
    return 100 + 40 * np.tensordot(spectra, images, axes=1)


class TestMetrics:
    def test_angles_are_those_of_the_arc_cosine(self):
        rng = np.random.default_rng(1)
        one, other = rng.uniform(0, 1, (2, 30, 4, 5))
        products = np.sum(one * other, axis=0) / np.linalg.norm(one, axis=0) / np.linalg.norm(other, axis=0)

        assert spectral_angle_deg(one, other) == pytest.approx(np.degrees(np.arccos(products)).mean())

    def test_an_angle_does_not_depend_on_size_and_small_ones_are_exact(self):
        spectrum = np.array([1.0, 0.0]).reshape(2, 1, 1)
        turned = 7 * np.array([np.cos(1e-9), np.sin(1e-9)]).reshape(2, 1, 1)

        assert spectral_angle_deg(turned, spectrum) == pytest.approx(np.degrees(1e-9), rel=1e-6)
        assert spectral_angle_deg(-spectrum, spectrum) == pytest.approx(180)

    def test_spectra_of_zeros_have_no_angle(self):
        spectra = np.array([[1.0, 0.0], [1.0, 0.0]]).reshape(2, 1, 2)

        assert spectral_angle_deg(spectra, np.ones((2, 1, 2))) == pytest.approx(0, abs=1e-12)
        assert np.isnan(spectral_angle_deg(np.zeros((2, 1, 2)), np.ones((2, 1, 2))))

    def test_similarity_of_a_constant_band_is_that_of_its_formula(self):
        """Without structure, the similarity is (2 a b + c) / (a^2 + b^2 + c) with c = (0.01 peak)^2."""
        bands = np.array([10.0, 60.0])[:, None, None] * np.ones((2, 9, 11))
        expected = [(2 * a * (a + 5) + 2.55**2) / (a**2 + (a + 5) ** 2 + 2.55**2) for a in (10, 60)]

        assert band_ssim(bands + 5, bands) == pytest.approx(np.mean(expected))


class TestNgmeet:
    def test_shrunk_values_are_where_the_weights_belong_to_them(self):
        """The second witness: singular values by LAPACK, thresholds ``c / x`` in turns until they rest."""
        rng = np.random.default_rng(2)
        groups = rng.standard_normal((3, 12, 30)) + 4 * rng.standard_normal((3, 12, 1))
        sigma = np.array([0.1, 0.3, 0.5])

        found = weighted_nuclear_norm(groups, sigma, 2.0)

        for group, level, result in zip(groups, sigma, found, strict=True):
            mean = group.mean(axis=0)
            u, values, v = np.linalg.svd(group - mean, full_matrices=False)
            weight = 2 * 2.0 * np.sqrt(12) * level**2
            shrunk = values.copy()
            for _ in range(20_000):
                shrunk = np.maximum(
                    values - np.divide(weight, shrunk, out=values.copy(), where=shrunk > 0), 0
                )
            np.testing.assert_allclose(result, (u * shrunk) @ v + mean, atol=1e-4)

    def test_without_noise_groups_stay(self):
        groups = np.random.default_rng(3).standard_normal((2, 8, 10))

        np.testing.assert_allclose(weighted_nuclear_norm(groups, np.zeros(2), 5.0), groups, atol=1e-6)

    def test_similar_patches_are_those_of_a_search_over_all(self):
        image = np.random.default_rng(4).standard_normal((40, 14))
        n_rows, n_columns = 40 - PATCH_PX + 1, 14 - PATCH_PX + 1

        groups = similar_patches(image, 9)

        corners = [
            (y, x)
            for y in sorted({*range(0, n_rows, STEP_PX), n_rows - 1})
            for x in sorted({*range(0, n_columns, STEP_PX), n_columns - 1})
        ]
        assert groups.shape == (len(corners), 9)
        for (row, column), group in zip(corners, groups, strict=True):
            own = image[row : row + PATCH_PX, column : column + PATCH_PX]
            distances = {
                y * n_columns + x: np.sum((image[y : y + PATCH_PX, x : x + PATCH_PX] - own) ** 2)
                for y in range(n_rows)
                for x in range(n_columns)
                if abs(y - row) <= WINDOW_PX
            }
            assert group[0] == row * n_columns + column
            assert set(group) == set(sorted(distances, key=distances.get)[:9])

    def test_patches_that_are_all_alike_still_cover_the_image(self):
        flat = np.full((8, 20, 22), 30, np.float32)

        np.testing.assert_allclose(ngmeet(flat, 5.0, np.random.default_rng(0)), flat, rtol=1e-4)

    def test_groups_remove_noise_that_the_subspace_keeps(self):
        clean, sigma = low_rank_scene(), 20.0
        noisy = (clean + sigma * np.random.default_rng(5).standard_normal(clean.shape)).astype(np.float32)
        n_components = settings_for(len(clean), sigma).n_components
        u, values, v = np.linalg.svd(noisy.reshape(len(noisy), -1), full_matrices=False)
        projected = ((u[:, :n_components] * values[:n_components]) @ v[:n_components]).reshape(clean.shape)

        found = ngmeet(noisy, sigma, np.random.default_rng(0))

        assert np.std(found - clean) < 0.7 * np.std(projected - clean)

    def test_settings_follow_the_noise_and_the_number_of_energies(self):
        assert [settings_for(150, sigma).n_components for sigma in (10, 30, 50, 70)] == [5, 6, 5, 4]
        assert settings_for(150, 10.0).threshold == pytest.approx(8 * np.sqrt(2))
        assert settings_for(60, 10.0).threshold == pytest.approx(5 * np.sqrt(2))


class TestRows:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        """A folder of two scenes as small files."""
        (tmp_path / "hyperspectral").mkdir()
        scene = low_rank_scene((16, 20, 22))
        for name in hyperspectral.SCENES.values():
            pixels = scene.transpose(0, 2, 1).reshape(16, -1)
            content = {"Y": pixels, "lines": [[20]], "cols": [[22]]}
            scipy.io.savemat(tmp_path / "hyperspectral" / name, content)
        monkeypatch.setattr(hyperspectral, "DATA", tmp_path)
        monkeypatch.setattr("_common.RESULTS", tmp_path)
        return tmp_path

    def test_a_scene_is_scaled_as_a_whole_and_its_columns_come_first(self, folder):
        scene = low_rank_scene((16, 20, 22))

        found = hyperspectral.read_scene(folder / "hyperspectral" / "Samson.mat")

        assert (found.min(), found.max()) == (0, 255)
        np.testing.assert_allclose(found, (scene - scene.min()) / np.ptp(scene) * 255, atol=1e-9)

    def test_rows_are_measured_once_and_a_run_continues(self, folder, monkeypatch, capsys):
        monkeypatch.setattr(hyperspectral, "CROP_PX", 16)
        command = ["hyperspectral.py", "--sigmas", "30", "--methods", "noisy", "SVD, SURE, hard"]
        monkeypatch.setattr("sys.argv", command)
        hyperspectral.main()
        rows = json.loads((folder / "hyperspectral.json").read_text("utf-8"))["rows"]

        assert [(row["scene"], row["size"], row["method"]) for row in rows[:3]] == [
            ("Samson", "16 x 20 x 22", "noisy"),
            ("Samson", "16 x 20 x 22", "SVD, SURE, hard"),
            ("Samson", "16 x 16 x 16", "noisy"),
        ]
        assert rows[0]["PSNR (dB)"] == pytest.approx(20 * np.log10(255 / 30), abs=0.2)
        assert rows[1]["PSNR (dB)"] > rows[0]["PSNR (dB)"] + 5

        monkeypatch.setattr(hyperspectral, "METHODS", dict.fromkeys(hyperspectral.METHODS))  # none can run
        hyperspectral.main()
        assert json.loads((folder / "hyperspectral.json").read_text("utf-8"))["rows"] == rows

    def test_a_method_that_cannot_run_has_a_row_with_the_reason(self, folder, monkeypatch):
        monkeypatch.delenv("XANESUM_RIVALS", raising=False)
        truth = low_rank_scene((16, 20, 22))
        cell = {"scene": "Samson", "sigma": 30.0, "size": "16 x 20 x 22", "truth": truth}

        row = hyperspectral.measured(method="L1HyMixDe", noisy=truth.astype(np.float32), **cell)

        assert row["why not"].startswith("XANESUM_RIVALS names no folder")
        with pytest.raises(UnavailableError):
            RIVALS["L1HyMixDe"].denoise(truth.astype(np.float32), 30.0, np.random.default_rng(0))

    def test_this_project_reports_the_number_of_components(self):
        clean = low_rank_scene((16, 20, 22))
        noisy = (clean + 10 * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32)

        found, facts = hyperspectral.own(noisy, 10.0, np.random.default_rng(0), given=True)

        assert np.std(found - clean) < 0.3 * 10
        assert facts["K"] >= 1

    def test_the_real_scenes_have_their_sizes_and_orientation(self, real_data):
        """The abundances of the file show the scene in the same orientation."""
        path = real_data / "hyperspectral" / "Samson.mat"
        if not path.exists():
            pytest.skip(f"no scene {path}; it is not part of the repository")

        scene = hyperspectral.read_scene(path)

        assert scene.shape == (156, 95, 95)
        abundances = scipy.io.loadmat(path)["S_GT"]
        assert np.corrcoef(scene[60].ravel(), abundances[..., 0].ravel())[0, 1] > 0.8
