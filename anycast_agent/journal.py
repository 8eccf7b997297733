"""The journal: the last changes that are worth telling, in one bounded list. The log and the surfaces read it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from anycast_agent.core.changes import Change, Level

KEPT = 1000
"""Entries. A service that flaps pushes the older ones out."""

Reader = Callable[["Entry"], None]

log = logging.getLogger("anycast_agent")

_LEVELS = {
    Level.DEBUG: logging.DEBUG,
    Level.INFO: logging.INFO,
    Level.WARNING: logging.WARNING,
    Level.ERROR: logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    """Counts from 1 since the agent's start."""
    at: float
    """Monotonic seconds."""
    change: Change


class Journal:
    def __init__(self, *readers: Reader) -> None:
        """``readers``: called with each entry, in the engine's own turn: they must be quick."""
        self._readers = readers
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0

    def add(self, change: Change, now: float) -> None:
        self._last += 1
        entry = Entry(self._last, now, change)
        self._entries.append(entry)
        for read in self._readers:
            read(entry)

    def entries(self) -> tuple[Entry, ...]:
        """The oldest first."""
        return tuple(self._entries)


def to_log(entry: Entry) -> None:
    log.log(_LEVELS[entry.change.level], "%s: %s", entry.change.subject, entry.change.text)
