"""The order of the modules: each uses only what stands before it in LAYERS, and none brings torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "xanesum"
SRC = Path(__file__).resolve().parents[1] / "src" / PACKAGE
LAYERS = [
    "errors",
    "stack",
    "storage",
    "linalg",
    "noise",
    "io",
    "preprocess",
    "streaming",
    "align",
    "denoisers",
    "result",
    "method",
    "flat_field",
    "xanes",
    "diagnostics",
    "phantom",
    "report",
    "workflow",
    "cli",
    "viewer",
    "__main__",
]
WITH_TORCH = {"denoisers/network.py", "denoisers/_networks.py"}
FREE = {"__init__", "testing"}  # what the package shows, and what it lends to authors of plug-ins
MODULES = sorted(SRC.rglob("*.py"))


def area_of(relative):
    """Name of the layer of a file given relative to the package: io/tiff.py and io/__init__.py are 'io'."""
    return relative.parts[0].removesuffix(".py")


def imports_of(tree):
    """Yield the full name of all that `tree` imports, inside functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


def layer_faults(relative, source):
    """Return one sentence for every import in `source` that goes against LAYERS."""
    here = area_of(relative)
    if here not in LAYERS and here not in FREE:
        return [f"{here} has no place in LAYERS"]
    faults = []
    for name in imports_of(ast.parse(source)):
        parts = name.split(".")
        if not parts[0]:
            faults.append(f"{relative} imports {name}: write the full name, so that the layer is seen")
        elif parts[0] == PACKAGE and here not in FREE:
            other = parts[1] if len(parts) > 1 else "__init__"
            if other not in LAYERS:
                faults.append(f"{here} imports {other}, which is not a layer")
            elif LAYERS.index(other) > LAYERS.index(here):
                faults.append(f"{here} imports {other}, which comes after it")
    return faults


def runs_on_import(node):
    """Yield `node` and the statements below it, leaving out the bodies of functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from runs_on_import(child)


def imports_torch(source):
    """Say whether importing a module with this `source` would import torch."""
    statements = [node for node in runs_on_import(ast.parse(source)) if isinstance(node, ast.stmt)]
    alone = (ast.Module([node], []) for node in statements if isinstance(node, ast.Import | ast.ImportFrom))
    return any(name.split(".")[0] == "torch" for tree in alone for name in imports_of(tree))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_imports_go_one_way(path):
    assert layer_faults(path.relative_to(SRC), path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_only_the_network_brings_torch(path):
    assert imports_torch(path.read_text("utf-8")) is (path.relative_to(SRC).as_posix() in WITH_TORCH)


def test_the_package_imports_while_torch_is_broken(tmp_path):
    """A second witness, for imports that no parser sees: a torch that fails stands first on the path."""
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    names = [
        ".".join((PACKAGE, *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")
        for path in MODULES
        if path.stem != "__main__" and path.relative_to(SRC).as_posix() not in WITH_TORCH
    ]
    program = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SRC.parent)])}

    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        (
            "stack.py",
            "from xanesum.noise.level import estimate_sigma",
            "stack imports noise, which comes after it",
        ),
        ("stack.py", "import xanesum.noise.level", "stack imports noise, which comes after it"),
        ("io/tiff.py", "def f():\n    from xanesum import method", "io imports method, which comes after it"),
        (
            "linalg/subspace.py",
            "if TYPE_CHECKING:\n    from xanesum.noise.level import x",
            "linalg imports noise, which comes after it",
        ),
        ("cli.py", "from xanesum.testing import DenoiserTests", "cli imports testing, which is not a layer"),
        ("cli.py", "import xanesum", "cli imports __init__, which is not a layer"),
        ("io/tiff.py", "from .scan import reading", "io/tiff.py imports .scan.reading: write"),
        ("helpers.py", "import numpy", "helpers has no place in LAYERS"),
    ],
    ids=["upward", "plain import", "deferred", "type only", "testing", "package", "relative", "no layer"],
)
def test_a_planted_fault_is_reported(file, source, message):
    assert [fault[: len(message)] for fault in layer_faults(Path(file), source)] == [message]


@pytest.mark.parametrize(
    "source",
    ["import torch", "from torch import nn", "try:\n    import torch.nn\nexcept ImportError:\n    pass"],
)
def test_planted_torch_is_reported(source):
    assert imports_torch(source)


@pytest.mark.parametrize("source", ["def f():\n    import torch", "import torchless", "x = 'import torch'"])
def test_torch_inside_a_function_is_allowed(source):
    assert not imports_torch(source)
