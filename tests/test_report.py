"""The report: every section, figures that show something, numbers that are those of the result."""

import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from scans import add_noise, edge_stack

from xanesum.diagnostics.residual import examine_residual
from xanesum.errors import WriteError
from xanesum.method.denoising import denoise
from xanesum.report import figures, summary, texts
from xanesum.report import figures as report
from xanesum.report.colours import INK
from xanesum.report.numbers import chance_text, plain
from xanesum.report.page import Sections, write_report
from xanesum.report.particle_figures import write_particle_figures
from xanesum.report.texts import Facts
from xanesum.xanes import half_step_energy, white_line
from xanesum.xanes.particles.labels import check_labels
from xanesum.xanes.particles.regions import region_spectra
from xanesum.xanes.particles.states import measure_particles

EDGE_EV = 8340.0 + np.linspace(0, 3, 30)[:, None] + np.zeros(34)
CLEAN = edge_stack(EDGE_EV, n_energies=60)
NOISY = CLEAN.copy(data=add_noise(CLEAN.values, 0.05))
FACTS = Facts("scan<1>.h5", 1.25, ("3 pixels left out",), "", 'rank = "<automatic>"', ("a note & more",))
SECTIONS = [
    "frames",
    "map",
    "trust",
    "spectra",
    "components",
    "risk",
    "noise",
    "numbers",
    "counted",
    "history",
    "options",
]


def page_of(stack, path, maps=half_step_energy, facts=FACTS):
    result = denoise(stack, rank=2)
    write_report(path, stack, result, maps and maps(result), examine_residual(stack, result), facts=facts)
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def result():
    return denoise(NOISY, rank=2)


@pytest.fixture(scope="module")
def maps(result):
    return half_step_energy(result)


@pytest.fixture(scope="module")
def trust(result):
    return examine_residual(NOISY, result)


@pytest.fixture(scope="module")
def page(result, maps, trust, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, NOISY, result, maps, trust, facts=FACTS)
    return path.read_text("utf-8")


def section(page, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def table(page, name):
    """The cells of the table in a section, row by row, as text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", section(page, name), re.DOTALL)
    return [re.findall(r"<td>(.*?)</td>", row) for row in rows if "<td>" in row]


def answers_of(page):
    """Questions of the first screen, and their answers."""
    cards = re.findall(r'<div class="card"><h3>(.*?)</h3><ul>(.*?)</ul>', page, re.DOTALL)
    return {question: re.sub(r"<[^>]*>|&nbsp;|\u2192", "", text) for question, text in cards}


def headline(page):
    return dict(re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", page))


def pictures(page):
    """Captions and SVGs of the figures that have a caption of their own."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]*)"[^>]*alt="([^"]+)"', page)
    return [(name, base64.b64decode(data).decode()) for data, name in found]


def svg_of(picture):
    return base64.b64decode(picture.source.partition("base64,")[2]).decode()


def ink(svg):
    """How much a figure shows: grey levels of its images, or characters that describe lines and markers."""
    images = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L")) for data in images]
    inside = re.findall(r'<path d="([^"]*)" clip-path', svg)  # axes and their marks are not clipped
    inside += re.findall(r'<g clip-path="[^"]*">(.*?)</g>', svg, re.DOTALL)
    return max([float(each.std()) for each in shown] + [sum(map(len, inside)) / 10], default=0.0)


def differs(text, value, digits):
    """Whether a number in a page is not `value` rounded to so many significant digits; empty is NaN."""
    if not text or not np.isfinite(value):
        return bool(text) or bool(np.isfinite(value))
    return not np.isclose(float(text.split()[0]), value, rtol=0.51 * 10.0 ** (1 - digits), atol=1e-12)


