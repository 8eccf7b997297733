"""What a drill showed: the one shape that the judge fills, the report draws and the JSON holds.

Times are seconds from the drill's start; a figure that was not seen is None, never a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

BUCKET = 0.05
"""Width of one bar of a series. Seconds."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a line in the chart. ``kind``: fault, recovery, detected, withdrawn, announced, table."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch in which requests were lost: from the first lost one to the first that was answered again."""

    begin: float
    end: float | None
    """None: lost until the drill ended."""
    lost: int
    sent: int
    """Of so many that were sent in it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What one client sent by one protocol and family, and what became of it."""

    client: str
    protocol: str
    """``dns`` (UDP) or ``http`` (TCP)."""
    family: str
    """``IPv4`` or ``IPv6``."""
    sent: int
    answered: dict[str, int]
    """By the node that answered."""
    lost: int
    windows: tuple[Window, ...]
    series: dict[str, list[int]]
    """By node, and under ``lost``: how many of the requests sent in each bucket."""
    latency_p50: float | None
    latency_p99: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What people ask first. Seconds, from the fault; of several faults, from the first."""

    detected: float | None = None
    """The first agent or router said so."""
    withdrawn: float | None = None
    """The first router next to it lost the route."""
    table: float | None = None
    """The last change of a kernel's table that the fault brought about."""
    loss: float = 0.0
    """The longest window of loss that any stream saw."""
    restored: float | None = None
    """Until the last lost request; None: requests were still lost at the end, or none was lost at all."""
    flaps: int = 0
    """Changes of a router's table, and back, that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Expectation:
    text: str
    met: bool
    found: str


@dataclass(frozen=True, slots=True)
class Result:
    drill: str
    title: str
    about: str
    variant: str
    """``bfd`` or ``hold``."""
    started: str
    """Wall time, ISO 8601, to show."""
    duration: float
    marks: tuple[Mark, ...]
    streams: tuple[Stream, ...]
    figures: Figures
    expectations: tuple[Expectation, ...]
    problem: str = ""
    """Why it could not be run to its end; empty where it could."""
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return not self.problem and all(e.met for e in self.expectations)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}
