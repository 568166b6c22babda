"""What `import xanesum` gives, how quickly, and that the modules behind it do not get in the way."""

import subprocess
import sys

import pytest

import xanesum

PUBLIC = {
    "Denoised", "Recipe", "Shifts", "XanesumError", "XanesumWarning", "__version__", "align", "chemical_map",
    "denoise", "estimate_shifts", "example_scan", "half_step_energy", "load_result", "make_stack",
    "read_shifts", "read_stack", "run", "simulate", "to_napari", "view", "white_line", "write_explorer",
    "write_stack",
}  # fmt: skip


def python(code):
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_public_names_are_these():
    assert set(xanesum.__all__) == PUBLIC
    assert set(dir(xanesum)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_can_be_had(name):
    assert getattr(xanesum, name) is not None


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'denoize'"):
        xanesum.denoize  # noqa: B018


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, xanesum; "
        "print({'numpy', 'xarray', 'matplotlib', 'torch', 'skimage', 'pywt', 'h5py'} & set(sys.modules))"
    )

    assert python(code) == "set()"


@pytest.mark.parametrize(
    "first",
    [
        "import xanesum.method.denoising",
        "import xanesum.phantom.simulate",
        "import xanesum.align.estimate",
        "from xanesum import estimate_shifts",
        "import xanesum.workflow.pipeline, xanesum.cli.main",
        "import xanesum as xs; xs.denoise; xs.run; import xanesum.method.denoising",
        "from xanesum.method.denoising import denoise",
    ],
)
def test_functions_stay_functions_whatever_was_imported_before(first):
    functions = "(xs.denoise, xs.run, xs.simulate, xs.align)"
    code = f"{first}; import xanesum as xs; print(*(callable(f) for f in {functions}))"

    assert python(code) == "True True True True"
