"""What the tables show, in sentences made from the rows: where ours is best, by how much, where not."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from paper.methods import OURS
from paper.published import COLUMNS, PHANTOMS, SIGMAS, TABLE_1, table_1_cell
from paper.scans import KINDS
from paper.store import Row
from paper.tables import PAPER_COLUMN, Cells, gain_pair

__all__ = [
    "CLOSE_CORRELATION",
    "CLOSE_DB",
    "Comparison",
    "best_rows",
    "between_seeds",
    "compared",
    "goals",
    "random_losses",
    "sentences",
]

CLOSE_DB, CLOSE_CORRELATION = 0.1, 0.003  # so close to the best counts as best
LEAD_DB, STRONG = 3.0, (60.0, 150.0)  # over SUM of the paper, at these sigmas
LEAST_CORRELATION = 0.95  # at sigma 150
RANDOM_BEHIND, UNSEEN = 0.02, 0.2  # in the correlation of a map


@dataclass(frozen=True)
class Comparison:
    """`sum+` against the best of the rivals in one cell."""

    kind: str
    sigma: float
    where: str  # "whole scan" or "middle"
    psnr: tuple[float, float, str]  # ours, that of the best rival, its name
    correlation: tuple[float, float, str]
    rivals: int  # with which it was compared, the noisy stack among them

    @property
    def lead_db(self) -> float:
        """By how much the frames of ours are better."""
        return self.psnr[0] - self.psnr[1]

    @property
    def lead(self) -> float:
        """By how much the correlation of ours is larger."""
        return self.correlation[0] - self.correlation[1]

    @property
    def best(self) -> bool:
        """Whether ours is best in both, or next to it."""
        return self.lead_db >= -CLOSE_DB and self.lead >= -CLOSE_CORRELATION


def compared(cells: Cells, prefix: str = "") -> list[Comparison]:
    """Compare `sum+` with all rivals in every cell; with prefix "middle: ", in the middle of each scan.

    Two methods are compared on the seeds that both were run on.  The best rival is that to which the lead of
    `sum+` is smallest.
    """
    found = []
    for kind in cells.kinds():
        for sigma in SIGMAS:
            best = []
            for quantity in ("PSNR (dB)", "correlation"):
                pairs = [
                    (*both, name)
                    for name in cells.methods(prefix + quantity)
                    if name not in OURS
                    and (both := cells.pair(kind, sigma, ("sum+", name), prefix + quantity))
                ]
                if pairs:
                    best.append(min(pairs, key=lambda pair: pair[0] - pair[1]))
            if len(best) == 2:
                where = "middle" if prefix else "whole scan"
                found.append(Comparison(kind, sigma, where, best[0], best[1], len(pairs)))
    return found


def best_rows(comparisons: list[Comparison]) -> list[Row]:
    """Return a table of the comparisons."""
    return [
        {
            "phantom": each.kind,
            "sigma": f"{each.sigma:g}",
            "pixels": each.where,
            "compared with": f"{each.rivals} methods",
            "frames of sum+ (dB)": f"{each.psnr[0]:.2f}",
            "best rival (dB)": f"{each.psnr[1]:.2f}, {each.psnr[2]}",
            "ahead (dB)": f"{each.lead_db:+.2f}",
            "map of sum+": f"{each.correlation[0]:.4f}",
            "best rival": f"{each.correlation[1]:.4f}, {each.correlation[2]}",
            "ahead": f"{each.lead:+.4f}",
        }
        for each in comparisons
    ]


def between_seeds(cells: Cells) -> list[str]:
    """Say by how much the results of `sum+` differ between seeds, where there are several."""
    spreads: dict[str, list[float]] = {"PSNR (dB)": [], "correlation": []}
    for kind in cells.kinds():
        for sigma in SIGMAS:
            for quantity, found in spreads.items():
                values = cells.by_seed(kind, sigma, "sum+", quantity).values()
                found += [max(values) - min(values)] if len(values) > 1 else []
    of_frames, of_maps = spreads.values()
    if not of_frames or not of_maps:
        return []
    return [
        f"Between seeds, the frames of `sum+` differ by up to {max(of_frames):.2f} dB (median of the cells: "
        f"{median(of_frames):.2f}), its maps by up to {max(of_maps):.3f} ({median(of_maps):.3f})."
    ]


def sentences(comparisons: list[Comparison]) -> list[str]:
    """Say where `sum+` wins, by how much, and where not."""
    if not comparisons:
        return []
    lost = [each for each in comparisons if not each.best]
    leads_db, leads = [c.lead_db for c in comparisons], [c.lead for c in comparisons]
    won, close = len(comparisons) - len(lost), f"{CLOSE_DB:g} dB and {CLOSE_CORRELATION:g}"
    said = [
        f"`sum+` is best, or within {close}, in {won} of {len(comparisons)} cells. Its frames are "
        f"{_span(leads_db, '.2f')} dB ahead of the best rival of the cell, the correlation of its map "
        f"{_span(leads, '.4f')}."
    ]
    most = max(each.rivals for each in comparisons)
    if (widest := sum(each.rivals == most for each in comparisons)) < len(comparisons):
        fewest = min(each.rivals for each in comparisons)
        said.append(
            f"In {widest} of these cells it was compared with {most} methods, in the others with at least "
            f"{fewest}. The noisy scan counts as one."
        )
    for each in lost:
        parts = []
        if each.lead_db < -CLOSE_DB:
            parts.append(f"{-each.lead_db:.2f} dB behind {each.psnr[2]}")
        if each.lead < -CLOSE_CORRELATION:
            name = each.correlation[2]
            parts.append(f"{-each.lead:.4f} behind {name} in the correlation ({each.correlation[0]:.3f})")
        said.append(f"Not so for *{each.kind}*, sigma {each.sigma:g}, {each.where}: {' and '.join(parts)}.")
    return said


def random_losses(rows: list[Row]) -> str:
    """Say in how many scans drawn at random a rival's map is better than that of `sum+`."""
    scans: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["correlation"] is not None:
            scans.setdefault(row["index"], {})[row["method"]] = row["correlation"]
    pairs = []
    for by_method in scans.values():
        others = [(value, name) for name, value in by_method.items() if name not in OURS]
        if "sum+" in by_method and others:
            pairs.append((by_method["sum+"], *max(others)))
    lost = [pair for pair in pairs if pair[1] - pair[0] > RANDOM_BEHIND]
    if not lost:
        return f"In none of {len(pairs)} scans, a rival's map is more than {RANDOM_BEHIND:g} better."
    unseen = [pair for pair in lost if pair[0] < UNSEEN]
    most = max(lost, key=lambda pair: pair[1] - pair[0])
    return (
        f"In {len(lost)} of {len(pairs)} scans, the correlation of a rival's map is more than "
        f"{RANDOM_BEHIND:g} above that of `sum+`. In {len(unseen)} of these, `sum+` has less than "
        f"{UNSEEN:g}: it does not see the chemistry. The largest loss is {most[0]:.3f} against {most[1]:.3f} "
        f"({most[2]})."
    )


