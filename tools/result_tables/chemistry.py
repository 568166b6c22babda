"""Tables of references, fractions, maps, clusters and particles."""

from __future__ import annotations

from functools import partial

from _chemistry_tables import coverage_table, missing_table, plain_table
from chemistry_maps import summary as maps_summary
from chemistry_particles import tables as particle_tables
from chemistry_profiles import table as profile_table

from result_tables.cells import (
    Row,
    Table,
    columns,
    content,
    of_rows,
    rows_of,
)

FRACTIONS = ("exact", "speed", "dose", "usual", "subsets")  # parts whose rows are shown as they are


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


def maps() -> list[Row]:
    """Return how true the stated errors of every kind of map are."""
    return maps_summary(rows_of("chemistry-maps-report"))


def particles(file: str) -> list[Row]:
    """Return how many mean states of particles lie within their stated errors."""
    return next(iter(particle_tables(rows_of(file)).values()))


TABLES = {
    **{f"fractions {name}": of_rows(plain_table, f"chemistry-fractions-{name}") for name in FRACTIONS},
    "fractions coverage": of_rows(coverage_table, "chemistry-fractions-coverage"),
    "fractions missing": of_rows(missing_table, "chemistry-fractions-missing"),
    "fractions real": of_rows(plain_table, "chemistry-real"),
    "clusters": of_rows(plain_table, "chemistry-clusters"),
    **{
        name: Table(partial(particles, f"chemistry-particles-{file}"), (f"chemistry-particles-{file}",))
        for name, file in {"particles": "report", "particles before": "before"}.items()
    },
    "particle profiles": of_rows(profile_table, "chemistry-profiles-report"),
    "particle profiles before": of_rows(profile_table, "chemistry-profiles-before"),
    "maps soft": of_rows(plain_table, "chemistry-soft"),
    "references larch": Table(references_larch, ("chemistry-larch",)),
    "references half step": Table(references_half_step, ("chemistry-larch",)),
    "references shift": Table(references_shift, ("chemistry-shift",)),
    "maps": Table(maps, ("chemistry-maps-report",)),
}
