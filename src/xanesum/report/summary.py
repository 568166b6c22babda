"""The first screen of a report: six questions, answered in sentences, and one verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from xanesum.diagnostics.residual import ResidualReport
from xanesum.report.numbers import plain, times
from xanesum.report.texts import MAP_LABELS, Facts, exposure_gain, noise_reduction, unit_of
from xanesum.result import Denoised
from xanesum.stack import usable_mask, usable_weight
from xanesum.xanes import KINDS

__all__ = ["Answer", "Verdict", "answers", "hints", "verdict"]

GOOD, CAREFUL = "good", "careful"
LOW_SNR = 3.0  # edge step over noise of one value, below which a single spectrum shows little


@dataclass(frozen=True, slots=True)
class Verdict:
    """One word for the style of the page, and the sentence that it stands for."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, and sentences; a sentence may lead to a section of the page."""

    question: str
    sentences: tuple[tuple[str, str], ...]  # text, name of the section or ""


def verdict(trust: ResidualReport, facts: Facts, maps: xr.Dataset | None) -> Verdict:
    """Return whether anything speaks against the result."""
    if not trust.is_tested:
        return Verdict(CAREFUL, "The result could not be tested. Confirm it by other means.")
    if trust.lost.found:
        return Verdict(CAREFUL, "Signal of the sample was removed as noise. Look at it before using the map.")
    if not trust.intervals_hold or (maps is not None and not maps.attrs["intervals_hold"]):
        return Verdict(CAREFUL, "The stated errors may be too small. Read why before you use them.")
    if maps is None:
        return Verdict(CAREFUL, f"The stack is clean, but there is no map: {facts.map_problem}")
    return Verdict(GOOD, "No test speaks against this result.")


def answers(
    stack: xr.DataArray,
    result: Denoised,
    maps: xr.Dataset | None,
    trust: ResidualReport,
    facts: Facts,
    found_besides: tuple[tuple[str, str], ...] = (),
) -> list[Answer]:
    """Return the six questions with their answers.

    Parameters
    ----------
    stack : DataArray, dims (energy, y, x)
    result : Denoised
    maps : Dataset or None
    trust : ResidualReport
    facts : Facts
    found_besides : tuple of (text, section)
        What else was found: particles, fractions.
    """
    return [
        Answer("What did you give me?", _given(stack, facts)),
        Answer("Is it any good?", _quality(stack, result, maps)),
        Answer("What did I do?", _done(result, facts)),
        Answer("What did I find?", (*_found(maps, facts), *found_besides)),
        Answer("How sure am I?", _sureness(maps, trust)),
        Answer("What should you look at?", _to_look_at(maps, trust, facts)),
    ]


def _given(stack: xr.DataArray, facts: Facts) -> tuple[tuple[str, str], ...]:
    n_energies, n_y, n_x = stack.shape
    energy, size_nm = stack.energy.values, stack.attrs.get("pixel_size_nm")
    pixels = f"{n_y} x {n_x} pixels (y, x)"
    if size_nm:
        height, width = (plain(n * size_nm / 1000) for n in (n_y, n_x))
        pixels += f" of {size_nm:g} nm, a field of {height} x {width} \u00b5m"
    else:
        pixels += " whose size is not known"
    return (
        (f"{facts.source}: {n_energies} images from {energy[0]:.1f} to {energy[-1]:.1f} eV.", ""),
        (f"Each has {pixels}.", ""),
    )


def _quality(stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None) -> tuple[tuple[str, str], ...]:
    sentences = [
        (f"The noise of one value (sigma) is {plain(result.sigma, 3)}, in {unit_of(stack)}.", "noise")
    ]
    if maps is not None and maps["mask"].values.any() and result.sigma > 0:
        step = float(np.median(maps["edge_step"].values[maps["mask"].values]))
        ratio = step / result.sigma
        text = f"The edge step is {plain(step, 3)} (median), {plain(ratio, 2)} times the noise"
        text += ": single spectra show little before denoising." if ratio < LOW_SNR else "."
        sentences.append((text, "spectra"))
    mask, weight = usable_mask(stack), usable_weight(stack)
    frames, pixels = int((~weight).sum()), int((~mask).sum())
    if frames or pixels:
        shown = " (red above)" if pixels else ""
        text = f"{frames} of {weight.size} images and {pixels} of {mask.size} pixels{shown} are not used."
    else:
        text = "All images and all pixels are used."
    return (*sentences, (text, "counted"))


