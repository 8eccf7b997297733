"""Local consumers with the real agent, ExaBGP and kernel: a dead service, and another replica behind the router."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.core.model import Family
from tests.support.agent import HTTP_PORT, Agent, Service, configuration
from tests.support.bgp import BgpPeer
from tests.support.consumers import NODE, ROUTER, VIPS, inside, net, rules, server, who_answers
from tests.support.netns import needs_root, run_inside
from tests.support.until import until

pytestmark = [needs_root, pytest.mark.root]

PREFIXES = ("192.0.2.53/32", "2001:db8:53::53/128")
PATH = (65011, 65102)


def values(folder: Path) -> dict[str, Any]:
    """One session a family; ``follow``."""
    neighbors = {
        f"leaf-{family.value}": {
            "address": ROUTER[family], "local_address": NODE[family], "remote_as": 65011, "families": [family.value]
        }
        for family in Family
    }  # fmt: skip
    check = {"type": "http", "port": HTTP_PORT, "interval": "200ms", "rise": 2, "contains": "ok"}
    web = {
        "prefixes": list(PREFIXES),
        "hold_down": {"initial": "100ms"},
        "linger": "200ms",
        "checks": {"page": check},
        "local_consumers": "follow",
    }
    return configuration(folder, neighbors=neighbors, services={"web": web})


@dataclass
class Stage:
    node: str
    before: str
    """The node's rules and routes without the agent."""
    agent: Agent
    service: Service
    peers: dict[Family, BgpPeer]

    async def announced(self) -> None:
        for family, prefix in zip(Family, PREFIXES, strict=True):
            await self.peers[family].has(prefix)

    async def withdrawn(self) -> None:
        for peer in self.peers.values():
            await peer.has()

    def offer(self) -> None:
        """The router has the prefixes from another node."""
        for family, prefix in zip(Family, PREFIXES, strict=True):
            self.peers[family].announce(prefix, PATH, ROUTER[family])

    async def consumers_get(self, name: bytes) -> None:
        for vip in VIPS:
            asked = lambda vip=vip: asyncio.to_thread(_answers, self.node, vip)  # noqa: E731
            await until(lambda asked=asked: _is(asked, {name}), f"{vip} is answered by {name!r}")


async def _is(asked: Callable[[], Coroutine[Any, Any, set[bytes]]], names: set[bytes]) -> bool:
    return await asked() == names


def _answers(node: str, vip: str) -> set[bytes]:
    try:
        return who_answers(node, vip)
    except OSError:
        return set()


def play(folder: Path, story: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    with net() as (node, other), server(node, b"here", *VIPS), server(other, b"there", *VIPS):
        leaf = node.replace("node", "leaf")
        before = rules(node)

        async def body() -> None:
            async with stage(folder, node, leaf, before) as s:
                s.agent.start()
                await s.announced()
                await story(s)

        run_inside(node, body, 100)


@contextlib.asynccontextmanager
async def stage(folder: Path, node: str, leaf: str, before: str) -> AsyncIterator[Stage]:
    agent, service = Agent(folder), Service()
    agent.write(values(folder))
    await service.start()
    async with contextlib.AsyncExitStack() as stack:
        peers = {}
        for family in Family:
            kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
            where = (ROUTER[family], 179)
            listening = inside(leaf, lambda where=where, kind=kind: socket.create_server(where, family=kind))
            peers[family] = await stack.enter_async_context(BgpPeer(asn=65011, listening=listening))
        try:
            yield Stage(node, before, agent, service, peers)
        except BaseException:
            print(agent.log()[-6000:])
            raise
        finally:
            await agent.close()
            await service.close()


def test_consumers_follow_the_offer_and_are_back_before_the_route(tmp_path: Path) -> None:
    """A dead service; another replica in sight, gone, and in sight again; the service is well; a clean stop."""

    async def story(s: Stage) -> None:
        await s.consumers_get(b"here")
        await s.service.become("failing")
        await s.withdrawn()
        await s.consumers_get(b"here")
        s.offer()
        await s.consumers_get(b"there")
        why = await s.agent.why(PREFIXES[0])
        assert why["consumers"]["state"] == "aside"
        assert why["consumers"]["routers"] == ["leaf-ipv4"]
        for family, prefix in zip(Family, PREFIXES, strict=True):
            s.peers[family].withdraw(prefix)
        await s.consumers_get(b"here")
        s.offer()
        await s.consumers_get(b"there")
        await s.service.become("well")
        await s.announced()
        await s.consumers_get(b"here")
        s.agent.kill(signal.SIGTERM)
        assert await s.agent.ends() == 0
        assert inside(s.node, lambda: rules(s.node)) == s.before

    play(tmp_path, story)


def test_a_killed_agent_leaves_them_served_and_the_next_one_takes_over(tmp_path: Path) -> None:
    """kill -9 while they are aside, and a start while nobody offers the prefix any more: nothing of ours is left."""

    async def story(s: Stage) -> None:
        await s.service.become("failing")
        await s.withdrawn()
        s.offer()
        await s.consumers_get(b"there")
        s.agent.kill()
        await s.consumers_get(b"there")
        s.agent.start()
        await s.agent.until(lambda status: status["ready"])
        for prefix in PREFIXES:
            await s.agent.until(lambda status, p=prefix: _consumers(status, p)["state"] == "aside")
        await s.consumers_get(b"there")
        for family, prefix in zip(Family, PREFIXES, strict=True):
            s.peers[family].withdraw(prefix)
        await s.consumers_get(b"here")

    play(tmp_path, story)


def _consumers(status: dict[str, Any], prefix: str) -> dict[str, Any]:
    return next(p["consumers"] for p in status["services"]["web"]["prefixes"] if p["prefix"] == prefix)
