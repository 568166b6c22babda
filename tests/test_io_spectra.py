"""Spectra of references are read from XDI, Athena projects and columns; what is guessed is said."""

import gzip
import json

import numpy as np
import pytest
from io_files import real_data

from xanesum.errors import EnergyError, ReadError
from xanesum.io.spectra import read_spectra

ENERGY = np.array([8300.0, 8320.0, 8330.0, 8335.0, 8340.0, 8345.0, 8350.0, 8370.0, 8400.0])
MU = np.array([0.1, 0.1, 0.11, 0.2, 0.6, 1.3, 1.1, 1.0, 0.98])
I0 = np.full(9, 1e5)
TRANSMITTED = I0 * np.exp(-MU)


def text(*columns, header=""):
    return (
        header
        + "\n".join(" ".join(f"{value:.8g}" for value in row) for row in zip(*columns, strict=True))
        + "\n"
    )


def xdi(*columns, names="energy eV,i0,itrans", fields=""):
    named = "".join(f"# Column.{i}: {name}\n" for i, name in enumerate(names.split(","), start=1))
    return text(*columns, header=f"# XDI/1.0 test\n{named}{fields}# ///\n# a comment: with a colon\n#-----\n")


def perl(values):
    return "(" + ",".join(f"'{value:.10g}'" for value in values) + ")"


def project(*groups, energy=ENERGY):
    lines = ["# Athena project file -- Demeter version 0.9.21", ""]
    for name, args in enumerate(groups):
        lines += [
            f"$old_group = 'g{name}';",
            f"@args = ({args});",
            f"@x = {perl(energy)};",
            f"@y = {perl(MU)};",
        ]
        lines += ["[record]   # create object", ""]
    return "\n".join([*lines, "1;", ""])


def only(path, **options):
    (found,) = read_spectra(path, **options)
    return found


def test_xdi_of_transmission(tmp_path):
    (tmp_path / "a.xdi").write_text(
        xdi(
            ENERGY,
            I0,
            TRANSMITTED,
            fields="# Element.symbol: Ni\n# Element.edge: k\n# Sample.name: NiO powder\n",
        )
    )

    found = only(tmp_path / "a.xdi")

    np.testing.assert_array_equal(found.energy_ev, ENERGY)
    np.testing.assert_allclose(found.mu, MU, atol=1e-7)  # eight digits in the file
    assert (found.name, found.element, found.edge, found.kind) == ("a", "Ni", "K", "transmission")
    assert (found.sample, found.source, found.notes) == ("NiO powder", "a.xdi: ln(i0/itrans)", ())


def test_xdi_prefers_the_sample_and_names_the_other_channels(tmp_path):
    behind = TRANSMITTED * np.exp(-2 * MU)
    fluorescence = I0 * MU
    columns = "energy eV,i0,itrans,irefer,ifluor"
    (tmp_path / "a.xdi").write_text(
        xdi(ENERGY, I0, TRANSMITTED, behind, fluorescence, names=columns, fields="# Element.symbol: Ni\n")
    )

    sample, reference, yields = (
        only(tmp_path / "a.xdi", channel=name) for name in (None, "reference", "fluorescence")
    )

    assert sample.kind == "transmission"
    assert sample.notes == (
        "also there: ifluor/i0 (fluorescence)",
        "also there: ln(itrans/irefer) (reference)",
    )
    np.testing.assert_allclose(reference.mu, 2 * MU, atol=1e-6)
    assert reference.element is None  # the header tells of the sample
    np.testing.assert_allclose(yields.mu, MU, atol=1e-6)
    with pytest.raises(ReadError, match=r"give no spectrum of absorption; spectra there: ln\(i0/itrans\)"):
        read_spectra(tmp_path / "a.xdi", channel="absorption")


def test_xdi_with_angles_in_place_of_energies(tmp_path):
    spacing = 3.1356
    angle = np.rad2deg(np.arcsin(12398.4198 / (2 * spacing * ENERGY)))
    (tmp_path / "a.xdi").write_text(
        text(
            angle,
            MU,
            header="# XDI/1.0\n# Column.1: angle degrees\n# Column.2: mutrans\n"
            f"# Mono.d_spacing: {spacing}\n#---\n",
        )
    )

    found = only(tmp_path / "a.xdi")

    np.testing.assert_allclose(found.energy_ev, ENERGY, atol=1e-3)
    assert "computed from angles" in found.notes[0]


def test_a_perl_project_of_athena(tmp_path):
    good = (
        "'label','Ni \\'oxide\\'','titles',[],'bkg_eshift','1.25','bkg_z','Ni','fft_edge','k',"
        "'bkg_e0','8340',"
        "'xmu_string','ln(abs(  (a.i0) / (a.it) ))','is_nor',0,'empty','','odd',undef"
    )
    (tmp_path / "a.prj").write_bytes(
        gzip.compress(project(good, "'label','chi','is_chi',1", "'label','Ref foil','is_nor','1'").encode())
    )

    sample, foil = read_spectra(tmp_path / "a.prj")

    np.testing.assert_allclose(sample.energy_ev, ENERGY + 1.25)
    np.testing.assert_allclose(sample.mu, MU)
    assert (sample.name, sample.element, sample.edge, sample.e0_ev) == ("Ni 'oxide'", "Ni", "K", 8340.0)
    assert (sample.kind, sample.normalized) == ("transmission", False)
    assert sample.notes == ("shifted by +1.250 eV, as the project says",)
    assert (foil.name, foil.kind, foil.normalized) == ("Ref foil", "reference", True)


