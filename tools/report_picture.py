"""Draw docs/images/report.png: the first screen of the report of the scan that comes with the package.

It takes the extra "browser" and a Chromium that is installed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import xanesum as xs

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "report.png"
WIDTH_PX, HEIGHT_PX = 1180, 742  # of the first screen


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        scan = shutil.copy(xs.example_scan(), Path(folder) / "scan.h5")  # the name is shown
        report = xs.run(scan, Path(folder) / "results").report
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        page.goto(report.as_uri())
        page.screenshot(path=TARGET)
        browser.close()
    print(f"picture: {TARGET}")


if __name__ == "__main__":
    main()