def wrong_components(page, result):
    """(row, column) of every number in the table of components that is not that of the result."""
    found = result.components
    columns = [
        (found["singular_value"].values, 5),
        (100 * found["share"].values.clip(min=0), 3),
        (np.sqrt(found["noisy_risk"].values.clip(min=0)), 4),
        (np.sqrt(found["risk"].values.clip(min=0)), 4),
    ]
    rows = table(page, "components")
    assert [row[0].split()[0] for row in rows] == [str(n) for n in found["tried"].values]
    wrong = [
        (k, column)
        for k, row in enumerate(rows)
        for column, (values, digits) in enumerate(columns, start=1)
        if differs(row[column], values[k], digits)
    ]
    for k, row in enumerate(rows):
        for column, name in ((5, "weight_noisy"), (6, "weight_denoised")):
            value = found[name].values[k]
            if np.isnan(float(row[column] or "nan")) != np.isnan(value) or (
                row[column] and abs(float(row[column]) - value) > 0.00501
            ):
                wrong.append((k, column))
    return wrong


def wrong_risks(page, result):
    """(row, column) of every number in the table of errors that is not that of the result."""
    risk = result.risk["risk"].values
    error = result.risk["difference_error"].values
    unit = result.sigma**2
    columns = [(risk / unit, 5), ((risk - risk.min()) / unit, 3), (error / unit, 2)]
    rows = table(page, "risk")
    assert [row[0].split()[0] for row in rows] == [str(n) for n in result.risk["rank"].values]
    return [
        (k, column)
        for k, row in enumerate(rows)
        for column, (values, digits) in enumerate(columns, start=1)
        if (row[column] == "too small to be measured") != (column == 1 and values[k] <= 0)
        or (row[column] != "too small to be measured" and differs(row[column], values[k], digits))
    ]


def test_it_needs_nothing_from_elsewhere(page):
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "http" not in re.sub(r"data:[^\"]*", "", page).replace("http-equiv", "")


def test_every_section_is_there_in_order(page):
    assert re.findall(r'<section id="(\w+)">', page) == SECTIONS


def test_every_figure_shows_something(page):
    shown = pictures(page)

    assert len(shown) == page.count("<img") - page.count('alt=""')
    for name, svg in shown:
        assert ink(svg) > 5, name


def test_a_blank_figure_would_be_noticed():
    def draw(figure, axes):
        axes.set_axis_off()

    assert ink(svg_of(report.make_picture(draw, "blank"))) == 0


def test_pictures_follow_the_theme_of_the_reader(page):
    for name, svg in pictures(page):
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme:dark" in svg, name
        assert "currentColor" in svg, name
        assert INK not in svg.partition("</style>")[2], name
        assert "<text" in svg, name  # text, no outlines
    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page


def test_figures_of_all_kinds_are_there(page, result, maps):
    captions = [name for name, _ in pictures(page)]
    energy = NOISY.energy.values
    at_edge = energy[np.argmin(np.abs(energy - maps.attrs["e0_ev"]))]

    assert captions[:9:3] == [name for name in captions if name.endswith(": before")]
    assert f"{at_edge:.1f} eV (edge): after" in captions
    assert sum(name.endswith(": residual") for name in captions) == 3
    assert sum(name.startswith("Pixel ") for name in captions) == report.N_PIXELS
    assert sum(name.endswith(": spectrum") for name in captions) == result.rank
    assert {"Map: half-step energy (eV)", "Edge step", "Standard error of the map"} <= set(captions)
    assert "Noise level at each energy" in captions


def test_the_table_of_components_is_that_of_the_result(page, result):
    assert wrong_components(page, result) == []
    assert [row[7] for row in table(page, "components")] == [
        chance_text(p).replace("<", "&lt;") for p in result.components["p_value"].values
    ]


def test_the_table_of_errors_is_that_of_the_result(page, result):
    assert wrong_risks(page, result) == []
    (chosen,) = [row[0] for row in table(page, "risk") if "chosen" in row[0]]
    assert chosen == "2 (chosen)"


