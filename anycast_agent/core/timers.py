"""When the engine next wants to be called: a lazy heap, so that setting, moving and asking cost O(log n)."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator


class Timers:
    """At most one instant for each key. Setting a key again moves it, and leaves a dead entry that is skipped."""

    def __init__(self) -> None:
        self._at: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0

    def set(self, key: Hashable, at: float) -> None:
        if self._at.get(key) == at:
            return
        self._at[key] = at
        self._count += 1  # keys need no order of their own
        heapq.heappush(self._heap, (at, self._count, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._at):
            self._compact()

    def cancel(self, key: Hashable) -> None:
        self._at.pop(key, None)

    def get(self, key: Hashable) -> float | None:
        return self._at.get(key)

    def deadline(self) -> float | None:
        heap = self._heap
        while heap and self._at.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> Iterator[Hashable]:
        """The keys that are due, each once. A key is no longer set when it is yielded."""
        while (at := self.deadline()) is not None and at <= now:
            key = heapq.heappop(self._heap)[2]
            del self._at[key]
            yield key

    def _compact(self) -> None:
        # Dead entries of a timer that is moved at every probe would otherwise pile up until their own instant.
        self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)
