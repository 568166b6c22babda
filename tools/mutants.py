"""Plant one fault at a time in a copy of the repository, and see whether the tests notice.

    python tools/mutants.py               every fault
    python tools/mutants.py sign step     those whose name contains one of these words
    python tools/mutants.py --list        only say what there is

The working tree is never written to.  Exit 1 if a fault survives or cannot be planted.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "benchmarks", "pyproject.toml", "README.md", "LICENSE")
TIME_LIMIT_S = 300


class Fault(NamedTuple):
    """One edit that a good test suite does not forgive."""

    name: str
    file: str  # below src/xanesum, or below benchmarks
    old: str  # occurs exactly once in it
    new: str
    tests: str  # what pytest is given, separated by blanks; the quickest that should notice

    @property
    def path(self) -> Path:
        """Path of the file in the repository."""
        return Path(self.file) if self.file.startswith("benchmarks/") else Path("src/xanesum", self.file)


FAULTS = (
    # --- subspace
    Fault(
        "gram: squared singular values passed off as singular values",
        "linalg/subspace.py",
        "np.sqrt(np.maximum(values[::-1], 0))",
        "np.maximum(values[::-1], 0)",
        "tests/test_linalg.py",
    ),
    Fault(
        "gram: every block of rows takes the mask of the first",
        "linalg/subspace.py",
        "mask[start : start + rows].ravel()",
        "mask[: block.shape[1]].ravel()",
        "tests/test_linalg.py",
    ),
    Fault(
        "randomized: no power passes",
        "linalg/subspace.py",
        "for _ in range(n_power + 1):",
        "for _ in range(1):",
        "tests/test_linalg.py",
    ),
    Fault(
        "fill_missing: missing values left at zero",
        "linalg/imputation.py",
        "np.where(seen, pixels, spectra.T @ _fit_seen(spectra, pixels, seen))",
        "np.where(seen, pixels, 0)",
        "tests/test_linalg.py",
    ),
    # --- noise
    Fault(
        "noise: median without the Marchenko-Pastur correction",
        "noise/level.py",
        "sigma = float(np.sqrt(max(np.median(noise_values), 0.0) / (n_pixels * median)))",
        "sigma = float(np.sqrt(max(np.median(noise_values), 0.0) / n_pixels))",
        "tests/test_noise_level.py",
    ),
    Fault(
        "noise: MAD not scaled to sigma",
        "noise/level.py",
        "MAD_TO_SIGMA = 0.6744897501960817",
        "MAD_TO_SIGMA = 1.0",
        "tests/test_noise_level.py",
    ),
    Fault(
        "noise: what the fit took is forgotten",
        "noise/level.py",
        "alone = left_over / np.maximum(_noise_share(spectra), LEAST_SHARE) ** 2",
        "alone = left_over + 0 * np.maximum(_noise_share(spectra), LEAST_SHARE)",
        "tests/test_noise_level.py",
    ),
    # --- sure
    Fault(
        "sure: divergence counted once, not twice",
        "method/sure.py",
        "risk = residual / n_values - sigma**2 + 2 * sigma**2 * total.mean(axis=0) / n_values",
        "risk = residual / n_values - sigma**2 + sigma**2 * total.mean(axis=0) / n_values",
        "tests/test_method_sure.py",
    ),
    Fault(
        "sure: gaps of squared singular values with the wrong sign",
        "method/sum.py",
        "gaps = values[None, :n_columns] - values[:, None]",
        "gaps = values[:, None] - values[None, :n_columns]",
        "tests/test_method_sure.py",
    ),
    Fault(
        "sure: basis held fixed",
        "method/sum.py",
        "lever = gaps.sum(axis=0)",
        "lever = 0 * gaps.sum(axis=0)",
        "tests/test_method_sure.py",
    ),
    Fault(
        "sure: step of the probe not in units of sigma",
        "method/sure.py",
        "return step * sigma",
        "return step",
        "tests/test_method_sure.py",
    ),
    Fault(
        "sure: ties go to the larger rank",
        "method/sure.py",
        "np.flatnonzero(risk <= risk.min() + difference_error + rounding)[0]",
        "np.flatnonzero(risk <= risk.min() + difference_error + rounding)[-1]",
        "tests/test_method_sure.py",
    ),
    # --- denoise
    Fault(
        "denoise: signs of the spectra turned, those of the images not",
        "method/labelling.py",
        "fit.images[:rank] * sign[:, None, None].astype(np.float32)",
        "fit.images[:rank]",
        "tests/test_method_denoising.py",
    ),
    Fault(
        "denoise: a given sigma is ignored",
        "method/denoising.py",
        "level = _checked(sigma)",
        "pass",
        "tests/test_method_denoising.py",
    ),
    Fault(
        "denoise: noisy images returned",
        "method/sum.py",
        "basis.spectra[:n_tried], trial.denoised, trial.risk,",
        "basis.spectra[:n_tried], trial.noisy, trial.risk,",
        "tests/test_method_denoising.py",
    ),
    # --- sum+
    Fault(
        "evidence: a half confirms itself",
        "method/split_half.py",
        "own, other = halves.stacks[way], halves.stacks[1 - way]",
        "own, other = halves.stacks[way], halves.stacks[way]",
        "tests/test_method_split_half.py",
    ),
    Fault(
        "evidence: sigma instead of the scatter",
        "method/split_half.py",
        "if n_rest < FEW_ENERGIES:",
        "if n_rest > 0:",
        "tests/test_method_split_half.py",
    ),
    Fault(
        "scale: a half judges its own spectra",
        "method/split_half.py",
        "(_energy_found(first, common[1]) + _energy_found(second, common[0])) / 2",
        "(_energy_found(first, common[0]) + _energy_found(second, common[1])) / 2",
        "tests/test_method_split_half.py",
    ),
    Fault(
        "halves: no gap between them",
        "method/split_half.py",
        "for start in (0, 1 + gap))",
        "for start in (0, 1))",
        "tests/test_method_split_half.py",
    ),
    Fault(
        "refit: no Stein term",
        "method/spectra.py",
        "- sigma**2 * divergence[:, None] * spectra",
        "- 0 * divergence[:, None] * spectra",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "refit: images not made orthonormal",
        "method/spectra.py",
        "(vectors[:, known] / np.sqrt(values[known])).T",
        "(vectors[:, known] / values[known]).T",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "smoothing: every difference a variance of its own",
        "method/spectra.py",
        "WINDOW = 7",
        "WINDOW = 1",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "shrinkage: nothing is small enough to be dropped",
        "method/spectra.py",
        "NOTHING = 2.0",
        "NOTHING = 0.0",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "shrinkage: what was dropped still counts as free",
        "method/spectra.py",
        "return Smoothed(kept * spectra, kept * noise)",
        "return Smoothed(kept * spectra, noise)",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "average: blocks without their last pixel",
        "linalg/binning.py",
        "np.add.reduce(bands, axis=-2,",
        "np.add.reduce(bands[..., :-1, :], axis=-2,",
        "tests/test_linalg.py",
    ),
    Fault(
        "sum+: the refit is not told the divergence",
        "method/sum_plus.py",
        "            blend.divergence.mean(axis=0)[alive],",
        "            0 * blend.divergence.mean(axis=0)[alive],",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "sum+: risk without the spectra's share",
        "method/sum_plus.py",
        "blend.divergence[:, order] + fitted,",
        "blend.divergence[:, order],",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "sum+: reach of the noise ignored",
        "method/sum_plus.py",
        "gap=reach)",
        "gap=0)",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "sum+: evidence left in the old order",
        "method/sum_plus.py",
        "matched[own] = p_values[of]",
        "matched[:] = p_values[: len(matched)]",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "noise reach: pairs outside the mask counted",
        "noise/level.py",
        "pairs = int(np.count_nonzero(counts[:, lag:] & counts[:, :-lag]))",
        "pairs = counts.size",
        "tests/test_noise_level.py",
    ),
    Fault(
        "bad frames: any misfit, chemistry too",
        "preprocess/bad_frames.py",
        "bool(stands and _outside(frames[e], frames[others]) > OUTSIDE)",
        "bool(stands)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: logarithm and line do not meet",
        "noise/detector.py",
        "np.log(linear_below) + counts[linear] / linear_below - 1",
        "np.log(linear_below) + counts[linear] / linear_below",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: defects amid light taken for noise",
        "preprocess/density.py",
        "linear = low & (around < DIM) & is_exposed",
        "linear = low & is_exposed",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: low values next to brighter pixels lost",
        "preprocess/density.py",
        "linear = low & (around < DIM) & is_exposed",
        "linear = low & (around < DARK) & is_exposed",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: dead pixels amid light taken for dim ones",
        "preprocess/density.py",
        "((counts <= 0) | (low & ~(around < DARK)))",
        "(counts <= 0)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "dark counts: pixels without light kept",
        "preprocess/density.py",
        "n_without_light > BAD_SHARE * len(stack)",
        "n_without_light > 2 * len(stack)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "photon transfer: the mean's share of the changes forgotten",
        "noise/detector.py",
        "    details *= share",
        "    details *= 1.0",
        "tests/test_noise_detector.py",
    ),
    Fault(
        "photon transfer: variance of a change in illumination not undone",
        "noise/detector.py",
        "(image / ratio - mean) * np.sqrt(ratio)",
        "image - mean",
        "tests/test_noise_detector.py",
    ),
    Fault(
        "weights: what the fit took is not given back",
        "noise/variance.py",
        "squares /= share[known, None].astype(np.float32)",
        "",
        "tests/test_noise_variance.py",
    ),
    Fault(
        "weights: variance fitted by the noisy values",
        "noise/variance.py",
        "clean = along.T @ (images.reshape(len(images), stack[0].size)[:, sample] / np.float32(scale))",
        "clean = noisy",
        "tests/test_noise_variance.py",
    ),
    Fault(
        "weights: factors of pixels not about the energy's",
        "noise/variance.py",
        "variance.at(e, frame, every)) - of_energy[e]",
        "variance.at(e, frame, every)) - of_energy.mean()",
        "tests/test_noise_variance.py",
    ),
    Fault(
        "uneven noise: errors of the images not turned with them",
        "method/fit.py",
        "            mixing=mixing,",
        "            mixing=np.eye(self.rank),",
        "tests/test_method_uneven.py",
    ),
    Fault(
        "uneven noise: errors as if all of it had been whiten out",
        "method/fit.py",
        "errors=self.errors * noise)",
        "errors=self.errors)",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "uneven noise: images with noise that is not even denoised as if it were",
        "method/sum_plus.py",
        "        noise = setting.noise_of(spectra)\n",
        "        noise = np.ones((len(spectra), 1, 1), np.float32)\n",
        "tests/test_method_uneven.py",
    ),
    Fault(
        "uneven noise: images not multiplied by it again",
        "method/fit.py",
        "images=self.images * noise, errors",
        "images=self.images, errors",
        "tests/test_method_uneven.py",
    ),
    Fault(
        "uneven noise: factors that look alike take turns in explaining the same",
        "noise/variance.py",
        "change = _mean_by(block, cut().mean(axis=0, dtype=np.float64), len(pixel))",
        "change = _mean_by(block, squares.mean(axis=0) / energy.mean(), len(pixel)) / pixel",
        "tests/test_noise_variance.py",
    ),
    Fault(
        "uneven noise: the stack divided by some of its own noise",
        "method/noise_model.py",
        "pixels = setting.denoise_at(pixels, STRONGLY * setting.sigma, setting.mask)",
        "pass",
        "tests/test_method_noise_model.py",
    ),
    Fault(
        "uneven noise: risk of images in units of the noise against a stack that is not",
        "method/sum_plus.py",
        "_squares(noisy) - _squares(noisy * noise)",
        "0 * _squares(noisy)",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "uneven noise: what is left of it, of one energy for all",
        "noise/variance.py",
        "found += weight[:, None, None] * relative",
        "found += relative / len(energies)",
        "tests/test_noise_variance.py",
    ),
    Fault(
        "local risk: the variance without its cross term",
        "method/sure.py",
        "a**2 + 2 * a * b * response.own + b**2 * response.square",
        "a**2 + b**2 * response.square",
        "tests/test_method_sure.py",
    ),
    Fault(
        "local risk: not scaled up where the risk is more",
        "method/sure.py",
        "(variance * max(1.0, float(risk) / mean if mean > 0 else 1.0))[keep]",
        "variance[keep]",
        "tests/test_method_sure.py",
    ),
    Fault(
        "uneven noise: pixels not multiplied back",
        "method/fit.py",
        "(part[:rank] * pixel.astype(np.float32) for part",
        "(part[:rank] for part",
        "tests/test_method_uneven.py",
    ),
    Fault(
        "maps' errors the same in every pixel",
        "xanes/pixel_spectra.py",
        "** 2 * self.errors[:, pixels].T ** 2, axis=1)",
        "** 2 * self.errors.mean(axis=1) ** 2, axis=1)",
        "tests/test_method_uneven.py",
    ),
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
        "if removed.rms < SEEN * found.sigma * prepared.scale:",
        "if removed.rms < 0:",
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
        "sigma: what a fit spreads over the energies put back however little there is",
        "noise/level.py",
        "rcond=LEAST_EIGENVALUE",
        "rcond=None",
        "tests/test_noise_level.py",
    ),
    Fault(
        "sigma: of one half of the frames only",
        "noise/level.py",
        "for start in range(0, len(pixels), FEW_FRAMES)",
        "for start in range(0, len(pixels) // 2, FEW_FRAMES)",
        "tests/test_noise_level.py",
    ),
    Fault(
        "pilot: of noise too",
        "method/sum_plus.py",
        "basis.spectra[: max(n_seen, 1)]",
        "basis.spectra",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "pilot: edge of the noise of a smaller matrix",
        "method/sum_plus.py",
        "(len(averaged), n_pixels)",
        "(len(basis.spectra), n_pixels)",
        "tests/test_method_sum_plus.py",
    ),
    Fault(
        "refit: the inverse's second diagonal forgotten",
        "method/spectra.py",
        "to_one = -(near * one + next_to * two) / own",
        "to_one = -(near * one) / own",
        "tests/test_method_spectra.py",
    ),
    Fault(
        "command: idle threads keep the cores",
        "__main__.py",
        '"OPENBLAS_THREAD_TIMEOUT", "14"',
        '"OPENBLAS_THREAD_TIMEOUT", "26"',
        "tests/test_cli.py",
    ),
    # --- noise_shape
    Fault(
        "common: the noise of the sample's other images not taken off",
        "noise/common.py",
        "** 2 - float(shares @ shares)",
        "** 2",
        "tests/test_method_noise_model.py",
    ),
    Fault(
        "common: texture of the sample counts as noise",
        "noise/common.py",
        "median_sigma(details[0] - shares @ texture)",
        "median_sigma(details[0])",
        "tests/test_method_noise_model.py",
    ),
    Fault(
        "common: spectra are not restored",
        "noise/common.py",
        "(self.ratio - 1) * (spectra @ self.along)",
        "0.0 * (spectra @ self.along)",
        "tests/test_method_noise_model.py",
    ),
    Fault(
        "common: the same everywhere in a stack that was divided by energies",
        "method/noise_model.py",
        "if shape.factors is None else 1 / shape.factors.energy",
        "if True else 1 / shape.factors.energy",
        "tests/test_method_noise_model.py",
    ),
    Fault(
        "bad frames: one excuses another",
        "preprocess/bad_frames.py",
        "np.delete(about[e], left_out)",
        "about[e]",
        "tests/test_preprocess.py",
    ),
    # --- trust
    Fault(
        "trust: common noise is not whitened",
        "diagnostics/residual.py",
        "return CommonNoise(along, float(1 / np.hypot(1, size)))",
        "return CommonNoise(along, 1.0)",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: the residual is not divided by the pixel's noise",
        "diagnostics/residual.py",
        "np.where(mask, 1 / result.sigma_pixel.values, 0)",
        "np.where(mask, 1.0, 0)",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: correlation of the noise counts as signal",
        "diagnostics/residual.py",
        "return along[0] * along[1]",
        "return 1.0",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "trust: what the fit takes counts as correlation",
        "diagnostics/residual.py",
        "energy = seen - np.diag(left, 1).sum() / max(_pair_power(noise), 1e-30)",
        "energy = seen",
        "tests/test_diagnostics_residual.py",
    ),
    Fault(
        "chance: less than noise leaves can stand out",
        "diagnostics/extreme_values.py",
        "return max(largest, 2 * float(norm.sf(value)))",
        "return largest",
        "tests/test_diagnostics_extreme_values.py",
    ),
    Fault(
        "chance: averages are not those of the pixels that count",
        "diagnostics/extreme_values.py",
        "count, before = block_sums(mask.astype(np.float32), scales[0]), scales[0]",
        "count, before = block_sums(np.ones_like(mask, np.float32), scales[0]), scales[0]",
        "tests/test_diagnostics_extreme_values.py",
    ),
    Fault(
        "xanes: exposure gained of evenly lit pixels",
        "xanes/pixel_spectra.py",
        "before * self.noise_pixel[pixels] ** 2 / error**2",
        "before / error**2",
        "tests/test_xanes.py tests/test_method_uneven.py",
    ),
    # --- xanes
    Fault(
        "xanes: first crossing instead of the last",
        "xanes/maps.py",
        "index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)",
        "index = np.argmax(rises, axis=0)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: crossing one energy too late",
        "xanes/maps.py",
        "index = len(rises) - 1 - np.argmax(rises[::-1], axis=0)",
        "index = np.minimum(len(rises) - np.argmax(rises[::-1], axis=0), len(rises) - 1)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: crossing not interpolated",
        "xanes/maps.py",
        "energies[index] + width * share, np.nan)",
        "energies[index] + 0 * share, np.nan)",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: pre-edge line taken at the wrong end of the step",
        "xanes/normalization.py",
        "_line(energy_ev, ranges.post_ev, at_e0) - _line(energy_ev, ranges.pre_ev, at_e0)",
        "_line(energy_ev, ranges.post_ev, at_e0) - _line(energy_ev, ranges.pre_ev, energy_ev[:1])",
        "tests/test_xanes.py",
    ),
    Fault(
        "xanes: white line not refined between energies",
        "xanes/maps.py",
        "position = (at + below) / 2 - left / curvature",
        "position = at + 0 * curvature",
        "tests/test_xanes.py",
    ),
    # --- metrics
    Fault(
        "metrics: PSNR with 10 log10 of the peak, not of its square",
        "benchmarks/_metrics.py",
        "10 * np.log10(peak**2 / np.maximum(mean_square, floor))",
        "10 * np.log10(peak / np.maximum(mean_square, floor))",
        "tests/test_benchmarks_metrics.py",
    ),
    Fault(
        "trust: correlations along x and y swapped",
        "diagnostics/residual.py",
        "for axis in (2, 1))",
        "for axis in (1, 2))",
        "tests/test_diagnostics_residual.py",
    ),
    # --- io
    Fault(
        "io: repeats not divided by their exposure time",
        "io/ssrl.py",
        "total += _counts(exposure) / exposure.info.exposure_s[0]",
        "total += _counts(exposure)",
        "tests/test_io_xrm.py",
    ),
    Fault(
        "io: flats and sample exposures swapped",
        "io/ssrl.py",
        'found["flat"] is not None, info',
        'found["flat"] is None, info',
        "tests/test_io_xrm.py",
    ),
    Fault(
        "io: MANTiS axes not turned round",
        "io/dataexchange.py",
        "reader(path, DATA, reverse_axes=energy_last)",
        "reader(path, DATA, reverse_axes=False)",
        "tests/test_io_hdf5.py",
    ),
    Fault(
        "io: rows and columns of an aXis2000 image swapped",
        "io/axis2000.py",
        "shape = (energy.size, rows.size, columns.size)",
        "shape = (energy.size, columns.size, rows.size)",
        "tests/test_io_axis2000.py",
    ),
    Fault(
        "io: PyXAS energies a power of ten off",
        "io/pyxas.py",
        "return energy * 1e3 if energy.size and np.all(energy < 100) else energy",
        "return energy * 1e2 if energy.size and np.all(energy < 100) else energy",
        "tests/test_io_hdf5.py",
    ),
    # --- photon transfer
    Fault(
        "photon transfer: an exposure that is the median of all hides the others",
        "noise/detector.py",
        "np.maximum(each, np.median(each))",
        "each",
        "tests/test_noise_detector.py",
    ),
    Fault(
        "photon transfer: errors of gain and read noise taken as independent",
        "noise/detector.py",
        "read**2 + 2 * self.covariance * mean",
        "read**2",
        "tests/test_noise_detector.py",
    ),
    # --- bootstrap
    Fault(
        "bootstrap: drawn without what energies share",
        "diagnostics/bootstrap.py",
        " + result.sigma_common.values[e] * shared",
        "",
        "tests/test_diagnostics_bootstrap.py",
    ),
    Fault(
        "bootstrap: noise the same in every pixel",
        "diagnostics/bootstrap.py",
        "noise = pixel * rng.standard_normal(pixel.shape)",
        "noise = rng.standard_normal(pixel.shape)",
        "tests/test_diagnostics_bootstrap.py",
    ),
    Fault(
        "bootstrap: spread about zero, not about the mean",
        "diagnostics/bootstrap.py",
        "np.nansum((values - mean) ** 2, axis=0)",
        "np.nansum((values - maps[name].values + 1) ** 2, axis=0)",
        "tests/test_diagnostics_bootstrap.py",
    ),
    # --- the counts' law
    Fault(
        "law: offset of the dark forgotten",
        "preprocess/density.py",
        'variance = stack["noise_read_variance"].values + stack["noise_gain"].values * pedestal',
        'variance = stack["noise_read_variance"].values + 0 * pedestal',
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: darks' level not taken off the intercept",
        "noise/detector.py",
        "(law.read_variance - law.gain * pedestal)",
        "law.read_variance",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: seconds divide the read variance once only",
        "noise/detector.py",
        "pedestal) * share / seconds",
        "pedestal) * share",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: noise of a logarithm as that of its counts",
        "noise/variance.py",
        "logarithms = log_of_counts(counts, linear_below, counts < linear_below)",
        "logarithms = counts / np.maximum(mean, linear_below)[:, None]",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: the density of the mean counts for the mean density",
        "noise/variance.py",
        "return first, second - first**2",
        "return log_of_counts(mean, linear_below, mean < linear_below), second - first**2",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: the noise in the dark from negative counts alone",
        "preprocess/density.py",
        'if depth.size and "noise_read_variance" in stack.coords:',
        "if False:",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: believed whatever the stack shows",
        "method/noise_model.py",
        "abs(np.log(self.by_law)) < np.log(LAW_HOLDS)",
        "True",
        "tests/test_noise_law.py",
    ),
    Fault(
        "law: frames left out are not left out of it",
        "method/denoising.py",
        "CountVariance(gain[usable], read[usable]",
        "CountVariance(gain, read",
        "tests/test_noise_law.py",
    ),
    # --- preprocess
    Fault(
        "preprocess: pixels with few good neighbours not judged",
        "preprocess/bad_pixels.py",
        "    for neighbours in (NEAR, FAR):",
        "    for neighbours in (NEAR,):",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: exposure time of the sample forgotten",
        "preprocess/density.py",
        "log_flat + log_times, limit, floor",
        "log_flat, limit, floor",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: optical density with the wrong sign",
        "preprocess/density.py",
        "return log_reference - np.log(counts), np.False_, PreprocessReport()",
        "return np.log(counts) - log_reference, np.False_, PreprocessReport()",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: exposure times of sample and flat swapped",
        "preprocess/density.py",
        "np.log(sample) - np.log(flat)",
        "np.log(flat) - np.log(sample)",
        "tests/test_preprocess.py",
    ),
    Fault(
        "preprocess: saturated counts kept",
        "preprocess/density.py",
        "saturated = finite & (frame >= limit)",
        "saturated = finite & (frame > limit)",
        "tests/test_preprocess.py",
    ),
    # --- network
    Fault(
        "network: tiles fade in at both ends",
        "denoisers/network.py",
        "share[-_OVERLAP_PX:] = ramp[::-1]",
        "share[-_OVERLAP_PX:] = ramp",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: each tile takes its own mean",
        "denoisers/network.py",
        "share * self._apply(noisy[tile], mean, deviation)",
        "share * self._apply(noisy[tile], float(noisy[tile].mean()), float(noisy[tile].std()))",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: a risk in bfloat16",
        "denoisers/network.py",
        "twin._half = False",
        "twin._half = True",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: any checksum will do",
        "denoisers/network.py",
        'if hashlib.sha256(data).hexdigest() != card["sha256"]:',
        'if len(hashlib.sha256(data).hexdigest()) != len(card["sha256"]):',
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "network: the result keeps the unit of the noise",
        "denoisers/network.py",
        "return np.asarray(denoised * sigma, np.float32)",
        "return np.asarray(denoised, np.float32)",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "risk: the denoiser as it was given, however coarse",
        "method/denoising.py",
        "images = exact_form(images)  # every",
        "pass  # every",
        "tests/test_denoisers_network.py",
    ),
    Fault(
        "risk: a probe added to the noise",
        "method/sure.py",
        "move = np.asarray(length * probe - less_noise, np.float32)",
        "move = length * probe",
        "tests/test_method_sure.py",
    ),
    Fault(
        "risk: a squared change by the angle and not by the move",
        "method/sure.py",
        "/ (np.float32(n_probes) * _mean_square(move, n_pixels))",
        "/ (np.float32(n_probes) * length**2 * np.float32(1.1))",
        "tests/test_method_sure.py",
    ),
    Fault(
        "risk: errors of pixels from one probe as if from four",
        "method/sure.py",
        "region = REGION_PX * np.sqrt(max(1.0, REGION_PROBES / len(response.divergence)))",
        "region = REGION_PX",
        "tests/test_method_sure.py",
    ),
    Fault(
        "risk: rounding taken for a response",
        "method/sure.py",
        "square += (change**2 - spread)",
        "square += change**2",
        "tests/test_denoisers_network.py",
    ),
    # --- growing, plan
    Fault(
        "growing: energies in the order of arrival",
        "workflow/incremental.py",
        "unsorted[:, order],",
        "unsorted,",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "growing: only the new frame's own product is kept",
        "workflow/incremental.py",
        "self._products[n] = self._products[:, n] = row",
        "self._products[n, n] = row[n]",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "growing: a frame is added before it is looked at",
        "workflow/incremental.py",
        "        self._require_usable(image, energy_ev)\n",
        "",
        "tests/test_workflow_incremental.py",
    ),
    Fault(
        "plan: counts planned as density",
        "workflow/plan.py",
        'drift if quantity == "counts" else 0.0',
        "0.0",
        "tests/test_workflow_plan.py",
    ),
    # --- passes
    Fault(
        "passes: averages of pixels that do not count",
        "streaming/blocked_stack.py",
        "weights = None if self.mask.all() else self.mask.astype(np.float32)",
        "weights = None",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: energies not weighed in the averages",
        "streaming/blocked_stack.py",
        "averaged *= self.rescaling.energy.astype(np.float32)[:, None, None]",
        "pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the averages",
        "streaming/blocked_stack.py",
        "            frame -= share * image",
        "            pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: common noise left in the images",
        "streaming/blocked_stack.py",
        "kept = spectra - self.excess * np.outer(spectra @ self.along, self.along)",
        "kept = spectra",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: digest of rows only",
        "streaming/cpu_backend.py",
        "np.add.reduce(bits, axis=1, dtype=np.uint32, out=along_y[energies])",
        "pass",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: missing values are not filled on the way",
        "streaming/blocked_stack.py",
        "return block if self.filling is None else",
        "return np.nan_to_num(block) if True else",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: noise of averages taken for white",
        "method/intake.py",
        "own = found if found > SPREADS * sigma else sigma",
        "own = sigma",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: a large stack is loaded all the same",
        "method/intake.py",
        "not is_lazy(stack) or size * IN_MEMORY < most",
        "True",
        "tests/test_streaming_blocks.py",
    ),
    Fault(
        "passes: pixels seen in averages of their neighbours where noise is uneven",
        "method/noise_model.py",
        "images = full.denoise_at(images, STRONGLY * full.sigma, full.mask)",
        "images = 0 * images",
        "tests/test_streaming_blocks.py",
    ),
    # --- what does not fit in memory, other devices, scans that are being taken
    Fault(
        "workspace: frames of a file read from its beginning",
        "storage/scratch.py",
        "_read_into(values, file, 4 * energies.start * n_y * n_x)",
        "_read_into(values, file, 0)",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: missing values put into the wrong frame",
        "storage/lazy.py",
        "(e - energies.start)[inside]",
        "e[inside]",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: frames out of order",
        "storage/lazy.py",
        "found = coming.popleft().result()",
        "found = coming.pop().result()",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: chunks of several energies read for every frame",
        "storage/scratch.py",
        "if not is_lazy(stack) or n_energies == 1:",
        "if True:",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: rows of frames written one row off",
        "storage/scratch.py",
        "file.seek((frame * n_y + row) * n_x * data.itemsize)",
        "file.seek((frame * n_y + row + 1) * n_x * data.itemsize)",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "passes: blocks that cut chunks apart",
        "storage/lazy.py",
        "n_stored = min(chunks[0], n_energies)",
        "n_stored = 1",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: frames of a failed run stay on the disk",
        "workflow/resources.py",
        "    finally:\n        workspace.clear()",
        "    finally:\n        pass",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: drift of blocks taken for that of pixels",
        "flat_field/estimate.py",
        "tuple(n * scale for n in shape)",
        "tuple(shape)",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "workspace: residual of blocks in the wrong unit",
        "diagnostics/residual.py",
        "images /= np.sqrt(np.maximum(counts, 1))",
        "pass",
        "tests/test_storage_scratch.py",
    ),
    Fault(
        "accelerator: a block of other content taken for the one that is held",
        "streaming/blocked_stack.py",
        "keys = {(str(part), id(self.filling)): part for part in parts}",
        "keys = {str(part): part for part in parts}",
        "tests/test_streaming_torch.py",
    ),
    Fault(
        "accelerator: pixels that do not count are counted",
        "streaming/torch_backend.py",
        "rescaled = block if weights is None else block * self._sent(weights[part.rows])",
        "rescaled = block",
        "tests/test_streaming_torch.py",
    ),
    Fault(
        "watch: a frame taken up before its flat is there",
        "workflow/live.py",
        " or not all_there(files):",
        ":",
        "tests/test_workflow_live.py",
    ),
    Fault(
        "watch: frames taken up without end while a map is made",
        "workflow/live.py",
        "return not due",
        "return True",
        "tests/test_workflow_live.py",
    ),
    Fault(
        "watch: a file that still grows is read",
        "workflow/live.py",
        "if path not in since or since[path][0] != state:",
        "if path not in since:",
        "tests/test_workflow_live.py",
    ),
    Fault(
        "zarr: chunks of any size",
        "io/zarr_store.py",
        "> MOST_BYTES:",
        "> 1e99:",
        "tests/test_io_zarr.py",
    ),
)


class Outcome(NamedTuple):
    """What became of one run of tests."""

    caught: bool
    said: str  # the test that failed, or what went wrong


def plant(fault: Fault, tree: Path) -> str:
    """Edit the copy; return an empty string, or why that is impossible."""
    path = tree / fault.path
    if not path.is_file():
        return f"no file {fault.file}"
    source = path.read_text("utf-8")
    if (count := source.count(fault.old)) != 1:
        return f"its old text occurs {count} times in {fault.file}, not once"
    path.write_text(source.replace(fault.old, fault.new), "utf-8")
    return ""


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need; compiled files stay behind, for they could outlive an edit."""
    tree = folder / "copy"
    tree.mkdir()
    for name in COPIED:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, tree / name)
    return tree


