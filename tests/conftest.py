"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import tifffile

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """Folder of measured scans; where there is none the test is skipped."""
    folder = Path(os.environ.get("XANESUM_TEST_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; XANESUM_TEST_DATA can name one with real scans")
    return folder


@pytest.fixture
def without_imagecodecs(monkeypatch):
    """Let tifffile find no codecs but its own, as where the extra "codecs" is not installed."""
    own = {
        code: tifffile.TIFF.DECOMPRESSORS[code]
        for code in (tifffile.COMPRESSION.NONE, tifffile.COMPRESSION.DEFLATE)
    }
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", own)
    monkeypatch.setattr("xanesum.io.tiff_pages._has_imagecodecs", lambda: False)


@pytest.fixture
def pictures_unseen(monkeypatch):
    """Make the pictures of a report, but render none: it takes seconds a report."""
    for name in ("savefig", "draw_without_rendering"):
        monkeypatch.setattr(f"matplotlib.figure.Figure.{name}", lambda *_, **__: None)


@pytest.fixture(autouse=True)
def _pictures_unseen_elsewhere(request):
    """Only tests of reports look at pictures."""
    if not request.path.name.startswith("test_report"):
        request.getfixturevalue("pictures_unseen")
