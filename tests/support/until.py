"""Waiting for a condition, with a deadline: what every test does in place of sleeping and hoping."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Words = str | Callable[[], object]
"""What is said past the deadline; asked for then, where it is a function."""

EVERY = 0.02
"""Between two looks. Seconds."""
PATIENCE = 45.0
"""On a machine with six times the work that it can do, an agent takes twenty seconds to start. How soon something has
to happen is asserted where it is promised. Seconds."""


async def until(
    condition: Callable[[], T | Awaitable[T]],
    what: Words = "",
    deadline: float = PATIENCE,
    news: asyncio.Event | None = None,
) -> T:
    """Returns what the condition, plain or async, says once it says anything true. AssertionError past the deadline.

    ``news``: is set whenever it is worth looking again.
    """
    end = time.monotonic() + deadline
    while True:
        if news is not None:
            news.clear()
        answer = condition()
        said: T = await answer if inspect.isawaitable(answer) else answer
        if said:
            return said
        left = end - time.monotonic()
        assert left > 0, _words(what, deadline)
        if news is None:
            await asyncio.sleep(EVERY)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), min(left, 0.1))


def wait_until(condition: Callable[[], T], what: Words = "", deadline: float = PATIENCE) -> T:
    """The same where there is no loop."""
    end = time.monotonic() + deadline
    while not (said := condition()):
        assert time.monotonic() < end, _words(what, deadline)
        time.sleep(EVERY)
    return said


def _words(what: Words, deadline: float) -> str:
    return f"not within {deadline:g} s: {what() if callable(what) else what}"
