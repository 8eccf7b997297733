"""The queue of events from the adapters to the engine. It is bounded, so that nothing from outside grows the agent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from anycast_agent.core import events as ev

CAPACITY = 20_000
"""Events that wait. Past it, observations are dropped and their source is asked in full."""

HARD_BOUND = 2
"""The bound for all kinds together, as a multiple of the capacity. Beyond it every event is dropped. An action whose
end was dropped becomes overdue, a request whose event was dropped times out, both sources are read in full again."""


@dataclass(frozen=True, slots=True)
class _Key:
    """The place of the latest event of its kind about one thing."""

    kind: type
    about: Hashable


class Inbox:
    """Filled by callbacks of the loop's own thread, emptied by the one task that owns the engine."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: deque[ev.Event | _Key] = deque()
        self._latest: dict[_Key, ev.Event] = {}
        self._lost: dict[ev.Source, int] = {}
        self._waiter: asyncio.Future[None] | None = None
        self.lost_total = 0

    def post(self, event: ev.Event) -> None:
        """Never blocks."""
        self._keep(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _keep(self, event: ev.Event) -> None:
        key = _Key(type(event), event.coalesces_by()) if isinstance(event, ev.Latest) else None
        if key is not None and key in self._latest:
            self._latest[key] = event
            return
        if len(self._events) >= self._bound(event):
            self._drop(event)
        elif key is None:
            self._events.append(event)
        else:
            self._events.append(key)
            self._latest[key] = event

    def _bound(self, event: ev.Event) -> int:
        return self._capacity if isinstance(event, ev.Observation) else HARD_BOUND * self._capacity

    def _drop(self, event: ev.Event) -> None:
        self.lost_total += 1
        for source in [event.SOURCE] if isinstance(event, ev.Observation) else list(ev.Source):
            self._lost[source] = self._lost.get(source, 0) + 1

    @property
    def waits(self) -> bool:
        """True if an event waits."""
        return bool(self._events or self._lost)

    def take(self, most: int = 1000) -> list[ev.Event]:
        """The oldest events, at most so many: a flood does not keep the engine from its own turn."""
        taken: list[ev.Event] = []
        while self._events and len(taken) < most:
            entry = self._events.popleft()
            taken.append(self._latest.pop(entry) if isinstance(entry, _Key) else entry)
        if self._lost and not self._events:
            lost, self._lost = self._lost, {}
            taken += [ev.Lost(source, f"{count} events past the inbox's bound") for source, count in lost.items()]
        return taken

    async def wait(self, deadline: float | None) -> None:
        """Until an event is there or the deadline (the loop's time, monotonic seconds) has come."""
        if self.waits:
            await asyncio.sleep(0)  # the adapters get their turn, too
            return
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if deadline is None else loop.call_at(deadline, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
