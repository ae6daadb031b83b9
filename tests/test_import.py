"""What an import costs, and that imports point downwards only."""

import ast
import collections
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import refreeze

SOURCE = Path(refreeze.__file__).parent
# Lowest first. A module may import those of lower rows; those of one row do not know each other, a package its own.
LAYERS = (
    {"errors"},
    {"policy", "rates", "choices", "loading", "reading", "writing"},
    {"schedule"},
    {"windows", "selectors"},
    {""},  # the package itself: `from refreeze import …`
    {"segments_json", "plot", "limits"},
    {"dialects", "bench"},
    {"plan"},
    {"convert", "audit"},
    {"keras", "torch", "jax"},
    {"conformance", "job", "listing"},
    {"cli"},
)
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}
# What a module of the core needs to be installed; (name, lazily) if it is imported only when it is needed.
OTHERS = {
    "errors": set(),
    "policy": set(),
    "rates": set(),
    "choices": set(),
    "limits": set(),
    "loading": set(),
    "reading": set(),
    "writing": set(),
    "schedule": set(),
    "selectors": set(),
    "windows": {("numpy", True)},
    "segments_json": {("msgspec", False)},
    "dialects": {("msgspec", False), ("yaml", False)},
}


def imports(tree: ast.AST, lazily: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the full name of all that a module imports, and whether inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((name.name, lazily) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((f"{node.module}.{name.name}", lazily) for name in node.names)
        for_types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, lazily or function or for_types_only)


def violations(module: str, source: str) -> list[str]:
    """Return what a module, such as ``dialects.vl3d``, imports and may not."""
    own = module.partition(".")[0]
    found = [] if own in LEVEL else [f"{module} has no layer"]
    for name, lazily in imports(ast.parse(source)):
        package, _, rest = name.partition(".")
        if package != "refreeze":
            allowed = package in sys.stdlib_module_names or own not in OTHERS or (package, lazily) in OTHERS[own]
        else:
            target = rest.partition(".")[0]
            target = target if target in LEVEL else ""
            facade = own == "" and lazily  # `refreeze.read` imports what it needs when it is called
            allowed = facade or target == own != "" or LEVEL[target] < LEVEL.get(own, len(LAYERS))
        found += [] if allowed else [f"{module} imports {name}"]
    return found


def modules() -> dict[str, str]:
    paths = {path.relative_to(SOURCE).with_suffix("").parts: path for path in SOURCE.rglob("*.py")}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" else parts): path.read_text(encoding="utf-8")
        for parts, path in paths.items()
    }


def test_imports_point_downwards_only():
    found = modules()
    assert found.keys() >= {
        "",
        "errors",
        "policy",
        "schedule",
        "windows",
        "selectors",
        "segments_json",
        "dialects.vl3d",
    }
    assert [bad for module, source in found.items() for bad in violations(module, source)] == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("errors", "import refreeze.policy", ["errors imports refreeze.policy"]),
        ("policy", "from refreeze.schedule import cut", ["policy imports refreeze.schedule.cut"]),
        ("policy", "from refreeze.errors import Conflict", []),
        ("policy", "from refreeze import always", ["policy imports refreeze.always"]),
        ("segments_json", "from refreeze import always", []),
        ("windows", "from refreeze.selectors import glob", ["windows imports refreeze.selectors.glob"]),
        ("windows", "import numpy", ["windows imports numpy"]),
        ("windows", "def f():\n    import numpy as np", []),
        ("schedule", "def f():\n    import numpy.random", ["schedule imports numpy.random"]),
        ("segments_json", "import msgspec, yaml", ["segments_json imports yaml"]),
        ("dialects.vl3d", "from refreeze.dialects import Dialect\nfrom refreeze.keras import run",
         ["dialects.vl3d imports refreeze.keras.run"]),
        ("keras.run", "import keras\nfrom refreeze import conformance", ["keras.run imports refreeze.conformance"]),
        ("", "from refreeze.policy import always\nfrom refreeze.segments_json import to_json",
         [" imports refreeze.segments_json.to_json"]),
        ("cellar", "import json", ["cellar has no layer"]),
    ],
)  # fmt: skip
def test_an_import_that_points_upwards_is_found(module, source, found):
    assert violations(module, source) == found


def graph(found: dict[str, str]) -> dict[str, set[str]]:
    """Return, for each of the modules, those of them that it imports, at its top or in a function."""

    def module_of(name: str) -> str:
        while name not in found:
            name = name.rpartition(".")[0]
        return name

    return {
        module: {
            module_of(name.removeprefix("refreeze").removeprefix("."))
            for name, _ in imports(ast.parse(source))
            if name.partition(".")[0] == "refreeze"
        }
        - {module}
        for module, source in found.items()
    }


def test_no_imports_go_round_in_a_circle():
    """Not in functions either; a package that finds its modules by name, as the registry of dialects does, may."""
    graphlib.TopologicalSorter(graph(modules())).prepare()


def test_a_circle_is_found():
    circle = {
        "": "",
        "a": "from refreeze import b",
        "b": "def f():\n    import refreeze.c",
        "c": "from refreeze.a import g",
    }
    with pytest.raises(graphlib.CycleError):
        graphlib.TopologicalSorter(graph(circle)).prepare()


def public_classes(found: dict[str, str]) -> list[str]:
    """Return the name of each class at the top of a module."""
    nodes = (node for source in found.values() for node in ast.parse(source).body)
    return [node.name for node in nodes if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


TWINS = {"FreezeSchedule", "RecordDecisions", "Recorder"}
"""What each engine has, under one name."""


def test_no_two_classes_share_a_name():
    counted = collections.Counter(public_classes(modules()))
    assert len(counted) > 80
    assert {name for name, number in counted.items() if number > 1} == TWINS


PROGRAM = """
import sys
before = {*sys.modules}
import refreeze
print(*{*sys.modules} - before)
"""


def test_importing_the_package_loads_little_and_nothing_but_the_standard_library():
    """So it is quick, 0.04 seconds; a count holds on a busy machine too."""
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    loaded = output.split()
    assert {name.partition(".")[0] for name in loaded} <= {"refreeze", *sys.stdlib_module_names}
    assert len(loaded) < 100
    assert [name for name in loaded if name.startswith("refreeze.")]
