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
