"""Damage small files of every format at random, and run a command on each: a process of its own does this.

    python tests/fuzz_files.py FOLDER COUNT SEED

Every attempt prints a line when it begins, and one when it has ended: ``begin N KIND DAMAGE`` and
``end N STATUS PROBLEM``; a problem is whatever a user should never see.  The last line says how much memory
was used.  See test_fuzz.py.
"""

import contextlib
import io
import os
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import tifffile
from io_files import write_axis2000, write_ssrl, write_xrm

from xanesum.cli import main as cli
from xanesum.io import write_stack
from xanesum.stack import make_stack

ENERGY = 8300.0 + 5.0 * np.arange(12)
SECONDS = 15  # a command that takes longer hangs
ALLOWED = (0, 1, 2, 130)
EDGES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


class Hang(BaseException):
    """A command took too long; no handler of errors stops it."""


def counts():
    edge = 0.5 / (1 + np.exp(-(ENERGY - 8325.0) / 3))
    mean = 2000 * np.exp(-np.broadcast_to(edge[:, None, None], (12, 9, 11)))
    return np.random.default_rng(1).poisson(mean).astype(np.uint16)


def density():
    return -np.log(counts() / 2000.0).astype(np.float32)


# --- one function for each kind of scan: it writes into an empty folder, and returns the scan and options


def native(folder):
    write_stack(make_stack(density(), ENERGY), folder / "scan.h5")
    return folder / "scan.h5", []


def pyxas(folder):
    with h5py.File(folder / "scan.h5", "w") as file:
        file["img_xanes"], file["X_eng"] = counts() / 2000.0, ENERGY / 1e3
    return folder / "scan.h5", []


def dataexchange(folder):
    with h5py.File(folder / "scan.h5", "w") as file:
        file["exchange/data"], file["exchange/energy"] = counts(), ENERGY
        file["exchange/data_white"] = np.full((12, 9, 11), 2000, np.uint16)
    return folder / "scan.h5", []


def nxstxm(folder):
    with h5py.File(folder / "scan.h5", "w") as file:
        entry = file.create_group("entry1")
        entry["definition"] = "NXstxm"
        data = entry.create_group("counter0")
        data.attrs.update(
            {"NX_class": "NXdata", "signal": "data", "axes": ["energy", "sample_y", "sample_x"]}
        )
        data["data"], data["energy"] = counts(), ENERGY
        data["sample_y"], data["sample_x"] = np.arange(9.0), np.arange(11.0)
        entry["control/data"] = np.full(12, 2000.0)
    return folder / "scan.h5", ["--i0", "monitor"]


def named(folder):
    with h5py.File(folder / "scan.h5", "w") as file:
        file.create_dataset("a/stack", data=density(), chunks=(1, 9, 11), compression="gzip")
    np.savetxt(folder / "list.txt", ENERGY)
    return folder / "scan.h5", ["--data", "a/stack", "--energies", folder / "list.txt"]


def tiff(folder):
    write_stack(make_stack(density(), ENERGY), folder / "scan.tif")
    return folder / "scan.tif", []


def imagej(folder):
    labels = [f"{energy} eV" for energy in ENERGY]
    metadata = {"axes": "ZYX", "Labels": labels}
    tifffile.imwrite(folder / "scan.tif", density(), imagej=True, truncate=True, metadata=metadata)
    return folder / "scan.tif", []


def deflated(folder):
    options = {"compression": "zlib", "tile": (16, 16), "photometric": "minisblack", "byteorder": ">"}
    tifffile.imwrite(folder / "scan.tif", density(), **options)
    np.save(folder / "e.npy", ENERGY)
    return folder / "scan.tif", ["--energies", folder / "e.npy"]


def ome(folder):
    tifffile.imwrite(folder / "scan.ome.tif", density(), photometric="minisblack", metadata={"axes": "ZYX"})
    np.savetxt(folder / "scan.ome_energies.txt", ENERGY)
    return folder / "scan.ome.tif", []


def txrm(folder):
    return write_xrm(folder / "scan.txrm", density(), energy=ENERGY), []


def ssrl(folder):
    rate = counts() * 2.0
    return write_ssrl(folder, rate, 0 * rate + 4000, ENERGY, repeats=1), []


def axis2000(folder):
    path = write_axis2000(folder, counts(), ENERGY)
    (folder / "scan.xsp").write_text("8200 2000\n8400 2000\n")
    return path, []


