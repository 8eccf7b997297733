"""One probe at a time, as the agent runs them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from anycast_agent.checks import table
from anycast_agent.checks.prober import Prober
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import ProbeFinished
from anycast_agent.core.model import Check

_ids = itertools.count(1)
_KINDS = {kind.params: kind.name for kind in table.ours()}


@contextlib.asynccontextmanager
async def prober(**options: Any) -> AsyncIterator[Callable[..., Awaitable[ProbeFinished]]]:
    """A function that runs one probe and gives its end."""
    ends: dict[int, asyncio.Future[ProbeFinished]] = {}

    def post(event: Any) -> None:
        ends.pop(event.action).set_result(event)  # a second end of one action fails here

    running = Prober(post, **options)

    async def ask(
        params: Any, timeout: float = 2.0, prefix: str = "", service: str = "s", check: str = "c", kind: str = ""
    ) -> ProbeFinished:
        configured = Check(check, kind or _KINDS[type(params)], params, 1.0, timeout, 0.1, prefix=prefix)
        probe = RunProbe(next(_ids), CheckKey(service, check, prefix), configured)
        ends[probe.id] = asyncio.get_running_loop().create_future()
        future = ends[probe.id]
        running.execute(probe)
        return await asyncio.wait_for(future, timeout + 5)

    try:
        yield ask
    finally:
        await running.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
