"""Where adapters leave their events for the engine: bounded, so that nothing from outside grows the agent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable

from anycast_agent.core import events as ev

CAPACITY = 20_000
"""Events that wait. Past it, observations are dropped and their source is asked in full; ends of actions, and what
people and connections do, are few and always taken."""

_SOURCES: dict[type, ev.Source] = {
    ev.AddressSeen: ev.Source.KERNEL,
    ev.LinkSeen: ev.Source.KERNEL,
    ev.ReturnRoutesSeen: ev.Source.KERNEL,
    ev.RouteFound: ev.Source.SPEAKER,
    ev.SessionChanged: ev.Source.SPEAKER,
    ev.RoutesSent: ev.Source.SPEAKER,
    ev.RoutesDropped: ev.Source.SPEAKER,
    ev.PathSeen: ev.Source.SPEAKER,
    ev.PathGone: ev.Source.SPEAKER,
}


def _coalesces_by(event: ev.Event) -> Hashable | None:
    """What a later event of its kind says better than an earlier one that still waits; None: nothing does."""
    match event:
        case ev.AddressSeen(address=what) | ev.LinkSeen(interface=what):
            return type(event), what
        case ev.SpeakerAnswered() | ev.ReturnRoutesSeen():
            return (type(event),)
        case ev.Warned(subject=what) | ev.SendQueueSeen(neighbor=what):
            return type(event), what
    return None


class Inbox:
    """Filled by callbacks of the loop's own thread, emptied by the one task that owns the engine."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: deque[ev.Event | Hashable] = deque()
        self._latest: dict[Hashable, ev.Event] = {}
        self._lost: dict[ev.Source, int] = {}
        self._waiter: asyncio.Future[None] | None = None
        self.lost_total = 0

    def post(self, event: ev.Event) -> None:
        """Never blocks. Past the capacity an observation is dropped, and its source will be asked in full."""
        key = _coalesces_by(event)
        if key is not None:
            if key not in self._latest:
                self._events.append(key)
            self._latest[key] = event
        elif len(self._events) >= self._capacity and (source := _SOURCES.get(type(event))) is not None:
            self.lost_total += 1
            self._lost[source] = self._lost.get(source, 0) + 1
        else:
            self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def waits(self) -> bool:
        """Whether an event waits to be taken."""
        return bool(self._events or self._lost)

    def take(self, most: int = 1000) -> list[ev.Event]:
        """The oldest events, at most so many: a flood does not keep the engine from its own turn."""
        taken: list[ev.Event] = []
        while self._events and len(taken) < most:
            entry = self._events.popleft()
            taken.append(self._latest.pop(entry) if isinstance(entry, tuple) else entry)  # type: ignore[arg-type]
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
