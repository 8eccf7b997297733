"""Promise 3.

A crash or hang of the agent leaves a route at most `dead_man` + 1 s at the first router, unless its will says
otherwise; a restart within that changes nothing on the wire. (A frozen ExaBGP: the hold time. A dead node: the hold
time, or BFD.)
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Config, Will
from anycast_agent.core.requests import Asker, HandOver
from tests.conftest import examples
from tests.support import ends
from tests.support.agent import (
    ADOPT_FOR,
    DEAD_MAN,
    SLACK,
    Scene,
    addresses_of,
    configuration,
    is_alive,
    play,
    reason_in,
    routes_in,
)
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import V6 as REAL_V6
from tests.support.netns import needs_root
from tests.support.world import V4, V6, World, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def announced(conf: Config | None = None) -> World:
    world = World()
    world.start(conf or config())
    world.until(lambda w: len(w.router) == 4, 5)
    world.run(3.0)
    return world


@pytest.mark.parametrize("dead_man", [1.0, 5.0, 9.0])
def test_after_a_crash_the_routes_are_gone_within_the_dead_mans_time(dead_man: float) -> None:
    """Beats come often enough for any setting, so that the clock never fires while the agent lives."""
    world = announced(config(dead_man=dead_man))
    world.run(60.0)
    assert [u for u in world.updates if u[1] == "withdraw"] == []
    world.kill()
    world.until(lambda w: not w.router, dead_man + 1.0)


def to_be_kept(**changes: float) -> Config:
    return config(service("dns", (V4,), will=Will.KEEP), service("www", (V6,)), adopt_for=30.0, **changes)


def test_a_route_to_be_kept_outlives_dead_man_and_adopt_for_until_keep_for() -> None:
    """Each route has its own will. Without any agent, nobody is responsible for a kept one after ``keep_for``."""
    world = announced(to_be_kept(keep_for=90.0))
    world.kill()
    died = world.last_heartbeat
    world.until(lambda w: not w.announced(V6), 6.0)
    world.run(died + 89.0 - world.now)
    assert len(world.announced(V4)) == 2
    world.until(lambda w: not w.router, 2.0)


@pytest.mark.parametrize("alone", [0.5, 31.0, 600.0])
def test_a_route_to_be_kept_is_adopted_by_the_next_agent(alone: float) -> None:
    """However late it comes: not one UPDATE of that prefix, and the new agent stands behind it."""
    world = announced(to_be_kept())
    before = len(world.updates)
    world.kill()
    world.run(alone)
    world.start(to_be_kept())
    world.run(60.0)
    assert [u for u in world.updates[before:] if u[2].prefix == V4] == []
    assert all(e.unconfirmed_since is None for e in world.ledger.values())
    assert len(world.router) == 4


def test_a_route_to_be_kept_is_not_kept_by_an_agent_that_never_confirms_it() -> None:
    """``adopt_for`` counts while the next agent is there without a verdict, and not before it has come."""
    world = announced(to_be_kept())
    world.kill()
    world.run(600.0)
    world.hangs.add("dns")
    world.start(to_be_kept())
    world.run(28.0)
    assert len(world.announced(V4)) == 2
    world.until(lambda w: not w.announced(V4), 4.0)


def test_a_hang_of_the_engine_is_a_crash() -> None:
    """The beat is an action of the engine's own turn: without turns there is none, whatever else the process does."""
    world = announced()
    engine, world.engine = world.engine, None
    world.until(lambda w: not w.router, 6.0)
    world.engine = engine
    world.until(lambda w: len(w.router) == 4, 30)


@settings(max_examples=examples(60))
@given(st.floats(0.0, 4.9), st.floats(0.0, 3.0))
def test_a_restart_within_the_dead_mans_time_changes_nothing_on_the_wire(gap: float, when: float) -> None:
    """Killed at any moment and started again at any moment within it: not one UPDATE, then and later."""
    world = announced()
    world.run(when)
    before = list(world.updates)
    world.kill()
    world.run(min(gap, world.last_heartbeat + world.dead_man - world.now - 0.05))
    world.start(config())
    world.run(60.0)
    assert world.updates == before
    assert all(e.unconfirmed_since is None for e in world.ledger.values()), "and all are confirmed"