def _span(values: list[float], form: str) -> str:
    """Return the least and the greatest, or one number where both are the same."""
    return " to ".join(dict.fromkeys(f"{each:+{form}}" for each in (min(values), max(values))))


def goals(cells: Cells) -> list[Row]:
    """Return the goals that were set before, what was measured, and whether it is enough."""
    rows = [_goal_best(compared(cells))]
    for kind, theirs in PHANTOMS.items():
        for sigma in STRONG:
            ours, paper = cells.value(kind, sigma, "sum+", "PSNR (dB)"), table_1_cell(kind, sigma, "SUM")
            if ours is not None and paper:
                what = f"*{kind}*, sigma {sigma:g}: {LEAD_DB:g} dB over SUM of the paper ({theirs})"
                measured = f"{ours:.2f} against {paper[0]:.2f} dB ({ours - paper[0]:+.2f})"
                rows.append(_goal(what, measured, ours - paper[0] >= LEAD_DB))
    for kind in cells.kinds():
        value = cells.value(kind, SIGMAS[-1], "sum+", "correlation")
        if value is not None:
            paper = table_1_cell(kind, SIGMAS[-1], "SUM")
            told = f" (paper: {paper[1]:.2f})" if paper else ""
            what = f"*{kind}*, sigma {SIGMAS[-1]:g}: correlation of at least {LEAST_CORRELATION:g}"
            rows.append(_goal(what, f"{value:.4f}{told}", value >= LEAST_CORRELATION))
    rows.append(_goal_rivals(cells))
    return [row for row in rows if row]


def _goal(what: str, measured: str, met: bool, *, complete: bool = True) -> Row:
    """Return a row; what is good so far is open as long as cells are missing."""
    so_far = "yes" if complete else "open"
    return {"goal": what, "measured": measured, "reached": so_far if met else "no"}


def _goal_best(comparisons: list[Comparison]) -> Row:
    best, planned = sum(each.best for each in comparisons), len(KINDS) * len(SIGMAS)
    what = f"`sum+` best, or within {CLOSE_DB:g} dB and {CLOSE_CORRELATION:g}, in every cell"
    measured = f"{best} of {len(comparisons)} cells that were run, of {planned}"
    alike = len({each.rivals for each in comparisons}) == 1  # no cell has fewer rivals than another
    return _goal(what, measured, best == len(comparisons), complete=alike and len(comparisons) == planned)


def _goal_rivals(cells: Cells) -> Row:
    """Say which rival gains less over its noisy row than the paper reports of it."""
    pairs = {
        (kind, sigma, name): gain_pair(cells, kind, sigma, name)
        for kind in PHANTOMS
        for sigma in SIGMAS
        for name in cells.methods("middle: PSNR (dB)")
        if name not in OURS and PAPER_COLUMN[name] in COLUMNS[1:]
    }
    known = {key: pair for key, pair in pairs.items() if pair}
    if not known:
        return {}
    weak = [
        f"{name} on *{kind}*, sigma {sigma:g} ({pair[0] - pair[1]:+.2f} dB)"
        for (kind, sigma, name), pair in known.items()
        if pair[0] < pair[1]
    ]
    measured = f"{len(known) - len(weak)} of {len(known)} gains" + (
        f"; less: {', '.join(weak)}" if weak else ""
    )
    what, planned = "each rival gains at least what the paper reports of it", 6 * len(TABLE_1)
    return _goal(what, measured, not weak, complete=len(known) == planned)
