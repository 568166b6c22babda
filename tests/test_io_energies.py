"""Lists of photon energies as they lie beside real stacks, and lists that cannot be photon energies."""

import numpy as np
import pytest

from xanesum.errors import EnergyError, ReadError, XanesumWarning
from xanesum.io.energies import energies_from, read_energies

EV = np.array([8300.0, 8303.0, 8330.75, 8331.5, 8420.0])
INDEX = np.arange(1, 6)


def lines(form, start=1, end="\n"):
    return end.join(form.format(i=i + start, e=e) for i, e in enumerate(EV))


@pytest.mark.parametrize(
    "text",
    [
        lines("{i} {e:.2f}"),
        lines("{i}\t{e:.2f}\t100", start=0),
        "index,energy (eV)\n" + lines("{i},{e:.2f}"),
        "I0 energy\n" + lines("{i}3.5 {e}"),
        "time;energy [eV];I0\n" + lines("{i}0.1;{e};7"),
        "* comment of another program\n" + lines("{e:.3f}"),
        "% header\n! more\n" + lines("{e:.3f};1"),
        lines("{e:.2f} eV"),
        lines("{e:.2f}eV"),
        lines("{e:.2f} [eV]"),
        lines("{e:.2f}", end=" "),
        lines("{e:.2f}", end=", "),
        lines("{e:.2f}", end=";"),
        "[" + lines("{e:.2f}", end=", ") + "]",
        "[" + lines("{e:.2f}", end="\n ") + "]\n",
        "energies = \n" + lines("{e:.2f}", end=" "),
        lines("{e:.2f}").replace(".", ","),
        "\n".join(f"{e:,.2f}" for e in EV),
        lines("{e:.2f}", end="\r"),
        "5\n" + lines("{e:.2f}"),
        lines("cell_{i}.tif\t{e:.2f}"),
        "8300 8303 8330.75\n8331.5 8420\n",
        lines("{e:.2f}", end=";").replace(".", ","),
        "# number energy\n" + lines("{i} {e}", start=51234),
        lines("Energy: {e} eV"),
    ],
)
def test_lists_are_read_in_the_forms_in_which_they_are_written(tmp_path, text):
    (tmp_path / "list.txt").write_text(text, newline="")
    np.testing.assert_array_equal(read_energies(tmp_path / "list.txt", 5), EV)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "utf-32"])
def test_lists_are_read_in_the_encodings_of_windows(tmp_path, encoding):
    (tmp_path / "list.txt").write_bytes(lines("{e:.2f}", end="\r\n").encode(encoding))
    np.testing.assert_array_equal(read_energies(tmp_path / "list.txt"), EV)


def test_energies_in_kev_with_a_unit(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"{e / 1e3:.5f} keV" for e in EV))
    np.testing.assert_allclose(read_energies(tmp_path / "list.txt"), EV / 1e3)


def test_energies_of_numpy(tmp_path):
    np.save(tmp_path / "e.npy", EV[:, None])
    np.testing.assert_array_equal(energies_from(tmp_path / "e.npy"), EV)


def test_energies_relative_to_an_edge_that_the_list_names(tmp_path):
    (tmp_path / "list.txt").write_text(
        "# E - E0, E0 = 8340.0 eV\n" + "\n".join(f"{e - 8340:.2f}" for e in EV)
    )
    with pytest.warns(XanesumWarning, match=r"energies relative to E0 = 8340\.0 were added"):
        np.testing.assert_allclose(read_energies(tmp_path / "list.txt"), EV)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (EV - 8340, r"runs from -40 to 80, so it is relative to an edge"),
        (INDEX, r"1, 2 \.\.\. 5 are the numbers of images"),
        (INDEX - 1, r"0, 1 \.\.\. 4 are the numbers of images"),
        (np.arange(1, 151), r"1, 2 \.\.\. 150 are the numbers of images"),
        ([8.0, 8.3, 8340, 8420], r"holds 8 and 8420, so keV and eV are mixed"),
        ([8.3, 8330.75], r"keV and eV are mixed"),
        ([8370, 8371, 83700, 8372], r"8370 to 83700 eV cannot be the photon energies of one scan"),
        (EV * 10, r"83000 to 84200 eV cannot be"),
        (EV / 100, r"83000 to 84200 eV cannot be"),
    ],
)
@pytest.mark.parametrize("form", ["array", "text", "npy"])
def test_numbers_that_cannot_be_the_energies_of_one_scan_are_refused(tmp_path, values, message, form):
    given = np.asarray(values, float)
    if form == "text":
        given = tmp_path / "list.txt"
        given.write_text("\n".join(f"{value:.10g}" for value in values))
    elif form == "npy":
        given = tmp_path / "list.npy"
        np.save(given, np.asarray(values, float))
    with pytest.raises(EnergyError, match=message):
        energies_from(given)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (80, 90)( }".ljust(127) + b"\n",
            "header .* is damaged",
        ),
        (
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000,), }".ljust(118),
            "cannot be read",
        ),
        (b"8300\n8301\n", "does not begin as an array of NumPy"),
    ],
)
def test_a_damaged_array_is_one_line(tmp_path, content, message):
    (tmp_path / "e.npy").write_bytes(content)
    with pytest.raises(ReadError, match=message) as caught:
        read_energies(tmp_path / "e.npy")
    assert "\n" not in str(caught.value)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    np.save(tmp_path / "e.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError):
        read_energies(tmp_path / "e.npy")


def test_two_energies_in_one_line_are_two_where_there_are_two_images(tmp_path):
    (tmp_path / "list.txt").write_text("8320.5, 8350.5\n")
    np.testing.assert_array_equal(read_energies(tmp_path / "list.txt", 2), [8320.5, 8350.5])
    np.testing.assert_array_equal(read_energies(tmp_path / "list.txt", 1), [8320.5])


def test_a_first_column_that_may_be_numbers_of_scans_is_asked_about(tmp_path):
    (tmp_path / "list.txt").write_text(lines("{i} {e}", start=51234))
    with pytest.raises(EnergyError, match=r"51234 \.\.\. and 8300 \.\.\. may both be energies"):
        read_energies(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("700 2040\n701 1998\n702 2011\n")  # energies and I0
    np.testing.assert_array_equal(read_energies(tmp_path / "list.txt"), [700, 701, 702])