def run_tests(tree: Path, targets: list[str]) -> tuple[int, str]:
    """Run pytest on the copy's own package; return its exit code and output."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    command = [sys.executable, "-m", "pytest", *options, *targets]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def try_fault(fault: Fault | None, targets: list[str]) -> Outcome:
    """Run `targets` in a fresh copy with `fault`, or with none."""
    with tempfile.TemporaryDirectory(prefix="xanesum-mutant-") as folder:
        tree = copy_tree(Path(folder))
        if fault and (trouble := plant(fault, tree)):
            return Outcome(False, f"NOT PLANTED: {trouble}")
        if missing := [name for name in targets if not (tree / name.split("::")[0]).exists()]:
            return Outcome(False, f"NO TESTS: {', '.join(missing)}")
        try:
            code, output = run_tests(tree, targets)
        except subprocess.TimeoutExpired:
            return Outcome(False, f"HUNG: no end after {TIME_LIMIT_S} s")
    failed = re.search(r"^FAILED (?:tests/)?(\S+)", output, re.MULTILINE)
    if code == 1 and failed:
        return Outcome(True, failed[1])
    if code == 0:
        return Outcome(False, "SURVIVED")
    last = (output.strip().splitlines() or ["no output"])[-1]
    return Outcome(False, f"BROKEN: pytest exit {code}: {last}")


def check_sound(faults: list[Fault]) -> list[str]:
    """Run all targets without a fault: one that fails anyway would catch everything."""
    targets = sorted({target for fault in faults for target in fault.tests.split()})
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda target: try_fault(None, [target]), targets)
        return [f"{t}: {o.said}" for t, o in zip(targets, outcomes, strict=True) if o.said != "SURVIVED"]


def report(faults: list[Fault], outcomes: list[Outcome]) -> int:
    """Print the table and return the number of faults that no test caught."""
    width = max(len(fault.name) for fault in faults)
    print(f"{'fault':<{width}} | caught by")
    print(f"{'-' * width}-+-{'-' * 40}")
    for fault, outcome in zip(faults, outcomes, strict=True):
        print(f"{fault.name:<{width}} | {outcome.said}")
    n_left = sum(not outcome.caught for outcome in outcomes)
    print(f"{len(faults) - n_left} of {len(faults)} faults caught")
    return n_left


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", help="only faults whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="only list the faults")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time")
    options = parser.parse_args()
    faults = [f for f in FAULTS if not options.words or any(word in f.name for word in options.words)]
    if not faults:
        parser.error(f"no fault has one of {', '.join(options.words)} in its name")
    if options.list:
        print("\n".join(f"{fault.file:<24} {fault.name}" for fault in faults))
        return 0
    if unsound := check_sound(faults):
        print("these tests fail without any fault, so they cannot judge one:", *unsound, sep="\n  ")
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = list(pool.map(lambda fault: try_fault(fault, fault.tests.split()), faults))
    return 1 if report(faults, outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
