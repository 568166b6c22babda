"""The explorer without a browser: what it holds, and what its server answers to whom."""

import http.client
import json
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
from explored import explored

from xanesum.cli import main as cli
from xanesum.errors import MissingExtraError, RecipeError, StackError
from xanesum.stack import usable_mask
from xanesum.viewer import content, exact, packing, page, plots, view, write_explorer

pytest.importorskip("bokeh", reason="the explorer needs bokeh")
CORNERS = [[8.2, 10.3], [8.2, 30.7], [27.6, 30.7], [27.6, 10.3]]
WITHIN = np.s_[9:28, 11:31]


@pytest.fixture(scope="module")
def viewer():
    stack, result, _ = explored()
    with view(result, stack, title="test") as served:
        yield served


def asked(viewer, path="", *, body=None, token=None, **headers):
    """Return status and content of an answer."""
    address = urlsplit(viewer.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    start = address.path if token is None else f"/{token}/"
    method = "GET" if body is None else "POST"
    connection.request(method, start + path, body, {name.replace("_", "-"): v for name, v in headers.items()})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    is_json = answer.headers["Content-Type"] == "application/json"
    return answer.status, json.loads(text) if is_json else text.decode()


@pytest.mark.parametrize("shape", [(7, 9), (1, 5)])
def test_an_image_is_rounded_by_less_than_a_tenth_of_its_noise(shape):
    image = np.random.default_rng(1).normal(3.0, 100.0, shape)
    image[0, 1] = np.nan

    packed = packing.pack(image, 2.0)
    found = packing.unpack(packed, shape)

    assert np.isnan(found[0, 1])
    assert np.nanmax(np.abs(found - image)) <= 0.25 * 2.0 / 2 * (1 + 1e-9)
    assert packed.rounding < 0.1 * 2.0


def test_an_image_without_noise_has_all_that_16_bits_hold():
    image = np.linspace(-1.0, 2.0, 30).reshape(5, 6)

    found = packing.unpack(packing.pack(image, 0.0), image.shape)

    np.testing.assert_allclose(found, image, atol=3.0 / 65534)


def test_standard_errors_are_right_to_one_per_cent():
    errors = np.random.default_rng(2).lognormal(-3, 2, (6, 8))
    errors[2, 3] = 0.0

    found = packing.unpack(packing.pack_sizes(errors), errors.shape)

    assert found[2, 3] == 0.0
    np.testing.assert_allclose(found[errors > 0], errors[errors > 0], rtol=0.0101)


def test_large_images_have_the_errors_of_blocks(monkeypatch):
    monkeypatch.setattr(packing, "LARGE", 10)
    errors = np.random.default_rng(3).uniform(1, 2, (5, 4))

    packed = packing.pack_sizes(errors)

    assert packed.block == 2
    found = packing.unpack(packed, (3, 2))
    assert found[0, 1] == pytest.approx(np.sqrt(np.mean(errors[:2, 2:] ** 2)), rel=0.0101)
    assert found[2, 0] == pytest.approx(np.sqrt(np.mean(errors[4, :2] ** 2)), rel=0.0101)


def test_the_content_gives_the_spectra_of_the_result():
    _, result, maps = explored()
    held = content.content_of(result, maps, title="t")
    shape = result.shape[1:]
    images = np.stack([packing.unpack(held.images[f"image{k}"], shape) for k in range(result.rank)])

    found = np.array(held.header["spectra"]).T @ images[:, 20, 30]

    expected = result.spectrum(20, 30)["spectrum"].values
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    assert 0 < held.header["rounding"] < 0.1
    assert held.header["map"]["rounding"] < 0.1


def test_a_map_of_another_size_is_refused():
    _, result, maps = explored()
    with pytest.raises(StackError, match="the map has"):
        content.content_of(result, maps.isel(y=slice(5)), title="t")


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    _, result, maps = explored()
    path = write_explorer(result, tmp_path / "e.html", maps=maps, title="</script><b>&")

    text = path.read_text("utf-8")

    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    assert "default-src 'none'" in text
    assert "</script><b>" not in text
    assert text.count("<script") == text.count("</script>")


def test_without_the_toolkit_an_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape('pip install "xanesum[viewer]"')):
        write_explorer(explored()[1], tmp_path / "e.html")
    with pytest.raises(MissingExtraError, match="viewer"):
        view(explored()[1])


def test_a_part_of_a_result_has_the_same_mean_and_error():
    _, result, _ = explored()
    inside = np.zeros(result.shape[1:], bool)
    inside[WITHIN] = True

    part, own = exact.cropped(result, inside)

    assert part.shape[1:] < result.shape[1:]
    for name in ("spectrum", "sigma"):
        expected = result.mean_spectrum(inside)[name].values
        np.testing.assert_allclose(part.mean_spectrum(own)[name].values, expected, rtol=1e-5)