@pytest.mark.parametrize(("name", "column"), [("components", 1), ("components", 4), ("risk", 2), ("risk", 3)])
def test_a_planted_wrong_number_is_noticed(name, column, page, result):
    row = table(page, name)[0 if name == "components" else 1]
    number = re.search(r"[1-9]", row[column])
    wrong = row[column][: number.start()] + str(int(number[0]) % 9 + 1) + row[column][number.end() :]
    cells = "".join(f"<td>{cell}</td>" for cell in row)
    planted = "".join(f"<td>{wrong if k == column else cell}</td>" for k, cell in enumerate(row))
    assert page.count(cells) == 1

    find = wrong_components if name == "components" else wrong_risks
    assert len(find(page.replace(cells, planted), result)) == 1


def test_the_headline_is_that_of_the_result(page, result, maps):
    facts = headline(page)
    left = result.components["risk"].values[: result.rank].sum() / result.spectra.sizes["energy"]
    gain = np.nanmedian(maps["exposure_gain"].values[maps["mask"].values])

    assert facts["Image size (y, x)"] == "30 x 34 px"
    assert facts["Energies"] == "60 from 8240.0 to 8500.0 eV"
    assert not differs(facts["Noise level (sigma), estimated"], result.sigma, 4)
    assert facts["Noise level (sigma), estimated"].endswith(" optical density")
    assert facts["Components (K)"] == "2"
    assert not differs(facts["Noise reduction, estimated"], result.sigma / np.sqrt(left), 2)
    assert not differs(facts["Exposure gained, for the map"], gain, 2)
    assert facts["Signal in the residual"] == "none found"
    assert facts["Time"] == "1.2 s"


def test_the_first_screen_answers_six_questions(page, result, maps):
    found = answers_of(page)
    values = maps["half_step_energy_ev"].values[maps["mask"].values]
    sigma = maps["half_step_sigma_ev"].values[maps["mask"].values]
    low, middle, high = np.percentile(values, (5, 50, 95))

    assert list(found) == [
        "What did you give me?",
        "Is it any good?",
        "What did I do?",
        "What did I find?",
        "How sure am I?",
        "What should you look at?",
    ]
    assert "60 images from 8240.0 to 8500.0 eV" in found["What did you give me?"]
    assert "30 x 34 pixels (y, x) whose size is not known" in found["What did you give me?"]
    assert f"The noise of one value (sigma) is {plain(result.sigma)}" in found["Is it any good?"]
    step = np.median(maps["edge_step"].values[maps["mask"].values])
    assert (
        f"{plain(step)} (median), {plain(step / result.sigma, 2)} times the noise" in found["Is it any good?"]
    )
    assert "2 components" in found["What did I do?"]
    assert f"median {middle:.2f} eV; 90\u00a0%" in found["What did I find?"]
    assert f"between {low:.2f} eV and {high:.2f} eV" in found["What did I find?"]
    assert f"standard error of {plain(np.median(sigma[np.isfinite(sigma)]), 2)} eV" in found["How sure am I?"]
    assert "One note about the scan." in found["What should you look at?"]
    assert '<p class="verdict good">No test speaks against this result.</p>' in page


def test_every_link_of_the_first_screen_leads_to_a_part_of_the_page(page):
    targets = re.findall(r'href="#(\w+)"', page)

    assert len(targets) > 8
    assert set(targets) <= set(re.findall(r'id="(\w+)"', page))


def test_no_exposure_is_gained_by_errors_that_may_not_hold(result, maps, trust):
    def sure(trust):
        found = summary.answers(NOISY, result, maps, trust, FACTS)[4]
        return " ".join(text for text, _ in found.sentences)

    assert "the same map needs" in sure(trust)
    assert "the same map needs" not in sure(replace(trust, reasons=("the light changed",)))


def test_the_verdict_says_what_speaks_against_the_result(result, maps, trust):
    lost = replace(trust, lost=replace(trust.lost, p_values={"spot": 1e-9}))
    doubted = replace(trust, reasons=("the light changed",))

    assert lost.lost.found
    assert "Signal of the sample" in summary.verdict(lost, FACTS, maps).text
    assert "may be too small" in summary.verdict(doubted, FACTS, maps).text
    nothing = summary.verdict(trust, replace(FACTS, map_problem="no edge was found"), None)
    assert nothing.text.endswith("there is no map: no edge was found")
    assert (
        {summary.verdict(each, FACTS, maps).kind for each in (lost, doubted)} == {nothing.kind} == {"careful"}
    )


