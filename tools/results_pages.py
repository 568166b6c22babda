"""Write the tables of docs/results/ from benchmarks/results/*.json.

    python tools/results_pages.py            rewrite every table
    python tools/results_pages.py --check    only compare; exit 1 and name the pages that differ

A page says where a table belongs with a line ``<!-- table: NAME -->``, and where it ends with
``<!-- end -->``.  Everything between the two is written by this script; the prose around it is not touched.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

from _chemistry_tables import coverage_table, missing_table, plain_table
from _common import RESULTS, print_table
from _random_tables import tables as random_tables
from _scene_tables import crop_table, holdout_table, scene_table
from _show import show_by_sigma, whole_chain
from chemistry_maps import summary as maps_summary
from chemistry_particles import tables as particle_tables
from chemistry_profiles import table as profile_table
from jitter import METHODS as JITTER_METHODS
from jitter import summary as jitter_summary
from random_motion import summary as motion_summary

REPO = Path(__file__).resolve().parents[1]
PAGES = REPO / "docs" / "results"
MARKED = re.compile(r"<!-- table: ([^>\n]+) -->\n(.*?)<!-- end -->", re.DOTALL)
FRACTIONS = ("exact", "speed", "dose", "usual", "subsets")  # parts whose rows are shown as they are
METHODS = ("noisy", "3-D median", "SVD")  # first in this order, then the others as they are saved
PHANTOMS = ("particle", "catalyst", "round", "electrode", "wedge", "brine", "particle, full size")
Row = dict[str, Any]
Form = str | Callable[[Any], str]
Column = tuple[str, str, Form]  # title in the table, key in the file, format


class Table(NamedTuple):
    """How a table is made, and the files that it is made from."""

    make: Callable[[], list[Row]]
    files: tuple[str, ...]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args(arguments)
    differing = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        try:
            new = rewritten(text)
        except ValueError as error:
            raise SystemExit(f"{page.name}: {error}") from error
        if new != text:
            differing.append(page.name)
            if not options.check:
                page.write_text(new, "utf-8", newline="\n")
    for name in differing:
        print(f"{name}: {'differs from' if options.check else 'written from'} benchmarks/results")
    return int(options.check and bool(differing))


# --- pages


def rewritten(text: str) -> str:
    """Return a page with its tables made again."""
    if not text.count("<!-- table:") == text.count("<!-- end -->") == len(MARKED.findall(text)):
        raise ValueError("a table without end, or an end without table")
    return MARKED.sub(lambda found: f"<!-- table: {found[1]} -->\n{body(found[1])}<!-- end -->", text)


def body(name: str) -> str:
    """Return a table in Markdown, and the line that names its files and commits."""
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}")
    table = TABLES[name]
    return f"\n{markdown(table.make())}\n\n{source(table.files)}\n\n"


def markdown(rows: list[Row]) -> str:
    return printed(print_table, rows)


def printed(function: Callable[..., None], *arguments: Any) -> str:
    """Return the lines of the table that a function prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        function(*arguments)
    return "\n".join(line for line in out.getvalue().splitlines() if line.startswith("|"))


def source(files: tuple[str, ...]) -> str:
    """Return a sentence that names each file and the commits of its rows."""
    parts = []
    for file in files:
        saved = content(file)
        commits = sorted({row.get("commit", saved["commit"]) for row in saved["rows"]})
        named = " and ".join(each.replace("-dirty", " (with local changes)") for each in commits)
        parts.append(f"`{file}.json`, measured at commit {named}")
    return f"Source: {'; '.join(parts)}."


# --- files and cells


def content(file: str) -> Row:
    return dict(json.loads((RESULTS / f"{file}.json").read_text("utf-8")))


def rows_of(file: str) -> list[Row]:
    return list(content(file)["rows"])


def columns(rows: list[Row], chosen: list[Column]) -> list[Row]:
    """Return rows with these columns, each formatted; an empty cell where the file has no value."""

    def cell(row: Row, key: str, form: Form) -> str:
        value = row.get(key, "")
        if value == "":
            return ""
        return form.format(value) if isinstance(form, str) else form(value)

    return [{title: cell(row, key, form) for title, key, form in chosen} for row in rows]


def percent(digits: int, value: float) -> str:
    return f"{100 * value:.{digits}f} %"


