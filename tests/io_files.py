"""Helpers of the reader tests: synthetic files of every format, and the folder of real data."""

import math
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from xanesum.stack import make_stack

SECTOR, MINI, CUTOFF = 512, 64, 4096
END, FREE, FAT_MARK, NONE = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def real_data(name):
    """Return a folder or file of the real test data, or skip the test and say why."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("XANESUM_TEST_DATA", default)) / name
    if not path.exists():
        pytest.skip(f"no real data: {name} is in neither XANESUM_TEST_DATA nor ../shared/data")
    return path


def small_stack(shape=(4, 5, 7), *, quantity="optical_density", dtype=np.float32, seed=1, **options):
    """Return a stack of positive random values (Y != X on purpose)."""
    values = np.random.default_rng(seed).uniform(0.1, 2.0, shape).astype(dtype)
    return make_stack(values, 8300.0 + 1.25 * np.arange(shape[0]), quantity=quantity, **options)


def write_xrm(
    path, images, *, energy=0.0, exposure_s=1.0, pixel_size_um=0.03, declared_images=None, more=None
):
    """Write an Xradia file with `images` (n, Y, X), uint16 or float32; `more` are further streams."""
    images = np.asarray(images)
    n_images, height, width = images.shape
    data_type = {"u2": 5, "f4": 10, "u1": 3}[images.dtype.str[1:]]
    info = {
        "ImageWidth": struct.pack("<i", width),
        "ImageHeight": struct.pack("<i", height),
        "NoOfImages": struct.pack("<i", declared_images or n_images),
        "DataType": struct.pack("<i", data_type),
        "Energy": np.full(n_images, energy, "<f4").tobytes(),
        "ExpTimes": np.full(n_images, exposure_s, "<f4").tobytes(),
        "PixelSize": struct.pack("<f", pixel_size_um),
    }
    streams = {f"ImageInfo/{name}": data for name, data in info.items()} | (more or {})
    for i, image in enumerate(images):
        streams[f"ImageData{i // 100 + 1}/Image{i + 1}"] = image.tobytes()
    write_ole(path, streams)
    return path


def write_ole(path, streams):
    """Write a minimal OLE2 container; `streams` maps "storage/name" to bytes."""
    body, fat, starts, mini, mini_fat = bytearray(), [], {}, bytearray(), []

    def store(data):
        start = len(fat)
        count = math.ceil(len(data) / SECTOR)
        fat.extend([*range(start + 1, start + count), END] if count else [])
        body.extend(data.ljust(count * SECTOR, b"\0"))
        return start if count else END

    for name, data in streams.items():
        if len(data) >= CUTOFF:
            starts[name] = store(data)
        else:
            starts[name], count = len(mini_fat), max(1, math.ceil(len(data) / MINI))
            mini_fat.extend([*range(starts[name] + 1, starts[name] + count), END])
            mini.extend(data.ljust(count * MINI, b"\0"))
    root = (store(bytes(mini)), len(mini))
    mini_fat_start = store(struct.pack(f"<{len(mini_fat)}I", *mini_fat).ljust(SECTOR, b"\xff"))
    directory_start = store(_directory(streams, starts, root))
    n_fat = next(n for n in range(1, 110) if n * (SECTOR // 4) >= len(fat) + n)
    fat_start = len(fat)
    fat.extend([FAT_MARK] * n_fat)
    body.extend(struct.pack(f"<{len(fat)}I", *fat).ljust(n_fat * SECTOR, b"\xff"))
    n_mini_fat = math.ceil(len(mini_fat) * 4 / SECTOR)
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16)
    header += struct.pack("<HHHHH6xII", 0x3E, 3, 0xFFFE, 9, 6, 0, n_fat)
    header += struct.pack("<IIIIIII", directory_start, 0, CUTOFF, mini_fat_start, n_mini_fat, END, 0)
    difat = [fat_start + i for i in range(n_fat)]
    header += struct.pack("<109I", *difat, *[FREE] * (109 - n_fat))
    Path(path).write_bytes(header + body)


def _directory(streams, starts, root):
    """Return the directory sectors: root, then each storage and its streams as a chain of right siblings."""
    storages = sorted({name.split("/")[0] for name in streams}, key=_order)
    entries = [["Root Entry", 5, NONE, 1, *root]]
    index = {storage: 1 + i for i, storage in enumerate(storages)}
    for storage in storages:
        last = index[storage] == len(storages)
        entries.append([storage, 1, NONE if last else index[storage] + 1, NONE, 0, 0])
    for storage in storages:
        names = sorted(
            (n for n in streams if n.split("/")[0] == storage), key=lambda n: _order(n.split("/")[1])
        )
        entries[index[storage]][3] = len(entries)
        for name in names:
            right = NONE if name == names[-1] else len(entries) + 1
            entries.append([name.split("/")[1], 2, right, NONE, starts[name], len(streams[name])])
    packed = b"".join(_entry(*entry) for entry in entries)
    return packed.ljust(math.ceil(len(packed) / SECTOR) * SECTOR, b"\0")


def _order(name):
    return (len(name), name.upper())


def _entry(name, kind, right, child, start, size):
    text = name.encode("utf-16-le")
    fields = struct.pack("<HBBIII", len(text) + 2, kind, 1, NONE, right, child)
    return text.ljust(64, b"\0") + fields + bytes(36) + struct.pack("<IQ", start, size)


def write_axis2000(folder, counts, energy, *, name="scan", label="scan.hdr", skip=()):
    """Write an aXis2000 stack: header and one text image per energy, 0.05 um apart."""
    n_energies, height, width = counts.shape

    def points(values):
        return f"Points = ({len(values)}, {', '.join(f'{v:.4f}' for v in values)});"

    axes = [("PAxis", "um", 0.05 * np.arange(width)), ("QAxis", "um", 0.05 * np.arange(height))]
    text = f'ScanDefinition = {{ Label = "{label}"; Type = "NEXAFS Image Scan"; Flags = "Image Stack";\n'
    for axis, unit, values in [*axes, ("StackAxis", "eV", energy)]:
        text += f'{axis} = {{ Name = "{axis}"; Unit = "{unit}"; Min = 0; Dir = 1;\n{points(values)}\n}};\n'
    path = folder / f"{name}.hdr"
    path.write_text(text + "};\n")
    for e in set(range(n_energies)) - set(skip):
        np.savetxt(folder / f"{name}_a{e:03d}.xim", counts[e], fmt="%.6f", delimiter="\t")
    return path


def ssrl_name(energy, number, total, *, flat=False):
    """Return a file name as SSRL 6-2c writes it."""
    ref = f"{number:06d}_ref_" if flat else ""
    return f"rep01_{ref}chip_{energy:07.1f}_eV_{number:03d}of{total:03d}.xrm"


def write_ssrl(folder, rate, flat_rate, energies, *, exposure_s=0.5, flat_exposure_s=0.3, repeats=2):
    """Write a folder of SSRL images: `rate` and `flat_rate` (E, Y, X) are counts per second."""
    for e, energy in enumerate(energies):
        for n in range(1, repeats + 1):
            for flat, rates, time in ((False, rate, exposure_s), (True, flat_rate, flat_exposure_s)):
                counts = np.rint(rates[e] * time).astype("<u2")[None]
                write_xrm(folder / ssrl_name(energy, n, repeats, flat=flat), counts, exposure_s=time)
    return folder
