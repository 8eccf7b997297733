"""Return routes: the kernel's own answer, in namespaces, through every way of routing that people use."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Family, ReturnRouteRule
from anycast_agent.kernel import return_routes
from tests.adapters.kernel.watcher import V4, V6, Watcher, config
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth

pytestmark = [needs_root, pytest.mark.root]

OTHER4, OTHER6 = "192.0.2.80", "2001:db8:53::80"
DEFAULT = config(f"{V4}/32", f"{V6}/128", f"{OTHER4}/32", f"{OTHER6}/128", return_route=ReturnRouteRule.DEFAULT)
UP1, UP2, UP1_6 = "198.51.100.6", "198.51.100.10", "2001:db8:1::2"


@contextmanager
def node_with_uplinks(*missing: str) -> Iterator[tuple[str, str]]:
    """A node with its anycast addresses (but those that are missing) and two uplinks, and no route but the connected
    ones."""
    with namespaces("node", "leaf") as (node, leaf):
        for n in (1, 2):
            veth(node, f"up{n}", leaf, f"down{n}")
            ip("-n", node, "addr", "add", f"198.51.100.{4 * n + 1}/30", "dev", f"up{n}")
            ip("-n", node, "addr", "add", f"2001:db8:{n}::1/64", "dev", f"up{n}", "nodad")
        for address in {V4, V6, OTHER4, OTHER6} - set(missing):
            ip("-n", node, "addr", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo")
        yield node, leaf


def words(*lines: str) -> list[list[str]]:
    return [line.split() for line in lines]


# What is set up, the addresses that then have a usable return route, and the step that takes it from all of them.
USABLE: dict[str, tuple[list[str], set[str], str]] = {
    "a default route": (
        [f"route add default via {UP1}", f"-6 route add default via {UP1_6}"],
        {V4, V6, OTHER4, OTHER6},
        "link set up1 down",
    ),
    "IPv4 over an IPv6 next hop (RFC 8950)": (
        ["-4 route add default via inet6 fe80::2 dev up1"],
        {V4, OTHER4},
        "-4 route del default",
    ),
    "a rule by source, with a table of its own": (
        [f"route add default via {UP1} table 100", f"rule add from {V4} lookup 100"],
        {V4},
        f"rule del from {V4} lookup 100",
    ),
    "IPv6: a rule by source, with a table of its own": (
        [f"-6 route add default via {UP1_6} table 100", f"-6 rule add from {V6} lookup 100"],
        {V6},
        "-6 route flush table 100",
    ),
    "a rule for what this node itself sends": (
        [f"route add default via {UP1} table 100", "rule add iif lo lookup 100"],
        {V4, OTHER4},
        "route del default table 100",
    ),
    "two halves, as a VPN writes them": (
        [f"route add 0.0.0.0/1 via {UP1}", f"route add 128.0.0.0/1 via {UP2}"],
        {V4, OTHER4},
        "route del 0.0.0.0/1",
    ),
    "2000::/3, all of IPv6 that is in use": (
        [f"-6 route add 2000::/3 via {UP1_6}"],
        {V6, OTHER6},
        "-6 route del 2000::/3",
    ),
    "IPv6: a route by source, without a rule": (
        [f"-6 route add default from {V6}/128 via {UP1_6} dev up1"],
        {V6},
        f"-6 route del default from {V6}/128",
    ),
    "a default route behind a rule that passes over the main one": (
        [
            "rule add pref 100 lookup main suppress_prefixlength 0",
            "rule add pref 200 lookup 51820",
            f"route add default via {UP2} table 51820",
        ],
        {V4, OTHER4},
        "rule del pref 200",
    ),
    "a better route that is thrown": (
        ["rule add pref 100 lookup 100", "route add throw default table 100", f"route add default via {UP1}"],
        {V4, OTHER4},
        "route replace unreachable default table 100",
    ),
    "next hop objects in a table of a rule": (
        [
            f"nexthop add id 7 via {UP1} dev up1",
            f"nexthop add id 8 via {UP2} dev up2",
            "nexthop add id 9 group 7/8",
            "route add default nhid 9 table 100",
            f"rule add from {V4} lookup 100",
        ],
        {V4},
        "nexthop del id 9",
    ),
    "a network that is blackholed on purpose": (
        [f"route add default via {UP1}", "route add blackhole 12.0.0.0/8", "route add unreachable 193.0.0.0/8"],
        {V4, OTHER4},
        "route add prohibit 41.0.0.0/8",
    ),
    "no default route, but a full table": (
        [f"route add {net}/8 via {UP1}" for net in ("12.0.0.0", "41.0.0.0", "151.0.0.0", "177.0.0.0", "193.0.0.0")],
        {V4, OTHER4},
        "route del 12.0.0.0/8",
    ),
}


@pytest.mark.parametrize("story", list(USABLE))
def test_a_return_route_comes_and_goes(tmp_path: Path, story: str) -> None:
    """Each address by itself, as the kernel says; each change is heard of, whatever changed: route, rule, next hop."""
    come, usable, go = USABLE[story]
    with node_with_uplinks() as (node, _):

        async def do(line: str) -> None:
            await asyncio.to_thread(ip, "-n", node, *line.split())

        async def work() -> None:
            async with Watcher(tmp_path, DEFAULT) as watcher:
                everyone = {V4, V6, OTHER4, OTHER6}
                assert {a for a in everyone if watcher.returns(a) is not False} == set()
                for line in come:
                    await do(line)
                await watcher.until(lambda: {a for a in everyone if watcher.returns(a)} == usable)
                await do(go)
                await watcher.until(lambda: not {a for a in everyone if watcher.returns(a)})

        run_inside(node, work)


UNUSABLE: dict[str, tuple[list[str], str]] = {
    "no route": ([], "there is no route to 12.0.0.1"),
    "half of IPv4": ([f"route add 0.0.0.0/1 via {UP1}"], "there is no route to 151.101.0.1"),
    "a route to one place outside": ([f"route add 12.0.0.1/32 via {UP1}"], "there is no route to 41.0.0.1"),
    "a blackhole": (["route add blackhole default"], "the route to 12.0.0.1 is a blackhole"),
    "unreachable": (["route add unreachable default"], "the route to 12.0.0.1 is unreachable"),
    "prohibit": (["route add prohibit default"], "the route to 12.0.0.1 is prohibited"),
    "a rule that refuses": (
        [f"route add default via {UP1}", f"rule add from {V4} prohibit"],
        "the route to 12.0.0.1 is prohibited",
    ),
    "everything is local here": (["route add local default dev lo"], "12.0.0.1 is on this node"),
    "a rule to a table that ends": (
        [f"route add default via {UP1}", f"rule add from {V4} lookup 100", "route add blackhole default table 100"],
        "the route to 12.0.0.1 is a blackhole",
    ),
    "a rule for marked packets only": (
        [f"route add default via {UP1} table 100", "rule add fwmark 7 lookup 100"],
        "there is no route to 12.0.0.1",
    ),
    "a rule for what comes from elsewhere": (
        [f"route add default via {UP1} table 100", "rule add iif up1 lookup 100"],
        "there is no route to 12.0.0.1",
    ),
    "only over the loopback": (
        ["route add default dev lo scope link"],
        "every next hop of the route to 12.0.0.1 is down",
    ),
}


@pytest.mark.parametrize("story", list(UNUSABLE))
def test_what_is_no_return_route_is_told_with_the_kernels_answer(tmp_path: Path, story: str) -> None:
    """The evidence names the destination and says what its route is."""
    steps, evidence = UNUSABLE[story]
    with node_with_uplinks() as (node, _):
        for step in words(*steps):
            ip("-n", node, *step)

        async def work() -> None:
            async with Watcher(tmp_path, DEFAULT) as watcher:
                route = watcher.return_route(V4)
                assert route is not None
                assert (route.usable, route.evidence) == (False, evidence)

        run_inside(node, work)


@pytest.mark.parametrize("passed_over", [False, True])
def test_the_best_route_counts_even_where_it_is_dead(tmp_path: Path, passed_over: bool) -> None:
    """A worse metric helps only where the kernel passes over dead links (ignore_routes_with_linkdown): otherwise it
    sends each reply into the dead one."""
    with node_with_uplinks() as (node, leaf):
        sysctl(node, "net.ipv4.conf.all.ignore_routes_with_linkdown", str(int(passed_over)))
        for step in words(f"route add default via {UP1} metric 10", f"route add default via {UP2} metric 20"):
            ip("-n", node, *step)

        async def work() -> None:
            async with Watcher(tmp_path, DEFAULT) as watcher:
                assert watcher.returns(V4)
                said = len(watcher.reports())
                await asyncio.to_thread(ip, "-n", leaf, "link", "set", "down1", "down")
                if not passed_over:
                    await watcher.until(lambda: watcher.returns(V4) is False)
                watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda: len(watcher.reports()) > said)
                assert watcher.returns(V4) is passed_over

        run_inside(node, work)


def test_of_an_address_that_is_not_on_the_node_it_is_not_known(tmp_path: Path) -> None:
    """It is asked for as soon as the address comes; and while a known one is put back, what was said of it stands."""
    with node_with_uplinks(V4) as (node, _):
        ip("-n", node, "route", "add", "default", "via", UP1)

        async def work() -> None:
            async with Watcher(tmp_path, DEFAULT) as watcher:
                assert watcher.return_route(V4) is None
                assert watcher.returns(OTHER4) is True
                assert await watcher.add(V4) is None
                await watcher.until(lambda: watcher.returns(V4) is True)
                assert await watcher.remove(V4) is None
                await watcher.sees(V4, None)
                said = len(watcher.reports())
                watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda: len(watcher.reports()) > said)
                assert watcher.returns(V4) is True

        run_inside(node, work)


ANY: dict[str, tuple[list[str], set[str]]] = {
    "a connected network": (["addr add 198.51.100.21/30 dev up1"], {V4, OTHER4}),
    "a link of two addresses": (["addr add 198.51.100.21/31 dev up1"], {V4, OTHER4}),
    "one host": (["-6 route add 2001:db8:9::9/128 dev up1"], {V6, OTHER6}),
    "a default route": (["-6 route add default dev up1"], {V6, OTHER6}),
    "a route in the table of a rule": (
        ["route add 198.51.100.128/25 dev up1 table 100", f"rule add from {V4} lookup 100"],
        {V4},
    ),
    "a route in a table that no rule leads to": (["route add 198.51.100.128/25 dev up1 table 100"], set()),
    "a route that refuses": (["route add unreachable 198.51.100.128/25"], set()),
}


@pytest.mark.parametrize("story", list(ANY))
def test_any_route_off_the_node_by_which_replies_go(tmp_path: Path, story: str) -> None:
    """return_route: any. A route that no reply would take does not count, nor those of the links themselves."""
    steps, usable = ANY[story]
    conf = config(f"{V4}/32", f"{V6}/128", f"{OTHER4}/32", f"{OTHER6}/128", return_route=ReturnRouteRule.ANY)
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up1", leaf, "down1")
        for address in (V4, V6, OTHER4, OTHER6):
            ip("-n", node, "addr", "add", f"{address}/{128 if ':' in address else 32}", "dev", "lo")

        async def work() -> None:
            async with Watcher(tmp_path, conf) as watcher:
                assert not [a for a in (V4, V6, OTHER4, OTHER6) if watcher.returns(a)]
                for step in words(*steps):
                    await asyncio.to_thread(ip, "-n", node, *step)
                watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda: {a for a in (V4, V6, OTHER4, OTHER6) if watcher.returns(a)} == usable)

        run_inside(node, work)


def _route_message(destination: str, length: int, flags: int = 0) -> bytes:
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    address = socket.inet_pton(family, destination)
    body = struct.pack("=BBBBBBBBI", family, length, 0, 0, 254, 0, 0, 1, flags)
    if length:
        body += struct.pack("=HH", 4 + len(address), 1) + address
    return struct.pack("=IHHII", 16 + len(body), 24, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("destination", "length", "matters"),
    [
        ("0.0.0.0", 0, True),
        ("::", 0, True),
        ("0.0.0.0", 1, True),
        ("128.0.0.0", 1, True),
        ("2000::", 3, True),
        ("12.0.0.0", 8, True),
        ("198.51.100.0", 24, False),
        ("2001:db8:7::", 48, False),
    ],
)
def test_a_full_tables_churn_does_not_ask_again(destination: str, length: int, matters: bool) -> None:
    """Only a route that covers what is asked for can change the answer; with ``any``, each can. A clone never does."""
    message = _route_message(destination, length)
    assert return_routes.concerns(message, ReturnRouteRule.DEFAULT) is matters
    assert return_routes.concerns(message, ReturnRouteRule.ANY)
    cloned = _route_message(destination, length, 0x200)
    assert not return_routes.concerns(cloned, ReturnRouteRule.ANY)


def test_what_stands_for_the_outside_is_public_and_in_every_half() -> None:
    """Ranges that are blackholed on purpose would say nothing of the rest."""
    halves = [{ip_address(a).packed[0] >> 7 for a in group} for group in return_routes.OUTSIDE[Family.IPV4]]
    assert halves == [{0}, {1}]
    assert all(ip_address(a).is_global for groups in return_routes.OUTSIDE.values() for g in groups for a in g)
    assert all(len(group) % 2 for groups in return_routes.OUTSIDE.values() for group in groups)
