"""Build the wheel and the source archive, check what is in them, and run the demo from the wheel.

The wheel is installed with all that it needs into an empty environment, away from the source.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
IN_ARCHIVE = (
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "constraints.txt",
    "docs/index.md",
)


def build(folder: Path, source: Path = ROOT) -> tuple[Path, Path]:
    """Build both from `source` into an empty `folder`; return wheel and source archive."""
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=source)
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def files_of_wheel(wheel: Path) -> dict[str, bytes]:
    """Return the files of the package in a wheel."""
    with zipfile.ZipFile(wheel) as content:
        return {name: content.read(name) for name in content.namelist() if name.startswith("xanesum/")}


def files_of_source(root: Path) -> set[str]:
    """Return the files that the package should have."""
    found = (path for path in (root / "src" / "xanesum").rglob("*") if path.is_file())
    return {
        f"xanesum/{path.relative_to(root / 'src' / 'xanesum').as_posix()}"
        for path in found
        if is_source(path)
    }


def is_source(path: Path) -> bool:
    return path.suffix != ".pyc" and "__pycache__" not in path.parts


def faults(wheel: Path, archive: Path) -> list[str]:
    """Return what is wrong with the two, a sentence each."""
    inside = files_of_wheel(wheel)
    there, needed = set(inside), files_of_source(ROOT)
    found = [f"the wheel lacks {name}" for name in sorted(needed - there)]
    found += [f"the wheel has {name}, which the source has not" for name in sorted(there - needed)]
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
        (source,) = Path(folder).iterdir()
        found += [f"the archive lacks {name}" for name in IN_ARCHIVE if not (source / name).is_file()]
        again, _ = build(Path(folder) / "again", source)
        if files_of_wheel(again) != inside:
            found.append("the archive makes another wheel than the source")
    return found


def try_in_empty_environment(wheel: Path) -> None:
    """Install the wheel, and what it needs, and run the demo; nothing of the source is on the path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        run(*pip, "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[viewer]", cwd=folder)
        run(str(programs / "xanesum"), "demo", "-o", "demo", cwd=folder)
        for page in ("report.html", "explore.html", "scan.h5"):
            if not (folder / "demo" / page).is_file():
                raise SystemExit(f"the demo of the installed wheel left no {page}")


def run(*command: str, cwd: Path) -> None:
    """Run a program; end with its output if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--no-demo", action="store_true", help="build and check only")
    options = parser.parse_args(arguments)
    wheel, archive = build(DIST)
    found = faults(wheel, archive)
    for fault in found:
        print(fault, file=sys.stderr)
    if not found and not options.no_demo:
        try_in_empty_environment(wheel)
    sizes = ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB)" for path in (wheel, archive))
    print(f"{DIST}: {sizes}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
