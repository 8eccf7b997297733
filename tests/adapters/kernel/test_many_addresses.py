"""Two thousand addresses: the engine asks, the adapter and the kernel do, and nothing is overdue on the way."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import ReturnRouteRule
from anycast_agent.core.parts.addresses import BATCH
from anycast_agent.kernel import Kernel
from tests.support.netns import namespaces, needs_root, run_inside
from tests.support.world import config, service

pytestmark = [needs_root, pytest.mark.root]
MANY = 2000
PREFIXES = [f"10.0.{n // 250}.{n % 250}/32" for n in range(MANY // 2)]
PREFIXES += [f"2001:db8::{n + 1:x}/128" for n in range(MANY // 2)]


class Node:
    """An engine and a kernel adapter, and no speaker."""

    def __init__(self, state_dir: Path, *, marks: bool) -> None:
        self.engine = Engine(time.monotonic())
        self.actions: list[act.Action] = []
        self._events: asyncio.Queue[ev.Event] = asyncio.Queue()
        self.kernel = Kernel(self._events.put_nowait, state_dir, marks=marks)

    @property
    def there(self) -> int:
        return sum(record.state is not None for record in self.engine.parts.addresses.records.values())

    def take(self, event: ev.Event) -> None:
        self.engine.handle(event, time.monotonic())
        self.turn()

    def turn(self) -> None:
        for action in self.engine.settle(time.monotonic()).actions:
            if isinstance(action, act.AddAddresses | act.WatchKernel | act.Resync):
                self.actions.append(action)
                self.kernel.execute(action)

    async def until_all_are_there(self) -> None:
        while self.there < MANY:
            deadline = self.engine.deadline()
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                async with asyncio.timeout(left):
                    event = await self._events.get()
            except TimeoutError:
                self.turn()
            else:
                self.take(event)


@pytest.mark.parametrize("marks", [True, False])
def test_two_thousand_addresses_are_added_without_a_storm(tmp_path: Path, marks: bool) -> None:
    """As many actions as there are batches; none is overdue, and nothing is asked for again."""

    async def work() -> None:
        node = Node(tmp_path, marks=marks)
        running = asyncio.create_task(node.kernel.run())
        services = [service(f"s{n}", (prefix,), checks=()) for n, prefix in enumerate(PREFIXES)]
        node.take(ev.ConfigOffered(config(*services, neighbors=(), return_route=ReturnRouteRule.OFF)))
        try:
            await node.until_all_are_there()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await node.kernel.close()
        adds = [action for action in node.actions if isinstance(action, act.AddAddresses)]
        assert len(adds) == -(-MANY // BATCH)
        assert [action for action in node.actions if isinstance(action, act.Resync)] == []

    with namespaces("node") as (name,):
        run_inside(name, work)
