"""The rooms of the configuration: small, and without a circle between them."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "anycast_agent" / "config"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports, and the modules whose names it may import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def test_no_room_needs_one_that_needs_it() -> None:
    """Imports form a ladder."""
    rooms = {name_of(path): imports_of(path) for path in CONFIG.rglob("*.py")}
    # `from package import room` needs the room: the package's own file is above all of them.
    graph = {name: (needed & rooms.keys()) - {name, "anycast_agent.config"} for name, needed in rooms.items()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(rooms)


def test_no_room_is_too_large() -> None:
    """A reader holds it in mind."""
    assert {p.name: n for p in CONFIG.rglob("*.py") if (n := len(p.read_text("utf-8").splitlines())) > 400} == {}


def test_no_test_imports_another() -> None:
    """What several tests share stands in tests/support."""
    tests = list(Path(__file__).parent.glob("test_*.py"))
    assert [(p.name, m) for p in tests for m in imports_of(p) if m.startswith("tests.config")] == []
