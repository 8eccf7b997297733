"""Runs probes: each within its deadline, none in another's way, each ending in exactly one event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from anycast_agent.checks import dns, tcp
from anycast_agent.checks.base import Target, clean
from anycast_agent.checks.exec import EXEC_SLOTS, ExecProber
from anycast_agent.checks.http import HttpProber
from anycast_agent.checks.matching import Matcher
from anycast_agent.checks.names import asks_for
from anycast_agent.checks.outcomes import BROKEN, NOT_RUN, TIMEOUT, CannotProbeError, Finding
from anycast_agent.checks.registry import OUTCOMES
from anycast_agent.core.actions import RunProbe
from anycast_agent.core.events import Event, ProbeFinished
from anycast_agent.core.model import address_of


class Prober:
    def __init__(
        self, post: Callable[[Event], None], *, exec_slots: int = EXEC_SLOTS, lost: Callable[[], float] = float
    ) -> None:
        """``lost``: for how many seconds, since some instant, this process could not look at its events."""
        self._post = post
        self._lost = lost
        self._matcher = Matcher()
        self._http = HttpProber(self._matcher)
        self._exec = ExecProber(exec_slots)
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: dict[str, Callable[[Any, Target], Awaitable[Finding]]] = {
            "tcp": partial(tcp.probe, self._matcher),
            "http": self._http.probe,
            "dns": dns.probe,
        }

    def execute(self, action: RunProbe) -> None:
        """Begin a probe; returns at once."""
        task = asyncio.create_task(self._run(action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, action: RunProbe) -> None:
        began, lost = time.monotonic(), self._lost()
        check, prefix = action.check, action.check.prefix
        target = Target(action.key.service, check.name, prefix, address_of(prefix) if prefix else None)
        try:
            async with asyncio.timeout(check.timeout):
                finding = _declared(check.kind, await self._probe(action, target))
        except TimeoutError:
            finding = Finding(TIMEOUT, f"no answer within {check.timeout * 1000:.0f} ms")
            if target.wait.reason:
                finding = Finding(NOT_RUN, target.wait.reason)
        except CannotProbeError as error:
            finding = Finding(NOT_RUN, str(error))
        except Exception as error:
            finding = Finding(BROKEN, f"the probe itself failed: {type(error).__name__}: {error}")
        duration, late = time.monotonic() - began, self._lost() - lost
        self._post(ProbeFinished(action.id, replace(finding, detail=clean(finding.detail)).outcome, duration, late))

    async def _probe(self, action: RunProbe, target: Target) -> Finding:
        kind, params = action.check.kind, action.check.params
        asks_for.set(target.service)
        if kind == "exec":
            return await self._exec.probe(params, target, action.check.timeout)
        if kind == "http":
            target.wait.reason = "the name was not resolved in time"
            if (finding := await self._http.look_up(params)) is not None:
                return finding
            target.wait.reason = ""
        return await self._probes[kind](params, target)

    async def close(self) -> None:
        """End what still runs, programs and their children included."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exec.close()
        await self._http.close()
        await self._matcher.close()


def _declared(kind: str, finding: Finding) -> Finding:
    """The finding, if its code is in the table of the kind: metrics have a series for those, and for no others."""
    if finding.code in OUTCOMES[kind]:
        return finding
    return Finding(BROKEN, f"the probe ended with {finding.code.word!r}, which is not in the table of its kind")
