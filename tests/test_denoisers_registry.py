"""Denoisers by name: only what is asked for is imported, and every refusal says what is possible."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from xanesum.denoisers import (
    Availability,
    Denoiser,
    Fingerprinted,
    KnownRounding,
    RoundingDenoiser,
    available_denoisers,
    exact_form,
    get_denoiser,
    registry,
)
from xanesum.denoisers.none import NoDenoiser
from xanesum.denoisers.wavelet import WaveletDenoiser
from xanesum.errors import DenoiserError, MissingExtraError, XanesumError


@pytest.fixture
def install(monkeypatch):
    """Return a function that pretends that plug-ins are installed: install(name="module:class")."""

    def pretend(**targets):
        points = [EntryPoint(name, target, registry.GROUP) for name, target in targets.items()]
        monkeypatch.setattr(registry, "entry_points", lambda *, group: points)

    return pretend


def test_table_of_built_ins_is_that_of_the_package_metadata():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    table = {name: builtin.target for name, builtin in registry.BUILTINS.items()}
    assert table == project["entry-points"][registry.GROUP]
    extras = {builtin.extra for builtin in registry.BUILTINS.values()} - {None}
    assert extras <= set(project["optional-dependencies"])


@pytest.mark.parametrize("name", ["none", "nlm", "tv", "wavelet"])
def test_built_ins_work_without_metadata_and_know_their_name(install, name):
    install()
    denoiser = get_denoiser(name)
    assert isinstance(denoiser, Denoiser)
    assert denoiser.name == name
    assert denoiser.extra == registry.BUILTINS[name].extra


def test_only_the_denoiser_asked_for_is_imported():
    code = (
        "import sys; from xanesum.denoisers import available_denoisers, get_denoiser; available_denoisers(); "
        "heavy = {'pywt', 'skimage', 'bm3d', 'scipy', 'torch'} & set(sys.modules); assert not heavy, heavy; "
        "get_denoiser('none'); assert 'skimage' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("broken", ["import torch_of_nowhere", "raise OSError('no libtorch here\\nat all')"])
def test_a_broken_pytorch_is_one_line_that_names_the_way_out(tmp_path, broken):
    (tmp_path / "torch.py").write_text(broken)
    code = "from xanesum.denoisers import get_denoiser; get_denoiser('wavelet'); get_denoiser('network')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )

    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("xanesum.errors.MissingExtraError: denoiser 'network' cannot be loaded (no ") or (
        "No module named 'torch_of_nowhere'" in last
    )
    assert last.endswith("install torch again, or use denoiser 'wavelet'")


def test_options_reach_the_denoiser():
    assert get_denoiser("wavelet", levels=3) == WaveletDenoiser(levels=3)


def test_an_object_passes_through():
    mine = NoDenoiser()
    assert get_denoiser(mine) is mine


def test_plugin_is_found_by_its_entry_point(install):
    install(mine="xanesum.denoisers.none:NoDenoiser", wavelet="nowhere:Impostor")
    assert isinstance(get_denoiser("mine"), NoDenoiser)
    assert isinstance(get_denoiser("wavelet"), WaveletDenoiser)  # a built-in's name is not to be taken
    assert available_denoisers()["mine"] == Availability(True, None)


def test_plugin_that_cannot_be_imported_is_listed_and_explained(install):
    install(broken="no_such_module_anywhere:Broken")
    assert available_denoisers()["broken"] == Availability(False, None)
    with pytest.raises(
        MissingExtraError, match=r"'broken' \(no_such_module_anywhere:Broken\) cannot be imported"
    ):
        get_denoiser("broken")


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert available_denoisers()["bm3d"] == Availability(False, "bm3d")
    assert available_denoisers()["wavelet"] == Availability(True, None)
    with pytest.raises(MissingExtraError, match=r"'bm3d' needs .*pip install \"xanesum\[bm3d\]\"") as caught:
        get_denoiser("bm3d")
    assert isinstance(caught.value, ImportError)


def test_unknown_name_lists_the_known(install):
    install(mine="xanesum.denoisers.none:NoDenoiser")
    with pytest.raises(
        DenoiserError, match="'drunet'; known are bm3d, dncnn, mine, network, nlm, none, tv, wavelet"
    ) as caught:
        get_denoiser("drunet")
    assert isinstance(caught.value, XanesumError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wavelet", {"level": 3}, "no option 'level', allowed: levels, strength; did you mean 'levels'?"),
        ("none", {"strength": 1}, "no option 'strength', allowed: none$"),
    ],
)
def test_misspelt_option_names_the_allowed(name, options, message):
    with pytest.raises(DenoiserError, match=message):
        get_denoiser(name, **options)


@pytest.mark.parametrize(
    ("candidate", "options", "message"),
    [
        (NoDenoiser(), {"levels": 3}, r"options \['levels'\] need a denoiser's name"),
        (NoDenoiser, {}, "got the class NoDenoiser; pass an instance"),
        (print, {}, "builtin_function_or_method is not a denoiser: it needs the attributes denoise, name"),
    ],
    ids=["options with an object", "a class", "not a denoiser"],
)
def test_objects_that_will_not_do_are_refused(candidate, options, message):
    with pytest.raises(DenoiserError, match=message):
        get_denoiser(candidate, **options)


class Bare:
    """A denoiser with the required parts only."""

    name, uses_sigma, takes_sigma_map, device, extra = "bare", False, True, "cpu", None

    def denoise(self, images, sigma, *, mask=None):
        return images.copy()


class Rounding(Bare):
    """A denoiser that rounds, and cannot tell how much."""

    exact = Bare()


def test_the_exact_form_is_that_of_a_rounding_denoiser_and_else_the_denoiser_itself():
    bare, rounding = Bare(), Rounding()

    assert exact_form(bare) is bare
    assert exact_form(rounding) is rounding.exact
    bare.exact = True  # no denoiser, whatever it means
    assert exact_form(bare) is bare


def test_what_a_denoiser_offers_is_seen_from_its_attributes():
    offered = [RoundingDenoiser, KnownRounding, Fingerprinted]

    assert [isinstance(Bare(), each) for each in offered] == [False, False, False]
    assert [isinstance(Rounding(), each) for each in offered] == [True, False, False]
    assert [isinstance(get_denoiser("wavelet"), each) for each in offered] == [True, True, False]
    assert [isinstance(get_denoiser("network", device="cpu"), each) for each in offered] == [True] * 3