@settings(max_examples=examples(60))
@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0.0, 4.0)), max_size=8))
def test_an_agent_that_is_cut_off_again_and_again_changes_nothing_either(cuts: list[tuple[int, float]]) -> None:
    """Killed between any two actions of any turn, started again at once, and in the end it is as it was."""
    world = announced()
    before = list(world.updates)
    for number, pause in cuts:
        world.cut = number
        world.run(pause)
        world.cut = None
        if world.engine is None:
            world.start(config())
            world.run(0.01)
    world.run(60.0)
    assert world.updates == before


def test_a_crash_loop_does_not_keep_a_route_beyond_adopt_for() -> None:
    """Each agent beats, and dies before its first verdict: nobody knows whether the service still works."""
    world = announced(config(adopt_for=10.0))
    world.outcomes["dns"] = ends.REFUSED
    world.hangs.add("dns")
    crashed = world.now
    world.kill()
    while world.router:
        world.start(config(adopt_for=10.0))
        world.run(0.9)
        world.kill()
        assert world.now - crashed <= 11.0


def test_a_hand_over_may_take_longer_when_that_was_asked_for() -> None:
    """The pipe waits for the next agent as long as it was told, and no longer."""
    world = announced()
    world.post(ev.Asked(HandOver(30.0), Asker("upgrade", 1)))
    world.until(lambda w: w.exit is not None, 1.0)
    assert world.exit is not None
    assert world.exit.hand_over
    world.run(29.0)
    assert len(world.router) == 4
    world.until(lambda w: not w.router, 2.0)


@pytest.mark.parametrize("takes", [0.5, 11.0, 29.0])
def test_a_planned_departure_has_the_time_that_a_restart_needs(takes: float) -> None:
    """SIGUSR2 names no time: the routes wait for ``adopt_for``, as a restart on a busy node takes longer than dead_man."""
    world = announced()
    updates = len(world.updates)
    world.post(ev.Asked(HandOver(), Asker("SIGUSR2")))
    world.until(lambda w: w.exit is not None, 1.0)
    world.run(takes)
    assert len(world.router) == 4
    world.start(config())
    world.run(60.0)
    assert len(world.updates) == updates


def test_a_planned_departure_is_not_for_ever() -> None:
    """Nobody comes: withdrawn after adopt_for. And who came and died is gone after dead_man, whatever was left."""
    world = announced()
    world.post(ev.Asked(HandOver(), Asker("SIGUSR2")))
    world.run(29.0)
    assert len(world.router) == 4
    world.until(lambda w: not w.router, 2.0)


@pytest.mark.parametrize("silent", [True, False])
def test_who_asks_for_a_hand_over_hears_whether_the_routes_wait(silent: bool) -> None:
    """Not before the pipe has said so; where it does not, the answer is no."""
    world = announced()
    world.silent |= {"extended"} if silent else set()
    at = len(world.actions)
    world.post(ev.Asked(HandOver(30.0), Asker("upgrade", 1)))
    world.until(lambda w: w.exit is not None, 5.0)
    said = [a for _, a in world.actions[at:] if isinstance(a, act.ExtendDeadMan | act.Reply)]
    assert [type(a) for a in said] == [act.ExtendDeadMan, act.Reply]
    assert isinstance(said[1], act.Reply)
    assert (said[1].request, said[1].ok) == (1, not silent)
    assert world.exit is not None
    assert world.exit.code == silent


