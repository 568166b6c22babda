"""The explorer in a browser: what a user does, and that the numbers are those of the program."""

import csv
import shutil

import numpy as np
import pytest
from explored import explored

from xanesum.viewer import view, write_explorer

pytest.importorskip("bokeh", reason="the explorer needs bokeh")
driver = pytest.importorskip("playwright.sync_api", reason="driving a browser needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WAIT_MS = 120_000  # for a machine that is busy
TRIES = 6  # to draw a region
WITHIN = np.s_[9:28, 11:31]
CORNERS = "[10.3, 30.7, 30.7, 10.3], [8.2, 8.2, 27.6, 27.6]"  # x, y
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def browser():
    with driver.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


def opened(browser, url):
    """Return the page when it is ready; anything that it asks of another place, or throws, is an error."""
    page = browser.new_page(viewport={"width": 1700, "height": 1300})
    page.set_default_timeout(WAIT_MS)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda r: page.faults.append(r.url) if not r.url.startswith(own(url)) else None)
    page.goto(url)
    page.wait_for_selector("html[data-ready=yes]", state="attached")
    return page


def own(url):
    return (url, "data:", "blob:")


@pytest.fixture(scope="module")
def file(browser, tmp_path_factory):
    _, result, maps = explored()
    path = write_explorer(result, tmp_path_factory.mktemp("e") / "explore.html", maps=maps, title="test")
    return opened(browser, path.as_uri())


@pytest.fixture(scope="module")
def served(browser):
    stack, result, _ = explored()
    with view(result, stack) as viewer:
        yield opened(browser, viewer.url)


def place(page, plot, x, y):
    """Return the place on the screen of a pixel of an image."""
    return page.evaluate(
        """([plot, x, y]) => {
        const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name(plot));
        const box = view.canvas_view.el.getBoundingClientRect(), frame = view.frame;
        return [box.x + frame.x_scale.compute(x), box.y + frame.y_scale.compute(y)];}""",
        [plot, x, y],
    )


def numbers(page, plot, tmp_path):
    """Return the columns of an exported table by title, and the comments."""
    with page.expect_download() as download:
        page.click(f"[data-plot={plot}][data-as=csv]")
    download.value.save_as(tmp_path / "n.csv")
    lines = (tmp_path / "n.csv").read_text("utf-8").splitlines()
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    return rows, [line for line in lines if line.startswith("#")]


def columns(rows):
    return dict(zip(rows[0], np.array(rows[1:], float).T, strict=True))


def shown(page):
    return np.array(page.evaluate("Array.from(explorer.state.shown.values)"))


def test_the_slider_shows_frames_of_the_result(file, tmp_path):
    _, result, _ = explored()
    file.locator("#energy").fill("45")
    file.wait_for_timeout(300)

    rows, head = numbers(file, "image", tmp_path)

    clean = result.reconstruct()[45].values
    assert np.abs(np.array(rows, float) - clean).max() < 2e-3 * np.abs(clean).max()
    assert f"{result.spectra['energy'].values[45]:.2f} eV (46 of 60)" in file.inner_text("#energy-text")
    assert any("8440" in line or "eV" in line for line in head)


def test_a_click_gives_the_spectrum_with_its_error(file, tmp_path):
    _, result, maps = explored()
    file.mouse.click(*place(file, "map", 30, 20))
    file.wait_for_function("explorer.state.pixel !== null")

    found = columns(numbers(file, "spectra", tmp_path)[0])

    expected = result.spectrum(20, 30)
    largest = np.abs(expected["spectrum"].values).max()
    assert np.abs(found["pixel"] - expected["spectrum"].values).max() < 1e-3 * largest
    np.testing.assert_allclose(found["pixel_error"], expected["sigma"].values, rtol=0.011)
    text = file.inner_text("#pixel-text")
    assert "y = 20, x = 30" in text
    assert f"{maps['half_step_energy_ev'].values[20, 30]:.1f}" in text


def draw_box(page, start, end):
    """Draw a region; a browser on a machine that is busy may miss the motion of the mouse, so try again."""
    for attempt in range(TRIES):
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*end, steps=5)
        page.mouse.up()
        try:
            page.wait_for_function("explorer.state.region !== null", timeout=WAIT_MS / TRIES)
        except driver.TimeoutError:
            if attempt == TRIES - 1:
                raise
        else:
            return


def test_a_drawn_box_gives_the_mean_and_a_limit_of_its_error(file, tmp_path):
    _, result, maps = explored()
    draw_box(file, place(file, "image", 10.4, 8.4), place(file, "image", 30.6, 27.6))

    rows, head = numbers(file, "spectra", tmp_path)
    found = columns(rows)

    inside = np.zeros(result.shape[1:], bool)
    inside[WITHIN] = True
    expected = result.mean_spectrum(inside)
    assert any(f"region: {inside.sum()} pixels" in line for line in head)
    largest = np.abs(expected["spectrum"].values).max()
    assert np.abs(found["region"] - expected["spectrum"].values).max() < 1e-3 * largest
    ratio = found["region_error"] / expected["sigma"].values
    assert (ratio > 0.985).all()  # a limit; errors are rounded to 1 %
    assert (ratio < 3).all()
    good = maps["mask"].values[WITHIN]
    state = file.evaluate("explorer.state.region.state")
    assert state["n"] == good.sum()
    assert state["mean"] == pytest.approx(maps["half_step_energy_ev"].values[WITHIN][good].mean(), abs=2e-3)
    assert state["most"] == pytest.approx(maps["half_step_sigma_ev"].values[WITHIN][good].mean(), rel=0.02)