def test_the_tests_of_the_residual_are_those_of_its_report(page, trust):
    values = {name: value for name, value, _ in table(page, "trust")}

    assert float(values["size of the residual over the noise level"]) == pytest.approx(trust.size, abs=6e-5)
    for name, value in trust.whiteness.along.items():
        assert float(values[f"correlation along {name}"]) == pytest.approx(value, abs=6e-5)
    assert values["chance of these correlations"] == chance_text(trust.whiteness.p_value)
    shown = [value for name, value in values.items() if name.startswith("chance that noise alone")]
    assert shown == [chance_text(p).replace("<", "&lt;") for p in trust.lost.p_values.values()]
    assert "Nothing of the sample was found in the residual" in section(page, "trust")


def test_the_map_is_described_by_its_numbers(page, maps):
    values = maps["half_step_energy_ev"].values[maps["mask"].values]
    text = section(page, "map")

    assert ", ".join(f"{v:.2f}" for v in np.percentile(values, (5, 50, 95))) in text
    assert f"({int((~maps['mask'].values).sum())} of 1020)" in text


def test_what_was_left_out_and_the_versions_are_listed(page, result):
    assert "<li>3 pixels left out</li>" in section(page, "counted")
    assert "0 of 1020 pixels are masked" in section(page, "counted")
    for name, value in result.provenance.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in section(page, "options")


def test_an_estimate_below_zero_is_not_shown_as_a_number(result):
    risk = result.risk.assign(risk=result.risk["risk"] - 2 * float(result.risk["risk"].max()))
    rows = texts.risk_rows(result.__class__(**{**fields_of(result), "risk": risk}))

    assert {row["risk"] for row in rows} == {"too small to be measured"}
    assert not [row for row in rows if row["above"].startswith("-")]


def fields_of(result):
    return {name: getattr(result, name) for name in result.__dataclass_fields__}


def test_names_from_outside_are_escaped(page):
    assert "scan&lt;1&gt;.h5" in page
    assert "scan<1>" not in page
    assert "a note &amp; more" in page


@pytest.mark.usefixtures("pictures_unseen")
def test_white_residual_is_called_white_and_striped_noise_is_not(page, tmp_path):
    rows = np.random.default_rng(3).standard_normal((60, 30, 1)).astype(np.float32)
    striped = page_of(NOISY + 0.1 * rows, tmp_path / "striped.html")

    (why,) = re.findall(r'<ul class="why">(.*?)</ul>', striped, re.DOTALL)
    assert "orrelated from neighbour to neighbour" in why or "esidual" in why
    assert 'class="why"' not in page
    assert "The residual is white" in page
    assert "correlated from neighbour to neighbour" in striped


@pytest.mark.usefixtures("pictures_unseen")
def test_without_a_map_the_reason_stands_there(tmp_path):
    facts = Facts("scan.h5", 1.0, (), "too few energies", "", ())

    text = page_of(NOISY, tmp_path / "none.html", maps=None, facts=facts)

    assert "There is no map: too few energies" in text
    assert "(first): before" in text


@pytest.mark.usefixtures("pictures_unseen")
def test_masked_pixels_and_dropped_frames_are_counted(tmp_path):
    mask = np.ones((30, 34), bool)
    mask[:5] = False
    weight = np.ones(60)
    weight[7] = 0
    stack = NOISY.assign_coords(mask=(("y", "x"), mask), weight=("energy", weight))

    text = page_of(stack, tmp_path / "masked.html", maps=white_line)

    assert "170 of 1020 pixels are masked" in text
    assert "1 of 60 images and 170 of 1020 pixels (red above) are not used" in text
    assert f"1 of 60 frames are left out ({NOISY.energy.values[7]:.1f} eV)" in text
    assert "Map: white-line position (eV)" in text


