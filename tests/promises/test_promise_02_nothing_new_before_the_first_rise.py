"""Promise 2.

Nothing new is announced before the first rise.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core.model import AddressMode, AddressState, address_of
from anycast_agent.core.outcome import Outcome
from tests.support import ends
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import Scene, configuration, play, prefix_in
from tests.support.netns import needs_root
from tests.support.world import V4, V6, World, check, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


@pytest.mark.parametrize("rise", [1, 2, 3, 5])
@pytest.mark.parametrize("mode", list(AddressMode))
def test_a_prefix_is_announced_with_its_rise_th_success_and_not_before(rise: int, mode: AddressMode) -> None:
    """Whoever manages the addresses: each put has ``rise`` successes of that prefix's check behind it."""
    world = World()
    if mode is not AddressMode.MANAGE:
        world.addresses = {address_of(p): AddressState("lo", ours=False) for p in (V4, V6)}
    checks = tuple(check(prefix=p, rise=rise) for p in (V4, V6))
    world.start(config(service("dns", checks=checks), address_mode=mode))
    world.until(lambda w: len(w.router) == 4, 10)
    for at, action in world.actions:
        if isinstance(action, act.PutRoutes):
            for prefix in action.prefixes:
                runs = [t for t, a in world.actions if isinstance(a, act.RunProbe) and a.key.prefix == prefix]
                ended = [t for t in runs if t + world.probe_delay <= at]
                assert len(ended) >= rise


@pytest.mark.parametrize("outcome", [o for o in ends.EVERY if o is not ends.OK], ids=lambda o: o.code)
def test_a_service_that_never_rises_is_never_announced(outcome: Outcome) -> None:
    """Ten minutes of every kind of failure, and of probes that cannot be made."""
    world = World(outcomes={"dns": outcome})
    world.start(config())
    world.run(600.0)
    assert world.updates == []


def test_a_new_service_of_a_reload_rises_first() -> None:
    """What is announced already is no reason to announce what is not."""
    world = World()
    world.start(config(service("dns", (V4,))))
    world.until(lambda w: len(w.router) == 2, 5)
    world.hangs.add("www")
    world.offer(config(service("dns", (V4,)), service("www", ("192.0.2.80/32",))))
    world.run(60.0)
    assert not world.announced("192.0.2.80/32")


def test_a_prefix_that_is_new_to_a_service_rises_first() -> None:
    """Also where the service is announced under another one."""
    world = World()
    world.start(config(service("dns", (V4,))))
    world.until(lambda w: len(w.router) == 2, 5)
    world.outcomes["dns/answers@2001:db8:53::53"] = ends.REFUSED
    world.offer(config(service("dns", (V4, V6))))
    world.run(60.0)
    assert not world.announced(V6)
    assert world.announced(V4)


def test_an_address_that_was_there_before_is_no_reason_to_announce() -> None:
    """Left by an earlier run whose routes are gone: it is taken over, and the checks come first."""
    world = World(outcomes={"dns": ends.REFUSED})
    world.start(config())
    world.run(1.0)
    world.kill()
    world.speaker_dies()
    world.start(config())
    world.run(20.0)
    assert world.address_there(V4)
    assert world.updates == []


def test_a_new_neighbor_gets_nothing_that_is_only_adopted() -> None:
    """Adopted routes stay as they are found: what was not announced to a router is not announced to it now."""
    world = World()
    world.start(config(service("dns", neighbors=("leaf1",)), neighbors=("leaf1",)))
    world.until(lambda w: len(w.router) == 2, 5)
    world.kill()
    world.hangs.add("dns")
    world.start(config())
    world.run(20.0)
    assert world.announced(V4) == {"leaf1"}


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_really_nothing_is_announced_before_the_first_rise(tmp_path: Path) -> None:
    """Five successes are asked for: until the fifth the router hears of nothing, although the address is there."""
    values = configuration(tmp_path, check={"interval": "500ms", "fast_interval": "500ms", "jitter": 0, "rise": 5})

    async def story(s: Scene) -> None:
        await s.service.become("failing")
        await s.agent.until(lambda status: status["ready"] and prefix_in(status, REAL_V4)["address"]["there"])
        await s.service.become("well")
        looked, table = 0, dict(s.peer.table)
        async with asyncio.timeout(20):
            while len(table) < 2:
                table = dict(s.peer.table)  # before the status: what it says was true of an earlier moment, too
                checks = (await s.agent.status())["services"]["web"]["checks"]
                early = [c for c in checks if c["probes"].get("ok", 0) < 5]
                looked += bool(early)
                assert len(table) <= len(checks) - len(early), (table, checks)
                await asyncio.sleep(0.01)
        assert looked, "nothing was seen of the time before"

    play(tmp_path, story, values)
