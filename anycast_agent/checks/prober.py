"""Runs probes: each within its deadline, none in another's way, each ending in exactly one event."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anycast_agent.checks import table
from anycast_agent.checks.kind import Asker, Kind, Target
from anycast_agent.checks.names import asks_for
from anycast_agent.checks.outcomes import BROKEN, NOT_RUN, TIMEOUT, CannotProbeError, Finding, clean
from anycast_agent.checks.shared import EXEC_SLOTS, Shared
from anycast_agent.checks.waiting import waited_for
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import Event, ProbeFinished
from anycast_agent.core.model import address_of

CLOSE_WITHIN = 2.0
"""A cancelled probe that does not end within this time is left behind. Seconds."""


class Prober:
    def __init__(
        self, post: Callable[[Event], None], *, exec_slots: int = EXEC_SLOTS, lost: Callable[[], float] = float
    ) -> None:
        """``lost``: for how many seconds, since some instant, this process could not look at its events."""
        self._post = post
        self._lost = lost
        self._shared = Shared(exec_slots)
        self._askers: dict[str, Asker[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: dict[tuple[CheckKey, str], tuple[asyncio.Task[None], float]] = {}
        """By check and kind: the last probe, and its deadline."""

    def execute(self, action: RunProbe) -> None:
        """Begin a probe; returns at once."""
        key, now = (action.key, action.check.kind), time.monotonic()
        last = self._last.get(key)
        if last is not None and not last[0].done() and now > last[1]:
            # The core gives up a probe that does not end when it is cancelled: no second one is left behind with it.
            finding = Finding(BROKEN, "the last probe of this check was cancelled, and has not ended")
            self._post(ProbeFinished(action.id, finding.outcome))
            return
        task = asyncio.create_task(self._run(action))
        self._last[key] = task, now + action.check.timeout
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(key, task))

    def _ended(self, key: tuple[CheckKey, str], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._last[key][0] is task:
            del self._last[key]

    async def _run(self, action: RunProbe) -> None:
        began, lost = time.monotonic(), self._lost()
        finding = await self._found(action)
        duration, late = time.monotonic() - began, self._lost() - lost
        self._post(ProbeFinished(action.id, finding.outcome, duration, late))

    async def _found(self, action: RunProbe) -> Finding:
        """How the probe ended. It ends in one of these ways, whatever the code of its kind does."""
        check, prefix = action.check, action.check.prefix
        address = address_of(prefix) if prefix else None
        target = Target(action.key.service, check.name, prefix, address, check.timeout)
        asks_for.set(target.service)
        try:
            async with asyncio.timeout(check.timeout) as deadline:
                kind = table.find(check.kind)
                return _sound(kind, await self._asker(kind).probe(check.params, target))
        except TimeoutError as error:
            if not deadline.expired():
                return _broken(error)
            why = waited_for()
            return Finding(NOT_RUN, why) if why else Finding(TIMEOUT, f"no answer within {check.timeout * 1000:.0f} ms")
        except CannotProbeError as error:
            return Finding(NOT_RUN, clean(str(error)))
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return _broken(error)
        except (Exception, SystemExit) as error:
            return _broken(error)

    def _asker(self, kind: Kind[Any]) -> Asker[Any]:
        asker = self._askers.get(kind.name)
        if asker is None:
            asker = self._askers[kind.name] = kind.open(self._shared)
        return asker

    async def close(self) -> None:
        """End all probes that still run, with their programs and the children of those."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_WITHIN)
        await asyncio.gather(*map(_close, self._askers.values()))
        await self._shared.close()


async def _close(asker: Asker[Any]) -> None:
    try:
        async with asyncio.timeout(CLOSE_WITHIN):
            await asker.close()
    except Exception as error:  # the others are to be closed, too
        print(f"closing the probes of {type(asker).__name__}: {table.said(error)}", file=sys.stderr)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _broken(error: BaseException) -> Finding:
    return Finding(BROKEN, clean(f"the probe itself failed: {table.said(error)}"))


def _sound(kind: Kind[Any], finding: Finding) -> Finding:
    """The finding, if it is as the kind has declared: metrics have series for its words and numbers, and no others."""
    if not isinstance(finding, Finding):
        raise TypeError(f"a probe returns a Finding, not {type(finding).__name__}")
    if finding.code not in kind.codes:
        raise ValueError(f"the outcome {finding.code.word!r} is not in the table of its kind")
    for number in finding.numbers:
        if number.measure not in kind.numbers or not math.isfinite(number.value):
            raise ValueError(f"the number {number!r} is not one of its kind's, or not finite")
    return replace(finding, detail=clean(finding.detail))
