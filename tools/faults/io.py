"""Planted faults in io."""

from faults import Fault

FAULTS = (
    Fault(
        "io: repeats not divided by their exposure time",
        "io/ssrl.py",
        "total += _counts(exposure) / exposure.info.exposure_s[0]",
        "total += _counts(exposure)",
        "tests/test_io_xrm.py",
    ),
    Fault(
        "io: flats and sample exposures swapped",
        "io/ssrl.py",
        'found["flat"] is not None, info',
        'found["flat"] is None, info',
        "tests/test_io_xrm.py",
    ),
    Fault(
        "io: MANTiS axes not turned round",
        "io/dataexchange.py",
        "reader(path, DATA, reverse_axes=energy_last)",
        "reader(path, DATA, reverse_axes=False)",
        "tests/test_io_hdf5.py",
    ),
    Fault(
        "io: rows and columns of an aXis2000 image swapped",
        "io/axis2000.py",
        "shape = (known.size, rows.size, columns.size)",
        "shape = (known.size, columns.size, rows.size)",
        "tests/test_io_axis2000.py",
    ),
    Fault(
        "io: PyXAS energies a power of ten off",
        "io/pyxas.py",
        "return energy * 1e3 if energy.size and np.all(energy < 100) else energy",
        "return energy * 1e2 if energy.size and np.all(energy < 100) else energy",
        "tests/test_io_hdf5.py",
    ),
    Fault(
        "io: a count of images taken for keV",
        "io/energies.py",
        "if known.size > 1 and low in (0.0, 1.0)",
        "if known.size > 1 and low in (-1.0,)",
        "tests/test_io_energies.py",
    ),
    Fault(
        "io: a count before the energies read as energies",
        "io/energies.py",
        "            return 1\n",
        "            return 0\n",
        "tests/test_io_energies.py",
    ),
    Fault(
        "io: keV and eV in one list",
        "io/energies.py",
        "if low < KEV_LIMIT <= high:",
        "if low < 0 <= high:",
        "tests/test_io_energies.py",
    ),
    Fault(
        "io: the first of the images behind one header for all of them",
        "io/tiff_pages.py",
        "return np.array(stored[key])",
        "return np.array(np.broadcast_to(stored[:1], stored.shape)[key])",
        "tests/test_io_tiff.py",
    ),
    Fault(
        "io: regions of aXis2000 mixed",
        "io/axis2000.py",
        'digit = str(part.region) if part.n_regions > 1 else ""',
        'digit = ""',
        "tests/test_io_axis2000.py",
    ),
    Fault(
        "io: a flat in a folder of images taken for the sample",
        "io/image_folder.py",
        "kinds = [kind_of(file.stem) for file in files]",
        "kinds = [SAMPLE for file in files]",
        "tests/test_io_image_folder.py",
    ),
    Fault(
        "io: flats of a folder not interpolated along energy",
        "io/image_folder.py",
        "place = np.interp(energy, known, np.arange(len(known)))",
        "place = np.round(np.interp(energy, known, np.arange(len(known))))",
        "tests/test_io_image_folder.py",
    ),
    Fault(
        "zarr: chunks of any size",
        "io/zarr_store.py",
        "> MOST_BYTES:",
        "> 1e99:",
        "tests/test_io_zarr.py",
    ),
)
