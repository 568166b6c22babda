"""HDF5 files that cannot be read, or only in part, are described as they are: nothing is guessed."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from xanesum.errors import MissingExtraError, ReadError, XanesumError
from xanesum.io import describe, hdf5_storage, read_stack

VALUES = np.random.default_rng(3).uniform(0.2, 1.0, (4, 5, 7)).astype(np.float32)
EV = 8300 + np.arange(4.0)
pytestmark = pytest.mark.filterwarnings("ignore:.*(nothing tells what|taken as|also there)")


def write_scan(path, **options):
    """Write a scan of chunks; options are those of `create_dataset`."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("scan/images", data=VALUES, chunks=(1, 5, 7), **options)
        file["scan/energy"] = EV
    return path


def error_of(path, **options):
    """Return the message that `info` and `run` give; both have to give the same one."""
    said = set()
    for read in (describe, read_stack):
        with pytest.raises(XanesumError) as caught:
            read(path, **{"data": "scan/images", **options})
        said.add(str(caught.value))
    (message,) = said
    assert "\n" not in message
    return message.removeprefix(str(path.parent) + "/")


# --- damaged, cut short, or neither


def test_a_file_that_was_cut_is_said_to_be_and_by_how_much(tmp_path):
    path = write_scan(tmp_path / "scan.h5")
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    assert (
        error_of(path)
        == f"scan.h5: it was cut short: 2000 of its {len(whole)} bytes are there; copy it again"
    )


def test_a_chunk_whose_checksum_is_wrong_is_damage(tmp_path):
    path = write_scan(tmp_path / "scan.h5", fletcher32=True)
    with h5py.File(path) as file:
        at = file["scan/images"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[at + 4 : at + 8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"it is damaged \(Can't synchronously read data"):
        read_stack(path, data="scan/images")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Unable to synchronously open file"), "cannot be opened (Permission denied)"),
        (OSError("Unable to open file (the server does not answer)"), "the server does not answer"),
    ],
)
def test_what_is_not_known_to_be_damage_is_not_called_so(tmp_path, monkeypatch, error, said):
    path = write_scan(tmp_path / "scan.h5")

    def refuse(*args, **options):
        raise error

    monkeypatch.setattr(h5py, "File", refuse)
    message = error_of(path)
    assert said in message
    assert "damaged" not in message


def test_a_link_to_a_file_that_is_no_hdf5_says_so(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5 at all")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan/images"] = h5py.ExternalLink("text.h5", "/a")
    assert error_of(tmp_path / "a.h5") == "text.h5: it is no HDF5 file"


# --- compression


def write_with_filter(path, number):
    """Write a dataset that declares a filter, which is optional, so that it need not be installed."""
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 5, 7))
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(VALUES.shape)
        scan = file.create_group("scan")
        made = h5py.h5d.create(scan.id, b"images", h5py.h5t.IEEE_F32LE, space, properties)
        h5py.Dataset(made)[...] = VALUES
        scan["energy"] = EV
    return path


@pytest.mark.parametrize(
    ("number", "name"), [(32001, "Blosc"), (32004, "LZ4"), (32008, "bitshuffle"), (32015, "Zstandard")]
)
def test_a_missing_filter_is_named_with_the_package_that_brings_it(tmp_path, monkeypatch, number, name):
    path = write_with_filter(tmp_path / "scan.h5", number)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    monkeypatch.setattr(hdf5_storage, "import_module", no_module)

    message = error_of(path)

    assert f"/scan/images is compressed with {name} (HDF5 filter {number})" in message
    assert message.endswith('pip install "xanesum[hdf5plugin]"')
    with pytest.raises(MissingExtraError):
        read_stack(path, data="scan/images")


def test_a_filter_that_no_package_brings_is_named(tmp_path, monkeypatch):
    path = write_with_filter(tmp_path / "scan.h5", 32002)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: False)
    assert "compressed with MAFISC (HDF5 filter 32002), which is not installed" in error_of(path)


def test_a_plugin_that_is_installed_is_loaded(tmp_path, monkeypatch):
    path, loaded = write_with_filter(tmp_path / "scan.h5", 32015), []
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: bool(loaded))
    monkeypatch.setattr(hdf5_storage, "import_module", loaded.append)
    assert describe(path, data="scan/images")["shape"] == VALUES.shape
    assert loaded == ["hdf5plugin"]


def test_what_a_plugin_compressed_is_read(tmp_path):
    plugin = pytest.importorskip("hdf5plugin", reason="needs hdf5plugin (extra hdf5plugin)")
    path = write_scan(tmp_path / "scan.h5", **plugin.Bitshuffle())
    np.testing.assert_array_equal(read_stack(path, data="scan/images").values, VALUES)


def no_module(name):
    raise ImportError(name)


# --- links


@pytest.fixture
def elsewhere(tmp_path):
    """Return a folder in which a file links to files in a folder below, beside and nowhere."""
    (tmp_path / "in").mkdir()
    write_scan(tmp_path / "in" / "sub" / "part.h5", compression="gzip")
    write_scan(tmp_path / "out" / "part.h5", compression="gzip")
    targets = {"below": "sub/part.h5", "outside": "../out/part.h5", "gone": "sub/lost.h5"}
    with h5py.File(tmp_path / "in" / "master.h5", "w") as file:
        for name, target in targets.items():
            file[f"{name}/images"] = h5py.ExternalLink(target, "/scan/images")
            file[f"{name}_scan"] = h5py.ExternalLink(target, "/scan")
        file["moved/images"] = h5py.ExternalLink("sub/part.h5", "/nowhere")
        file["soft"], file["a"], file["b"] = (h5py.SoftLink(to) for to in ("/lost", "/b", "/a"))
        file["energy"] = EV
    return tmp_path / "in" / "master.h5"


