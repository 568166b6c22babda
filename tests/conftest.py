"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """Folder of measured scans; where there is none the test is skipped."""
    folder = Path(os.environ.get("XANESUM_TEST_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}; XANESUM_TEST_DATA can name one with real scans")
    return folder


@pytest.fixture(autouse=True)
def _pictures_unseen(request, monkeypatch):
    """Draw the pictures of a report, but save none where no test looks at them: it takes seconds a run."""
    if not request.path.name.startswith("test_report"):
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)