def _done(result: Denoised, facts: Facts) -> tuple[tuple[str, str], ...]:
    sentences = []
    if facts.motion is not None:
        moved = "Images were moved back to where the sample was" if facts.motion.is_removed else None
        sentences.append((f"{moved or 'No image was moved: no motion is certain'}.", "motion"))
    drift = [line for line in facts.counted if "drift" in line or "level in each frame" in line]
    if drift:
        sentences.append(("Drift of the light was removed.", "counted"))
    denoiser = result.provenance.get("denoiser", "?")
    n = result.rank
    text = f"Denoised: {n} {'component' if n == 1 else 'components'}, denoiser \u201c{denoiser}\u201d"
    reduced = noise_reduction(result)
    text += "." if reduced is None else f"; the noise is {times(reduced)} smaller (estimated)."
    return (*sentences, (text, "components"))


def _found(maps: xr.Dataset | None, facts: Facts) -> tuple[tuple[str, str], ...]:
    if maps is None:
        return ((f"There is no map: {facts.map_problem}", "map"),)
    kind = maps.attrs["kind"]
    name, _, label = MAP_LABELS[kind]
    values = maps[name].values[maps["mask"].values]
    if not values.size:
        return (("No pixel has an edge that stands above its noise.", "map"),)
    low, middle, high = (_value(each, kind) for each in np.percentile(values, (5, 50, 95)))
    title = f"{label[:1].upper()}{label[1:]}".partition(" (")[0]
    share = values.size / maps["mask"].size
    return (
        (f"{title}: median {middle}; 90\u00a0% of the pixels lie between {low} and {high}.", "map"),
        (f"{values.size} pixels have a value, {100 * share:.0f}\u00a0% of the image.", "map"),
    )


def _sureness(maps: xr.Dataset | None, trust: ResidualReport) -> tuple[tuple[str, str], ...]:
    sentences = []
    if maps is not None:
        kind = maps.attrs["kind"]
        sigma = maps[MAP_LABELS[kind][1]].values[maps["mask"].values]
        sigma = sigma[np.isfinite(sigma)]
        if sigma.size:
            unit = f" {KINDS[kind].unit}" if KINDS[kind].unit == "eV" else ""
            error = f"{plain(float(np.median(sigma)), 2)}{unit}"
            sentences.append((f"One pixel of the map has a standard error of {error} (median).", "map"))
    doubts = dict.fromkeys([*trust.reasons, *(() if maps is None else maps.attrs["reasons"])])
    if not doubts:
        sentences.append(("No test speaks against the stated errors.", "trust"))
    else:
        n = len(doubts)
        why = "one reason" if n == 1 else f"{n} reasons"
        sentences.insert(0, (f"The stated errors may not hold, for {why} given above.", "trust"))
    gain = exposure_gain(maps)
    if gain is not None and not doubts:
        sentences.append((f"Without denoising, the same map needs {times(gain)} the exposure.", "trust"))
    return tuple(sentences)


def _to_look_at(maps: xr.Dataset | None, trust: ResidualReport, facts: Facts) -> tuple[tuple[str, str], ...]:
    sentences = []
    if not trust.intervals_hold:
        sentences.append(("Why the errors may not hold.", "trust"))
    if trust.lost.found:
        sentences.append(("Where in the image signal was lost, and its spectrum.", "trust"))
    n = len(facts.notes)
    if n:
        sentences.append((f"{'One note' if n == 1 else f'{n} notes'} about the scan.", "notes"))
    sentences.append(("The residual: it must show noise only. A sample in it means lost signal.", "frames"))
    if maps is not None:
        sentences.append(("Spectra of pixels that differ in the map, with the measured values.", "spectra"))
    return tuple(sentences)


def hints(
    stack: xr.DataArray, result: Denoised, maps: xr.Dataset | None, trust: ResidualReport, facts: Facts
) -> dict[str, str]:
    """Return what each folded section says on its line."""
    n_frames, n_pixels = int((~usable_weight(stack)).sum()), int((~usable_mask(stack)).sum())
    motion = facts.motion
    return {
        "frames": "three energies, and the residual in units of its noise",
        "motion": "" if motion is None else "images were moved" if motion.is_removed else "nothing was moved",
        "map": "no map" if maps is None else MAP_LABELS[maps.attrs["kind"]][2],
        "composition": "fractions and clusters",
        "particles": "",
        "regions": "",
        "trust": "no test speaks against it"
        if trust.intervals_hold
        else "read this before you use the errors",
        "spectra": "measured and denoised, with errors",
        "components": f"{result.rank} kept",
        "risk": f"{result.rank} chosen",
        "noise": f"sigma {plain(result.sigma, 3)} {unit_of(stack)}",
        "counted": f"{n_frames} images and {n_pixels} pixels not used",
        "history": "",
        "options": "",
        "numbers": "",
    }


def _value(value: float, kind: str) -> str:
    return f"{value:.2f} eV" if KINDS[kind].unit == "eV" else plain(float(value))
