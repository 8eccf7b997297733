"""Which neighbors ExaBGP has: how many are configured, and how many it shows. Pure.

An event that ExaBGP wrote to a helper just as that died makes it give up the peer, for good. Only ending it helps.
A summary that could not be read in full is no evidence of that.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_MISSED = 3
"""Round trips in a row that show fewer peers than are configured, before ExaBGP is ended for it."""


class Peers:
    def __init__(self) -> None:
        self.configured = 0
        """The number of neighbors in ExaBGP's configuration; 0: unknown."""
        self._shown: dict[str, bool] = {}
        self._unread = False
        """A line of this round trip could not be read."""
        self._told = False
        self._missed = 0

    def begin(self) -> None:
        """A round trip begins."""
        self._shown, self._unread = {}, False

    def show(self, neighbor: str, up: bool) -> None:
        self._shown[neighbor] = up

    def could_not_read(self) -> bool:
        """A line of the summary may be a neighbor's. True the first time, for the log."""
        first, self._told, self._unread = not self._told, True, True
        return first

    def end(self) -> int:
        """A round trip has ended. Returns how many peers ExaBGP has given up, once that is certain; else 0."""
        lacking = 0 if self._unread else self.configured - len(self._shown)
        self._missed = self._missed + 1 if lacking > 0 else 0
        return lacking if self._missed == MAX_MISSED else 0

    def all_shown(self) -> Mapping[str, bool] | None:
        """Every neighbor that ExaBGP has, and whether its session is up; None where some were not shown."""
        complete = len(self._shown) == self.configured and not self._unread
        return self._shown if complete else None
