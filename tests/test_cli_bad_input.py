"""Every verb, every kind of bad input: one line that says what is wrong, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from scans import add_noise, low_rank

from xanesum.cli import main as cli
from xanesum.cli import verbs
from xanesum.io import write_stack
from xanesum.stack import make_stack
from xanesum.workflow import loading, pipeline

ENERGY = np.linspace(8300.0, 8400.0, 20)
VALUES = add_noise(low_rank((40.0, 8.0), n_energies=20, shape=(24, 26)), 1.0) + np.float32(5)
VERBS = {"info": [], "denoise": ["-o", "out.h5"], "map": ["-o", "out.tif"], "run": ["-o", "out"]}
WORKING = [verb for verb in VERBS if verb != "info"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def call(verb, scan, *options, capsys):
    """Run a verb; return exit status and what it said on the error stream."""
    before = sorted(os.listdir("."))
    status = cli.main([verb, str(scan), *VERBS[verb], *options])
    said = capsys.readouterr().err
    if status:
        assert sorted(os.listdir(".")) == before, "a failed run left something behind"
        assert len([line for line in said.splitlines() if "error:" in line]) == 1
    return status, said


def native(values=VALUES, energy=ENERGY):
    """A file as the package writes it, with its data and energies replaced."""
    write_stack(make_stack(VALUES, ENERGY), "scan.h5")
    with h5py.File("scan.h5", "r+") as file:
        for name, replacement in (("data", values), ("energy", energy)):
            attributes = dict(file["entry/data"][name].attrs)
            del file["entry/data"][name]
            if replacement is not None:
                file["entry/data"][name] = replacement
                file["entry/data"][name].attrs.update(attributes)
    return "scan.h5"


def good():
    write_stack(make_stack(VALUES, ENERGY), "good.h5")
    return "good.h5"


def text_as_h5():
    with open("scan.h5", "w") as file:
        file.write("this is no HDF5 file\n")
    return "scan.h5"


def truncated(name, write):
    write(name)
    size = os.path.getsize(name)
    with open(name, "r+b") as file:
        file.truncate(size // 2)
    return name


def truncated_h5():
    return truncated("scan.h5", lambda name: write_stack(make_stack(VALUES, ENERGY), name))


def truncated_tif():
    np.savetxt("scan.txt", ENERGY)
    return truncated("scan.tif", lambda name: tifffile.imwrite(name, VALUES))


def two_axes():
    return native(VALUES[0], ENERGY[:1])


BROKEN = {
    "missing file": (lambda: "nowhere.h5", r"nowhere\.h5.*no such file"),
    "text named .h5": (text_as_h5, r"scan\.h5"),
    "truncated .h5": (truncated_h5, r"scan\.h5.*truncated|scan\.h5"),
    "truncated .tif": (truncated_tif, r"scan\.tif"),
    "two axes": (two_axes, "axes|dimensions"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(verb, case, capsys):
    make, message = BROKEN[case]
    scan = make()

    status, said = call(verb, scan, capsys=capsys)

    assert status == 1
    assert_matches(said, message)


def assert_matches(text, pattern):
    assert re.search(pattern, " ".join(text.split())), f"{pattern!r} not in {text!r}"


def nan():
    values = VALUES.copy()
    values[3, 4, 5] = np.nan
    return native(values)


def tif_alone():
    tifffile.imwrite("alone.tif", VALUES)
    return "alone.tif"


def zero_frames():
    values = VALUES.copy()
    values[3:5] = 0
    return native(values)


UNUSABLE = {
    "NaN": (nan, "not finite"),
    "all-zero frames": (zero_frames, "2 of 20 frames are zero everywhere"),
    "no energies": (tif_alone, "--energies"),
    "too few energies": (lambda: native(energy=ENERGY[:7]), "7 energies"),
    "energy NaN": (lambda: native(energy=np.where(ENERGY > 8390, np.nan, ENERGY)), "not finite|finite"),
    "one energy": (lambda: native(VALUES[:1], ENERGY[:1]), "energ"),
}


@pytest.mark.parametrize("verb", WORKING)
@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_scans(verb, case, capsys):
    make, message = UNUSABLE[case]
    scan = make()

    status, said = call(verb, scan, capsys=capsys)

    assert status == 1
    assert_matches(said, message)


def test_one_energy_can_be_described(capsys):
    status, _ = call("info", native(VALUES[:1], ENERGY[:1]), capsys=capsys)

    assert status == 0


@pytest.mark.parametrize("verb", WORKING)
@pytest.mark.parametrize("case", ["NaN", "all-zero frames"])
def test_allow_missing_gives_weight_zero_instead(verb, case, capsys):
    scan = UNUSABLE[case][0]()
    options = ["--e0", "8350"] if verb == "map" else []

    status, said = call(verb, scan, "--allow-missing", *options, capsys=capsys)

    assert status == 0 or "edge" in said  # the stack has no edge to map; it is read all the same


@pytest.mark.parametrize("verb", WORKING)
@pytest.mark.parametrize(
    ("energy", "values", "note"),
    [
        (ENERGY[::-1], VALUES[::-1], "sorted by energy"),
        (ENERGY / 1e3, VALUES, "taken for keV"),
        (np.r_[ENERGY[:-1], ENERGY[-2]], VALUES, "same energy were averaged"),
    ],
    ids=["unsorted", "keV", "duplicated"],
)
def test_energies_are_mended_with_a_note(verb, energy, values, note, capsys):
    scan = native(values, energy)

    _, said = call(
        verb, scan, *(["--e0", "8350", "--map", "white_line"] if verb == "map" else []), capsys=capsys
    )

    assert_matches(said, f"note: .*{note}")


@pytest.mark.parametrize("verb", WORKING)
def test_output_that_cannot_be_written(verb, capsys):
    scan = good()
    status = cli.main([verb, scan, "-o", os.path.join("no", "such", "place.h5")])

    assert status == 1
    assert_matches(capsys.readouterr().err, "error: .*(cannot write there|there is no folder)")
    assert os.listdir(".") == ["good.h5"]


def test_output_folder_that_is_a_file(capsys):
    scan = good()
    status = cli.main(["run", scan, "-o", scan])

    assert status == 1
    assert_matches(capsys.readouterr().err, "is a file; give the name of a folder")


@pytest.mark.parametrize("verb", ["denoise", "run"])
def test_interrupt_in_the_middle_leaves_nothing(verb, capsys, monkeypatch):
    scan = good()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xanesum.method.blending.blend_by_risk", interrupt)

    assert cli.main([verb, scan, *VERBS[verb]]) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err
    assert os.listdir(".") == ["good.h5"]


def test_interrupt_while_writing_leaves_nothing(capsys, monkeypatch):
    scan = good()

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("xanesum.workflow.pipeline.write_report", interrupt)

    assert cli.main(["run", scan, "-o", "out"]) == 130
    assert os.listdir(".") == ["good.h5"]


STALLED = """
import signal, sys, time
from xanesum.cli.main import main
from xanesum.workflow import pipeline

signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, whatever started the tests

def stall(*args, **options):
    print("stalled", flush=True)
    time.sleep(60)

pipeline.{step} = stall
sys.exit(main(["run", "good.h5", "-o", "out"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.parametrize(
    ("step", "number", "code", "word"),
    [
        ("denoise_with", signal.SIGINT, 130, "interrupted"),
        ("write_report", signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_real_ctrl_c(step, number, code, word):
    good()
    process = subprocess.Popen(
        [sys.executable, "-c", STALLED.format(step=step)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"stalled\n"
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()

    assert process.returncode == code
    assert said.splitlines()[-1] == f"xanesum: {word}; nothing was written"
    assert os.listdir(".") == ["good.h5"]


IMPORTING = """
import builtins, os, signal
import xanesum.__main__ as entry

def load(name, *args, **options):
    if name.startswith("xanesum.cli"):
        os.kill(os.getpid(), {number})
    return importing(name, *args, **options)

importing, builtins.__import__ = builtins.__import__, load
entry.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_while_modules_are_loaded(number, word):
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(number=int(number))], capture_output=True, check=False
    )
    assert ended.returncode == 128 + number
    assert ended.stderr.decode() == f"xanesum: {word}; nothing was written\n"


LOST = """
import os, signal, sys, time, weakref
from xanesum.cli.main import main
from xanesum.workflow import pipeline

class Thing:
    pass

def stall(*args, **options):
    thing = Thing()
    reference = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT) or time.sleep(0.01))
    del thing  # the exception is lost in the callback
    time.sleep(20)

pipeline.denoise_with = stall
sys.exit(main(["run", "good.h5", "-o", "out"]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of this kind are POSIX")
def test_a_ctrl_c_that_a_callback_swallows():
    good()
    ended = subprocess.run([sys.executable, "-c", LOST], capture_output=True, check=False, timeout=60)

    assert ended.returncode == 130
    assert ended.stderr.decode().splitlines()[-1] == "xanesum: interrupted; nothing was written"
    assert b"Exception ignored" not in ended.stderr


def test_usage_errors_exit_with_two():
    with pytest.raises(SystemExit) as caught:
        cli.main(["run"])
    assert caught.value.code == 2


@pytest.mark.parametrize(("verb", "output"), [("denoise", "a.npy"), ("map", "a.png"), ("simulate", "a")])
def test_an_unusable_suffix_is_found_before_the_work(verb, output, capsys, monkeypatch):
    good()
    monkeypatch.setattr(pipeline, "load_scan", None)
    monkeypatch.setattr(loading, "load_scan", None)
    monkeypatch.setattr(verbs, "simulate", None)

    assert cli.main([verb, "wedge" if verb == "simulate" else "good.h5", "-o", output]) == 1
    assert "use one of .h5" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["scan.tiff", "scan.tif", "SCAN.TIF"])
def test_energies_of_the_scan_are_never_replaced(output, capsys):
    write_stack(make_stack(VALUES, ENERGY), "scan.tif")
    if output == "SCAN.TIF" and not os.path.exists(output):
        output = "../" + os.path.basename(os.getcwd()) + "/scan.tif"

    assert cli.main(["denoise", "scan.tif", "-o", output, "--rank", "1"]) == 1
    assert "would replace scan" in capsys.readouterr().err


def test_a_saved_result_follows_no_options_of_a_scan(capsys):
    assert cli.main(["run", good(), "-o", "out", "--rank", "1", "--denoiser", "none"]) == 0
    capsys.readouterr()

    assert cli.main(["map", "out/result.sum.h5", "-o", "m.tif", "--roi", "0:5,0:5", "--rank", "2"]) == 1
    assert "is a saved result, so --roi, --rank cannot be followed" in capsys.readouterr().err
    assert sorted(os.listdir(".")) == ["good.h5", "out"]


@pytest.mark.parametrize("verb", ["run", "denoise", "map", "demo", "watch"])
def test_an_output_without_a_name_is_refused(verb, capsys):
    scan = [] if verb == "demo" else ["." if verb == "watch" else good()]
    before = sorted(os.listdir("."))
    assert cli.main([verb, *scan, "-o", ""]) == 1
    assert "the name of the output is empty" in capsys.readouterr().err
    assert sorted(os.listdir(".")) == before


@pytest.mark.parametrize("header", ["(80, 90)( }", "(8000000, 9000000), }", "(80, 90), "])
def test_a_damaged_mask_is_one_line(header, capsys):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {header}".encode().ljust(117) + b"\n"
    with open("mask.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\x00v\x00" + text + bytes(80 * 90 * 8))
    status, said = call("denoise", good(), "--mask", "mask.npy", capsys=capsys)
    assert status == 1
    assert "mask.npy" in said


NAMES = ["a\x1b[2Jb.h5", "a\u202eb.h5", os.fsdecode(b"a\xffb.h5"), "a\u2028b.h5"]


@pytest.mark.parametrize("name", NAMES, ids=["escape", "right to left", "no text", "line break"])
def test_characters_of_a_name_that_a_terminal_obeys_are_escaped(name, capsys):
    os.rename(good(), name)
    assert cli.main(["info", name]) == 0
    assert cli.main(["denoise", name, "-o", f"{name}.tif"]) == 0
    assert cli.main(["info", f"{name}.nothing"]) == 1
    said = "".join(capsys.readouterr())
    assert name[1] not in said
    assert name[1].encode("unicode_escape").decode() in said
    said.encode()


def test_results_do_not_go_among_the_images_of_the_scan(capsys):
    os.mkdir("scan")
    for energy, image in zip(ENERGY, VALUES, strict=True):
        tifffile.imwrite(f"scan/a_{energy:.2f}eV.tif", image)
    assert cli.main(["run", "scan", "-o", "scan"]) == 1
    assert "the images of the scan are there" in capsys.readouterr().err
    assert len(os.listdir("scan")) == len(ENERGY)


def test_a_mask_may_have_one_bit_and_its_compression_is_named(capsys, without_imagecodecs):
    tifffile.imwrite("bits.tif", VALUES[0] > VALUES[0].mean(), photometric="minisblack")
    assert call("denoise", good(), "--mask", "bits.tif", capsys=capsys)[0] == 0
    os.remove("out.h5")
    with tifffile.TiffFile("bits.tif") as file:
        at = file.pages.first.tags["Compression"].valueoffset
    with open("bits.tif", "r+b") as file:
        file.seek(at)
        file.write(bytes([5, 0]))
    status, said = call("denoise", good(), "--mask", "bits.tif", capsys=capsys)
    assert status == 1
    assert "bits.tif: its images are compressed with LZW; install imagecodecs" in said