def images(folder):
    for energy, image in zip(ENERGY, counts(), strict=True):
        tifffile.imwrite(folder / f"cell_{energy:08.2f}_eV.tif", image)
    tifffile.imwrite(folder / "flat_1.tif", np.full((9, 11), 2000, np.uint16))
    return folder, []


def store(folder):
    array = zarr.create_array(store=str(folder / "scan.zarr"), data=density(), chunks=(6, 9, 11))
    array.attrs.update({"energy_ev": ENERGY.tolist(), "quantity": "optical_density"})
    return folder / "scan.zarr", []


KINDS = (
    native,
    pyxas,
    dataexchange,
    nxstxm,
    named,
    tiff,
    imagej,
    deflated,
    ome,
    txrm,
    ssrl,
    axis2000,
    images,
)
with contextlib.suppress(ImportError):  # an extra
    import zarr

    KINDS = (*KINDS, store)

# --- damage


def flip(data, rng):
    for at in rng.integers(0, len(data), rng.integers(1, 9)):
        data[at] ^= 1 << int(rng.integers(0, 8))
    return data


def cut(data, rng):
    return data[: int(rng.integers(0, len(data)))]


def extreme(data, rng):
    size = int(rng.choice([1, 2, 4, 8]))
    at = int(rng.integers(0, max(1, min(len(data), 4096) - size)))
    value = int(rng.choice(EDGES)) % 256**size
    data[at : at + size] = value.to_bytes(size, str(rng.choice(["little", "big"])))
    return data


def blank(data, rng):
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
    data[start : start + length] = bytes([int(rng.choice([0, 255, 32]))]) * len(data[start : start + length])
    return data


def insert(data, rng):
    at = int(rng.integers(0, len(data)))
    return data[:at] + bytearray(rng.bytes(int(rng.integers(1, 40)))) + data[at:]


def repeat(data, rng):
    start, length = int(rng.integers(0, len(data))), int(rng.integers(1, 300))
    return data[: start + length] + data[start:]


DAMAGES = (flip, cut, extreme, blank, insert, repeat)


def attempt(folder, scan, options, verb):
    """Run a verb in this process; return its exit status and what a user should not have seen."""
    said, before = io.StringIO(), sorted(folder.rglob("*"))
    output = [] if verb == "info" else ["--as-is", "-o", str(folder / "map.h5")]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            signal.alarm(SECONDS)
            status = cli.main([verb, str(scan), *map(str, options), *output])
    except SystemExit as error:
        status = error.code
    except Hang:
        return -1, "hangs"
    except BaseException as error:
        return -1, f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
    finally:
        signal.alarm(0)
    errors = [line for line in said.getvalue().splitlines() if "error:" in line]
    if status not in ALLOWED:
        return status, f"exit status {status}"
    if "Traceback" in said.getvalue() or len(errors) != (status != 0):
        return status, f"said {said.getvalue()[-300:]!r}"
    if status and sorted(folder.rglob("*")) != before:
        return status, "left something behind"
    return status, ""


def hang(*_):
    raise Hang


def main(place, count, seed):
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, hang)
    whole = {}
    for kind in KINDS:
        (place / kind.__name__).mkdir()
        scan, options = kind(place / kind.__name__)
        whole[kind.__name__] = scan, options
        status, problem = attempt(place / kind.__name__, scan, options, "map")
        assert (status, problem) == (0, ""), (
            f"{kind.__name__} is not readable before it is damaged: {problem}"
        )
        (place / kind.__name__ / "map.h5").unlink()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind, damage = KINDS[number % len(KINDS)].__name__, rng.choice(DAMAGES)
        folder = place / "damaged"
        shutil.copytree(place / kind, folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        path = files[int(rng.integers(0, len(files)))]
        path.write_bytes(bytes(damage(bytearray(path.read_bytes()), rng)))
        print("begin", number, kind, damage.__name__, path.name, flush=True)
        moved = [
            str(each).replace(str(place / kind), str(folder)) for each in (whole[kind][0], *whole[kind][1])
        ]
        status, problem = attempt(folder, moved[0], moved[1:], "map" if number % 2 else "info")
        print("end", number, status, problem, flush=True)
        shutil.rmtree(folder)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
    print("memory", more * (1 if sys.platform == "darwin" else 1024), flush=True)


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
