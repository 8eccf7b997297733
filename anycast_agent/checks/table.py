"""The kinds of checks there are: ours, and those of other packages. None is imported before it is named."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from anycast_agent.checks.kind import Kind
from anycast_agent.checks.outcomes import clean

OURS = {
    "tcp": "anycast_agent.checks.tcp:KIND",
    "http": "anycast_agent.checks.http:KIND",
    "dns": "anycast_agent.checks.dns:KIND",
    "exec": "anycast_agent.checks.exec:KIND",
    "file": "anycast_agent.checks.file:KIND",
    "tls": "anycast_agent.checks.tls:KIND",
    "redis": "anycast_agent.checks.redis:KIND",
    "line": "anycast_agent.checks.line:KIND",
    "process": "anycast_agent.checks.process:KIND",
}
GROUP = "anycast_agent.checks"
"""The entry points of other packages: the name is the type of the check, the value a ``Kind``."""


class UnknownKindError(LookupError):
    """No kind has this name."""


class BrokenKindError(RuntimeError):
    """A package offers a kind of this name, and it cannot be used. The text says why."""


@cache
def installed() -> dict[str, tuple[EntryPoint, ...]]:
    """The kinds of other packages. One of ours is never replaced."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in OURS:
            found[point.name] = (*found.get(point.name, ()), point)
    return found


def look_again() -> None:
    """A package may have been installed since."""
    importlib.invalidate_caches()
    installed.cache_clear()


def is_known(name: str) -> bool:
    return name in OURS or name in installed()


def names() -> tuple[str, ...]:
    return (*OURS, *sorted(installed()))


def ours() -> Iterator[Kind[Any]]:
    """Imports them all."""
    return (find(name) for name in OURS)


def usable() -> Iterator[Kind[Any]]:
    """Imports all that there are; leaves out the broken ones."""
    for name in names():
        with suppress(BrokenKindError):
            yield find(name)


@cache
def find(name: str) -> Kind[Any]:
    """Imports it at the first time. Raises UnknownKindError or BrokenKindError."""
    return _load(_point(name))


def _point(name: str) -> EntryPoint:
    if name in OURS:
        return EntryPoint(name, OURS[name], GROUP)
    points = installed().get(name, ())
    if not points:
        raise UnknownKindError(name)
    if len(points) > 1:
        raise BrokenKindError(f"several packages offer it: {', '.join(_package(point) for point in points)}")
    return points[0]


def _load(point: EntryPoint) -> Kind[Any]:
    try:
        kind = point.load()
    except (Exception, SystemExit) as error:  # whatever happens in another package's module
        raise BrokenKindError(f"{_package(point)} cannot be loaded: {said(error)}") from error
    if not isinstance(kind, Kind):
        raise BrokenKindError(f"{_package(point)}: {point.value} is no Kind, but {type(kind).__name__}")
    if kind.name != point.name:
        raise BrokenKindError(f"{_package(point)}: {point.value} is the kind {kind.name!r}, not {point.name!r}")
    return kind


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "anycast-agent"


def said(error: BaseException) -> str:
    """An error of somebody else's code, in one line."""
    return clean(f"{type(error).__name__}: {error}").rstrip(": ")
