"""Write README.md, CSV tables and the list of what was not run, from the rows that were measured."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from pathlib import Path

from _common import RESULTS, load

from paper import random_scans, table2, table3, tables, verdicts
from paper.methods import MOST_VALUES, SLOW_CELLS, methods
from paper.published import PHANTOMS
from paper.scans import FULL, QUICK, Size
from paper.store import Row
from paper.table1 import cells as table1_cells
from paper.table1 import is_run

__all__ = ["PARTS", "files", "texts", "write"]

PARTS = ("table1", "table2", "table3", "fig3", "fig5", "fig6", "random")
FIGURES = {
    "fig3": "Figure 3. Estimated and true error against the number of components; spectrum of one pixel. "
    "All estimates are off by the same amount: the power of the noise that was drawn is not that expected.",
    "fig5": "Figure 5. Denoisers within `sum`: frames, spectra, map and time.",
    "fig6": "Figure 6. Correlation of the map against the share of the energies that are kept.",
    "fig7": "Figure 7. A frame on the white line, and the spectrum of the marked pixel (red; black: true).",
    "fig8": "Figure 8. Maps of the half-step energy, and their correlation with the true map.",
    "fig9": "Figure 9. Mean of all frames of a sample that jitters by 6 px.",
    "suppl-a": "Supplement A. The six phantoms: thickness and chemical states.",
}
TITLES = {
    "": "The size of the paper",
    "reduced": "Reduced size (`--quick`)",
    "quick": "Reduced size (`--quick`)",
}
WIDTH = 128  # of lines of prose
LAST = ("commit", "processor", "load")
TEXTS = Path(__file__).parent / "page_texts"
BESIDE = {"hyperspectral.md": "hyperspectral images", "holdout.md": "real scans, without truth"}


def files(suffixes: tuple[str, ...]) -> list[str]:
    """Return the names of the files of results that are there."""
    names = [_file(part, suffix) for suffix in suffixes for part in PARTS]
    return [name for name in names if (RESULTS / f"{name}.json").exists()]


def write(folder: Path, suffixes: tuple[str, ...]) -> Path:
    """Write all texts of the page into a folder; return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts(folder, suffixes).items():
        (folder / name).write_text(text, "utf-8", newline="\n")
    return folder / "README.md"


