"""The kernels' tables, as they are and as they change, in a lab whose nodes route nothing by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.net import topology
from lab.net.lab import Lab
from lab.net.namespaces.lab import NamespaceLab
from lab.net.tables import Change, Hops, Tables
from tests.support.netns import needs_root

pytestmark = needs_root

P4, P6 = "198.51.100.53/32", "2001:db8:53::53/128"
SEEN = frozenset({P4, P6, "default", "default6"})
BOTH = "nexthop via 192.0.2.1 nexthop via 192.0.2.3"
BOTH6 = "nexthop via 2001:db8:1::1 nexthop via 2001:db8:2::1"

TRIANGLE = """
name: t
topology:
  defaults: {kind: linux, network-mode: none, cmd: sleep 1000}
  nodes:
    r:
      sysctls: {net.ipv6.conf.all.accept_dad: 0, net.ipv6.conf.default.accept_dad: 0}
      exec:
        - ip addr add 192.0.2.0/31 dev eth1
        - ip addr add 192.0.2.2/31 dev eth2
        - ip addr add 2001:db8:1::/127 dev eth1 nodad
        - ip addr add 2001:db8:2::/127 dev eth2 nodad
    a: {}
    b: {}
  links:
    - endpoints: ["r:eth1", "a:eth1"]
    - endpoints: ["r:eth2", "b:eth1"]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    import os

    path = tmp_path_factory.mktemp("tables") / "t.clab.yml"
    path.write_text(TRIANGLE)
    lab = NamespaceLab(topology.load(path, {}), f"test-tables-{os.getpid()}", "bfd")
    lab.up()
    yield lab
    lab.down()


@pytest.fixture
def tables(lab: Lab) -> Iterator[Tables]:
    yield Tables(lab.topology, lab.nodes, SEEN.__contains__)
    for family in ("-4", "-6"):
        lab.nodes["r"].run(["ip", family, "route", "flush", "proto", "boot"], check=False)
        lab.nodes["r"].run(["ip", family, "route", "flush", "table", "100"], check=False)
        lab.nodes["r"].run(["ip", family, "route", "flush", "table", "local", "proto", "boot"], check=False)


def ip(lab: Lab, words: str, node: str = "r") -> None:
    lab.nodes[node].run(["ip", *words.split()])


async def until(condition: Callable[[], bool], deadline: float = 20.0) -> None:
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


def moves(tables: Tables, prefix: str = P4) -> list[tuple[Hops | None, Hops | None]]:
    return [(change.before, change.after) for change in tables.changes if change.prefix == prefix]


@pytest.mark.parametrize(
    ("routes", "table"),
    [
        ([], {}),
        ([f"{P4} via 192.0.2.1"], {P4: ("a",)}),
        ([f"{P4} dev eth2"], {P4: ("b",)}),
        ([f"{P4} {BOTH}"], {P4: ("a", "b")}),
        ([f"{P4} nexthop via 192.0.2.1 weight 3 nexthop via 192.0.2.3"], {P4: ("a", "b")}),
        ([f"{P6} via 2001:db8:2::1"], {P6: ("b",)}),
        ([f"{P6} {BOTH6}"], {P6: ("a", "b")}),
        ([f"{P4} via inet6 2001:db8:1::1"], {P4: ("a",)}),
        (["default via 192.0.2.1"], {"default": ("a",)}),
        ([f"default {BOTH}", "-6 default via 2001:db8:2::1"], {"default": ("a", "b"), "default6": ("b",)}),
        ([f"blackhole {P4}", f"blackhole {P6}"], {P4: ("here",), P6: ("here",)}),
        ([f"{P4} dev lo"], {P4: ("here",)}),
        ([f"local {P4} dev lo", f"{P4} via 192.0.2.1"], {P4: ("here",)}),  # an address of the node's own
        ([f"unreachable {P4}"], {}),
        (["198.51.100.54/32 via 192.0.2.1", "198.51.100.0/24 via 192.0.2.1"], {}),
        ([f"{P4} via 192.0.2.1 table 100"], {}),
        ([f"{P4} via 192.0.2.1 metric 20", f"{P4} via 192.0.2.3 metric 100"], {P4: ("a",)}),
        ([f"{P4} via 192.0.2.1 metric 100", f"{P4} via 192.0.2.3 metric 20"], {P4: ("b",)}),
        ([f"blackhole {P4} metric 200", f"{P4} metric 20 {BOTH}"], {P4: ("a", "b")}),
        ([f"{P6} via 2001:db8:1::1", f"{P6} via 2001:db8:2::1 metric 20"], {P6: ("b",)}),
    ],
)
async def test_a_table_says_who_a_packet_goes_to(
    lab: Lab, tables: Tables, routes: list[str], table: dict[str, Hops]
) -> None:
    """By name; of several routes to a prefix, by the one that the kernel uses."""
    for route in routes:
        six = "-6 " if ":" in route and "inet6" not in route and not route.startswith("-6") else ""
        family = "-6 " if route.startswith("-6") else six
        ip(lab, f"{family}route add {route.removeprefix('-6 ')}")
    tables.open(["r"])
    try:
        assert tables.now() == {"r": table}
        assert tables.changes == []
    finally:
        tables.close()


