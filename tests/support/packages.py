"""Packages that offer a kind of check, as an installer leaves them on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anycast_agent.checks import table

KIND = """
import asyncio
from anycast_agent.checks.kind import Kind, Params, stateless
from anycast_agent.checks.outcomes import BAD_ANSWER, BROKEN, OK, OK_CODE, Code, Finding
from anycast_agent.core.outcome import Evidence, Measure

LAG = Measure("lag", "seconds", "")

class P(Params):
    how: str = "well"

def kind(name, probe=None, **changes):
    async def well(params, target):
        return OK
    values = dict(params=P, own_target=lambda params: True, outcomes=(), numbers=(LAG,), open=stateless(probe or well))
    return Kind(name=name, **{**values, **changes})
"""
"""The beginning of a module: ``kind(name, probe, …)`` makes a sound one."""


def install(folder: Path, package: str, offers: dict[str, str], source: str) -> None:
    """A package with one module of its name, which offers kinds: name → attribute."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(KIND + source)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {package}:{attribute}" for name, attribute in offers.items()]
    (info / "entry_points.txt").write_text("\n".join(["[anycast_agent.checks]", *lines, ""]))


@contextmanager
def on_the_path(folder: Path) -> Iterator[None]:
    """The packages in this folder are installed here and now."""
    sys.path.insert(0, str(folder))
    table.look_again()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        table.look_again()