def test_a_component_is_switched_off_and_on(file):
    _, result, _ = explored()
    file.select_option("#view", "frame")
    before = shown(file)
    file.uncheck("#part-0")
    without = shown(file)
    e = file.evaluate("explorer.state.energy")

    first = result.spectra.values[0, e] * result.coefficients.values[0].ravel()
    assert np.abs(before - without - first).max() < 2e-3 * np.abs(first).max()
    assert "chosen components" in file.evaluate("explorer.csvOf('spectra')") or file.evaluate(
        "explorer.csvOf('spectra').includes('# components:')"
    )
    file.check("#part-0")
    np.testing.assert_array_equal(shown(file), before)


def test_the_mask_follows_the_edge_step_and_the_error(file, tmp_path):
    _, _, maps = explored()
    whole = int(maps["mask"].values.sum())
    assert file.inner_text("#mask-text").startswith(f"{whole} of")
    file.locator("#least-step").fill("500")
    file.wait_for_timeout(300)

    rows, _ = numbers(file, "map", tmp_path)

    values = np.array([[float(cell or "nan") for cell in row] for row in rows])
    least = float(file.inner_text("#least-step-text"))
    kept = maps["mask"].values & (maps["edge_step"].values >= least)
    near = np.abs(maps["edge_step"].values - least) < 0.005 * maps["edge_step"].values.max()
    assert 0 < kept.sum() < whole
    assert (np.isfinite(values) == kept)[~near].all()
    known = np.isfinite(values) & kept
    np.testing.assert_allclose(values[known], maps["half_step_energy_ev"].values[known], atol=2e-2)
    file.locator("#least-step").fill("0")
    file.locator("#most-error").fill("300")
    assert not file.inner_text("#mask-text").startswith(f"{whole} of")
    file.locator("#most-error").fill("1000")
    assert file.inner_text("#mask-text").startswith(f"{whole} of")


@pytest.mark.parametrize(
    ("plot", "kind", "start"),
    [
        ("spectra", "svg", b"<svg"),
        ("spectra", "png", b"\x89PNG"),
        ("map", "png", b"\x89PNG"),
        ("histogram", "svg", b"<svg"),
    ],
)
def test_plots_are_saved(file, tmp_path, plot, kind, start):
    with file.expect_download() as download:
        file.click(f"[data-plot={plot}][data-as={kind}]")
    download.value.save_as(tmp_path / "plot")

    content = (tmp_path / "plot").read_bytes()
    assert content.startswith(start)
    assert len(content) > 5000


def test_the_file_asks_for_nothing_and_throws_nothing(file):
    assert file.faults == []


def test_the_served_page_shows_exact_errors_and_measured_values(served, tmp_path):
    stack, result, _ = explored()
    served.evaluate("explorer.tapped({x: 30, y: 20})")
    served.evaluate(f"explorer.chooseRegion({CORNERS})")
    served.wait_for_function("explorer.state.spectrum.region?.isExact && explorer.state.measured")

    found = columns(numbers(served, "spectra", tmp_path)[0])

    inside = np.zeros(result.shape[1:], bool)
    inside[WITHIN] = True
    for name, expected in (("pixel", result.spectrum(20, 30)), ("region", result.mean_spectrum(inside))):
        np.testing.assert_allclose(found[name], expected["spectrum"].values, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[f"{name}_error"], expected["sigma"].values, rtol=1e-3)
    np.testing.assert_allclose(found["pixel_measured"], stack.values[:, 20, 30], rtol=1e-5)


def test_the_served_page_computes_the_error_of_the_mean_state(served):
    served.locator("#most-error").fill("700")
    served.evaluate(f"explorer.chooseRegion({CORNERS})")
    served.click("#exact-state")
    served.wait_for_function("explorer.state.region.exactState")

    exact, page = served.evaluate("[explorer.state.region.exactState, explorer.state.region.state]")
    assert abs(exact["n"] - page["n"]) <= 0.02 * page["n"]  # errors in the page are rounded
    assert exact["mean"] == pytest.approx(page["mean"], abs=5e-3)
    assert exact["sigma"] < 1.4 * page["most"]  # 30 draws: 13 %
    assert "exact" in served.inner_text("#region-text")
    served.locator("#most-error").fill("1000")
    assert "at most" in served.inner_text("#region-text")


def test_the_served_page_shows_the_residual(served):
    served.select_option("#view", "residual")
    served.wait_for_function("document.getElementById('panel-image').dataset.view === 'residual'")

    values = shown(served)

    assert 0.7 < np.nanstd(values) < 1.2  # in units of the noise, less what the components took
    served.select_option("#view", "frame")
    assert served.faults == []
