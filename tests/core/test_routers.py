"""Neighbors without an address: the router that is seen on their interface, and when there is none, or another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.actions import WatchRouters
from anycast_agent.core.model import Config, Neighbor
from anycast_agent.core.news import ConfigApplied, RoutersFound
from anycast_agent.core.parts.routers import Routers
from tests.support.parts import PartBench
from tests.support.world import LEAF1, LEAF2, V6, World, config, neighbor, service

A, B = "fe80::1", "fe80::2"
LEAF3 = "leaf3"


def unnumbered(name: str, interface: str) -> Neighbor:
    return replace(neighbor(name, 1), address="", interface=interface)


def written(**interfaces: str) -> Config:
    """Neighbors by name, without an address, on these interfaces; and one with an address, on none."""
    neighbors = {name: unnumbered(name, interface) for name, interface in interfaces.items()}
    return replace(config(), neighbors={**neighbors, LEAF3: neighbor(LEAF3, 3)})


class Bench(PartBench):
    def __init__(self, conf: Config) -> None:
        super().__init__(RoutersFound, ev.Warned)
        self.routers = Routers(self.board)
        self.install(self.routers)
        self.conf = conf
        self.post(ConfigApplied(conf, None))

    def apply(self, conf: Config) -> None:
        old, self.conf = self.conf, conf
        self.post(ConfigApplied(conf, old))

    def see(self, **routers: tuple[str, ...]) -> None:
        self.post(ev.RoutersSeen(routers))

    @property
    def addresses(self) -> dict[str, str]:
        """Of the neighbors that ExaBGP is to have."""
        return {name: n.address for name, n in self.routers.resolved(self.conf.speaker).neighbors.items()}


def test_what_has_an_address_is_not_looked_for() -> None:
    bench = Bench(config())
    assert bench.plan() == []
    assert set(bench.addresses) == {LEAF1, LEAF2}


def test_a_neighbor_is_left_out_until_its_router_is_seen() -> None:
    """ExaBGP has the others meanwhile, and the reason is said."""
    bench = Bench(written(leaf1="up0"))
    assert bench.plan() == [WatchRouters(frozenset({"up0"}))]
    assert bench.addresses == {LEAF3: "198.51.100.3"}
    assert "not known yet" in bench.routers.why(LEAF1)
    bench.see(up0=())
    assert "router advertisements" in bench.routers.why(LEAF1)
    assert not bench.news or RoutersFound() not in bench.news
    bench.see(up0=(A,))
    assert bench.addresses == {LEAF1: A, LEAF3: "198.51.100.3"}
    assert bench.news.count(RoutersFound()) == 1
    assert (bench.routers.why(LEAF1), bench.routers.why(LEAF3)) == ("", "")
    bench.plan()
    assert f"the router on up0 is {A}" in [c.text for c in bench.changes]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((A,), A),
        ((), A),  # its entry has gone from the kernel's table: no session is ended for that
        ((A, B), A),  # a second router: the first is still there
        ((B,), B),  # it was replaced
    ],
)
def test_a_router_is_kept_until_only_another_is_there(seen: tuple[str, ...], expected: str) -> None:
    bench = Bench(written(leaf1="up0"))
    bench.see(up0=(A,))
    bench.see(up0=seen)
    assert bench.addresses[LEAF1] == expected


def test_of_two_routers_none_is_chosen() -> None:
    """A person says which."""
    bench = Bench(written(leaf1="up0"))
    bench.see(up0=(A, B))
    assert LEAF1 not in bench.addresses
    assert f"2 routers on up0, {A}, {B}: write the address" in bench.routers.why(LEAF1)


def test_one_address_on_two_links_is_one_neighbors() -> None:
    """ExaBGP tells neighbors apart by address."""
    bench = Bench(written(leaf1="up0", leaf2="up1"))
    bench.see(up0=(A,), up1=(A,))
    assert bench.addresses == {LEAF1: A, LEAF3: "198.51.100.3"}
    assert "has the address of another neighbor" in bench.routers.why(LEAF2)
    bench.see(up0=(A,), up1=(B,))
    assert bench.addresses[LEAF2] == B


def test_a_reload_keeps_what_was_found_and_forgets_what_moved() -> None:
    bench = Bench(written(leaf1="up0", leaf2="up1"))
    bench.see(up0=(A,), up1=(B,))
    bench.plan()
    bench.apply(written(leaf1="up0", leaf2="up2"))
    assert bench.addresses == {LEAF1: A, LEAF3: "198.51.100.3"}
    assert bench.plan() == [WatchRouters(frozenset({"up0", "up2"}))]
    bench.apply(config())
    assert bench.plan() == [WatchRouters(frozenset())]
    assert (bench.routers.found, bench.routers.why(LEAF1)) == ({}, "")


def test_a_service_is_announced_once_its_router_is_seen_and_moves_with_it() -> None:
    """The whole engine: nothing is ready to wait for, and a replaced router gets the routes."""
    world = World()
    world.start(
        replace(config(service(prefixes=(V6,)), neighbors=(LEAF1,)), neighbors={LEAF1: unnumbered(LEAF1, "up0")})
    )
    world.run(5.0)
    assert world.announced(V6) == set()
    world.routers["up0"] = (A,)
    world.report_routers()
    world.until(lambda w: w.announced(V6) == {LEAF1}, 5.0)
    world.routers["up0"] = (B,)
    world.report_routers()
    world.run(10.0)
    assert world.announced(V6) == {LEAF1}
    assert world.engine is not None
    (shown,) = world.engine.snapshot(world.now).neighbors
    assert (shown.address, shown.interface, shown.why) == (B, "up0", "")
