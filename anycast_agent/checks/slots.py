"""Slots for concurrent work, shared so that one service cannot use up the others' part."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """Each service has one slot of its own, and shares the others with all.

    A service takes a shared slot only while it holds fewer of them than are free. So one service that hangs gets half
    of them at the most, two get a third each, and there are always some left for the rest.
    """

    def __init__(self, shared: int) -> None:
        self._free = shared
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def held(self, service: str) -> int:
        return self._held[service]

    @property
    def total(self) -> int:
        return self._held.total()

    def try_take(self, service: str) -> bool:
        """Take a slot if there is one now. Who takes one gives it back."""
        if self._waiting.get(service) or not self._has_one(service):
            return False
        self._take(service)
        return True

    def give_back(self, service: str) -> None:
        self._held[service] -= 1
        if self._held[service]:
            self._free += 1
        else:
            del self._held[service]
        self._serve()

    @asynccontextmanager
    async def one(self, service: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it meanwhile. A service's own waiters come in their order."""
        if not self.try_take(service):
            await self._wait(service)
        try:
            yield
        finally:
            self.give_back(service)

    def _has_one(self, service: str) -> bool:
        held = self._held[service]
        return held == 0 or held - 1 < self._free

    def _take(self, service: str) -> None:
        self._free -= self._held[service] > 0
        self._held[service] += 1

    async def _wait(self, service: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(service, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._leave(service, place)
            else:  # it came in the same moment
                self.give_back(service)
            raise

    def _leave(self, service: str, place: asyncio.Future[None]) -> None:
        places = self._waiting.get(service, deque())
        if place in places:  # else it was its turn, and it was passed over
            places.remove(place)
        if not places:
            self._waiting.pop(service, None)

    def _serve(self) -> None:
        """Admit one waiter of each service, the longest wait first, until none may enter."""
        served = True
        while served:
            served = False
            for service in list(self._waiting):
                places = self._waiting.pop(service)
                if self._has_one(service):
                    place = places.popleft()
                    if not place.cancelled():  # else it is leaving
                        self._take(service)
                        place.set_result(None)
                    served = True
                if places:
                    self._waiting[service] = places  # behind the others