@pytest.mark.parametrize("name", ["below/images", "below_scan/images"])
def test_a_link_into_the_folder_is_followed_and_measured_by_its_own_file(elsewhere, name):
    stack = read_stack(elsewhere, data=name)
    np.testing.assert_array_equal(stack.values, VALUES)
    np.testing.assert_array_equal(stack.energy, EV)


@pytest.mark.parametrize("name", ["outside/images", "outside_scan/images"])
def test_a_link_out_of_the_folder_is_followed_only_when_asked(elsewhere, name):
    message = error_of(elsewhere, data=name)
    assert "refers to ../out/part.h5 outside its folder" in message
    assert message.endswith("or allow such links (follow_links=)")
    np.testing.assert_array_equal(read_stack(elsewhere, data=name, follow_links=True).values, VALUES)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone/images", "/gone/images refers to sub/lost.h5, which is not there"),
        ("gone_scan/images", "/gone_scan refers to sub/lost.h5, which is not there"),
        ("moved/images", "/moved/images refers to /nowhere in sub/part.h5, and that file has no such object"),
        ("soft", "soft is a link to /lost, which leads nowhere"),
        ("a", "a is a link to /b, which leads nowhere"),
    ],
)
@pytest.mark.parametrize("follow_links", [False, True])
def test_a_link_that_leads_nowhere_is_named(elsewhere, name, said, follow_links):
    assert said in error_of(elsewhere, data=name, follow_links=follow_links)


def test_a_file_of_broken_links_alone_names_one(tmp_path):
    with h5py.File(tmp_path / "master.h5", "w") as file:
        file["scan/images"] = h5py.ExternalLink("lost.h5", "/a")
    assert "refers to lost.h5, which is not there" in error_of(tmp_path / "master.h5", data=None)


def test_a_lazy_stack_behind_a_link_is_read_as_it_was_opened(elsewhere, monkeypatch):
    monkeypatch.setattr("xanesum.io.registry.LAZY_BYTES", 0)
    stack = read_stack(elsewhere, data="outside/images", follow_links=True)
    np.testing.assert_array_equal(stack[2].values, VALUES[2])


def test_a_virtual_dataset_names_the_file_that_is_missing(tmp_path):
    layout = h5py.VirtualLayout(VALUES.shape, "f4")
    for e in range(4):
        if e != 2:
            with h5py.File(tmp_path / f"part{e}.h5", "w") as file:
                file["frame"] = VALUES[e]
        layout[e] = h5py.VirtualSource(f"part{e}.h5", "frame", (5, 7))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("scan/images", layout)
        file["scan/energy"] = EV
    assert "/scan/images refers to part2.h5, which is not there" in error_of(tmp_path / "all.h5")


def test_raw_values_that_are_cut_or_gone_are_named(tmp_path):
    VALUES.tofile(tmp_path / "raw.bin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("scan/images", VALUES.shape, "f4", external=[("raw.bin", 0, VALUES.nbytes)])
        file["scan/energy"] = EV
    np.testing.assert_array_equal(read_stack(tmp_path / "a.h5", data="scan/images").values, VALUES)
    (tmp_path / "raw.bin").write_bytes(b"short")
    assert "takes 560 bytes from raw.bin at 0, which has 5 bytes" in error_of(tmp_path / "a.h5")
    (tmp_path / "raw.bin").unlink()
    assert "refers to raw.bin, which is not there" in error_of(tmp_path / "a.h5")


# --- open elsewhere

WRITER = """
import sys, h5py, numpy as np
file = h5py.File(sys.argv[1], "w", libver=sys.argv[3])
file["scan/energy"] = 8300 + np.arange(4.0)
images = file.create_dataset("scan/images", (0, 5, 7), "f4", maxshape=(None, 5, 7), chunks=(1, 5, 7))
if sys.argv[2] == "swmr":
    file.swmr_mode = True
images.resize(3, 0)
images[:] = 1.0
images.flush(), file.flush()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def writer():
    """Start a process that holds a file open; it ends with the test."""
    started = []

    def start(path, mode, version):
        command = [sys.executable, "-c", WRITER, str(path), mode, version]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.filterwarnings("ignore:.*not complete")
def test_a_file_that_is_written_in_swmr_mode_is_read_as_far_as_it_goes(tmp_path, writer):
    path = tmp_path / "scan.h5"
    process = writer(path, "swmr", "latest")
    assert read_stack(path, data="scan/images").shape == (3, 5, 7)
    process.kill()
    process.wait()
    assert read_stack(path, data="scan/images").shape == (3, 5, 7)


def test_a_file_that_is_open_for_writing_is_said_to_be(tmp_path, writer):
    path = tmp_path / "scan.h5"
    process = writer(path, "plain", "latest")
    message = error_of(path)
    assert "another program has it open for writing, and not in SWMR mode" in message
    assert "damaged" not in message
    process.kill()
    process.wait()
    assert "ended without closing it; if it ended, h5clear --status FILE takes the mark away" in error_of(
        path
    )


# --- names


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["\x1b[2Jred\u202e/images"] = VALUES
    assert error_of(tmp_path / "scan.h5", data=None).endswith(r"three axes: \x1b[2Jred\u202e/images (data=)")