def test_the_server_gives_the_page_and_exact_spectra(viewer):
    _, result, _ = explored()
    status, text = asked(viewer)
    assert status == 200
    assert text.startswith("<!DOCTYPE html>")

    _, pixel = asked(viewer, "spectrum?y=20&x=30")
    _, region = asked(viewer, "region", body=json.dumps({"corners": CORNERS}))

    inside = np.zeros(result.shape[1:], bool)
    inside[WITHIN] = True
    for found, expected in ((pixel, result.spectrum(20, 30)), (region, result.mean_spectrum(inside))):
        assert found["n"] == expected.attrs["n_pixels"]
        np.testing.assert_allclose(found["spectrum"], expected["spectrum"].values, rtol=1e-5)
        np.testing.assert_allclose(found["sigma"], expected["sigma"].values, rtol=1e-4)


def test_the_server_gives_measured_values_and_residuals(viewer):
    stack, result, _ = explored()
    shape, mask = result.shape[1:], usable_mask(result.coefficients)

    _, spectrum = asked(viewer, "measured?y=20&x=30")
    frames = [asked(viewer, f"frame?kind={kind}&energy=40")[1] for kind in exact.FRAMES]

    np.testing.assert_allclose(spectrum["values"], stack.values[:, 20, 30], rtol=1e-6)
    measured, residual = (
        packing.unpack(packing.PackedImage(f["text"], f["first"], f["step"]), shape) for f in frames
    )
    assert np.isnan(measured[~mask]).all()
    np.testing.assert_allclose(measured[mask], stack.values[40][mask], atol=0.02 / 4)
    left = (stack.values[40] - result.reconstruct()[40].values) / result.sigma_used[40]
    left /= result.sigma_pixel.values
    np.testing.assert_allclose(residual[mask], left[mask], atol=0.13)


def test_the_server_gives_the_state_of_a_region(viewer):
    _, _, maps = explored()

    status, found = asked(viewer, "state", body=json.dumps({"corners": CORNERS}))

    values, sigma = maps["half_step_energy_ev"].values[WITHIN], maps["half_step_sigma_ev"].values[WITHIN]
    good = maps["mask"].values[WITHIN]
    assert status == 200
    assert found["n"] == good.sum()
    assert found["mean"] == pytest.approx(values[good].mean(), abs=1e-3)
    assert 0 < found["sigma"] < 1.6 * sigma[good].mean()  # 30 draws: 13 %; at most the mean error


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": "wrong"}, 403),
        ({"token": ""}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"path": "nothing"}, 404),
        ({"path": "../../etc/passwd"}, 404),
        ({"path": "spectrum?y=-1&x=2"}, 400),
        ({"path": "spectrum?y=900&x=2"}, 400),
        ({"path": "spectrum?y=0&x=0"}, 400),
        ({"path": "frame?kind=clean&energy=3"}, 400),
        ({"path": "frame?kind=measured&energy=9999"}, 400),
        ({"path": "region", "body": "{"}, 400),
        ({"path": "region", "body": "[1]"}, 400),
        ({"path": "region", "body": '{"corners": [[1, 2]]}'}, 400),
        ({"path": "region", "body": '{"corners": [[1, 2], [3, "a"], [2, 2]]}'}, 400),
        ({"path": "region", "body": '{"corners": [[NaN, 2], [3, 3], [2, 2]]}'}, 400),
        ({"path": "state", "body": '{"corners": [[1,2],[9,9],[2,9]], "least_step": "a"}'}, 400),
    ],
)
def test_others_and_wrong_questions_are_refused(viewer, change, status):
    found, content = asked(viewer, **change)

    assert found == status
    assert set(content) == {"error"}
    assert "\n" not in content["error"]


def test_one_who_came_by_a_tunnel_is_answered(viewer):
    assert asked(viewer, Host="localhost:8000", Origin="http://localhost:8000")[0] == 200
    assert viewer.tunnel.startswith(f"ssh -N -L {viewer.port}:127.0.0.1:{viewer.port} ")
    assert viewer.url in viewer._repr_html_()


def test_tokens_differ(viewer):
    with view(explored()[1]) as other:
        assert urlsplit(other.url).path != urlsplit(viewer.url).path
        assert len(urlsplit(other.url).path) > 30


def test_a_port_in_use_is_named(viewer):
    with pytest.raises(RecipeError, match=f"port {viewer.port} cannot be used .*another viewer"):
        view(explored()[1], port=viewer.port)


def test_a_scan_of_another_size_is_refused():
    stack, result, _ = explored()
    with pytest.raises(StackError, match="the scan has shape"):
        view(result, stack.isel(y=slice(5)))


def test_the_command_writes_the_page_or_says_that_a_port_is_taken(tmp_path, capsys, viewer):
    saved = explored()[1].save(tmp_path / "result.sum.h5")

    assert cli.main(["view", str(saved), "-o", str(tmp_path / "explore.html")]) == 0
    assert (tmp_path / "explore.html").stat().st_size > 1e6
    assert cli.main(["view", str(saved), "--port", str(viewer.port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("(--port)")


def test_a_result_without_a_map_says_why():
    _, result, _ = explored()
    held = content.content_of(result, None, title="t", map_problem="no edge was found")

    text = page.page_of(held)

    assert "There is no map: no edge was found" in text
    assert 'id="data-map"' not in text
