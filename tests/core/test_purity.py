"""The core is pure: its imports prove it."""

from __future__ import annotations

import ast
import functools
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import anycast_agent.core

HOME = Path(anycast_agent.core.__file__).parent
PACKAGE = "anycast_agent.core"
VALUES = {
    "__future__", "collections", "collections.abc", "dataclasses", "enum", "functools", "heapq", "ipaddress",
    "itertools", "math", "types", "typing", "zlib",
}  # fmt: skip
"""Modules of the standard library that only compute: no clock, no I/O, no logging, no loop, no chance."""

FOLDERS = {"anycast_agent", *(".".join(["anycast_agent", *path.relative_to(HOME.parent).parts]) for path in
           [HOME, *HOME.rglob("*")] if path.is_dir() and path.name != "__pycache__")}  # fmt: skip
"""Packages: what is imported from one of them is a module."""

IMPURE_BUILTINS = {"open", "print", "input", "exec", "eval", "__import__", "globals", "id", "hash"}
"""``id`` and ``hash`` too: they differ from run to run."""


PIPE = HOME.parent / "speaker" / "pipe"
TEXT = {"json", "re", "struct"}
"""Modules that only read and write text, for those who speak with ExaBGP and with the pipe."""


def pipe_modules() -> dict[str, ast.Module]:
    """The pure modules of the pipe, the wire and the translation: all but the shell, which has the sockets."""
    files = [p for p in sorted(PIPE.rglob("*.py")) if p.name not in ("shell.py", "__main__.py", "__init__.py")]
    files += [PIPE.parent / name for name in ("wire.py", "translation.py", "notifications.py")]
    assert PIPE / "switchboard.py" in files
    return {str(path.relative_to(HOME.parent)): ast.parse(path.read_text()) for path in files}


@pytest.mark.parametrize("name", pipe_modules())
def test_what_decides_in_the_pipe_imports_no_socket_clock_signal_or_loop(name: str) -> None:
    """Only values, text, the core's words and its own pure neighbors: so that its tests hold the real one."""
    tree = pipe_modules()[name]
    found = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    found |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    ours = {str(m) for m in found if str(m).startswith("anycast_agent.")}
    assert {str(m) for m in found} - ours <= VALUES | TEXT
    assert all(m.startswith(("anycast_agent.core", "anycast_agent.speaker")) for m in ours)
    assert not any(m.endswith(".shell") for m in ours)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert not used & IMPURE_BUILTINS


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the core by its full name, those in folders included."""
    trees = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        trees[".".join([PACKAGE, *(part for part in parts if part != "__init__")])] = ast.parse(path.read_text())
    assert len(trees) > 20
    return trees


def imports(tree: ast.Module) -> set[str]:
    """Every module that is imported anywhere in it: in functions and under TYPE_CHECKING as well."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names if str(node.module) in FOLDERS)
    return found


@pytest.mark.parametrize("name", modules())
def test_a_module_of_the_core_imports_only_values_and_the_core(name: str) -> None:
    """Nothing that waits, reads a clock, does I/O or draws a random number, and nothing of a third party."""
    foreign = {
        i for i in imports(modules()[name]) if i not in VALUES and i != PACKAGE and not i.startswith(PACKAGE + ".")
    }
    assert not foreign


@pytest.mark.parametrize("name", modules())
def test_a_module_of_the_core_calls_no_builtin_that_is_impure(name: str) -> None:
    """What can be reached without an import is not used either."""
    used = {n.id for n in ast.walk(modules()[name]) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    assert not used & IMPURE_BUILTINS


def test_the_imports_of_the_core_form_a_ladder() -> None:
    """No loop, not even one that only the type checker sees: each module can be read after those it rests on."""
    trees = modules()
    graph = {name: {i for i in imports(tree) if i in trees} for name, tree in trees.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as loop:
        pytest.fail(f"imports in a loop: {loop.args[1]}")
    assert order.index(f"{PACKAGE}.model") < order.index(f"{PACKAGE}.ladder.rows") < order.index(f"{PACKAGE}.engine")
    assert not [n for n, used in graph.items() if f"{PACKAGE}.engine" in used], "the engine is on top"