@pytest.mark.usefixtures("pictures_unseen")
def test_a_report_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(WriteError, match="report"):
        page_of(NOISY, tmp_path / "missing" / "report.html")


@pytest.mark.usefixtures("pictures_unseen")
def test_a_scan_whose_components_take_all_its_noise_has_a_report(tmp_path):
    clean = CLEAN[::25]
    result = denoise(clean.copy(data=add_noise(clean.values, 0.05)), method="sum", rank=len(clean))

    write_report(tmp_path / "few.html", clean, result, None, examine_residual(clean, result), facts=FACTS)

    assert np.isnan(result.sigma_energy).all()
    assert "Noise level at each energy" in (tmp_path / "few.html").read_text("utf-8")


@pytest.mark.usefixtures("pictures_unseen")
def test_no_frame_is_shown_twice(tmp_path):
    two = NOISY[[5, 50]]
    result = denoise(two, rank=1)
    pictures = figures.frame_pictures(two, result.reconstruct(), None, result)

    assert [picture.caption.split(":")[0] for picture in pictures[::3]] == [
        f"{two.energy.values[0]:.1f} eV (first)",
        f"{two.energy.values[1]:.1f} eV (last)",
    ]


def test_a_residual_has_a_scale_of_its_own_in_units_of_its_noise(monkeypatch, result):
    shown = []
    monkeypatch.setattr(figures, "draw_image", lambda image, *_, **options: shown.append((image, options)))
    sized = NOISY.assign_attrs(pixel_size_nm=40.0)
    figures.frame_pictures(sized, result.reconstruct(), None, result)

    assert {options["pixel_nm"] for _, options in shown} == {40.0}
    residual, options = shown[2]
    assert residual.std() == pytest.approx(1, rel=0.1)  # 1020 pixels: 2 %, and K of E energies are kept
    assert options["limits"] == (-3.0, 3.0)
    figures.frame_pictures(sized, result.reconstruct() + 1.0, None, result)
    assert shown[-1][1]["limits"][1] == pytest.approx(1 / result.sigma, rel=0.2)


# --- particles and regions


def particles_of(stack):
    labels = np.zeros(stack.shape[1:], int)
    labels[4:12, 4:14], labels[16:26, 15:30] = 1, 5
    return measure_particles(stack, check_labels(labels, labels.shape), mapped=half_step_energy)


def test_particles_and_regions_have_sections(result, maps, trust, tmp_path):
    regions = region_spectra(result, {"rim": np.eye(30, 34, dtype=bool)}, stack=NOISY)
    measured = Sections(particles_of(CLEAN), regions)
    write_report(tmp_path / "r.html", NOISY, result, maps, trust, facts=FACTS, measured=measured)

    text = (tmp_path / "r.html").read_text("utf-8")
    rows = table(text, "particles")
    assert [row[0] for row in rows] == ["1", "5"]
    assert not differs(rows[1][3], float(measured.particles["state"][1]), 7)
    assert len(pictures(section(text, "particles"))) == 4
    assert "rim (30 px)" in section(text, "regions")
    assert all(ink(svg) > 5 for _, svg in pictures(section(text, "particles") + section(text, "regions")))
    assert "2 particles were measured." in answers_of(text)["What did I find?"]


@pytest.mark.usefixtures("pictures_unseen")
def test_without_particles_the_reason_is_shown(result, maps, trust, tmp_path):
    measured = Sections(particle_problem="none is <thick> enough")
    write_report(tmp_path / "r.html", NOISY, result, maps, trust, facts=FACTS, measured=measured)

    assert "none is &lt;thick&gt; enough" in section((tmp_path / "r.html").read_text("utf-8"), "particles")


def test_figures_of_particles_are_png_and_svg(tmp_path):
    files = write_particle_figures(tmp_path, particles_of(CLEAN))

    assert len(files) == 8
    for path in files:
        if path.suffix == ".svg":
            assert "</svg>" in path.read_text("utf-8")
        else:
            assert np.asarray(Image.open(path).convert("L")).std() > 5
