"""What people expect of any command line: help, names, pipes, JSON, and nothing of theirs replaced."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scans import add_noise, edge_stack

from xanesum.cli import completion
from xanesum.cli import main as cli
from xanesum.cli.default_names import settle_output
from xanesum.cli.examples import EXAMPLES, EXIT_CODES
from xanesum.cli.parser import build_parser
from xanesum.errors import ReadError, RecipeError, WriteError
from xanesum.io import read_stack, write_stack
from xanesum.method.denoising import denoise

SCAN = edge_stack(8340.0 + np.linspace(0, 3, 20)[:, None] + np.zeros(22), n_energies=30)
SMALL = ["--shape", "30x40", "--n-energies", "12"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scan():
    return str(write_stack(SCAN.copy(data=add_noise(SCAN.values, 0.02)), "scan.h5"))


def parsed(*arguments):
    return build_parser().parse_args([str(each) for each in arguments])


def verbs():
    (group,) = (each for each in build_parser()._actions if each.dest == "command")
    return group.choices


def said(capsys, *arguments, status=0):
    """What a command writes to its two streams."""
    assert cli.main([str(each) for each in arguments]) == status
    return capsys.readouterr()


# --- help


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_shows_examples_that_can_be_typed(verb):
    text = verbs()[verb].format_help()

    assert verb in EXAMPLES
    for command, meaning in EXAMPLES[verb]:
        assert f"  {command}\n" in text
        assert meaning in text
        words = shlex.split(command.partition(" > ")[0])
        assert words[:2] == ["xanesum", verb]
        assert parsed(*words[1:]).command == verb
    assert "exit codes: 0" in text


def test_exit_codes_are_in_the_help():
    text = build_parser().format_help()
    used = {cli.EXIT_ERROR, cli.EXIT_INTERRUPTED, cli.EXIT_CLOSED, cli.EXIT_TERMINATED}

    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^  {code} +{re.escape(meaning)}$", text, re.MULTILINE)
    assert used | {0, 2} == set(EXIT_CODES)


# --- names of outputs


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["run", "data/scan_7.h5"], "scan_7_results"),
        (["denoise", "scan.tif"], "scan_clean.h5"),
        (["align", "scan.txrm"], "scan_aligned.h5"),
        (["map", "scan.h5"], "scan_map.tif"),
        (["map", "night/result.sum.h5"], "night_map.tif"),
        (["fit", "scan.h5", "--unmix", "2"], "scan_fractions"),
        (["cluster", "night/result.sum.h5"], "night_clusters"),
        (["particles", "scan.h5"], "scan_particles"),
        (["regions", "scan.h5"], "scan_regions"),
        (["watch", "/data/scan_8"], "scan_8_live"),
        (["simulate", "wedge"], "wedge.h5"),
        (["demo"], "demo"),
        (["convert", "scan.h5", "--to", "tiff"], "scan.tif"),
        (["convert", "scan.h5", "--to", "txm-wizard"], "scan_txm-wizard"),
        (["figures", "night/result.sum.h5"], "night_figures"),
        (["run", "scan.h5", "-o", "mine"], "mine"),
    ],
)
def test_outputs_have_default_names_in_the_working_folder(arguments, name):
    options = parsed(*arguments)
    settle_output(options)

    assert options.output == name


def test_no_output_of_convert_can_be_guessed_without_a_format():
    with pytest.raises(RecipeError, match="name the output, or its format"):
        settle_output(parsed("convert", "scan.h5"))


def test_a_file_of_a_default_name_is_replaced_only_if_asked(capsys):
    Path("wedge.h5").write_text("mine")

    assert "--force" in said(capsys, "simulate", "wedge", *SMALL, status=1).err
    assert Path("wedge.h5").read_text() == "mine"
    said(capsys, "simulate", "wedge", *SMALL, "--force")
    assert read_stack("wedge.h5").shape == (12, 30, 40)
    said(capsys, "simulate", "wedge", *SMALL, "-o", "wedge.h5")  # a name that the user gives is meant


@pytest.mark.parametrize("verb", ["run", "fit", "cluster", "particles", "regions", "figures"])
def test_a_folder_with_files_of_others_is_left_alone(verb, scan):
    Path("mine").mkdir()
    Path("mine/particles.h5").write_text("labels of somebody")
    with pytest.raises(WriteError, match=r"mine: is a folder with files that are no results.*\(--force\)"):
        settle_output(parsed(verb, scan, "-o", "mine"))

    settle_output(parsed(verb, scan, "-o", "mine", "--force"))


@pytest.mark.parametrize("content", ["nothing", "a hidden file", "a result"])
def test_a_folder_of_its_own_may_be_written_again(content, scan):
    Path("own").mkdir()
    if content == "a hidden file":
        Path("own/.DS_Store").write_text("")
    if content == "a result":
        denoise(SCAN, rank=1, denoiser="none").save("own/result.sum.h5")
        Path("own/notes.txt").write_text("mine")
    settle_output(parsed("run", scan, "-o", "own"))


# --- what is printed


def test_quiet_prints_no_answer_and_keeps_notes(scan, capsys):
    np.savetxt("energies.txt", np.linspace(8.24, 8.5, 30))  # keV, which is a note

    loud = said(capsys, "convert", scan, "a.h5", "--energies", "energies.txt")
    quiet = said(capsys, "convert", scan, "b.h5", "--energies", "energies.txt", "--quiet")

    assert "converted scan: a.h5" in loud.out
    assert quiet.out == ""
    assert quiet.err == loud.err != ""
    assert Path("b.h5").is_file()


def test_verbose_prints_versions_steps_and_memory_to_the_error_stream(scan, capsys):
    plain = said(capsys, "map", scan, "-o", "a.h5", "--as-is")
    verbose = said(capsys, "map", scan, "-o", "b.h5", "--as-is", "--verbose")

    assert f"numpy {np.__version__}" in verbose.err
    assert re.search(r"^ +\d+\.\d s  mapping$", verbose.err, re.MULTILINE)
    assert "numpy" not in plain.err + verbose.out
    if find_spec("resource"):
        assert 0.05 < float(re.search(r"memory: ([\d.]+) GB at most", verbose.err)[1]) < 100


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["info", "scan.h5"], {"scan", "format", "energies", "notes"}),
        (["plan", "scan.h5"], {"seconds", "memory_bytes", "notes"}),
        (["convert", "scan.h5", "a.tif"], {"files", "shape", "quantity", "notes"}),
        (["denoise", "scan.h5", "--rank", "1", "--denoiser", "none"], {"sigma", "rank", "files", "notes"}),
        (["map", "scan.h5", "--as-is"], {"map", "files", "notes"}),
        (["cluster", "scan.h5", "--as-is", "--clusters", "2"], {"clusters", "files", "notes"}),
        (["simulate", "wedge", *SMALL], {"kind", "seed", "files", "notes"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_answer_may_be_one_json_document(arguments, keys, scan, capsys):
    facts = json.loads(said(capsys, *arguments, "--json").out, parse_constant=pytest.fail)

    assert keys <= set(facts)
    for file in facts.get("files", []):
        assert Path(file).is_file()


def test_json_holds_the_numbers_of_the_map_and_the_notes(scan, capsys):
    np.savetxt("energies.txt", np.linspace(8.24, 8.5, 30))
    command = ["map", scan, "-o", "a.h5", "--as-is", "--energies", "energies.txt"]

    facts = json.loads(said(capsys, *command, "--json").out)
    line = next(line for line in said(capsys, *command).out.splitlines() if line.startswith("half step map"))

    assert line.startswith(f"half step map: median {facts['map']['median']:.2f} eV")
    assert f"between {facts['map']['p5']:.2f} and {facts['map']['p95']:.2f}" in line
    assert facts["map"]["sigma_median"] is None  # not known of a scan that was not denoised
    assert any("keV" in note for note in facts["notes"])


def test_nothing_has_colours_outside_of_a_terminal(scan, capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    answer = said(capsys, "denoise", scan, "--rank", "1", "--denoiser", "none")

    assert "\x1b" not in answer.out + answer.err


# --- pipes and addresses


def test_a_reader_that_ends_is_no_error(scan):
    command = [sys.executable, "-m", "xanesum", "info", scan]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # as `head` does; it happens before the first line
    error = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=120) == cli.EXIT_CLOSED
    assert error == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", "https://lab.org/scan.h5"],
        ["run", "scan.h5", "-o", "S3://bucket/out"],
        ["convert", "scan.h5", "out.h5", "--flat", "a.tif", "ftp://lab.org/flat.tif"],
    ],
)
def test_an_address_is_refused_as_it_was_typed(arguments, scan, capsys):
    (line,) = said(capsys, *arguments, status=1).err.splitlines()

    assert (
        line
        == f"xanesum: error: {arguments[-1]}: is an address, not a file; download the file, and give its path"
    )
    assert os.listdir() == ["scan.h5"]


def test_python_refuses_an_address_too_and_a_scheduler_may_be_one(scan, capsys):
    with pytest.raises(ReadError, match=r"^https://lab\.org/scan\.h5: is an address"):
        read_stack("https://lab.org/scan.h5")
    said(capsys, "plan", scan, "--scheduler", "tcp://127.0.0.1:8786")


# --- completion


def script(shell):
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert cli.main(["completion", shell]) == 0
    return printed.getvalue()


@pytest.mark.skipif(find_spec("shtab") is None, reason="shtab is not installed")
@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_completes_every_verb(shell):
    text = script(shell)

    assert [verb for verb in verbs() if verb not in text] == []
    assert "denoiser" in text


@pytest.mark.skipif(find_spec("shtab") is None, reason="shtab is not installed")
@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "found"), [(["xanesum", "demo", "--se"], "--seed"), (["xanesum", "demo", "--fo"], "--force")]
)
def test_bash_completes_a_word(words, found):
    Path("xanesum.bash").write_text(script("bash"), "utf-8")
    line = f"source ./xanesum.bash; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
    line += (
        'function=$(complete -p xanesum | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $function; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [found]


def test_completion_names_the_extra_that_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(completion, "find_spec", lambda name: None)

    assert 'pip install "xanesum[completion]"' in said(capsys, "completion", "zsh", status=1).err
