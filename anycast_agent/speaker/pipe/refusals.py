"""The escalation of withdrawals that ExaBGP refuses: a lost session is better than a stale route.

Pure, time is an argument (monotonic seconds). The pipe carries out the steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from anycast_agent.speaker.wire import Key


class Step(StrEnum):
    """The steps against a neighbor whose withdrawal is refused, in order."""

    CLEAR = "clear"
    """Withdraw all that the neighbor has, in one command that names no route."""
    END = "end"
    """End ExaBGP: routers drop the routes of a session that has gone."""
    KILL = "kill"
    """It did not end by itself."""


AFTER = {Step.CLEAR: 1.0, Step.END: 3.0, Step.KILL: 5.0}
"""Age of the refusal at which each step is taken. The withdrawal is repeated meanwhile. Seconds."""


class Refusals:
    def __init__(self) -> None:
        self._since: dict[Key, float] = {}
        self._next: dict[str, list[Step]] = {}
        """The steps that are left, by neighbor."""

    def refused(self, keys: Iterable[Key], now: float) -> None:
        for key in keys:
            self._since.setdefault(key, now)
            self._next.setdefault(key[0], list(Step))

    def over(self, keys: Iterable[Key]) -> None:
        """ExaBGP took a command for these routes, or has them no more."""
        for key in keys:
            self._since.pop(key, None)
        left = {neighbor for neighbor, _ in self._since}
        self._next = {neighbor: steps for neighbor, steps in self._next.items() if neighbor in left}

    def deadline(self) -> float | None:
        """When the next step is due."""
        return min((self._due(n) for n, steps in self._next.items() if steps), default=None)

    def due(self, now: float) -> list[tuple[str, Step]]:
        """The neighbors whose next step is due. Asking is taking it: each step is taken once."""
        due = [n for n, steps in self._next.items() if steps and now >= self._due(n)]
        return [(neighbor, self._next[neighbor].pop(0)) for neighbor in due]

    def _due(self, neighbor: str) -> float:
        return AFTER[self._next[neighbor][0]] + min(at for (n, _), at in self._since.items() if n == neighbor)