def test_a_json_project_of_athena(tmp_path):
    group = {
        "args": {"label": "NiO", "bkg_z": "Ni"},
        "x": [str(e) for e in ENERGY],
        "y": [str(m) for m in MU],
    }
    content = {"_____header1": "# Athena project file -- Demeter version 0.9.26", "abcde": group}
    (tmp_path / "a.prj").write_bytes(gzip.compress(json.dumps(content).encode()))

    found = only(tmp_path / "a.prj")

    np.testing.assert_allclose(found.mu, MU)
    assert (found.name, found.element, found.kind) == ("NiO", "Ni", "absorption")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(project("'label','a'").encode())[:-30], "cut short"),
        (gzip.compress(project("'label','a','is_chi',1").encode()), r"left out: a \(chi\(k\)\)"),
        (b"# Athena project file -- nothing\n1;\n", "holds no absorption spectrum"),
        (gzip.compress(project("'label','a'").replace("8300", "83o0").encode()), "cannot be read"),
    ],
    ids=["cut", "chi", "empty", "no number"],
)
def test_a_project_that_holds_nothing(content, message, tmp_path):
    (tmp_path / "a.prj").write_bytes(content)

    with pytest.raises(ReadError, match=message):
        read_spectra(tmp_path / "a.prj")


def test_a_project_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("xanesum.io.athena.MAX_BYTES", 2**20)
    (tmp_path / "a.prj").write_bytes(gzip.compress(b"# Athena project file\n" + b" " * 2**21))

    with pytest.raises(ReadError, match="too large for a project"):
        read_spectra(tmp_path / "a.prj")


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (text(ENERGY, MU), None),
        (text(ENERGY / 1e3, MU), "taken as keV"),
        (text(ENERGY[::-1], MU[::-1]), "were sorted"),
        (text(ENERGY, MU, header="# energy mu\n"), None),
        (text(ENERGY, I0, TRANSMITTED, header="# energy(eV) i0 it\n"), None),
        (text(MU, ENERGY, header="mu,energy\n").replace(" ", ","), None),
        (text(np.arange(9), ENERGY, MU), "columns 2 and 3 of 3 were taken"),
        (text(ENERGY, MU, MU), "columns 1 and 2 of 3 were taken"),
        (text(np.r_[ENERGY, ENERGY[-1]], np.r_[MU, MU[-1]]), "that is there twice"),
        (text(np.r_[ENERGY, 8410], np.r_[MU, np.nan]), "1 of 10 values are not finite"),
    ],
    ids=["eV", "keV", "falling", "named", "counts", "other order", "numbered", "three", "twice", "nan"],
)
def test_columns_of_text(content, note, tmp_path):
    (tmp_path / "NiO.txt").write_text(content)

    found = only(tmp_path / "NiO.txt")

    np.testing.assert_allclose(found.energy_ev, ENERGY, atol=1e-4)
    np.testing.assert_allclose(found.mu, MU, atol=1e-7)
    assert found.name == "NiO"
    assert (note is None) == (found.notes == ())
    assert note is None or note in " ".join(found.notes)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", ReadError, "no rows of energy and absorption"),
        ("8340\n8341\n", ReadError, "no rows of energy and absorption"),
        ("8340 1\n8341 1\n", ReadError, "2 energies with a value are no spectrum"),
        ("8340 1\n8341 1 2\n", ReadError, "line 2 is not a row of 2 numbers"),
        (text(ENERGY - 8340, MU), ReadError, "relative to an edge"),
        (text(MU, MU), ReadError, "cannot be the photon energies"),
        (text(MU, ENERGY), ReadError, "cannot be the photon energies|no column"),
        (text(ENERGY, MU, header="# energy chi\n") + "x\n", ReadError, "not a row of 2 numbers: 'x'"),
    ],
    ids=["empty", "one column", "short", "ragged", "relative", "no energies", "last column", "letters"],
)
def test_text_that_is_no_spectrum(content, error, message, tmp_path):
    (tmp_path / "a.txt").write_text(content)

    with pytest.raises(error, match=message):
        read_spectra(tmp_path / "a.txt")


def test_energies_of_two_units_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text(text(np.r_[8.3, ENERGY], np.r_[0.1, MU], header="# energy mu\n"))

    with pytest.raises(EnergyError, match="keV and eV are mixed"):
        read_spectra(tmp_path / "a.txt")


def test_a_missing_file_and_an_unknown_channel(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read_spectra(tmp_path / "none.xdi")
    with pytest.raises(ReadError, match="channel must be one of"):
        read_spectra(tmp_path / "none.xdi", channel="transmision")


def test_all_measured_references_are_read():
    folder = real_data("references")
    paths = sorted(folder.glob("xasdatalibrary/*.xdi"))

    found = [only(path) for path in paths]

    assert len(found) == 46
    assert {(each.element, each.edge, each.kind) for each in found} == {
        (element, "K", "transmission") for element in ("Fe", "Mn", "Ni", "Co")
    }
    assert sum("also there: ln(itrans/irefer) (reference)" in each.notes for each in found) == 21
    assert [each.name for each in read_spectra(folder / "athena/Mn.prj")][:2] == ["Mn foil", "MnO"]
    assert len(read_spectra(folder / "athena/NiO.prj")) == 24
