"""The result of a drill: the judge fills it, the report draws it, and the JSON holds it.

Times are seconds from the drill's start; a figure that was not seen is None, never a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

BUCKET = 0.05
"""Width of one bar of a series. Seconds."""

OVERLOADED_P99, OVERLOADED_WORST = 0.1, 0.5
"""Beyond these the runner itself was held up for too long. Seconds."""


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
    """None: it was lost until the end of the drill."""
    lost: int
    sent: int
    """Requests that were sent in it."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The requests of one client by one protocol and family, and their outcomes."""

    client: str
    protocol: str
    """``dns`` (UDP) or ``http`` (TCP)."""
    family: str
    """``IPv4`` or ``IPv6``."""
    sent: int
    answered: dict[str, int]
    """Numbers of answers, by the node that answered."""
    lost: int
    windows: tuple[Window, ...]
    series: dict[str, list[int]]
    """Numbers of requests sent in each bucket, by the node that answered, and under ``lost``."""
    latency_p50: float | None
    latency_p99: float | None


@dataclass(frozen=True, slots=True)
class Family:
    """The figures of one family. Seconds from the fault."""

    detected: float | None = None
    withdrawn_first: float | None = None
    """When a table first lost a next hop of one of its prefixes."""
    withdrawn_last: float | None = None
    """When a table had lost a next hop of the last of them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The key figures of a drill. Seconds from the first fault."""

    detected: float | None = None
    """The first agent or router said so."""
    withdrawn: float | None = None
    """The first table lost a next hop of a service's prefix."""
    table: float | None = None
    """The last change of a kernel's table that the fault brought about."""
    loss: float = 0.0
    """The longest time of loss of any flow."""
    restored: float | None = None
    """Until the last lost request; None: requests were still lost at the end, or none was lost at all."""
    flaps: int = 0
    """Changes of a router's table, and back, that nobody asked for."""
    families: dict[str, Family] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Load:
    """The machine's load during the drill."""

    cores: int
    busy: float
    """Share of the processors' time."""
    average: float
    """The load average of the last minute."""
    late_p99: float
    """A thread of the runner that only sleeps was woken so late, in the worst of a hundred times. Seconds."""
    late_worst: float

    @property
    def overloaded(self) -> bool:
        """The runner itself was held up so long that a bound of some hundred milliseconds would measure the machine."""
        return self.late_p99 > OVERLOADED_P99 or self.late_worst > OVERLOADED_WORST


@dataclass(frozen=True, slots=True)
class Command:
    """Evidence: a command that was run in a node during the drill, with its output."""

    at: float
    node: str
    command: tuple[str, ...]
    status: int | None
    output: str


@dataclass(frozen=True, slots=True)
class Expectation:
    text: str
    met: bool
    found: str
    timed: bool = False
    """A busy machine can make it fail: it bounds a time, or a rate."""


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
    noticed: str = ""
    """What users noticed, in one sentence."""
    slack: float = 1.0
    """Bounds on tables were widened by so much."""
    load: Load | None = None
    commands: tuple[Command, ...] = ()

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``overloaded`` (the machine was too busy to judge times by), or ``not run``."""
        missed = [e for e in self.expectations if not e.met]
        if self.problem:
            return "not run"
        if any(not e.timed for e in missed):
            return "failed"
        if self.load is not None and self.load.overloaded:
            return "overloaded"
        return "failed" if missed else "passed"

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed, "verdict": self.verdict}
