"""The order of the rooms, and their size: imports go one way, files and functions are short."""

import ast
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
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
    "viewer",
    "workflow",
    "cli",
    "__main__",
]
WITH_TORCH = {"denoisers/network.py", "denoisers/_networks.py"}
FREE = {"__init__", "testing"}  # the names that the package shows, and the tests for authors of plug-ins
MODULES = sorted(SRC.rglob("*.py"))
TOP_ENTRIES = 22  # files and folders at the top of the package ...
TO_COME = {"align", "viewer"}  # ... and one more for each of these, once it is there
FILE_LINES = 450
FUNCTION_LINES = 60  # without the docstring
CLASS_LINES = 150  # without the docstring
POSITIONAL = 6  # parameters that a caller may give by position; `self` and `cls` do not count


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


def module_name(path):
    """Return the full name of the module in a file below SRC."""
    return ".".join((PACKAGE, *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")


SOURCES = {module_name(path): path.read_text("utf-8") for path in MODULES}


def own_imports(source):
    """Yield (module, name) of all imports from the package; the name is empty for a whole module."""
    for full in imports_of(ast.parse(source)):
        module, _, name = full.rpartition(".")
        if full in SOURCES:
            yield full, ""
        elif module in SOURCES:
            yield module, name


def cycle_of(sources):
    """Return the modules of a circle of imports among {module: source}, or an empty list."""
    graph = {name: {module for module, _ in own_imports(source)} - {name} for name, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_uses(here, source):
    """Return the private names that a module takes from others; a folder may share a private module."""
    folder = here.rpartition(".")[0]
    found, modules = [], set()
    for module, name in own_imports(source):
        owner, _, last = module.rpartition(".")
        if is_private(name) or (is_private(last) and owner != folder):
            found.append(f"{module}.{name}".rstrip("."))
        if not name:
            modules.add(last)
    attributes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute))
    for node in attributes:
        if is_private(node.attr) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.append(f"{node.value.id}.{node.attr}")
    return found


def n_lines(node):
    """Return the lines of a function or class, without its docstring."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) is not None else 0
    return node.end_lineno - node.lineno + 1 - docstring


def positional(function):
    """Return the parameters that a caller may give by position."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def oversized(source):
    """Return one text for every function and class of `source` that is too long or takes too much."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and n_lines(node) > CLASS_LINES:
            found.append(f"class {node.name}: {n_lines(node)} lines")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if n_lines(node) > FUNCTION_LINES:
                found.append(f"{node.name}: {n_lines(node)} lines")
            if len(positional(node)) > POSITIONAL:
                found.append(f"{node.name}: {len(positional(node))} positional parameters")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_imports_go_one_way(path):
    assert layer_faults(path.relative_to(SRC), path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_only_the_network_brings_torch(path):
    assert imports_torch(path.read_text("utf-8")) is (path.relative_to(SRC).as_posix() in WITH_TORCH)


def test_the_package_imports_while_torch_is_broken(tmp_path):
    """A second witness, for imports that no parser sees: the first torch on the path fails."""
    (tmp_path / "torch.py").write_text("raise RuntimeError('torch was imported')")
    names = [
        module_name(path)
        for path in MODULES
        if path.stem != "__main__" and path.relative_to(SRC).as_posix() not in WITH_TORCH
    ]
    program = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SRC.parent)])}

    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_no_import_goes_in_a_circle():
    assert cycle_of(SOURCES) == []


def test_the_top_of_the_package_has_few_entries():
    entries = {path.name for path in SRC.iterdir()} - {"__pycache__"}

    assert len(entries) <= TOP_ENTRIES + len(TO_COME & entries), sorted(entries)


def test_no_file_is_long():
    lengths = {name: len(source.splitlines()) for name, source in SOURCES.items()}

    assert {name: length for name, length in lengths.items() if length > FILE_LINES} == {}


def test_no_function_or_class_is_large():
    assert [f"{name}: {each}" for name, source in SOURCES.items() for each in oversized(source)] == []


def test_nobody_takes_private_names_of_another_module():
    uses = {name: private_uses(name, source) for name, source in SOURCES.items()}

    assert {name: found for name, found in uses.items() if found} == {}


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


def test_a_planted_circle_is_reported():
    sources = {
        "xanesum.stack": "from xanesum.result import Denoised",
        "xanesum.result": "import xanesum.stack",
    }

    assert set(cycle_of(sources)) == set(sources)


@pytest.mark.parametrize(
    ("here", "source", "uses"),
    [
        ("xanesum.result", "from xanesum.stack import _rule", ["xanesum.stack._rule"]),
        ("xanesum.result", "from xanesum import stack\nstack._rule()", ["stack._rule"]),
        ("xanesum.io.tiff", "from xanesum.denoisers import _haar", ["xanesum.denoisers._haar"]),
        ("xanesum.denoisers.nlm", "from xanesum.denoisers._haar import x", []),
        ("xanesum.result", "from xanesum.stack import __doc__, rule\nself._rule", []),
    ],
    ids=["name", "attribute", "module", "module of the same folder", "none"],
)
def test_planted_private_names_are_reported(here, source, uses):
    assert private_uses(here, source) == uses


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (f"def f():{FUNCTION_LINES * chr(10)}    pass", [f"f: {FUNCTION_LINES + 1} lines"]),
        (f"def f():\n    '''{FUNCTION_LINES * chr(10)}'''\n    pass", []),
        (f"class C:{CLASS_LINES * chr(10)}    pass", [f"class C: {CLASS_LINES + 1} lines"]),
        ("def f(a, b, c, d, e, f, g): pass", ["f: 7 positional parameters"]),
        ("class C:\n    def f(self, a, b, c, d, e, f, *, g): pass", []),
    ],
    ids=["long function", "long docstring", "long class", "many parameters", "keyword parameter"],
)
def test_planted_size_is_reported(source, found):
    assert oversized(source) == found
