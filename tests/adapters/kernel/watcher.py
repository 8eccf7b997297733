"""The kernel adapter in a namespace of its own, and what it reports."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressState, KernelConfig, ReturnRoute, ReturnRouteRule, address_of
from anycast_agent.kernel import Kernel
from tests.support.netns import ip, namespaces, run_inside
from tests.support.until import PATIENCE, until

V4, V6 = "192.0.2.53", "2001:db8:53::53"


_ids = itertools.count(1)


def config(*prefixes: str, **changes: Any) -> KernelConfig:
    prefixes = prefixes or (f"{V4}/32", f"{V6}/128")
    changes.setdefault("return_route", ReturnRouteRule.OFF)
    return KernelConfig(addresses=frozenset(address_of(prefix) for prefix in prefixes), **changes)


class Watcher:
    """A running adapter, and what it posted."""

    def __init__(self, state_dir: Path, conf: KernelConfig, **options: Any) -> None:
        self.posted: list[ev.Event] = []
        self.kernel = Kernel(self.posted.append, state_dir, **options)
        self._conf = conf

    async def __aenter__(self) -> Watcher:
        self.task = asyncio.create_task(self.kernel.run())
        self.kernel.execute(act.WatchKernel(self._conf))
        await self.until(lambda: any(isinstance(e, ev.KernelSeen) for e in self.posted))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.kernel.close()

    async def until(self, condition: Callable[[], bool], deadline: float = PATIENCE) -> None:
        await until(condition, lambda: self.posted[-5:], deadline)

    async def ask(self, action: Any) -> Any:
        self.kernel.execute(action)
        await self.until(lambda: any(getattr(e, "action", None) == action.id for e in self.posted))
        return next(e for e in self.posted if getattr(e, "action", None) == action.id)

    async def add(self, address: str) -> str | None:
        return (await self.ask(act.AddAddresses(next(_ids), (address,), "lo"))).errors.get(address)

    async def remove(self, address: str) -> str | None:
        return (await self.ask(act.RemoveAddresses(next(_ids), (address,), "lo"))).errors.get(address)

    def reports(self) -> list[ev.KernelSeen]:
        return [e for e in self.posted if isinstance(e, ev.KernelSeen)]

    def last(self, address: str) -> AddressState | None:
        """What was last said of an address."""
        for event in reversed(self.posted):
            if isinstance(event, ev.AddressSeen) and event.address == address:
                return event.state
            if isinstance(event, ev.KernelSeen):
                return event.addresses.get(address)
        return None

    def return_route(self, address: str) -> ReturnRoute | None:
        """What was last said of its return route."""
        told = (e for e in reversed(self.posted) if isinstance(e, ev.KernelSeen | ev.ReturnRoutesSeen))
        return next(told).return_routes.get(address)

    def returns(self, address: str) -> bool | None:
        route = self.return_route(address)
        return None if route is None else route.usable

    async def sees(self, address: str, state: AddressState | None) -> None:
        await self.until(lambda: self.last(address) == state)


OURS, THEIRS = AddressState("lo", ours=True), AddressState("lo", ours=False)


def inside(tmp_path: Path, conf: KernelConfig, work: Callable[[Watcher, str], Awaitable[None]], **options: Any) -> None:
    with namespaces("k") as (name,):

        async def body() -> None:
            async with Watcher(tmp_path, conf, **options) as watcher:
                await work(watcher, name)

        run_inside(name, body)


def shown(name: str, address: str) -> dict[str, Any]:
    """The address as iproute2 shows it."""
    text = subprocess.run(["ip", "-n", name, "-j", "addr", "show", "lo"], check=True, capture_output=True).stdout
    infos = [i for link in json.loads(text) for i in link.get("addr_info", ())]
    return next((i for i in infos if i["local"] == address), {})


async def ip_in(name: str, *words: str) -> None:
    await asyncio.to_thread(ip, "-n", name, *words)


def batch(name: str, lines: list[str], check: bool = True) -> None:
    done = subprocess.run(
        ["ip", "-n", name, "-force", "-batch", "-"], input="\n".join(lines).encode(), capture_output=True
    )
    assert not check or done.returncode == 0, done.stderr


def here(name: str, device: str = "lo") -> list[tuple[str, int]]:
    """(address, length) of what is on an interface, as iproute2 says."""
    text = subprocess.run(["ip", "-n", name, "-j", "addr", "show", device], check=True, capture_output=True).stdout
    return [(i["local"], i["prefixlen"]) for link in json.loads(text) for i in link.get("addr_info", ())]
