"""Calls that block, each in a thread of its own: one that hangs cannot be ended, and keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from anycast_agent.checks.outcomes import CannotProbeError
from anycast_agent.checks.slots import Slots

MAX_CALLS = 32
"""Calls that are open at once, beside one for each service."""

T = TypeVar("T")


class Aside:
    """asyncio's own threads are few, and shared with all else that blocks: calls that hang would soon hold them all."""

    def __init__(self) -> None:
        self._slots = Slots(MAX_CALLS)

    async def run(self, service: str, call: Callable[[], T]) -> T:
        """Returns or raises what the call does. Raises CannotProbeError if too many calls hang already."""
        if not self._slots.try_take(service):
            raise CannotProbeError(f"{self._slots.held(service)} calls of this service hang already")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            result: T | BaseException
            try:
                result = call()
            except BaseException as error:  # it is raised where it was asked for
                result = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(end, result)

        def end(result: T | BaseException) -> None:
            self._slots.give_back(service)
            if done.done():  # nobody waits any more
                return
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)

        try:
            threading.Thread(target=work, name="aside", daemon=True).start()
        except RuntimeError as error:
            self._slots.give_back(service)
            raise CannotProbeError(f"no thread: {error}") from error
        return await done
