"""Who may import whom: the rooms of docs/architecture.md, read from the code's own imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from running import PROJECT

PACKAGE = "reid_lightning"
ROOT = PROJECT / PACKAGE
GROUND = {"atomic", "errors", "ranks", "redaction", "regular_files", "user_messages"}
NEVER = [
    ("losses", {"models", "data", "training", "bundle", "search", "commands", "app"}),
    ("ranking", {"models", "data", "training", "bundle", "search", "commands", "app"}),
    ("models", {"losses", "ranking", "data", "training", "bundle", "search", "commands", "app"}),
    ("data", {"models", "losses", "ranking", "training", "bundle", "search", "commands", "app"}),
    ("training.module", {"training.callbacks", "commands"}),
    ("bundle", {"training", "search", "evaluation", "commands", "app"}),
    ("evaluation", {"training", "search", "commands", "app"}),
    ("training", {"search", "commands", "app"}),
    ("search", {"training", "evaluation", "sweeps", "commands", "app"}),
    ("drawing", {"data", "evaluation", "search", "ranking", "commands", "app"}),
    ("untrusted", {"data", "models", "bundle", "training", "search", "commands", "app"}),
    ("commands", {"app"}),
]
OUTSIDE = [  # rooms and what of other people's packages they do without
    (("data", "models", "losses", "ranking", "bundle", "search", "drawing", "untrusted", "evaluation"), "hydra"),
    (("data", "models", "losses", "ranking", "bundle", "search", "drawing", "untrusted"), "pytorch_lightning"),
    (("losses", "ranking"), "timm"),
    (("losses", "ranking"), "PIL"),
]


def modules() -> dict[str, Path]:
    """Every module by its name below the package; a room itself is its `__init__`."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """All that a module imports, also within its functions, but for type checkers alone; dotted, from the root."""

    def walk(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from (name.name for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: imports here are absolute"
                yield from (f"{child.module}.{name.name}" for name in child.names)
            yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def own(name: str) -> str | None:
    """The module of the package that an import leads to."""
    inside = name.removeprefix(f"{PACKAGE}.")
    if inside == name:
        return "" if name == PACKAGE else None
    while inside not in MODULES:
        inside = inside.rpartition(".")[0]
    return inside


IMPORTS = {module: set(imports(path)) for module, path in MODULES.items()}
OWN = {
    module: {target for name in names if (target := own(name)) is not None} - {module}
    for module, names in IMPORTS.items()
}


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """A way around for each start that comes back to itself."""
    found = []
    for start in graph:
        seen, ways = set(), [[start]]
        while ways:
            way = ways.pop()
            for target in graph.get(way[-1], ()):
                if target == start:
                    found.append([*way, start])
                elif target not in seen:
                    seen.add(target)
                    ways.append([*way, target])
    return found


def rooms(depth: int, below: str = "") -> dict[str, set[str]]:
    """The rooms at a depth, and whom the modules of each import."""
    graph: dict[str, set[str]] = {}
    for module, targets in OWN.items():
        room = ".".join(module.split(".")[:depth])
        if within(module, below) or not below:
            others = {".".join(target.split(".")[:depth]) for target in targets if within(target, below) or not below}
            graph.setdefault(room, set()).update(others - {room, below, ""})
    graph.pop(below, None)
    return graph


def test_the_ground_is_six_small_files():
    flat = {path.stem for path in ROOT.glob("*.py")} - {"__init__"}
    assert flat == GROUND
    outside = {room.split(".")[0] for module in GROUND for room in OWN[module]} - GROUND
    assert not outside, "the ground stands on nothing"


def test_the_table_of_the_rooms_has_them_in_the_order_of_their_imports():
    table = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8").split("What flows")[0]
    order = re.findall(r"^\| `(\w+)/` \|", table, flags=re.MULTILINE)
    graph = {room: targets - GROUND for room, targets in rooms(1).items() if room not in {*GROUND, ""}}
    assert sorted(order) == sorted(graph)
    assert [(room, target) for room in order for target in graph[room] if order.index(target) > order.index(room)] == []


def test_no_file_is_part_of_a_circle():
    assert circles(OWN) == []


@pytest.mark.parametrize("below", ["", "data", "search", "app", "synthetic", "training"])
def test_no_room_is_part_of_a_circle(below):
    assert circles(rooms(1 + bool(below), below)) == []


@pytest.mark.parametrize(("room", "others"), NEVER, ids=[room for room, _ in NEVER])
def test_a_lower_room_never_imports_a_higher_one(room, others):
    wrong = [
        (module, target)
        for module, targets in OWN.items()
        if within(module, room)
        for target in targets
        if any(within(target, other) for other in others)
    ]
    assert wrong == []


@pytest.mark.parametrize(("rooms", "package"), OUTSIDE)
def test_a_room_does_without_a_package(rooms, package):
    wrong = [
        (module, name)
        for module, names in IMPORTS.items()
        if any(within(module, room) for room in rooms)
        for name in names
        if within(name, package)
    ]
    assert wrong == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) != []
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