def texts(folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Return README.md and the CSV files, by their names; figures are those that are in the folder."""
    made, parts = {}, [_text("intro"), *_beside(folder)]
    for suffix in suffixes:
        if any(load(_file(part, suffix)) for part in PARTS):
            parts += [f"## {TITLES[suffix]}", *_section(suffix, folder)]
        for part in PARTS:
            if rows := load(_file(part, suffix)):
                made[f"{_named(part, suffix)}.csv"] = as_csv(rows)
    made["README.md"] = "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
    return made


def _file(part: str, suffix: str) -> str:
    return f"paper-{_named(part, suffix)}"


def _named(part: str, suffix: str) -> str:
    return f"{part}-{suffix}" if suffix else part


def _text(name: str) -> str:
    """Return a text of `page_texts`."""
    return (TEXTS / f"{name}.md").read_text("utf-8")


def _beside(folder: Path) -> list[str]:
    links = [f"[{title}](../{name})" for name, title in BESIDE.items() if (folder.parent / name).exists()]
    return [f"On pages of their own: {' and '.join(links)}."] if links else []


def _section(suffix: str, folder: Path) -> list[str]:
    """Return the parts of the page for one size of the scans."""
    size = FULL if suffix == "" else QUICK
    cells = tables.Cells(load(_file("table1", suffix)))
    parts = [_sizes(size)]
    if cells.rows:
        parts += _table1(cells, suffix)
    if rows := load(_file("table2", suffix)):
        parts += _table2(rows, suffix)
    if rows := load(_file("table3", suffix)):
        parts += [
            "### Table 3: seconds",
            _text("table3"),
            _markdown(tables.table3(rows)),
            _source("table3", suffix),
        ]
    if rows := load(_file("random", suffix)):
        parts += ["### Scans drawn at random", *_random(rows, suffix), _source("random", suffix)]
    parts += _figures(suffix, folder)
    return [*parts, *_not_run(size, suffix)]


def _sizes(size: Size) -> str:
    crop, jitter = (" x ".join(map(str, each)) for each in (size.crop_px, size.jitter_shape))
    scans = " x ".join(map(str, size.shape)) + " pixels" if size.shape else "the sizes of the paper"
    few = "" if size.slow_everywhere else f", in {len(SLOW_CELLS)} cells"
    return _prose(
        f"Scans: {scans}, {size.n_energies} energies. Slow methods get the middle {crop} pixels{few}. "
        f"Rivals that look for a subspace get whole scans of up to {MOST_VALUES / 1e6:g} million values. "
        f"Scans that jitter: {jitter} pixels, {size.jitter_energies} energies."
    )


def _table1(cells: tables.Cells, suffix: str) -> list[str]:
    whole, middle = verdicts.compared(cells), verdicts.compared(cells, "middle: ")
    parts = ["### Where ours wins, and where not", "Whole scans, against methods that can take them:"]
    parts += [_bullets(verdicts.sentences(whole) + verdicts.between_seeds(cells))]
    parts += ["The middle of scans, against all methods that were run:"]
    parts += [_bullets(verdicts.sentences(middle)), "" if suffix else _markdown(verdicts.goals(cells))]
    seeds = ", ".join(sorted({str(row["seed"]) for row in cells.rows}))
    parts += ["### Table 1: frames and maps", f"Seeds of scene and noise: {seeds}."]
    for kind in cells.kinds():
        role = f", in the role of the paper's *{PHANTOMS[kind]}*" if kind in PHANTOMS else ""
        parts += [f"*{kind}*{role}, whole scan:", _markdown(tables.phantom_table(cells, kind))]
        if rows := tables.middles(cells, kind):
            parts += [f"*{kind}*, the middle:", _markdown(rows)]
    parts += ["Best rival of each cell:", _markdown(verdicts.best_rows([*whole, *middle]))]
    if rows := tables.gains(cells):
        parts += ["Gain over the noisy scan, in brackets that which the paper reports:", _markdown(rows)]
    parts += [_bullets([f"{name} was not run: {why}." for name, why in cells.refused.items()])]
    return [*parts, _source("table1", suffix)]


def _table2(rows: list[Row], suffix: str) -> list[str]:
    parts = ["### Table 2: samples that jitter", _text("table2")]
    for kind in dict.fromkeys(row["phantom"] for row in rows):
        parts += [f"*{kind}*:", _markdown(tables.table2(rows, kind))]
    return [*parts, _source("table2", suffix)]


def _random(rows: list[Row], suffix: str) -> list[str]:
    scans = len({row["index"] for row in rows})
    asked = "" if suffix else f" of {random_scans.N_SCANS}"
    size = f"up to {random_scans.LARGEST / 1e6:g} million values"
    text = _prose(
        f"{scans}{asked} scans: size ({size}), texture, chemistry, spectra and noise were drawn, with a seed "
        f"from the commit ({rows[0]['base']}). The noise is white, and there are no defects. A scan of one "
        f"state has no correlation. Worst cases are over all scans. {verdicts.random_losses(rows)}"
    )
    return [text, _markdown(tables.random_table(rows))]


def _figures(suffix: str, folder: Path) -> list[str]:
    shown = []
    for name, text in FIGURES.items():
        file = f"{_named(name, suffix)}.png"
        if (folder / file).exists():
            measured = " The rows are those of [another page](../energies.md)." if file == "fig6.png" else ""
            shown += [f"![{text.partition('.')[0]}]({file})", _prose(text + measured)]
    return ["### Figures", *shown] if shown else []


def _not_run(size: Size, suffix: str) -> list[str]:
    """Return the list of what is missing, counted in cells."""
    cells = tables.Cells(load(_file("table1", suffix)))
    there = {(row["phantom"], row["sigma"], row["seed"], row["method"]) for row in cells.rows}
    missing = []
    for name, method in methods(size).items():
        planned = [cell for cell in table1_cells(size) if is_run(method, *cell[:2], size)]
        done = sum((*cell, name) in there for cell in planned)
        if done < len(planned):
            missing.append(f"Table 1, {name}: {done} of {len(planned)} cells were run.")
    moved = len([row for row in load(_file("table2", suffix)) if "why not" not in row])
    every = len(size.seeds) * len(table2.kinds_of(size)) * len(table2.planned(size)) * table2.CELLS
    if moved < every:
        missing.append(f"Table 2: {moved} of {every} cells were run.")
    timed = {(row["phantom"], row["method"]) for row in load(_file("table3", suffix)) if "why not" not in row}
    for kind in table3.KINDS if size.slow_everywhere else table3.KINDS[:1]:
        if absent := [name for name in table3.TIMED if (kind, name) not in timed]:
            missing.append(f"Table 3, *{kind}*: not timed: {', '.join(absent)}.")
    return ["### What was not run", _bullets(missing)] if missing else []


def _source(part: str, suffix: str) -> str:
    """Name the file, its commits and its machine."""
    name = _file(part, suffix)
    saved = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    rows = load(name)
    commits = " and ".join(sorted({row["commit"].replace("-dirty", " (with local changes)") for row in rows}))
    loads = [row["load"] for row in rows if "load" in row]
    versions = ", ".join(f"{key} {saved[key]}" for key in ("python", "numpy", "scipy"))
    timed = [row.get("seconds") for row in rows if "why not" not in row]
    hours = f"; {sum(timed) / 3600:.2f} h of measured time" if timed and None not in timed else ""
    return _prose(
        f"Source: `{name}.json`, measured at commit {commits}. {saved['processor']}, {saved['cores']} cores, "
        f"{versions}; load of the machine {min(loads):g} to {max(loads):g}{hours}."
    )


def _prose(text: str, indent: str = "") -> str:
    """Return text in lines that are not too long."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(_prose(f"- {line}", indent="  ") for line in lines)


def _markdown(rows: list[Row]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "| " + " | ".join(names) + " |\n|" + "---|" * len(names)
    return "\n".join(
        [head, *("| " + " | ".join(str(row.get(name, "")) for name in names) + " |" for row in rows)]
    )


def as_csv(rows: list[Row]) -> str:
    """Return rows as a CSV table, with a column for every key; those of the run come last."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in LAST))
    names += [name for name in LAST if any(name in row for row in rows)]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