def short(value: float, digits: int = 3) -> str:
    """Return a number with some significant digits, without an exponent."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def span(values: list[float], form: str) -> str:
    """Return the least and the greatest."""
    return " to ".join(form.format(each) for each in (min(values), max(values)))


def grouped(rows: list[Row], *keys: str) -> Iterator[tuple[tuple[Any, ...], list[Row]]]:
    """Yield the rows that have the same values of some keys, in the order of the file."""
    for values in dict.fromkeys(tuple(row[key] for key in keys) for row in rows):
        yield values, [row for row in rows if tuple(row[key] for key in keys) == values]


def interval(text: str) -> str:
    """Return "a - b" in words, and one number where both are the same."""
    low, high = text.split(" - ")
    return low if low == high else f"{low} to {high}"


def way(text: str) -> str:
    """Return the name of a changed denoiser in plain words."""
    text = re.sub(r"told (\S+) of the noise level", r"noise level given as \1 of the true one", text)
    return text.replace("5 % of the noisy image", "5 % of the noisy image mixed in").replace(
        "as it is", "unchanged"
    )


def by_sigma(rows: list[Row], title: str, keys: tuple[str, ...], cell: Callable[[Row], str]) -> list[Row]:
    """Return a row for each value of the keys and a column for each sigma."""
    lines = printed(show_by_sigma, rows, title, keys, cell).splitlines()
    head, _, *body_lines = ([part.strip() for part in line[1:-1].split("|")] for line in lines)
    return [dict(zip(head, cells, strict=True)) for cells in body_lines]


# --- the tables


def quality(phantom: str) -> list[Row]:
    rows = [row for row in rows_of("quality") if row["phantom"] == phantom]
    rows.sort(key=lambda row: METHODS.index(row["method"]) if row["method"] in METHODS else len(METHODS))
    return by_sigma(rows, "phantom", ("method", "K by"), whole_chain)


def denoisers() -> list[Row]:
    return columns(
        content("denoisers")["summary"],
        [
            ("denoiser", "denoiser", "{}"),
            *GAINS,
            ("times faster than BM3D", "times faster", "{:.0f}"),
            ("seconds", "seconds", "{:.3f}"),
            ("seconds, 1193 x 1193", "seconds, 1193 x 1193", "{:.2f}"),
        ],
    )


def variants() -> list[Row]:
    rows = {row["denoiser"]: row for row in content("denoisers-variants")["summary"]}
    chosen = [rows[name] for name in ("stage1", "stage2", "network", "dncnn")]
    return columns(chosen, [("weights", "denoiser", "{}"), *GAINS, ("seconds", "seconds", "{:.3f}")])


GAINS: list[Column] = [
    *((f"component {k}", f"component {k}", "{:.2f}") for k in range(1, 5)),
    ("over BM3D: mean", "over BM3D: mean", "{:+.2f}"),
    ("component 1 alone", "component 1 alone", "{:+.2f}"),
    ("worst cell", "worst cell", "{:+.2f}"),
    ("photographs, worst", "photographs, worst", "{:+.2f}"),
    ("over the earlier network: mean", "over the earlier network: mean", "{:+.2f}"),
]


def risk() -> list[Row]:
    rows = [{"denoiser": name, **row} for name in ("network", "wavelet") for row in rows_of(f"risk-{name}")]
    return columns(
        rows,
        [
            ("denoiser", "denoiser", "{}"),
            ("sigma", "sigma", "{:g}"),
            ("K of least error, median", "K of least error, median", "{}"),
            ("K by SURE, median", "K by SURE, median", "{}"),
            ("loss at SURE's K, worst", "loss at SURE's K, worst (dB)", "{:.3f} dB"),
            ("bias at the best K", "bias at the best K (%)", "{:+.2f} %"),
            ("largest bias up to K = 10", "largest bias up to K = 10 (%)", "{:+.2f} %"),
            ("scatter between seeds", "scatter between seeds (%)", "{:.2f} %"),
            ("standard error stated", "standard error stated (%)", "{:.2f} %"),
        ],
    )


def risk_counts() -> list[Row]:
    table = []
    for (density, counts), rows in grouped(rows_of("noise-risk"), "density", "counts"):
        stack, law = ([100 * row[f"sigma, {name}: rms error"] for row in rows] for name in SIGMA_FROM)
        table.append(
            {
                "largest density": f"{density:g}",
                "counts": f"{counts:g}",
                "error of the estimated risk": span([100 * row["estimate"] for row in rows], "{:+.1f}")
                + " %",
                "rms error of sigma, from the stack alone": span(stack, "{:.1f}") + " %",
                "by the law": span(law, "{:.1f}") + " %",
            }
        )
    return table


SIGMA_FROM = ("from the stack", "by the law")


def subspace_summary() -> list[Row]:
    rows = [dict(row) for row in content("subspace")["summary"] if row["method"] != "true spectra"]
    for row in rows:
        for key in [f"frames over {row['method']}: worst", f"map error beside {row['method']}: worst"]:
            row.pop(key, None)  # a method compared with itself
    return columns(
        rows,
        [
            *AGAINST_TRUE,
            ("frames over `sum`: worst", "frames over sum, best K: worst", "{:+.2f} dB"),
            ("over SVD: worst", "frames over SVD, best K: worst", "{:+.2f} dB"),
            ("over the earlier chain: worst", "frames over earlier chain: worst", "{:+.2f} dB"),
            (
                "map error over that of the earlier chain: worst",
                "map error beside earlier chain: worst",
                "{:.3f}",
            ),
        ],
    )


AGAINST_TRUE: list[Column] = [
    ("method", "method", "{}"),
    ("map error up to sigma 100: worst", "map error, to sigma 100: worst", "{:.3f}"),
    ("at sigma 150: worst", "map error, sigma 150: worst", "{:.3f}"),
    ("mean", "map error, mean", "{:.3f}"),
    ("frames: mean", "frames (dB): mean", "{:+.2f} dB"),
    ("frames: worst", "frames (dB): worst", "{:+.2f} dB"),
]


def subspace(phantom: str) -> list[Row]:
    rows = [{**row, "K": ""} for row in rows_of("subspace") if row["phantom"] == phantom]
    return by_sigma(rows, "phantom", ("method",), whole_chain)


def ablation() -> list[Row]:
    rows = content("subspace-ablation")["summary"]
    return columns([row for row in rows if row["method"] != "true spectra"], AGAINST_TRUE)


def grid() -> list[Row]:
    above = "chosen above each seed's best, worst (dB)"
    return columns(
        rows_of("subspace-grid"),
        [
            ("sigma", "sigma", "{:g}"),
            ("seeds", "seeds", "{}"),
            ("fixed settings", "settings", "{}"),
            ("best fixed setting", "best fixed setting", "{}"),
            ("error above it", "chosen above it (dB)", "{:.3f} dB"),
            ("above the best of each seed, worst", above, "{:.3f} dB"),
        ],
    )


def cost() -> list[Row]:
    return columns(
        rows_of("subspace-cost"),
        [
            ("stack", "stack", "{}"),
            ("`sum+`", "sum+ (s)", "{:.1f} s"),
            ("times `sum` with K = 5, median", "over sum, K = 5: median", "{:.2f}"),
            ("greatest", "greatest", "{:.2f}"),
            ("turns", "turns", "{}"),
        ],
    )


def detection() -> list[Row]:
    table = []
    for alone, strong in zip(rows_of("detection"), rows_of("detection-beside"), strict=True):
        if (alone["contrast"], alone["seeds"]) != (strong["contrast"], strong["seeds"]):
            raise ValueError("the two files of detection have other contrasts")
        line = {"contrast": f"{alone['contrast']:g}", "stacks": str(alone["seeds"])}
        for label, row in (("", alone), (", with a strong component", strong)):
            line |= {
                f"{name}{label}": f"{100 * row[key]:g} %"
                for name, key in (("`sum+`", "sum+"), ("SVD", "SVD"))
            }
        table.append(line)
    return table


def detection_limit() -> list[Row]:
    return columns(
        rows_of("detection-limit"),
        [
            ("chemistry", "chemistry", "{}"),
            ("radius or size of grains (px)", "size (px)", "{:g}"),
            ("`sum+`", "sum+", "{:.2f}"),
            ("SVD", "SVD", "{:.2f}"),
            ("ratio", "ratio", "{:.2f}"),
        ],
    )


def detection_half() -> list[Row]:
    cases = {"detection": "the disc alone", "detection-beside": "with a strong component"}
    rows = [{"case": label, **content(file)["summary"][0]} for file, label in cases.items()]
    return columns(
        rows,
        [
            ("stack", "case", "{}"),
            ("half found by `sum+` at", "sum+", "{:.2f}"),
            ("by SVD at", "SVD", "{:.2f}"),
            ("ratio", "ratio", "{:.2f}"),
        ],
    )


def details() -> list[Row]:
    by_method: dict[str, Row] = {}
    seeds = content("details")["seeds"]
    for row in rows_of("details"):
        by_method.setdefault(row["method"], {}).update(row)
    return columns(
        list(by_method.values()),
        [
            ("method", "method", "{}"),
            ("width of the border over the true one, median", "times the truth", "{:.2f}"),
            ("particle found", "found", lambda share: f"{round(share * seeds)} of {seeds}"),
            ("share of its energy difference, mean", "share of the difference, mean", "{:.2f}"),
            ("scatter", "scatter", "{:.2f}"),
        ],
    )


def details_ways() -> list[Row]:
    cells = [f"{name}, {sigma}" for name, sigma in (("particle", 60), ("electrode", 150), ("brine", 10))]
    return columns(
        rows_of("details-ways"),
        [
            ("change", "way", way),
            ("border over the true one", "times the true width", "{:.3f}"),
            ("map error there", "map error there (eV)", "{:.4f} eV"),
            *((f"map error: {cell}", f"{cell}: map error", "{:.3f}") for cell in cells),
            *((f"frames: {cell}", f"{cell}: frames (dB)", "{:+.2f} dB") for cell in cells),
        ],
    )


def energies() -> list[Row]:
    return columns(
        content("energies")["summary"],
        [
            ("sigma", "sigma", "{:g}"),
            ("energies kept", "share", partial(percent, 0)),
            ("draws", "draws", "{}"),
            ("`sum+`", "sum+", "{:.4f}"),
            ("`sum`", "sum", "{:.4f}"),
        ],
    )


def energies_ways() -> list[Row]:
    table = []
    for (name,), rows in grouped(rows_of("energies-ways"), "way"):
        values = {f"sigma {row['sigma']:g}": f"{row['correlation']:.4f}" for row in rows}
        table.append({"energies and method": way(name), **values})
    return table


def noise() -> list[Row]:
    return columns(
        content("noise")["summary"],
        [
            ("density", "density", "{:g}"),
            ("counts", "counts", "{:g}"),
            ("scans", "scans", "{}"),
            ("map error (eV)", "error (eV)", "{:.3f}"),
            ("over noise as white", "over white", "{:.2f}"),
            ("over no drift", "over no drift", "{:.3f}"),
            ("drift not corrected, over no drift", "not corrected, over no drift", "{:.1f}"),
            ("within 68 %", "68 %", "{:.3f}"),
            ("within 95 %", "95 %", "{:.3f}"),
            ("within 68 %, near borders", "near borders", "{:.3f}"),
            ("tenths, least", "tenths, least", "{:.2f}"),
            ("tenths, greatest", "tenths, greatest", "{:.2f}"),
            ("within 68 %, noise as white", "68 %, white", "{:.2f}"),
        ],
    )


def scan_key(row: Row) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("phantom", "density", "counts", "seed", "way"))


def noise_single() -> list[Row]:
    scans = {scan_key(row): row for row in rows_of("noise")}
    table = []
    for (density, counts), rows in grouped(rows_of("noise"), "density", "counts"):
        ours = [row for row in rows if row["way"] == "as run"]
        error = "RMSE (eV)"

        def over(other: str, ours: list[Row] = ours, error: str = error) -> list[float]:
            return [row[error] / scans[(*scan_key(row)[:-1], other)][error] for row in ours]

        table.append(
            {
                "density": f"{density:g}",
                "counts": f"{counts:g}",
                "scans": str(len(ours)),
                "error added by drift, worst": percent(1, max(over("no drift")) - 1),
                "better than with noise as white": span(
                    [100 * (1 - r) for r in over("noise as white")], "{:.0f}"
                )
                + " %",
                "within 68 %, single tenths": span(
                    [share for row in ours for share in row["68 % in tenths"]], "{:.2f}"
                ),
            }
        )
    return table


def noise_probes() -> list[Row]:
    before = {scan_key(row): row for row in rows_of("noise")}
    table = []
    for (density, counts), rows in grouped(rows_of("noise-probes"), "density", "counts"):
        pairs = [(row, before[scan_key(row)]) for row in rows if row["way"] == "as run"]
        line = {"density": f"{density:g}", "counts": f"{counts:g}", "scans": str(len(pairs))}
        line["map error over that before"] = span(
            [new["RMSE (eV)"] / old["RMSE (eV)"] for new, old in pairs], "{:.3f}"
        )
        for key in ("within 68 %", "within 95 %", "68 % near borders"):
            new, old = (statistics.mean(pair[k][key] for pair in pairs) for k in (0, 1))
            line[f"{key}: now, before"] = f"{new:.3f}, {old:.3f}"
        table.append(line)
    return sorted(table, key=lambda line: float(line["counts"]))


def noise_lost() -> list[Row]:
    (found,) = content("noise-lost")["summary"]
    return [
        {
            "": "shift of the patch seen, median",
            "whole result": f"{found['shift seen by the whole result (eV), median']:.2f} eV",
            "component dropped": f"{found['shift that is left (eV), median']:.2f} eV",
        },
        {
            "": "loss reported",
            "whole result": f"{found['false alarms']} of {found['seeds']}",
            "component dropped": f"{found['reported']} of {found['dropped']}",
        },
        {
            "": "residual called white",
            "whole result": f"{found['residual called white']} of {found['seeds']}",
            "component dropped": "",
        },
    ]


def noise_defects() -> list[Row]:
    return columns(
        rows_of("noise-defects"),
        [
            ("seed", "seed", "{}"),
            ("dead pixels left out", "dead pixels left out", partial(percent, 0)),
            ("change over standard error, median", "change / standard error: median", "{:.2f}"),
            ("90 % of the pixels below", "90 %", "{:.2f}"),
        ],
    )


def noise_law() -> list[Row]:
    return columns(
        rows_of("noise-law"),
        [
            ("spread", "flats", lambda text: text.removeprefix("spread of ")),
            ("darks", "darks", lambda given: "10" if given else "none"),
            ("gain: worst error", "gain: worst", partial(percent, 2)),
            ("gain in its interval, of 100", "gain in its interval", "{}"),
            ("read noise: worst error", "read noise: worst", partial(percent, 2)),
            ("read variance in its interval, of 100", "read variance in its interval", "{}"),
        ],
    )


def detectors() -> list[Row]:
    rows = [{**row, "held": f"{row['within the interval']} of {row['bins']}"} for row in rows_of("detectors")]
    return columns(
        rows,
        [
            ("energy (eV)", "energy (eV)", "{:.0f}"),
            ("flats", "flats", "{}"),
            ("gain", "gain", "{:.3f}"),
            ("95 % interval", "gain interval", interval),
            ("intercept", "intercept", "{:.1f}"),
            ("misfit of the line (rms)", "misfit of the line (%)", "{:.1f} %"),
            ("drift between flats", "drift between flats (%)", "{:.1f} %"),
            ("measured over predicted", "measured / predicted", "{:.4f}"),
            ("bins within the interval", "held", "{}"),
        ],
    )


def detectors_scan() -> list[Row]:
    rows = content("detectors")["scans"]
    for row in rows:
        row["along"] = ", ".join(f"{row[f'correlation along {axis}']:.2f}" for axis in ("x", "y", "energy"))
        row["lost"] = f"yes, a {row['place']}" if row["p lost"] < 0.01 else "no"
    return columns(
        rows,
        [
            ("noise", "noise", lambda name: {"white": "as white", "auto": "evened out"}[name]),
            ("components", "K", "{}"),
            ("noise by pixel, 5 to 95 %", "pixels' noise, 5 to 95 %", interval),
            ("by energy", "energies' noise", interval),
            ("residual over sigma", "residual / sigma", "{:.2f}"),
            ("unevenness of the residual", "uneven residual", "{:.2f}"),
            ("correlation along x, y, energy", "along", "{}"),
            ("loss reported", "lost", "{}"),
            ("median error of the map", "median error of the map (eV)", "{:.3f} eV"),
            ("map moved by, median", "map moved by, median (eV)", "{:.3f} eV"),
        ],
    )


def references_larch() -> list[Row]:
    return columns(
        rows_of("chemistry-larch"),
        [
            ("setting", "setting", "{}"),
            ("spectra", "spectra", "{}"),
            ("refused", "refused", "{}"),
            ("e0", "e0 (eV)", "{:.2g} eV"),
            ("edge step", "edge step (%)", "{:.1g} %"),
            ("normalized (rms)", "normalized (rms)", "{:.1g}"),
            ("flattened (rms)", "flattened (rms)", "{:.1g}"),
        ],
    )


def references_half_step() -> list[Row]:
    rows = content("chemistry-larch")["half_steps"]
    names = [name for name in rows[0] if name != "reference"]
    return columns(
        rows,
        [
            ("reference", "reference", "{}"),
            *((name.removesuffix(" (eV)"), name, "{:.2f} eV") for name in names),
        ],
    )


def references_shift() -> list[Row]:
    return columns(
        rows_of("chemistry-shift"),
        [
            ("sample", "sample", "{}"),
            ("references", "references", "{}"),
            ("noise over step", "noise", "{:.3f}"),
            ("rms error", "rms error (eV)", "{:.3f} eV"),
            ("median stated error", "stated (eV)", "{:.3f} eV"),
            ("within one", "within 1", "{:.0%}"),
            ("within two", "within 2", "{:.0%}"),
            ("worst error over stated", "worst error over stated", "{:.1f}"),
        ],
    )


def probes() -> list[Row]:
    table = []
    for (probe, precision), rows in grouped(rows_of("probes"), "probe", "precision"):
        line = {"probe": probe, "precision": precision}
        for (contrast,), cell in grouped(rows, "contrast"):
            line[f"contrast {contrast:g}"] = span([row["trace over truth"] for row in cell], "{:.2f}")
        table.append(line)
    return table


def probes_square() -> list[Row]:
    table = []
    rows = [row for row in rows_of("probes") if row["square over variance"] != ""]
    for (probe,), same in grouped(rows, "probe"):
        line = {"probe": probe}
        for (contrast,), cell in grouped(same, "contrast"):
            line[f"contrast {contrast:g}"] = span([row["square over variance"] for row in cell], "{:.2f}")
        table.append(line)
    return table


def speed(stack: str) -> list[Row]:
    rows = [row for row in rows_of("speed") if row["stack"].startswith(stack)]
    (ours,) = (row["seconds"] for row in rows if row["what"] == "denoise")
    rows.sort(key=lambda row: list(SPEED_ROWS).index(row["what"]))
    table = []
    for row in rows:
        name = SPEED_ROWS[row["what"]]
        saved = row["denoise over it"]  # three decimals, of seconds that were not rounded yet
        over = saved if saved > 0.01 else ours / row["seconds"]
        note = re.sub(r"\d{4,}", lambda found: f"{int(found[0]):,}", row["note"])
        table.append(
            {
                "program": f"{name} ({note})" if note else name,
                "seconds": short(row["seconds"], 3 if row["seconds"] >= 0.1 else 2),
                "`denoise` over it": "" if row["what"] == "denoise" else short(over, 2),
                "K": str(row["K"]),
                "most memory over the stack": short(row["peak over stack"]) if row["peak over stack"] else "",
            }
        )
    return table


SPEED_ROWS = {
    "denoise": "`denoise`",
    "copy": "copy of the stack",
    "randomized SVD": "our randomized SVD, rank 5",
    "exact SVD": "exact SVD by the Gram matrix",
    "scikit-learn": "scikit-learn `randomized_svd`, rank 5",
    "HyperSpy": "HyperSpy decomposition, rank 5",
    "3-D median": "3-D median of SciPy",
    "SUM, bm3d": "SUM with BM3D and its own rank",
    "BM4D": "BM4D on a crop",
}


def speed_steps() -> list[Row]:
    return columns(
        [row for row in rows_of("speed-steps") if row["floor (s)"] != ""],
        [
            ("step", "step", "{}"),
            ("seconds", "seconds", "{:.2f}"),
            ("floor (s)", "floor (s)", "{:.2f}"),
            ("floor set by", "floor of", "{}"),
            ("seconds over the floor", "over the floor", "{:.1f}"),
        ],
    )


def speed_shares() -> list[Row]:
    names = {
        "of one run: read": "survey and averages",
        "of one run: noise": "noise level",
        "of one run: subspace": "search for spectra",
        "of one run: components": "pilot, refits and images",
        "one run": "the whole run",
    }
    rows = {row["step"]: row for row in rows_of("speed-steps")}
    return [{"part": name, "seconds": f"{rows[step]['seconds']:.1f}"} for step, name in names.items()]


def speed_growth() -> list[Row]:
    table = []
    for (what,), rows in grouped(rows_of("speed-growth"), "what"):
        line = {"program": "`denoise`" if what == "denoise" else "randomized SVD, spectra and images"}
        for varied in ("pixels", "energies", "components"):
            cell = [row for row in rows if row["varied"] == varied]
            seconds = span([row["seconds"] for row in cell], "{:.1f}") if cell else ""
            line[varied] = f"{cell[0]['exponent']:.2f} ({seconds} s)" if cell else "its own choice"
        table.append(line)
    return table


def speed_memory() -> list[Row]:
    names = {
        "read": "plain read",
        "denoise": "`denoise`",
        "gone on": "continued after a kill",
        "two workers": "two Dask workers",
    }
    return columns(
        [row for row in rows_of("speed-memory") if row["what"] in names],
        [
            ("run", "what", names.__getitem__),
            ("seconds", "seconds", "{:.1f}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
            ("seconds of each pass", "passes (s)", "{}"),
            ("K", "K", "{}"),
            ("differs from `denoise` by (of sigma)", "differs by (of sigma)", "{:g}"),
        ],
    )


def speed_run() -> list[Row]:
    return columns(
        rows_of("speed-run"),
        [
            ("scan (GB)", "scan (GB)", "{:.2f}"),
            ("memory allowed", "memory allowed", "{}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
            ("seconds", "seconds", "{:.1f}"),
        ],
    )


def speed_plan() -> list[Row]:
    return columns(
        rows_of("speed-plan"),
        [
            ("scan", "scan", "{}"),
            ("planned (s)", "planned (s)", "{:.1f}"),
            ("taken (s)", "taken (s)", "{:.1f}"),
            ("planned over taken", "planned over taken", "{:.2f}"),
            ("planned (GB)", "planned (GB)", "{:.2f}"),
            ("most memory (GB)", "peak (GB)", "{:.2f}"),
        ],
    )


def speed_versions() -> list[Row]:
    return columns(
        rows_of("speed-versions"),
        [
            ("stack", "stack", "{}"),
            ("old (s)", "old, seconds", "{:.2f}"),
            ("new (s)", "new, seconds", "{:.2f}"),
            ("new over old", "new over old", "{:.2f}"),
            ("pairs", "pairs", "{}"),
        ],
    )


def speed_watch() -> list[Row]:
    return columns(
        rows_of("speed-watch"),
        [
            ("frames", "frames", "{}"),
            ("update of the factors, median", "update, median (s)", "{:.3f} s"),
            ("worst", "update, worst (s)", "{:.2f} s"),
            (
                "largest angle to an SVD of all frames",
                "largest angle to a batch SVD (degrees)",
                "{:.3f} degrees",
            ),
            ("maps", "maps", "{}"),
            ("most frames between maps", "most frames between maps", "{}"),
            ("seconds in all", "seconds, all", "{:.0f}"),
        ],
    )


def random_scans(file: str, title: str) -> list[Row]:
    """Return one of the tables of scans drawn at random."""
    return random_tables(rows_of(file))[title]


def random_motion(file: str) -> list[Row]:
    """Return how scans drawn at random were aligned."""
    return motion_summary(rows_of(file))


def jitter(file: str) -> list[Row]:
    """Return how well frames that move are aligned, and the map over that of the scan at rest."""
    return [
        {
            "scene": row["scene"],
            "sigma": f"{row['sigma']:g}",
            "jitter (px)": f"{row['jitter']:g}",
            "seeds": row["seeds"],
            "error of shifts (px)": f"{row['error px']:.3g}",
            "over the bound": f"{row['over bound']:.2f}",
            "over the stated": f"{row['z']:.2f}",
            "map correlation": f"{row['map']:.4f}",
            "over that at rest": f"{row['ratio']:.4f}",
            "worst": f"{row['worst']:.4f}",
        }
        for row in jitter_summary(rows_of(file))
        if row["what"] == "xanesum"
    ]


def _error_and_ratio(row: Row) -> str:
    """Return an error of shifts and the map over that at rest, if what is left of the field has one."""
    error, at_rest = row["error px"], row["map"] / row["ratio"]
    ratio = f"{row['ratio']:.3f}" if at_rest > 0.2 else "no map"
    return f"{error:.2g} px, {ratio}" if error < 100 else f"{error:.0f} px, {ratio}"


def jitter_rivals(file: str) -> list[Row]:
    """Return the map over that of the scan at rest, by several ways to align, where all were tried."""
    found: dict[tuple[str, float, float], Row] = {}
    for row in jitter_summary(rows_of(file)):
        found.setdefault((row["scene"], row["sigma"], row["jitter"]), {})[row["what"]] = row
    return [
        {"scene": scene, "sigma": f"{sigma:g}", "jitter (px)": f"{jitter:g}"}
        | {what: _error_and_ratio(ways[what]) for what in JITTER_METHODS}
        for (scene, sigma, jitter), ways in found.items()
        if set(JITTER_METHODS) <= set(ways)
    ]


def chemistry(make: Callable[[list[Row]], list[Row]], file: str) -> Table:
    """Return a table of a benchmark of chemistry."""
    return Table(lambda: make(rows_of(file)), (file,))


def maps() -> list[Row]:
    """Return how true the stated errors of every kind of map are."""
    return maps_summary(rows_of("chemistry-maps-report"))


def particles(file: str) -> list[Row]:
    """Return how many mean states of particles lie within their stated errors."""
    return next(iter(particle_tables(rows_of(file)).values()))


def rivals() -> list[Row]:
    """Return the gain of each rival over the noisy stack, and in brackets the gain in the paper."""
    table: dict[str, Row] = {}
    for row in rows_of("rivals"):
        line = table.setdefault(row["rival"], {"rival": row["rival"], "pixels": row["size"]})
        line[f"sigma {row['sigma']:g}"] = _gain_and_map(row)
        if row.get("seconds", "") != "":
            line["seconds, most"] = max(row["seconds"], line.get("seconds, most", 0))
    titles = sorted({key for line in table.values() for key in line if key.startswith("sigma")}, key=_size)
    titles = ["rival", "pixels", *titles, "seconds, most"]
    return [{title: str(line.get(title, "")) for title in titles} for line in table.values()]


def _size(title: str) -> float:
    return float(title.split()[1])


def _gain_and_map(row: Row) -> str:
    if row.get("why not"):
        return str(row["why not"])
    paper = row["gain in the paper (dB)"]
    theirs = f" ({paper:+.2f})" if paper != "" else ""
    return f"{row['gain (dB)']:+.2f}{theirs} dB, {row['correlation']:.3f}"


def rivals_sources() -> list[Row]:
    return list(content("rivals")["rivals"])


TABLES = {
    **{f"fractions {name}": chemistry(plain_table, f"chemistry-fractions-{name}") for name in FRACTIONS},
    "fractions coverage": chemistry(coverage_table, "chemistry-fractions-coverage"),
    "fractions missing": chemistry(missing_table, "chemistry-fractions-missing"),
    "fractions real": chemistry(plain_table, "chemistry-real"),
    "clusters": chemistry(plain_table, "chemistry-clusters"),
    **{
        name: Table(partial(particles, f"chemistry-particles-{file}"), (f"chemistry-particles-{file}",))
        for name, file in {"particles": "report", "particles before": "before"}.items()
    },
    "particle profiles": chemistry(profile_table, "chemistry-profiles-report"),
    "particle profiles before": chemistry(profile_table, "chemistry-profiles-before"),
    "maps soft": chemistry(plain_table, "chemistry-soft"),
    "rivals": Table(rivals, ("rivals",)),
    "rivals sources": Table(rivals_sources, ("rivals",)),
    **{
        f"hyperspectral {part}{scene}": chemistry(partial(make, scene=scene), "hyperspectral")
        for scene in ("Samson", "Jasper Ridge")
        for part, make in {"": scene_table, "part ": crop_table}.items()
    },
    **{
        f"holdout {scan}": chemistry(partial(holdout_table, scan=scan), "holdout")
        for scan in ("ALS, rows", "ALS, frames", "HXN, rows", "SSRL, exposures")
    },
    "jitter": Table(partial(jitter, "jitter"), ("jitter",)),
    "jitter rivals": Table(partial(jitter_rivals, "jitter"), ("jitter",)),
    **{
        f"random {kind}": Table(partial(random_motion, f"random-{kind}-report"), (f"random-{kind}-report",))
        for kind in ("moving", "still")
    },
    **{
        f"random {name}": Table(partial(random_scans, "random-scans-report", title), ("random-scans-report",))
        for name, title in {
            "intervals": "Errors and intervals, by noise and drift",
            "drift": "Drift of the light: its cost, and harm of the correction",
            "chemistry": "Chemistry missed",
            "particles": "Foreign particles",
            "edge": "Energy of the edge",
            "white line": "White line",
            "tenths": "Coverage in tenths of the stated error",
            "worst intervals": "Worst intervals",
            "worst errors": "Worst map errors over true spectra",
        }.items()
    },
    "random false alarms": Table(
        partial(random_scans, "random-noise-report", "False alarms, one species"), ("random-noise-report",)
    ),
    **{f"quality {name}": Table(partial(quality, name), ("quality",)) for name in ("particle", "wedge")},
    "denoisers": Table(denoisers, ("denoisers",)),
    "denoisers variants": Table(variants, ("denoisers-variants",)),
    "risk": Table(risk, ("risk-network", "risk-wavelet")),
    "risk counts": Table(risk_counts, ("noise-risk",)),
    "subspace": Table(subspace_summary, ("subspace",)),
    **{f"subspace {name}": Table(partial(subspace, name), ("subspace",)) for name in PHANTOMS},
    "subspace ablation": Table(ablation, ("subspace-ablation",)),
    "subspace grid": Table(grid, ("subspace-grid",)),
    "subspace cost": Table(cost, ("subspace-cost",)),
    "detection": Table(detection, ("detection", "detection-beside")),
    "detection limit": Table(detection_limit, ("detection-limit",)),
    "detection half": Table(detection_half, ("detection", "detection-beside")),
    "details": Table(details, ("details",)),
    "details ways": Table(details_ways, ("details-ways",)),
    "energies": Table(energies, ("energies",)),
    "energies ways": Table(energies_ways, ("energies-ways",)),
    "noise": Table(noise, ("noise",)),
    "noise single": Table(noise_single, ("noise",)),
    "noise probes": Table(noise_probes, ("noise-probes", "noise")),
    "noise lost": Table(noise_lost, ("noise-lost",)),
    "noise defects": Table(noise_defects, ("noise-defects",)),
    "noise law": Table(noise_law, ("noise-law",)),
    "detectors": Table(detectors, ("detectors",)),
    "detectors scan": Table(detectors_scan, ("detectors",)),
    "references larch": Table(references_larch, ("chemistry-larch",)),
    "references half step": Table(references_half_step, ("chemistry-larch",)),
    "references shift": Table(references_shift, ("chemistry-shift",)),
    "maps": Table(maps, ("chemistry-maps-report",)),
    "probes": Table(probes, ("probes",)),
    "probes square": Table(probes_square, ("probes",)),
    **{f"speed {name}": Table(partial(speed, name), ("speed",)) for name in ("particle", "wedge")},
    "speed versions": Table(speed_versions, ("speed-versions",)),
    "speed shares": Table(speed_shares, ("speed-steps",)),
    "speed steps": Table(speed_steps, ("speed-steps",)),
    "speed growth": Table(speed_growth, ("speed-growth",)),
    "speed memory": Table(speed_memory, ("speed-memory",)),
    "speed run": Table(speed_run, ("speed-run",)),
    "speed plan": Table(speed_plan, ("speed-plan",)),
    "speed watch": Table(speed_watch, ("speed-watch",)),
}

if __name__ == "__main__":
    sys.exit(main())
