"""The rooms: which may import which, no circles, and how large a room, a file and a function may be."""

import ast
from pathlib import Path

import pytest

from support.goldens import ROOT

# A room imports from lower levels only; rooms of one level do not know of each other. `engine` may import `reports`.
LEVELS = {
    "utils": 0,
    "storage": 1,
    "models": 2,
    "datareader": 2,
    "metrics": 2,
    "reports": 3,
    "engine": 4,
    "serving": 5,
    "paddle_video_zoo": 5,
    "dataset": 5,
}
VERBS = 6  # train.py and the other programs
MOST_FILES, MOST_LINES, MOST_IN_FUNCTION = 9, 300, 60

CODE = [*ROOT.glob("*.py"), *(path for room in LEVELS for path in (ROOT / room).rglob("*.py"))]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in CODE}


def imports(path: Path) -> set[str]:
    """Modules of the project that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found & MODULES.keys()


IMPORTS = {name: imports(path) for name, path in MODULES.items()}


def level(module: str) -> int:
    return LEVELS.get(module.split(".")[0], VERBS)


def circle(start: str) -> list[str]:
    """A way along the imports from a module back to it, or []."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop()
        for target in IMPORTS[way[-1]]:
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def test_the_code_is_found():
    assert {"train", "utils.errors", "engine.trainer", "models.tsn"} <= MODULES.keys()
    assert {"engine.configuration", "utils.cli"} & IMPORTS["train"]


@pytest.mark.parametrize("room", sorted(path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()))
def test_every_room_has_a_level(room):
    assert room in LEVELS


def test_imports_go_one_way():
    upward = [
        f"{name} -> {target}"
        for name, targets in IMPORTS.items()
        for target in targets
        if name.split(".")[0] != target.split(".")[0] and level(target) >= level(name) and level(name) != VERBS
    ]
    assert upward == []


def test_no_circles():
    assert {name: way for name in MODULES if (way := circle(name))} == {}


def test_rooms_are_small():
    """Nine files fit into one look, beside `__init__.py`."""
    counts = {}
    for path in CODE:
        if path.parent != ROOT and path.name != "__init__.py":
            counts[path.parent] = counts.get(path.parent, 0) + 1
    assert {str(room.relative_to(ROOT)): count for room, count in counts.items() if count > MOST_FILES} == {}


def test_files_and_functions_are_short():
    long = {}
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) >= MOST_LINES:
            long[name] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 >= MOST_IN_FUNCTION:
                long[f"{name}.{node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def unannotated(function: ast.FunctionDef) -> list[str]:
    """Parameters without annotation, and `->` where the result has none."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    missing = [each.arg for each in parameters if each and not each.annotation and each.arg not in ("self", "cls")]
    return missing if function.returns or function.name == "__init__" else [*missing, "->"]


def test_every_room_of_tests_is_run():
    script = (ROOT / "scripts" / "run_tests.sh").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert rooms and {room for room in rooms if f"tests/{room}" not in script} == set()


def test_no_conditions_inside_f_strings_and_no_defaults_of_lambdas():
    found = []
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            hidden = isinstance(node, ast.FormattedValue) and any(isinstance(n, ast.IfExp) for n in ast.walk(node))
            if hidden or isinstance(node, ast.Lambda) and (node.args.defaults or node.args.kw_defaults):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_public_functions_are_annotated():
    missing = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            inside = node.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_") else [node]
            for function in inside:
                public = isinstance(function, ast.FunctionDef) and not function.name.startswith("_")
                if (public or getattr(function, "name", "") == "__init__") and unannotated(function):
                    missing[f"{name}.{function.name}"] = unannotated(function)
    assert missing == {}
