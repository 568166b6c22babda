"""aXis2000 stacks: header grammar, I0, missing and damaged images; the real Fe L edge scan."""

import re

import numpy as np
import pytest
from io_files import real_data, write_axis2000

from xanesum.errors import ReadError, XanesumWarning
from xanesum.io import describe, read_stack, registry
from xanesum.io.axis2000 import open_part

COUNTS = np.random.default_rng(5).integers(100, 900, (4, 5, 7)).astype(np.float32)
ENERGY = 700 + 0.5 * np.arange(4)
EVERYTHING = (slice(None),) * 3


def test_images_energies_and_pixel_size_are_read(tmp_path, monkeypatch):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_array_equal(stack.energy, ENERGY)
    assert stack.attrs["quantity"] == "counts"
    assert stack.attrs["pixel_size_nm"] == 50.0
    assert "i0" not in stack.coords

    monkeypatch.setattr(registry, "LAZY_BYTES", 0)
    np.testing.assert_array_equal(read_stack(path)[::-2, 1].values, COUNTS[::-2, 1])


def test_the_label_in_the_header_is_never_used_as_a_path(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_axis2000(tmp_path, 0 * COUNTS, ENERGY, name="secret")
    path = write_axis2000(folder, COUNTS, ENERGY, label="../secret.hdr")
    np.testing.assert_array_equal(read_stack(path).values, COUNTS)


def test_another_scan_in_the_same_folder_is_left_alone(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    write_axis2000(tmp_path, 0 * COUNTS, ENERGY, name="second_scan")
    write_axis2000(tmp_path, 0 * COUNTS, ENERGY, name="another")
    np.testing.assert_array_equal(read_stack(path).values, COUNTS)


@pytest.mark.parametrize("name", ["i0.xsp", "scan.xsp"])
def test_i0_beside_the_scan_is_interpolated(tmp_path, name):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    (tmp_path / name).write_text("699 1000\n701 3000\n702 3000\n")
    np.testing.assert_allclose(read_stack(path)["i0"], [2000, 2500, 3000, 3000])
    assert "i0" in describe(path)["coordinates"]


def test_a_given_i0_wins_and_may_be_in_kev(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    (tmp_path / "i0.xsp").write_text("699 1\n702 1\n")
    (tmp_path / "other.txt").write_text("energy, I0\n0.702, 7\n0.699, 7\n")
    np.testing.assert_allclose(read_stack(path, i0=tmp_path / "other.txt")["i0"], 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("700 5\n701 5\n", r"I0 covers 700\.00 to 701\.00 eV, but the scan needs 700\.00 to 701\.50 eV"),
        ("700 5\n701 nan\n702 5\n", "holds values that are not finite"),
        ("700\n701\n702\n", r"no rows with 2 number\(s\)"),
    ],
)
def test_a_bad_i0_is_refused(tmp_path, text, message):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    (tmp_path / "i0.xsp").write_text(text)
    with pytest.raises(ReadError, match=rf"i0\.xsp: .*{message}"):
        read_stack(path)


def test_missing_images_are_left_out_and_named(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY, skip=[2])
    with pytest.warns(
        XanesumWarning, match=r"1 of 4 images are missing or unfinished.*first: scan_a002\.xim"
    ):
        stack = read_stack(path)
    np.testing.assert_array_equal(stack.values, COUNTS[[0, 1, 3]])
    np.testing.assert_array_equal(stack.energy, ENERGY[[0, 1, 3]])


def test_the_image_in_which_a_scan_was_stopped_is_left_out(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    last = tmp_path / "scan_a003.xim"
    last.write_text("\n".join(last.read_text().splitlines()[:2]) + "\n")
    with pytest.warns(XanesumWarning, match=r"1 of 4 .*first: scan_a003\.xim"):
        assert read_stack(path).shape == (3, 5, 7)


def test_a_scan_without_any_image_is_refused(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY, skip=range(4))
    with pytest.raises(ReadError, match=r"none of its images is whole .*scan_a000\.xim"):
        read_stack(path)


def with_regions(folder, n_regions):
    """Write a scan of some regions, each as COUNTS with its number added; return its header."""
    path = write_axis2000(folder, COUNTS, ENERGY, skip=range(4))
    text = path.read_text()
    region = text[text.index("PAxis") : text.index("StackAxis")]
    path.write_text(
        text.replace(region, f"Regions = ({n_regions},\n{{{region}}}" + f",\n{{{region}}}" * (n_regions - 1))
    )
    for e in range(4):
        for r in range(n_regions):
            np.savetxt(folder / f"scan_a{e:03d}{r}.xim", COUNTS[e] + r)
    return path


@pytest.mark.parametrize("n_energies", [2, 4])
def test_the_first_of_several_regions_is_read_and_said(tmp_path, n_energies):
    path = with_regions(tmp_path, 2)
    if n_energies == 2:
        path.write_text(re.sub(r"\(4, (700\S+) (700\S+),[^)]*\)", r"(2, \1 \2)", path.read_text()))

    with pytest.warns(XanesumWarning, match="also there, and not read: 2") as notes:
        stack = read_stack(path)
    assert [note.message.parameter for note in notes] == ["region"]
    assert "region 1" in stack.attrs["history"][0]

    np.testing.assert_array_equal(stack.values, COUNTS[:n_energies])
    np.testing.assert_array_equal(open_part(path, region="2").read(EVERYTHING), COUNTS[:n_energies] + 1)
    with pytest.raises(ReadError, match="has no region '3'; there are 1, 2"):
        open_part(path, region="3")


def test_the_first_of_several_channels_is_read_and_the_others_are_named(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    path.write_text(
        path.read_text()
        + 'Channels = (2,\n{ Name = "PMT"; Unit = "counts";},\n{ Name = "TEY"; Unit = "V";});\n'
    )
    for e in range(4):
        np.savetxt(tmp_path / f"scan_b{e:03d}.xim", COUNTS[e] // 7)

    with pytest.warns(XanesumWarning, match="also there, and not read: 'TEY'"):
        np.testing.assert_array_equal(read_stack(path).values, COUNTS)

    for name in ("TEY", "b"):
        np.testing.assert_array_equal(open_part(path, channel=name).read(EVERYTHING), COUNTS // 7)
    with pytest.raises(ReadError, match="has no channel 'c'; there are 'PMT', 'TEY'"):
        open_part(path, channel="c")


def test_names_in_capitals_are_found(tmp_path):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    (tmp_path / "scan.xsp").write_text("699 1000\n702 1000\n")
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.upper())
    stack = read_stack(tmp_path / path.name.upper())
    np.testing.assert_array_equal(stack.values, COUNTS)
    np.testing.assert_allclose(stack["i0"], 1000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: (
                text.replace("Image Scan", "Line Scan")
                .replace("Image Stack", "Image")
                .replace("StackAxis", "X")
            ),
            r"is a line scan \('NEXAFS Line Scan'\)",
        ),
        (lambda text: text.replace('Name = "StackAxis"', 'Name = "Sample Z"'), "is a stack over 'Sample Z'"),
    ],
)
def test_scans_over_something_else_are_refused_by_name(tmp_path, change, message):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    path.write_text(change(path.read_text()))
    with pytest.raises(ReadError, match=message):
        read_stack(path)


@pytest.mark.parametrize(("scale", "quantity"), [(1e-3, "optical_density"), (0.3, "counts")])
def test_i0_is_not_applied_to_optical_density(tmp_path, scale, quantity):
    path = write_axis2000(tmp_path, scale * COUNTS + 0.001, ENERGY)
    (tmp_path / "i0.xsp").write_text("699 700\n702 700\n")
    described = describe(path)
    assert described["quantity"] == quantity
    assert ("i0" in described["coordinates"]) == (quantity == "counts")
    assert any("taken for optical density" in note for note in described["notes"]) == (quantity != "counts")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("StackAxis", "OtherAxis"), "no StackAxis with Points"),
        (lambda text: text.replace("(4, 700", "(9, 700"), "StackAxis declares 9 points but lists 4"),
        (lambda text: text.replace("701.5", "oops"), "StackAxis holds something other than numbers"),
        (lambda text: text[: text.index("QAxis") + 60], "no StackAxis with Points"),
    ],
)
def test_a_bad_header_is_refused(tmp_path, change, message):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    path.write_text(change(path.read_text()))
    with pytest.raises(ReadError, match=rf"scan\.hdr: {message}"):
        read_stack(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n4 5 6\n", r"holds 2 x 3 numbers, the header says \(5, 7\)"),
        ("", "holds 0 x 0 numbers"),
        ("1 2 3\n4 five 6\n", "cannot be read .*five"),
        ("1 2 3\n4 5\n", "cannot be read .*columns"),
    ],
)
def test_a_bad_image_is_refused(tmp_path, text, message):
    path = write_axis2000(tmp_path, COUNTS, ENERGY)
    (tmp_path / "scan_a001.xim").write_text(text)
    with pytest.raises(ReadError, match=rf"scan_a001\.xim: {message}"):
        read_stack(path)


def test_real_iron_l_edge_scan():
    stack = read_stack(real_data("als_fe_l_edge/71214098.hdr"))

    assert stack.shape == (123, 150, 150)
    assert (stack.energy[0], stack.energy[-1]) == pytest.approx((700.0, 730.353))
    assert stack.attrs["pixel_size_nm"] == pytest.approx(80)
    assert stack["i0"].values[0] == pytest.approx(691.58118)  # first row of i0.xsp, at 700 eV
    assert stack.values[0, 0, :3] == pytest.approx([307, 319, 322])
