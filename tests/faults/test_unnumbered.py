"""A leaf without numbered links: the real agent, ExaBGP and FRR on link-local addresses."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import HTTP_PORT, Agent, Service, configuration, external_speaker, routes_in
from tests.support.frr import Frr, frr
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth
from tests.support.until import until

pytestmark = [needs_root, pytest.mark.root]

PREFIXES = {"192.0.2.53/32", "2001:db8:53::53/128"}
NODE, LEAF = "fe80::2", "fe80::1"
FAMILIES = """
 address-family ipv4 unicast
  neighbor {0} activate
 exit-address-family
 address-family ipv6 unicast
  neighbor {0} activate
 exit-address-family
"""
BY_ADDRESS = f"""
router bgp 65011
 bgp router-id 198.51.100.11
 no bgp ebgp-requires-policy
 neighbor {NODE} remote-as 65101
 neighbor {NODE} interface down0
 neighbor {NODE} capability extended-nexthop
{FAMILIES.format(NODE)}
"""

BY_INTERFACE = f"""
router bgp 65011
 bgp router-id 198.51.100.11
 no bgp ebgp-requires-policy
 neighbor down0 interface remote-as external
{FAMILIES.format("down0")}
"""
ADVERTISING = "interface down0\n no ipv6 nd suppress-ra\n ipv6 nd ra-interval 1\n"


def values(folder: Path, leaf: dict[str, Any]) -> dict[str, Any]:
    check = {"type": "http", "port": HTTP_PORT, "interval": "200ms", "rise": 2}
    web = {
        "prefixes": sorted(PREFIXES),
        "hold_down": {"initial": "100ms"},
        "linger": "200ms",
        "checks": {"page": check},
    }
    return configuration(folder, neighbors={"leaf": leaf}, services={"web": web})


async def _has(router: Frr, prefixes: set[str]) -> None:
    async def same() -> bool:
        return await asyncio.to_thread(router.prefixes) == prefixes

    await until(same, lambda: f"{router.prefixes()}\n{router.asked('show bgp neighbors')[:3000]}", 30)


@dataclass
class Link:
    node: str
    leaf: str


@pytest.fixture
def link() -> Iterator[Link]:
    """The node and its leaf, on a link that has link-local addresses only."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up0", leaf, "down0")
        for namespace, interface, address in ((node, "up0", NODE), (leaf, "down0", LEAF)):
            ip("-n", namespace, "addr", "flush", "dev", interface)
            ip("-n", namespace, "addr", "add", f"{address}/64", "dev", interface, "nodad")
        yield Link(node, leaf)


def play(
    folder: Path,
    link: Link,
    neighbor: dict[str, Any],
    story: Callable[[Agent, Service], Awaitable[None]],
    *,
    start: bool = True,
) -> None:
    """The node's agent and service, with this neighbor. ``start``: the agent is started before the story."""

    async def scene() -> None:
        agent, service = Agent(folder), Service()
        agent.write(values(folder, neighbor))
        await service.start()
        if start:
            agent.start()
        try:
            await story(agent, service)
        except BaseException:
            print(agent.log()[-4000:])
            raise
        finally:
            await agent.close()
            await service.close()

    run_inside(link.node, scene, 100)


def test_a_link_local_neighbor_carries_both_families(tmp_path: Path, link: Link) -> None:
    """IPv4 too, with this node's link-local address as next hop (RFC 8950), also after a reload and for a dead service;
    no address of the node is configured."""
    neighbor = {"address": LEAF, "interface": "up0", "remote_as": 65011}
    with frr(link.leaf, BY_ADDRESS) as router:

        async def story(agent: Agent, service: Service) -> None:
            await _has(router, PREFIXES)
            shown = await until(lambda: asyncio.to_thread(_hops, router), "the kernel has no route", 10)
            assert shown == {("192.0.2.53/32", NODE), ("2001:db8:53::53/128", NODE)}
            agent.write(values(tmp_path, {**neighbor, "hold_time": 12}))
            assert (await agent.ask(verb="reload"))["ok"]
            await agent.until(lambda s: all(r["sent"] for r in routes_in(s)))
            await service.become("failing")
            await _has(router, set())
            await service.become("well")
            await _has(router, PREFIXES)

        play(tmp_path, link, neighbor, story)
        asyncio.run(_has(router, set()))


def test_a_router_that_advertises_itself_needs_no_address(tmp_path: Path, link: Link) -> None:
    """One line of configuration at either end: FRR learns of the node by a router advertisement, too."""
    with frr(link.leaf, BY_INTERFACE, ADVERTISING) as router:

        async def story(agent: Agent, service: Service) -> None:
            async with advertised("up0"):
                await _has(router, PREFIXES)
            (leaf,) = (await agent.status())["neighbors"]
            assert (leaf["address"], leaf["interface"], leaf["session"]) == (LEAF, "up0", "up")

        play(tmp_path, link, {"interface": "up0", "remote_as": 65011}, story)
        asyncio.run(_has(router, set()))


def test_where_no_router_is_seen_the_reason_is_said_and_the_agent_goes_on(tmp_path: Path, link: Link) -> None:
    """Also with the interface missing; the session comes once the router is seen."""

    async def story(agent: Agent, service: Service) -> None:
        shown = await agent.until(lambda s: "no router is seen on up0" in s["neighbors"][0]["why"])
        assert shown["neighbors"][0]["address"] is None and "address of leaf" in shown["warnings"]
        rename(link.node, "up7", "up0")
        with frr(link.leaf, BY_ADDRESS, ADVERTISING) as router:
            await _has(router, PREFIXES)

    rename(link.node, "up0", "up7")
    play(tmp_path, link, {"interface": "up0", "remote_as": 65011}, story)


def test_a_speaker_that_is_started_anew_learns_the_router_again(tmp_path: Path, link: Link) -> None:
    """In a unit of its own, it begins with what the files say, and the router's address does not stand there."""
    with frr(link.leaf, BY_ADDRESS, ADVERTISING) as router:

        async def story(agent: Agent, service: Service) -> None:
            async with external_speaker(agent) as speaker:
                agent.start()
                await _has(router, PREFIXES)
                speaker.kill()
                await _has(router, set())
            async with external_speaker(agent):
                await _has(router, PREFIXES)

        play(tmp_path, link, {"interface": "up0", "remote_as": 65011}, story, start=False)


def rename(namespace: str, old: str, new: str) -> None:
    """An interface has to be down for it, and loses its addresses."""
    ip("-n", namespace, "link", "set", old, "down")
    ip("-n", namespace, "link", "set", old, "name", new)
    ip("-n", namespace, "link", "set", new, "up")
    ip("-n", namespace, "addr", "replace", f"{NODE}/64", "dev", new, "nodad")


@asynccontextmanager
async def advertised(interface: str) -> AsyncIterator[None]:
    """Router advertisements of this namespace, as radvd would send them: with a lifetime of 0, no default router."""
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)  # RFC 4861, 6.1.2
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0)

        async def send() -> None:
            while True:
                sock.sendto(message, ("ff02::1", 0))
                await asyncio.sleep(0.5)

        sending = asyncio.create_task(send())
        try:
            yield
        finally:
            sending.cancel()


def _hops(router: Frr) -> set[tuple[str, str]]:
    """(prefix, next hop) of the routes that zebra selected; empty until there are both."""
    found = set()
    for family in ("ip", "ipv6"):
        for prefix, routes in router.json(f"show {family} route bgp").items():
            found |= {(prefix, hop["ip"]) for route in routes for hop in route["nexthops"] if hop.get("fib")}
    return found if len(found) == len(PREFIXES) else set()
