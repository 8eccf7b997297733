"""Promise 1.

A prefix is announced only while its address is on the node and its service's verdict is up and fresh — or it is held,
or adopted from an earlier run for at most `adopt_for`; and every surface says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressState, Family, Tier
from tests.support import ends
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import V6 as REAL_V6
from tests.support.agent import Scene, configuration, play, prefix_in
from tests.support.netns import ip, needs_root
from tests.support.world import LEAF1, LEAF2, V4, V6, World, check, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def announced() -> World:
    world = World()
    world.start(config())
    world.until(lambda w: len(w.router) == 4, 5)
    return world


def decision(world: World, prefix: str = V4) -> tuple[str, str | None]:
    """What the surfaces say of a prefix: reason and tier."""
    assert world.engine is not None
    prefixes = world.engine.snapshot(world.now).services["dns"].prefixes
    one = next(p for p in prefixes if p.prefix == prefix)
    return one.decision.reason, one.decision.tier


def _link_down(world: World) -> None:
    world.links["lo"] = False
    world.post(ev.LinkSeen("lo", False))


def _no_return_route(world: World) -> None:
    for family in Family:
        world.set_return_route(family, usable=False)


def _address_lost(world: World) -> None:
    world.kernel_errors = {"192.0.2.53", "2001:db8:53::53"}
    for address in sorted(world.kernel_errors):
        world.set_address(address, None)


def _duplicate(world: World) -> None:
    for address in ("192.0.2.53", "2001:db8:53::53"):
        world.set_address(address, AddressState("lo", ours=True, usable=False))


CAUSES: list[tuple[Callable[[World], None], str, float]] = [
    (lambda w: w.outcomes.update(dns=ends.REFUSED), "health_down", 1.3),
    (lambda w: w.outcomes.update(dns=ends.TIMEOUT), "health_down", 4.0),
    (lambda w: w.outcomes.update(dns=ends.NOT_RUN), "health_stale", 4.6),
    (lambda w: w.hangs.add("dns"), "health_stale", 4.6),
    (_address_lost, "address_missing", 0.1),
    (_duplicate, "address_not_usable", 0.1),
    (_link_down, "interface_down", 0.1),
    (_no_return_route, "no_return_route", 0.1),
]


@pytest.mark.parametrize(("cause", "reason", "within"), CAUSES, ids=[c[1] + str(i) for i, c in enumerate(CAUSES)])
def test_a_route_goes_with_what_it_rests_on(cause: Callable[[World], None], reason: str, within: float) -> None:
    """Each cause by itself withdraws both families at both routers, in its time, and is the reason that is shown."""
    world = announced()
    cause(world)
    world.until(lambda w: not w.router, within)
    assert {decision(world, p) for p in (V4, V6)} == {(reason, None)}


def test_one_familys_cause_leaves_the_other_announced() -> None:
    """The check of the IPv4 address fails; IPv6 still works, and still says so."""
    world = announced()
    world.outcomes["dns/answers@192.0.2.53"] = ends.REFUSED
    world.until(lambda w: not w.announced(V4), 1.3)
    world.run(30.0)
    assert world.announced(V6) == {LEAF1, LEAF2}
    assert decision(world, V6) == ("healthy", Tier.FULL)


def test_what_an_earlier_run_announced_is_kept_for_adopt_for_at_most() -> None:
    """No probe of the new run ends: the routes stay, shown as adopted, until their time is up, and then go."""
    world = announced()
    world.kill()
    world.hangs.add("dns")
    world.start(config(adopt_for=10.0))
    world.run(9.5)
    assert len(world.router) == 4
    assert decision(world) == ("adopted", Tier.ADOPTED)
    world.until(lambda w: not w.router, 0.6)
    assert decision(world) == ("nothing_known", None)


def test_reloads_in_a_row_do_not_keep_a_route_without_a_verdict_for_ever() -> None:
    """Each alters the check, so that none ever has a verdict: from the first on, the time counts once."""
    world = announced()
    world.hangs.add("dns")
    for number in range(10):
        checks = tuple(check(prefix=p, params=number) for p in (V4, V6))
        world.offer(config(service("dns", checks=checks), adopt_for=10.0))
        world.run(4.0)
    assert not world.router


def test_an_unknown_kernel_keeps_a_route_for_a_bounded_time_only() -> None:
    """The kernel adapter has failed and never reports again: what is announced rests on nothing after a while."""
    world = announced()
    world.silent.add("kernel")
    world.post(ev.AdapterFailed("kernel", "OSError"))
    world.run(9.0)
    assert len(world.router) == 4
    world.until(lambda w: not w.router, 1.5)
    assert decision(world) == ("address_unknown", None)


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_an_address_deleted_by_hand_is_put_back(tmp_path: Path) -> None:
    """At once, counted, and nothing is withdrawn."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "del", REAL_V6, "dev", "lo")
        await s.agent.until(lambda status: prefix_in(status, REAL_V6)["address"]["repairs"] == 1)
        await s.agent.until(lambda status: prefix_in(status, REAL_V6)["address"]["there"])
        assert len(s.peer.updates) == updates

    play(tmp_path, story)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_with_verify_a_missing_address_withdraws_at_once(tmp_path: Path) -> None:
    """Someone else manages the addresses: one that goes takes its route with it, the other stays."""
    values = configuration(tmp_path, node={"addresses": "verify"})

    async def story(s: Scene) -> None:
        for prefix in (REAL_V4, REAL_V6):
            await asyncio.to_thread(ip, "-n", s.namespace, "addr", "add", prefix, "dev", "lo")
        await s.announced()
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "del", REAL_V4, "dev", "lo")
        await s.peer.has(REAL_V6)
        assert (await s.agent.why(REAL_V4))["reason"] == "address_missing"
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "add", REAL_V4, "dev", "lo")
        await s.announced()

    play(tmp_path, story, values)
