"""The turnstile: work for readers passes one piece at a time, after the engine, in a bounded share of the time.

Reading must never delay deciding. The engine and the surfaces share one event loop. So each piece of rendering is
short, the engine goes first if it is due, and all pieces together take at most ``SHARE`` of the loop's thread. The
bound holds for any number of readers, requests and connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SLICE = 0.005
"""Longest time of one piece of work. Seconds."""

SHARE = 0.25
"""The part of one processor that all readers together may use."""

BURST = 0.02
"""Processor time that may be used ahead of the share: one scrape alone waits for nothing. Seconds."""

ENGINE_WITHIN = 10
"""Rounds of the loop after which an engine that was due has certainly had its turn."""

MAX_KEPT = 64
"""Answers that are kept."""

MAX_MAKING = 64
"""Answers that are being made, each of another page."""


class Turnstile:
    """``async with`` waits for a turn. The body must not await."""

    def __init__(self, engine_due: Callable[[], bool] = lambda: False) -> None:
        """``engine_due``: whether the engine wants its turn now."""
        self._engine_due = engine_due
        self._lock = asyncio.Lock()
        self._paid_until = 0.0
        self._began = 0.0

    async def __aenter__(self) -> None:
        await self._lock.acquire()
        try:
            await asyncio.sleep(max(0.0, self._paid_until - time.monotonic() - BURST))
            for _ in range(ENGINE_WITHIN):
                if not self._engine_due():
                    break
                await asyncio.sleep(0)
        except BaseException:
            self._lock.release()
            raise
        self._began = time.thread_time()

    async def __aexit__(self, *_: object) -> None:
        took = time.thread_time() - self._began
        self._paid_until = max(self._paid_until, time.monotonic()) + took / SHARE
        self._lock.release()


async def in_slices(turnstile: Turnstile, pieces: Iterator[str]) -> bytes:
    """The pieces as one text, made a slice at a time. Empty pieces only mark where a slice may end."""
    parts: list[str] = []
    while True:
        async with turnstile:
            end = time.perf_counter() + SLICE
            for piece in pieces:
                parts.append(piece)
                if time.perf_counter() > end:
                    break
            else:
                return "".join(parts).encode(errors="backslashreplace")


class BusyError(Exception):
    """Too many different pages are being made at this moment."""


@dataclass(frozen=True, slots=True)
class _Kept:
    begun: float
    made: float
    body: bytes


class Prepared:
    """Answers that are made at most once at a time, for everybody who waits, and kept for a moment."""

    def __init__(self, turnstile: Turnstile) -> None:
        self.turnstile = turnstile
        self._kept: dict[str, _Kept] = {}
        self._making: dict[str, asyncio.Task[None]] = {}

    async def get(self, page: str, make: Callable[[], Iterator[str]], kept_for: float | None) -> bytes:
        """``kept_for``: the greatest age of an earlier answer that is good enough, in seconds; None: only an answer
        whose making began after this call. Raises BusyError, and the errors of ``make``."""
        asked = time.monotonic()
        while True:
            kept = self._kept.get(page)
            if kept is not None and (kept.begun >= asked if kept_for is None else kept.made >= asked - kept_for):
                return kept.body
            await asyncio.shield(self._making.get(page) or self._begin(page, make))

    def _begin(self, page: str, make: Callable[[], Iterator[str]]) -> asyncio.Task[None]:
        if len(self._making) >= MAX_MAKING:
            raise BusyError
        self._making[page] = task = asyncio.create_task(self._make(page, make))
        task.add_done_callback(_heard)
        return task

    async def _make(self, page: str, make: Callable[[], Iterator[str]]) -> None:
        try:
            begun = time.monotonic()
            body = await in_slices(self.turnstile, make())
            self._forget_old(begun)
            # Stamped when it is ready: one that took long to make is as good for a moment as any other.
            self._kept[page] = _Kept(begun, time.monotonic(), body)
        finally:
            del self._making[page]

    def _forget_old(self, now: float) -> None:
        self._kept = {page: kept for page, kept in self._kept.items() if kept.made > now - 1.0}
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]


def _heard(task: asyncio.Task[None]) -> None:
    """The waiting callers get the error; if none waits any more, nobody has to be told."""
    if not task.cancelled():
        task.exception()
