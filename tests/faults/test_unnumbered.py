"""A leaf without numbered links: the real agent, ExaBGP and FRR on link-local addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import HTTP_PORT, Agent, Service, configuration, routes_in
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


def test_a_link_local_neighbor_carries_both_families(tmp_path: Path) -> None:
    """IPv4 too, with this node's link-local address as next hop (RFC 8950), also after a reload and on a dead service;
    no address of the node is configured."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up0", leaf, "down0")
        ip("-n", node, "addr", "add", f"{NODE}/64", "dev", "up0", "nodad")
        ip("-n", leaf, "addr", "add", f"{LEAF}/64", "dev", "down0", "nodad")
        with frr(leaf, BY_ADDRESS) as router:

            async def story() -> None:
                agent, service = Agent(tmp_path), Service()
                neighbor = {"address": LEAF, "interface": "up0", "remote_as": 65011, "extended_next_hop": True}
                agent.write(values(tmp_path, neighbor))
                await service.start()
                agent.start()
                try:
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
                finally:
                    await agent.close()
                    await service.close()
                await _has(router, set())

            run_inside(node, story, 100)


def _hops(router: Frr) -> set[tuple[str, str]]:
    """(prefix, next hop) of the routes that zebra selected; empty until there are both."""
    found = set()
    for family in ("ip", "ipv6"):
        for prefix, routes in router.json(f"show {family} route bgp").items():
            found |= {(prefix, hop["ip"]) for route in routes for hop in route["nexthops"] if hop.get("fib")}
    return found if len(found) == len(PREFIXES) else set()
