"""Tables of the method: quality, risk, subspace, detection, details, energies, probes."""

from __future__ import annotations

from functools import partial

from _show import whole_chain

from result_tables.cells import (
    Column,
    Row,
    Table,
    by_sigma,
    columns,
    content,
    grouped,
    percent,
    rows_of,
    span,
    way,
)

METHODS = ("noisy", "3-D median", "SVD")  # first in this order, then the others as they are saved

PHANTOMS = ("particle", "catalyst", "round", "electrode", "wedge", "brine", "particle, full size")


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


TABLES = {
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
    "probes": Table(probes, ("probes",)),
    "probes square": Table(probes_square, ("probes",)),
}
