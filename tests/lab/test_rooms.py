"""The lab's rooms stand on each other in one direction, and none of them is part of the package that is installed."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools import find_packages

REPO = Path(__file__).parents[2]
LAB = REPO / "lab"
ROOMS = ("documents", "net", "drills", "report", "roof")
"""From the ground up: a module imports from its own room and from those before it."""

FROM_THE_AGENT = {
    "anycast_agent.__version__",
    "anycast_agent.config",
    "anycast_agent.kernel",
    "anycast_agent.checks.durations",
}
"""The lab reads configuration files and their durations, and talks netlink as the agent does; it knows the agent by its command line alone."""

MODULES = sorted(LAB.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{path}: an import without its package's name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(dotted: str) -> str:
    part = dotted.split(".")[1] if "." in dotted else ""
    return part if part in ROOMS else "roof"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LAB)))
def test_imports_form_a_ladder(path: Path) -> None:
    """No module imports from a room above its own; in a function or not."""
    own = room(".".join(path.relative_to(REPO).with_suffix("").parts))
    for name in imported(path):
        if name.split(".")[0] == "lab":
            assert ROOMS.index(room(name)) <= ROOMS.index(own), f"{own} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LAB)))
def test_the_lab_uses_little_of_the_agent(path: Path) -> None:
    """Its configuration reader with the durations in it, its netlink and its version."""
    for name in imported(path):
        if name.split(".")[0] == "anycast_agent":
            assert any(f"{name}.".startswith(f"{one}.") for one in FROM_THE_AGENT), name


def test_the_agent_knows_no_lab() -> None:
    """It is installed where there is none."""
    for path in (REPO / "anycast_agent").rglob("*.py"):
        assert not any(name.split(".")[0] in ("lab", "containerlab") for name in imported(path)), path


def test_what_is_installed_has_no_lab() -> None:
    """Neither a package called `lab` nor a command of it: both need the checkout's topology."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    found = find_packages(str(REPO), **project["tool"]["setuptools"]["packages"]["find"])
    assert found and {name.split(".")[0] for name in found} == {"anycast_agent"}
    assert set(project["project"]["scripts"]) == {"anycast-agent"}