async def test_a_change_is_seen_with_before_after_and_its_time(lab: Lab, tables: Tables) -> None:
    """Of the node where it is, and only what is of concern; each as it comes, without being asked for."""
    tables.open(["r", "a"])
    try:
        steps: list[tuple[str, tuple[Hops | None, Hops | None]]] = [
            (f"route add {P4} via 192.0.2.1", (None, ("a",))),
            (f"route replace {P4} {BOTH}", (("a",), ("a", "b"))),
            (f"route replace {P4} via 192.0.2.3", (("a", "b"), ("b",))),
            (f"route replace blackhole {P4}", (("b",), ("here",))),
            (f"route del blackhole {P4}", (("here",), None)),
        ]
        for number, (words, _) in enumerate(steps, 1):
            begun = time.monotonic()
            ip(lab, words)
            ip(lab, "route replace 198.51.100.54/32 via 192.0.2.1")
            await until(lambda number=number: len(tables.changes) == number)  # type: ignore[misc]
            assert begun <= tables.changes[-1].at <= time.monotonic()
        assert moves(tables) == [move for _, move in steps]
        assert {change.node for change in tables.changes} == {"r"}
    finally:
        tables.close()


async def test_both_families_change_on_their_own(lab: Lab, tables: Tables) -> None:
    """A default route of one is not the other's."""
    tables.open(["r"])
    try:
        ip(lab, "route add default via 192.0.2.1")
        ip(lab, f"-6 route add default {BOTH6}")
        ip(lab, f"-6 route add {P6} via 2001:db8:1::1")
        await until(lambda: len(tables.changes) == 3)
        assert moves(tables, "default") == [(None, ("a",))]
        assert moves(tables, "default6") == [(None, ("a", "b"))]
        assert moves(tables, P6) == [(None, ("a",))]
    finally:
        tables.close()


async def test_a_next_hop_without_a_carrier_is_not_counted(lab: Lab, tables: Tables) -> None:
    """The route stays in the kernel, and what is left of it carries on; nobody, where nothing is left."""
    ip(lab, f"route add {P4} {BOTH}")
    ip(lab, f"-6 route add {P6} {BOTH6}")
    ip(lab, "route add default via 192.0.2.1")
    tables.open(["r"])
    try:
        ip(lab, "link set eth1 down", "a")
        await until(lambda: moves(tables) == [(("a", "b"), ("b",))] and moves(tables, P6) == [(("a", "b"), ("b",))])
        await until(lambda: moves(tables, "default") == [(("a",), None)])
        ip(lab, "link set eth1 up", "a")
        await until(lambda: moves(tables)[1:] == [(("b",), ("a", "b"))])
        await until(lambda: moves(tables, "default")[1:] == [(None, ("a",))])
    finally:
        ip(lab, "link set eth1 up", "a")
        tables.close()


async def test_a_node_that_powers_off_is_closed_and_begins_anew(lab: Lab, tables: Tables) -> None:
    """No change is made up for it; nor for its neighbor, whose port sees nothing until it boots."""
    ip(lab, f"route add {P4} via 192.0.2.1")
    ip(lab, "addr add 192.0.2.1/31 dev eth1", "a")
    ip(lab, "route add default via 192.0.2.0", "a")
    tables.open(["r", "a"])
    try:
        assert tables.now() == {"r": {P4: ("a",)}, "a": {"default": ("r",)}}
        tables.close("a")
        await asyncio.to_thread(lab.power_off, ["a"])
        assert tables.now() == {"r": {P4: ("a",)}} and tables.changes == []
        await asyncio.to_thread(lab.power_on, ["a"])
        tables.open(["a"])
        await until(lambda: tables.now() == {"r": {P4: ("a",)}, "a": {}})
        assert {change.node for change in tables.changes} <= {"r"}
        before = len(tables.changes)
        ip(lab, "addr add 192.0.2.1/31 dev eth1", "a")
        ip(lab, "route add default via 192.0.2.0", "a")
        await until(lambda: [c.node for c in tables.changes[before:]] == ["a"])
    finally:
        tables.close()


async def test_many_changes_at_once_are_told_as_what_they_add_up_to(lab: Lab, tables: Tables) -> None:
    """However many messages come, and even where some are lost: the table is read, not put together."""
    import ipaddress

    tables.open(["r"])
    try:
        first = ipaddress.ip_address("203.0.113.0")
        batch = "".join(f"route add {first + n}/32 via 192.0.2.1\nroute del {first + n}/32\n" for n in range(200)) * 20
        batch += f"route add {P4} via 192.0.2.1\nroute replace {P4} {BOTH}\n"
        process = lab.nodes["r"].popen(["ip", "-batch", "-"], stdin=-1, text=True)
        await asyncio.to_thread(process.communicate, batch)
        assert process.returncode == 0
        await until(lambda: bool(tables.changes) and tables.changes[-1].after == ("a", "b"))
        assert tables.now() == {"r": {P4: ("a", "b")}}
    finally:
        tables.close()


async def test_what_is_closed_is_not_heard_and_holds_nothing_open(lab: Lab, tables: Tables) -> None:
    """Nor what is opened twice: one socket to hear, one to ask, of each node."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        tables.open(["r", "a"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 4
    ip(lab, f"route add {P4} via 192.0.2.1")
    await until(lambda: bool(tables.changes))
    tables.close("r")
    tables.close("r")
    tables.close("no such node")
    ip(lab, f"route del {P4}")
    assert set(tables.now()) == {"a"}
    tables.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert [(c.node, c.after) for c in tables.changes] == [("r", ("a",))]
    assert all(isinstance(change, Change) for change in tables.changes) and tables.now() == {}