def test_once_the_wait_was_extended_no_beat_shortens_it() -> None:
    """The files are checked first; then the last word to the pipe is the extension."""
    world = announced()
    world.silent.add("extended")
    at = len(world.actions)
    world.post(ev.Asked(HandOver(30.0), Asker("upgrade")))
    world.run(2.5)
    assert [type(a) for _, a in world.actions[at:]] == [act.CheckFiles, act.ExtendDeadMan]


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_killed_its_routes_go_by_the_dead_mans_switch(tmp_path: Path) -> None:
    """kill -9, and nobody comes: withdrawn after dead_man; then ExaBGP does not outlive it for ever."""

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill()
        died = time.monotonic()
        gone = await s.withdrawn()
        assert DEAD_MAN - 1.0 < gone - died < DEAD_MAN + 1.0 + SLACK
        speaker = s.agent.exabgp()
        async with asyncio.timeout(30):
            while is_alive(speaker):
                await asyncio.sleep(0.1)

    play(tmp_path, story)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_killed_and_restarted_nothing_changes_on_the_wire(tmp_path: Path) -> None:
    """kill -9, and a new one within the dead-man's time: not one UPDATE, and it stands behind what it found."""
    patient = {"dead_man": "40s", "adopt_for": "40s"}  # a start takes ten seconds and more on a busy machine

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        s.agent.kill()
        s.agent.start()
        await s.agent.until(lambda status: all(reason_in(status, p) == "healthy" for p in (REAL_V4, REAL_V6)))
        await s.agent.until(lambda status: not any(r["adopted"] for r in routes_in(status)))
        s.agent.write(configuration(tmp_path))
        assert (await s.agent.ask(verb="reload"))["ok"]
        end = time.monotonic() + ADOPT_FOR + 1
        while time.monotonic() < end:  # beyond the adoption clock, which is short again
            assert len(s.peer.updates) == updates
            await asyncio.sleep(0.1)

    play(tmp_path, story, configuration(tmp_path, agent=patient))


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_frozen_and_thawed(tmp_path: Path) -> None:
    """SIGSTOP: withdrawn after dead_man, the session stays; SIGCONT: announced again."""

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill(signal.SIGSTOP)
        frozen = time.monotonic()
        gone = await s.withdrawn()
        assert gone - frozen < DEAD_MAN + 1.0 + SLACK
        s.agent.kill(signal.SIGCONT)
        await s.announced()
        assert len(s.peer.opened_at) == 1

    play(tmp_path, story)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_in_a_crash_loop_does_not_keep_its_routes(tmp_path: Path) -> None:
    """Killed again and again before it has a verdict: gone after adopt_for, although each one beats, and long before
    the dead-man's switch would have had a say."""
    clocks = {"dead_man": "40s", "adopt_for": "10s"}
    slow = {"interval": "60s", "fast_interval": "60s", "rise": 3}

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill()
        s.agent.write(configuration(tmp_path, check=slow, agent=clocks))
        died, kept = time.monotonic(), 0
        while s.peer.table:
            assert time.monotonic() - died < 30
            s.agent.start()
            await s.agent.until(lambda status: status["speaker"]["state"] == "synced")
            kept += bool(s.peer.table)
            s.agent.kill()
        assert kept > 1
        assert len(s.peer.opened_at) == 1  # the routes went, not the session

    play(tmp_path, story, configuration(tmp_path, agent=clocks))


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_handed_over_on_sigusr2(tmp_path: Path) -> None:
    """The process ends, everything stays; the next one finds ExaBGP by its own file, and can end it."""

    async def story(s: Scene) -> None:
        await s.announced()
        speaker, updates = s.agent.exabgp(), len(s.peer.updates)
        s.agent.kill(signal.SIGUSR2)
        assert await s.agent.ends() == 0
        assert REAL_V4.partition("/")[0] in addresses_of(s)
        s.agent.start()
        await s.agent.until(lambda status: status["ready"])
        assert s.agent.exabgp() == speaker
        assert len(s.peer.updates) == updates
        s.agent.kill(signal.SIGTERM)
        await s.withdrawn()
        assert await s.agent.ends() == 0
        assert not is_alive(speaker)

    play(tmp_path, story, configuration(tmp_path, agent={"adopt_for": "60s"}))


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_agent_handed_over_for_longer(tmp_path: Path) -> None:
    """handover --for: the pipe waits beyond dead_man, and no longer than asked."""

    async def story(s: Scene) -> None:
        await s.announced()
        assert (await s.agent.ask(verb="handover", **{"for": 4.0}))["ok"]
        ended = time.monotonic()
        assert await s.agent.ends() == 75  # not to be started again by a supervisor
        gone = await s.withdrawn()
        assert 3.0 < gone - ended < 4.0 + 1.0 + SLACK

    play(tmp_path, story)
