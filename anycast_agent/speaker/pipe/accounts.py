"""Did ExaBGP report all that it sent, and is all that it has from us sent? Pure.

ExaBGP counts the UPDATEs that it sent on a session, End-of-RIB included, and reports each. Both are read in the order
in which they happened. So a session that began anew without a word shows as a difference or by its age, and a report
that was lost as a difference: what the reports say of that session is not believed then.
"""

from __future__ import annotations

ROUNDS = 3
"""Summaries in a row that show the same fault, before it is mended for the first time."""


class Accounts:
    def __init__(self) -> None:
        self._reported: dict[str, int] = {}
        """UPDATEs reported on the session that is up, by neighbor."""
        self._age: dict[str, int] = {}
        """The session's, when it was last shown."""
        self._faults: dict[str, int] = {}
        """Summaries in a row with a fault."""

    def begins(self, neighbor: str, sent: int = 0) -> None:
        """A session is up, on which ExaBGP has sent so many UPDATEs."""
        self._reported[neighbor] = sent
        self._age.pop(neighbor, None)

    def ends(self, neighbor: str) -> None:
        self._reported.pop(neighbor, None)

    def reported(self, neighbor: str) -> None:
        if neighbor in self._reported:
            self._reported[neighbor] += 1

    def agrees(self, neighbor: str, sent: int, age: int) -> bool:
        """``sent``: ExaBGP's own count. A clock that was set back makes a session younger, too: that costs little."""
        older = age >= self._age.get(neighbor, age)
        self._age[neighbor] = age
        return older and self._reported.get(neighbor, sent) == sent

    def lasts(self, neighbor: str, *, fault: bool) -> bool:
        """A summary shows a fault at the neighbor, or none. True if it is to be mended now: it lasts.

        The pauses double, so that a fault that cannot be mended costs ever less.
        """
        rounds = self._faults[neighbor] = self._faults.get(neighbor, 0) + 1 if fault else 0
        turns, between = divmod(rounds, ROUNDS)
        return turns > 0 and not between and turns & (turns - 1) == 0

    def forget(self, neighbor: str) -> None:
        self.ends(neighbor)
        self._age.pop(neighbor, None)
        self._faults.pop(neighbor, None)
