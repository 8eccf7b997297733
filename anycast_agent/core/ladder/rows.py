"""The table of the ladder, and the climb. A new rung is a file beside this one, a row here and a Reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anycast_agent.core.ladder import (
    address,
    health,
    hold_down,
    last_resort,
    not_wanted,
    nothing_known,
    preference,
    return_route,
    stopping,
)
from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding
from anycast_agent.core.model import Decision, Reason, Rung


@dataclass(frozen=True, slots=True)
class Row:
    rung: Rung
    says: str
    """The row's answers, for the documentation."""
    ask: Callable[[Case, float], Finding | None]


_NOT_WANTED = Row(Rung(1, "not wanted here"), "disabled or only observed: no", not_wanted.ask)
_STOPPING = Row(Rung(2, "stopping"), "no", stopping.ask)
_ADDRESS = Row(Rung(3, "address on the node"), "missing or its interface down, and repair failed: no", address.ask)
_RETURN_ROUTE = Row(Rung(4, "return route"), "none for the address: no", return_route.ask)
_NOTHING_KNOWN = Row(
    Rung(7, "nothing known yet"), "an earlier run's route stays for a bounded time; nothing new", nothing_known.ask
)

LADDER: tuple[Row, ...] = (
    _NOT_WANTED,
    _STOPPING,
    _ADDRESS,
    _RETURN_ROUTE,
    _NOTHING_KNOWN,
    Row(Rung(9, "health"), "down, or stale beyond its bound: no", health.ask),
    Row(Rung(11, "hold-down"), "healthy again, but not for long enough: no", hold_down.ask),
    Row(Rung(12, "preference"), "full, or degraded while a shared check is down", preference.ask),
)  # fmt: skip
"""From the top. A number stays with its row: 5, 6, 8 and 10 are kept for rows that are not built yet."""

LAST_RESORT: tuple[Row, ...] = (
    _NOT_WANTED,
    _STOPPING,
    _ADDRESS,
    _RETURN_ROUTE,
    Row(Rung(13, "last resort"), "asked for a last resort only: yes, whatever the checks say", last_resort.ask),
)
"""The rows for the last resort of a prefix. None of them looks at a check."""

UNDECIDED = Decision(False, _NOTHING_KNOWN.rung, Reason.NOTHING_KNOWN, "not decided yet", "the first verdict")
"""The decision before the ladder was asked the first time."""


def decide(case: Case, now: float) -> Decision:
    """The ladder's decision about one prefix. Total: the last row always answers."""
    return _climb(LADDER, case, now)


def decide_last_resort(case: Case, now: float) -> Decision:
    """The decision about the last resort of one prefix. Total for a case with a cover."""
    return _climb(LAST_RESORT, case, now)


def _climb(rows: tuple[Row, ...], case: Case, now: float) -> Decision:
    allowed: Decision | None = None
    for row in rows:
        finding = row.ask(case, now)
        if finding is None:
            continue
        if not finding.allow:
            return _decision(row, finding)
        allowed = allowed or _decision(row, finding)
    if allowed is None:
        raise AssertionError("the last row of the ladder gave no answer")
    return allowed


def _decision(row: Row, found: Finding) -> Decision:
    return Decision(found.allow, row.rung, found.reason, found.evidence, found.remedy, found.tier, found.until)
