"""The lateness of this process: the time for which its event loop could not look at new events."""

from __future__ import annotations

import selectors
import time

PIECE = 0.02
"""Shorter than this is the loop's ordinary work. Seconds."""


class Meter(selectors.EpollSelector):
    """The loop's own selector. It measures the time between two polls, whatever the cause: our own work, another
    process on our processor, a control group without quota, SIGSTOP."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0.0
        self._looked = time.monotonic()

    def lost(self) -> float:
        """Seconds since the start, up to now."""
        return self._lost + _of(time.monotonic() - self._looked)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        entered = time.monotonic()
        self._lost += _of(entered - self._looked)
        ready = super().select(timeout)
        self._looked = time.monotonic()
        if timeout is not None:
            self._lost += _of(self._looked - entered - max(0.0, timeout))
        return ready


def _of(seconds: float) -> float:
    return seconds if seconds > PIECE else 0.0
