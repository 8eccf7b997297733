"""Promise 10.

No response, request, update or line from outside crashes the agent, blocks it, or grows it without bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import events as ev
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import AddressState, Attributes, RouteKey, SessionState, Will
from tests.conftest import examples
from tests.support import ends
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import Scene, play
from tests.support.any_events import EVENTS, RARE
from tests.support.netns import needs_root
from tests.support.world import LEAF1, V4, World, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def sizes(engine: Engine) -> dict[str, int]:
    """How much the core remembers."""
    return {
        "timers": len(engine.timers._at),
        "open actions": len(engine.opened),
        "addresses": len(engine.parts.addresses.records),
        "checks": len(engine.parts.probing.states),
        "routes": len(engine.parts.routes.table.states),
        "sessions": len(engine.parts.sessions.states),
        "prefixes": len(engine.parts.prefixes.states),
        "warnings": len(engine.parts.warnings.texts),
        "echoes": sum(len(e.paths) for e in engine.parts.echoes.states.values()),
    }


@settings(max_examples=examples(60))
@given(st.lists(EVENTS.filter(lambda e: not isinstance(e, RARE)), min_size=1, max_size=30))
def test_a_flood_of_events_leaves_no_more_than_their_names(story: list[ev.Event]) -> None:
    """The same thirty events twenty times over: what is remembered is bounded by what there is, not by how often."""
    now, engine = 100.0, Engine(100.0)
    engine.handle(ev.ConfigOffered(config()), now)
    for event in itertools.chain.from_iterable(itertools.repeat(story, 20)):
        engine.handle(event, now)
        engine.settle(now)
        now += 0.01
    assert max(sizes(engine).values()) < 100


def test_names_from_outside_are_bounded_too() -> None:
    """Each event with a name of its own, a hundred thousand of them."""
    world = World()
    world.start(config())
    world.run(3.0)
    engine = world.engine
    assert engine is not None
    for number in range(100_000):
        now = world.now
        engine.handle(ev.SessionChanged(f"n{number}", SessionState.UP), now)
        engine.handle(ev.Warned(f"s{number}", "x"), now)
        engine.handle(ev.PathSeen(LEAF1, V4, f"id{number}", (65001, 65101)), now)
        engine.handle(ev.RoutesSent(f"n{number}", (f"p{number}",)), now)
        engine.handle(ev.RoutesDropped((RouteKey(f"n{number}", V4),), "x"), now)
        engine.handle(ev.RouteFound(RouteKey(f"n{number}", V4), Attributes(), Will.KEEP, True, True), now)
        engine.handle(ev.ProbeFinished(10**9 + number, ends.OK), now)
        if number % 1000 == 0:
            engine.settle(now)
    engine.settle(world.now)
    bound = {"sessions": 5000, "warnings": 256, "echoes": 64}
    for what, size in sizes(engine).items():
        assert size <= bound.get(what, 64), what
    world.run(10.0)
    assert len(world.router) == 4


def test_what_the_kernel_no_longer_has_is_forgotten() -> None:
    """Addresses that came and went, whoever they belonged to."""
    world = World()
    world.start(config())
    world.run(3.0)
    for number in range(1000):
        address = f"203.0.113.{number % 250}"
        world.set_address(address, AddressState("lo", ours=False))
        world.set_address(address, None)
    assert world.engine is not None
    assert set(world.engine.parts.addresses.records) == {"192.0.2.53", "2001:db8:53::53"}


def test_reloads_leave_nothing_behind() -> None:
    """A thousand configurations, each with a service of its own: only the last is remembered."""
    world = World()
    world.start(config())
    world.run(3.0)
    for number in range(300):
        extra = service(f"x{number}", (f"203.0.113.{number % 250}/32",))
        world.offer(config(service("dns"), extra), force=True)
        world.run(2.0)
    world.offer(config(), force=True)
    world.run(5.0)
    world.offer(config(), force=True)
    world.run(5.0)
    assert world.engine is not None
    assert len(world.engine.parts.prefixes._lingers) == 2
    small = sizes(world.engine)
    assert small["routes"] == 4
    assert small["timers"] < 20
    assert small["addresses"] == small["prefixes"] == small["checks"] == 2


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_really_noise_from_every_side_changes_nothing(tmp_path: Path) -> None:
    """Nonsense to the pages and the control socket, requests without end, paths and more paths from the router."""

    async def noise(s: Scene, data: bytes) -> None:
        for opening in (
            asyncio.open_connection("127.0.0.1", 9179),
            asyncio.open_unix_connection(str(tmp_path / "control.sock")),
        ):
            _, writer = await opening
            with contextlib.suppress(OSError):
                writer.write(data)
                await writer.drain()
            writer.close()

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        for data in (b"\x00\xff" * 5000, b"GET / HTTP/1.1\r\n", b"{" * 100_000, b'{"verb": "why", "prefix": 7}\n'):
            await noise(s, data)
        for n in range(5000):
            s.peer.announce(f"198.18.{n // 250}.{n % 250}/32", (65011, 65099), "127.0.0.2")
            if n % 50 == 0:  # the service answers from this loop too
                await asyncio.sleep(0)
        for _ in range(200):
            s.peer.announce(REAL_V4, (65011, 65101), "127.0.0.2")
            s.peer.withdraw(REAL_V4)
        status = await s.agent.until(lambda status: status["ready"] and status["speaker"]["state"] == "synced")
        assert status["speaker"]["restarts"] == 0
        assert len(s.peer.updates) == updates
        await s.service.become("failing")
        await s.withdrawn()

    play(tmp_path, story)
