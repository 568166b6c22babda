"""Planted faults in io."""

from faults import Fault

FAULTS = (
    Fault(
        "io: energies of a white spectrum ignored",
        "io/dataexchange.py",
        "interpolate_i0(path, at.ravel(), white.ravel(), energy)",
        "interpolate_i0(path, np.sort(at.ravel()), white.ravel(), energy)",
        "tests/test_io_references.py",
    ),
    Fault(
        "io: the last flat instead of the mean",
        "io/references.py",
        "return np.asarray(total / len(images), np.float32)",
        "return np.asarray(images[-1].counts(), np.float32)",
        "tests/test_io_references.py",
    ),
    Fault(
        "io: flats of several energies not interpolated",
        "io/references.py",
        "image if not share else",
        "image if True else",
        "tests/test_io_references.py",
    ),
    Fault(
        "io: saturation of HDF5 not known",
        "io/registry.py",
        "known = scan.computed or ",
        "known = True or ",
        "tests/test_preprocess_quantity.py",
    ),
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
        "shape = (energy.size, rows.size, columns.size)",
        "shape = (energy.size, columns.size, rows.size)",
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
        "zarr: chunks of any size",
        "io/zarr_store.py",
        "> MOST_BYTES:",
        "> 1e99:",
        "tests/test_io_zarr.py",
    ),
)
