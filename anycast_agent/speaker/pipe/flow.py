"""The state of each session's output: has ExaBGP sent what waited? Pure, time is an argument (monotonic seconds).

ExaBGP sends a command's routes at once only if the session is up and its queue is empty. Until then routes wait, and
are sent grouped by attributes and not in order: a route that changed more than once meanwhile may end in any of its
states. Such a route is **blind**: its last command must be repeated once the session flows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from anycast_agent.speaker.wire import Key

SETTLES_WITHIN = 0.1
"""Wait after the end of its first turn through the routes (End-of-RIB). From then on commands go out at once.
Seconds."""

Announced = tuple[str, str, str]
"""(neighbor address, prefix, head)."""


@dataclass(slots=True)
class Blind:
    """The commands about a route that ExaBGP could not send at once."""

    commands: int = 0
    head: str = ""


class Flow:
    def __init__(self) -> None:
        self._flowing: set[str] = set()
        """The sessions that are up and have sent everything that waited."""
        self._settling: dict[str, float] = {}
        self._blind: dict[Key, Blind] = {}
        self._unsent: dict[Key, str] = {}
        """Told while the session flowed, and not reported as sent yet: the head of each."""

    def told(self, routes: Iterable[Announced]) -> None:
        """ExaBGP has acknowledged a command about these routes."""
        for neighbor, prefix, head in routes:
            if neighbor in self._flowing:
                self._unsent[neighbor, prefix] = head
            else:
                self._count(neighbor, prefix, head)

    def _count(self, neighbor: str, prefix: str, head: str) -> None:
        blind = self._blind.setdefault((neighbor, prefix), Blind())
        blind.commands, blind.head = blind.commands + 1, head

    def sent(self, neighbor: str, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            self._unsent.pop((neighbor, prefix), None)

    def stops(self, neighbor: str) -> None:
        """ExaBGP notices the end of a session late: the commands just before it wait as well."""
        self._flowing.discard(neighbor)
        self._settling.pop(neighbor, None)
        for key in [k for k in self._unsent if k[0] == neighbor]:
            self._count(*key, self._unsent.pop(key))

    def end_of_rib(self, neighbor: str, now: float) -> None:
        """The commands up to now may still wait for its next turns."""
        self._settling[neighbor] = now + SETTLES_WITHIN

    def settled(self, now: float) -> list[str]:
        """The sessions that have settled by now, each once."""
        settled = [neighbor for neighbor, at in self._settling.items() if now >= at]
        for neighbor in settled:
            del self._settling[neighbor]
        return settled

    def starts(self, neighbor: str) -> list[Announced]:
        """The session flows from now on. Returns the routes about which the last word has to be said again."""
        self._flowing.add(neighbor)
        blind = {key: self._blind.pop(key) for key in [k for k in self._blind if k[0] == neighbor]}
        return [(*key, b.head) for key, b in blind.items() if b.commands > 1]

    def forget(self, neighbor: str) -> None:
        self._flowing.discard(neighbor)
        self._settling.pop(neighbor, None)
        self._unsent = {key: head for key, head in self._unsent.items() if key[0] != neighbor}
        self._blind = {key: blind for key, blind in self._blind.items() if key[0] != neighbor}

    def deadline(self) -> float | None:
        return min(self._settling.values(), default=None)
