"""The list of rivals, those that other interpreters run, and the check of all of them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import rivals_check
from rivals import RIVALS, UnavailableError
from rivals.framewise import bm4d_stack, framewise_network
from rivals.own_environment import ENVIRONMENTS, VARIABLE, nmf

from xanesum import simulate
from xanesum.denoisers import get_denoiser


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A folder of environments, whose interpreter is this one with all of its packages."""
    for name in ENVIRONMENTS:
        (tmp_path / name / "bin").mkdir(parents=True)
        python = tmp_path / name / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def noisy_stack(shape=(10, 12, 14)):
    return (50 + 5 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_every_rival_names_its_source_licence_and_way():
    for name, rival in RIVALS.items():
        assert rival.name == name
        assert rival.source
        assert rival.licence
        assert (rival.way == "own environment") == ("own_environment" in rival.denoise.__module__)
        assert rival.denoise.__doc__
        assert not rival.paper or rival.paper in rivals_check.PAPER
    assert {rival.paper for rival in RIVALS.values() if rival.paper} == set(rivals_check.PAPER)


@pytest.mark.parametrize("name", rivals_check.QUICK)
def test_fast_rivals_keep_shape_and_unit(name):
    stack = noisy_stack()
    before = stack.copy()

    found = RIVALS[name].denoise(stack, 5.0, np.random.default_rng(1))

    assert (found.shape, found.dtype) == (stack.shape, np.float32)
    assert abs(found.mean() - 50) < 2  # a soft threshold costs the mean some of its size
    assert found.std() < stack.std()
    np.testing.assert_array_equal(stack, before)


def test_frame_by_frame_means_that_no_frame_knows_another():
    stack = noisy_stack((3, 32, 32))

    found = framewise_network(stack, 5.0, np.random.default_rng(1))

    np.testing.assert_allclose(found[1:2], get_denoiser("network").denoise(stack[1:2], 5.0), rtol=1e-5)


def test_bm4d_denoises_a_small_volume():
    pytest.importorskip("bm4d", reason="needs bm4d, whose licence allows non-commercial use only")
    stack = noisy_stack((8, 16, 16))

    found = bm4d_stack(stack, 5.0, np.random.default_rng(1))

    assert found.std() < 0.4 * stack.std()
    with pytest.raises(UnavailableError, match="at least 8 energies"):
        bm4d_stack(stack[:4], 5.0, np.random.default_rng(1))


def test_a_missing_environment_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UnavailableError, match=f"{VARIABLE} names no folder; install hyperspy=="):
        nmf(noisy_stack(), 5.0, np.random.default_rng(1))
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UnavailableError, match=r"python is missing; install hyperspy=="):
        nmf(noisy_stack(), 5.0, np.random.default_rng(1))


@pytest.mark.skipif(os.name != "posix", reason="the interpreter is a script of the POSIX shell")
def test_factors_of_scikit_learn_find_what_is_above_the_noise(environment):
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra chemistry)")
    spectrum, image = np.linspace(20, 120, 10), 1 + np.arange(168).reshape(12, 14) / 168
    clean = spectrum[:, None, None] * image
    noise = 5 * np.random.default_rng(0).standard_normal(clean.shape)

    found = nmf((clean + noise).astype(np.float32), 5.0, np.random.default_rng(1))

    assert np.std(found - clean) < 0.5 * np.std(noise)


@pytest.mark.skipif(os.name != "posix", reason="the interpreter is a script of the POSIX shell")
def test_a_program_that_fails_is_a_reason(environment, monkeypatch, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("raise ModuleNotFoundError(\"No module named 'sklearn'\")\n")
    monkeypatch.setattr("rivals.own_environment.PROGRAM", program)

    with pytest.raises(UnavailableError, match=r"its program failed in hyperspy: .*sklearn"):
        nmf(noisy_stack(), 5.0, np.random.default_rng(1))


@pytest.mark.skipif(os.name != "posix", reason="the interpreter is a script of the POSIX shell")
def test_a_program_gets_the_stack_and_gives_one_back(environment, monkeypatch, tmp_path):
    """A program in place of ours, which writes what it got times the number of components."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, numpy as np\n"
        "name, source, target, rank, seed = sys.argv[1:]\n"
        "np.save(target, np.load(source) * int(rank) if name == 'nmf' else np.zeros(3))\n"
    )
    monkeypatch.setattr("rivals.own_environment.PROGRAM", program)
    stack = noisy_stack()

    np.testing.assert_array_equal(nmf(stack, 5.0, np.random.default_rng(1)), stack)  # one component is seen
    with pytest.raises(UnavailableError, match="returned"):
        RIVALS["FastHyDe"].denoise(stack, 5.0, np.random.default_rng(1))


def test_the_other_program_reads_no_pickled_files_and_knows_nothing_of_the_project():
    text = Path(rivals_check.__file__).with_name("rivals").joinpath("outside.py").read_text("utf-8")

    assert text.count("allow_pickle=False") == 2
    assert "xanesum" not in text


def test_a_row_compares_with_the_paper_and_a_slow_rival_gets_a_part():
    phantom = simulate("particle", shape=(80, 96), n_energies=16)

    row = rivals_check.check(RIVALS["3-D median"], phantom, 10.0)
    assert row["size"] == "80 x 96"
    assert row["gain (dB)"] == pytest.approx(row["PSNR (dB)"] - row["noisy (dB)"], abs=0.011)
    assert row["gain in the paper (dB)"] == pytest.approx(35.19 - 28.13)
    assert row["noisy (dB)"] == pytest.approx(28.13, abs=0.05)  # 20 log10(255 / 10)

    area = rivals_check.middle((80, 96))
    assert area == (slice(8, 72), slice(8, 88))


def test_a_rival_that_cannot_run_has_a_row_with_the_reason(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    phantom = simulate("particle", shape=(64, 80), n_energies=16)

    rows = [
        rivals_check.check(RIVALS[name], phantom, 60.0) for name in ("non-negative factors", "3-D median")
    ]
    table = rivals_check.ordered(rows)

    assert [row["rival"] for row in table] == ["3-D median", "non-negative factors"]
    assert table[1]["why not"].startswith(VARIABLE)
    assert table[0]["why not"] == table[1]["PSNR (dB)"] == ""
