"""Promise 6.

After any fault — speaker restart, router restart, lost line, removed address — the wire equals what is wanted again,
without a person; where a router has latched the session down (maximum prefixes, a wrong password), it alerts.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressState, Attributes
from tests.support import ends
from tests.support.agent import Scene, play, routes_in
from tests.support.faults import Faults, wanted
from tests.support.netns import needs_root
from tests.support.world import LEAF1, LEAF2, V4, V6, World, config, neighbor, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------


def announced(owns_speaker: bool = True) -> World:
    world = World(owns_speaker=owns_speaker)
    world.start(config())
    world.until(lambda w: len(w.router) == 4, 5)
    world.run(3.0)
    return world


def is_right(world: World) -> bool:
    assert world.engine is not None
    assert world.engine.parts.configuration.config is not None
    return world.router == wanted(world.engine.parts.configuration.config)


def _router_restarts(world: World) -> None:
    world.set_session(LEAF1, up=False)
    world.later(2.0, lambda: world.set_session(LEAF1, up=True))


def _line_lost(world: World) -> None:
    for name in (LEAF1, LEAF2):
        world.set_session(name, up=False)
        world.later(5.0, lambda name=name: world.set_session(name, up=True))  # type: ignore[misc]


def _ledger_forgotten(world: World) -> None:
    """ExaBGP and its pipe were respawned empty, and the connection is back before anybody noticed."""
    world.speaker_dies()
    world.connect()


def _dead_man_fires(world: World) -> None:
    """The agent was stopped by a signal for longer than the pipe waits, and goes on."""
    engine, world.engine = world.engine, None
    world.run(6.0)
    world.engine = engine
    world.turn()


def _error_once(world: World) -> None:
    world.speaker_errors.add(V4)
    world.outcomes["dns"] = ends.REFUSED
    world.run(3.0)
    world.outcomes.clear()
    world.speaker_errors.clear()


def _address_fails_for_a_while(world: World) -> None:
    world.kernel_errors.add("192.0.2.53")
    world.set_address("192.0.2.53", None)
    world.run(20.0)
    world.kernel_errors.clear()


FAULTS: dict[str, tuple[Callable[[World], None], float]] = {
    "speaker restarts": (lambda w: Faults(w).kinds["exabgp_dies"](0, 0), 2.0),
    "speaker forgets": (_ledger_forgotten, 2.0),
    "pipe lost": (lambda w: Faults(w).kinds["pipe_lost"](0, 0), 2.0),
    "pipe frozen": (lambda w: setattr(w, "pipe_frozen", True), 10.0),
    "router restarts": (_router_restarts, 3.0),
    "line lost": (_line_lost, 6.0),
    "address removed": (lambda w: w.set_address("192.0.2.53", None), 1.0),
    "address cannot be put back": (_address_fails_for_a_while, 32.0),
    "dead man fires": (_dead_man_fires, 2.0),
    "commands fail": (_error_once, 12.0),
    "agent crashes": (lambda w: (w.kill(), w.start(config()))[1], 5.0),
    "speaker's events lost": (lambda w: w.post(ev.Lost(ev.Source.SPEAKER, "inbox")), 1.0),
    "kernel's events lost": (lambda w: w.post(ev.Lost(ev.Source.KERNEL, "overrun")), 1.0),
    "kernel adapter fails": (lambda w: Faults(w).kinds["kernel_failed"](0, 0), 1.0),
    "speaker adapter fails": (
        lambda w: (w.post(ev.AdapterFailed("speaker", "OSError")), w.later(0.2, w.connect))[1],
        2.0,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_wire_is_right_again_after(name: str) -> None:
    """By itself, within its time; and then all is quiet: nothing goes on being repaired."""
    fault, within = FAULTS[name]
    world = announced()
    fault(world)
    world.run(0.5)
    world.until(is_right, within)
    world.run(40.0)
    assert is_right(world)
    at = len(world.actions)
    world.run(5.0)
    assert {type(a) for _, a in world.actions[at:]} == {act.RunProbe, act.Heartbeat}


def test_events_that_are_lost_during_a_replay_are_asked_for_again() -> None:
    """What a replay adds up to is not believed where some of it was lost: no route is put or dropped on its word."""
    world = announced()
    assert world.engine is not None
    before = len(world.updates)
    at = len(world.actions)
    world.post(ev.Lost(ev.Source.SPEAKER, "inbox"))
    world.post(ev.Lost(ev.Source.SPEAKER, "inbox"))
    world.post(ev.SpeakerSynced())
    assert world.engine.parts.speaker.state == "syncing"
    world.run(1.0)
    kinds = [type(a) for _, a in world.actions[at:] if not isinstance(a, act.RunProbe | act.Heartbeat)]
    assert kinds == [act.Resync, act.Resync]
    assert world.updates[before:] == []
    assert world.engine.parts.speaker.state == "synced"


def test_a_replay_that_never_ends_is_asked_for_again() -> None:
    """Its end was lost; the pipe answers heartbeats, so that nothing else would notice."""
    world = announced()
    assert world.engine is not None
    world.engine.handle(ev.Lost(ev.Source.SPEAKER, "inbox"), world.now)
    world.engine.settle(world.now)  # and the request is lost, too
    assert world.engine.parts.speaker.state == "syncing"
    world.until(lambda w: w.engine is not None and w.engine.parts.speaker.state == "synced", 6.0)


def test_a_kernel_report_that_never_comes_is_asked_for_again() -> None:
    """What is not heard of is asked for, as the status page says that it is."""
    world = World(silent={"kernel"})
    world.start(config())
    world.run(60.0)
    assert not world.router
    world.silent.clear()
    world.until(is_right, 12.0)


def test_a_fight_over_an_address_neither_runs_hot_nor_flaps_the_route() -> None:
    """Somebody removes it each time, at once: adding it again waits ever longer, and the route follows no faster."""
    world = announced()
    fights = 0

    def fight(w: World) -> None:
        nonlocal fights
        if fights < 1000 and w.address_there(V4):
            fights += 1
            w.later(0.0, lambda: w.set_address("192.0.2.53", None))

    world.after_turn = fight
    world.run(60.0)
    assert fights < 20
    assert len([u for u in world.updates if u[2].prefix == V4]) < 30
    assert world.announced(V6) == {LEAF1, LEAF2}
    world.after_turn = None
    world.until(is_right, 40.0)


def test_someone_elses_address_is_left_to_them_and_announced() -> None:
    """It is on the node: that is all that counts."""
    world = World(addresses={"192.0.2.53": AddressState("lo", ours=False)})
    world.start(config())
    world.until(is_right, 5.0)
    assert not [a for _, a in world.actions if isinstance(a, act.AddAddresses) and "192.0.2.53" in a.addresses]


def test_a_wedged_speaker_that_does_not_come_back_is_restarted_again_but_not_in_a_storm() -> None:
    """Each new one gets as long to be heard as the old one had."""
    world = announced()
    assert world.engine is not None
    world.pipe_frozen = True

    def freeze(w: World) -> None:
        w.pipe_frozen = True

    world.after_turn = freeze
    world.run(60.0)
    restarts = [at for at, a in world.actions if isinstance(a, act.RestartSpeaker)]
    assert 2 <= len(restarts) <= 12
    assert all(b - a >= 4.9 for a, b in itertools.pairwise(restarts))


def test_an_altered_neighbor_has_its_routes_again() -> None:
    """ExaBGP has it anew and may have forgotten what it was told; the routes of the other are not touched."""
    world = announced()
    before = len(world.actions)
    conf = config()
    altered = replace(conf, neighbors={**conf.neighbors, LEAF1: replace(neighbor(LEAF1, 1), hold_time=30)})
    world.offer(altered)
    world.run(2.0)
    puts = [a for _, a in world.actions[before:] if isinstance(a, act.PutRoutes)]
    assert {p.neighbor for p in puts} == {LEAF1}
    assert {p for a in puts for p in a.prefixes} == {V4, V6}
    assert is_right(world)


def test_one_bad_prefix_is_tried_again_and_the_rest_is_on_the_wire() -> None:
    """ExaBGP refuses one prefix of many: the others do not wait for it, and when it can be taken, it is."""
    world = World()
    bad = "192.0.2.7/32"
    services = [service(f"s{n}", (f"192.0.2.{n}/32",)) for n in range(20)]
    world.speaker_errors.add(bad)
    world.start(config(*services))
    world.until(lambda w: len(w.router) == 38, 5)
    world.run(60.0)
    tries = [a for _, a in world.actions if isinstance(a, act.PutRoutes) and bad in a.prefixes]
    assert len(tries) < 30
    world.speaker_errors.clear()
    world.until(is_right, 31.0)


def test_what_an_earlier_run_left_and_nobody_wants_is_cleaned_up() -> None:
    """Routes and addresses of a service that is no longer configured, whichever is heard of first."""
    for delay in (0.0001, 0.5):
        world = announced()
        world.kill()
        world.kernel_delay = delay
        world.start(config(service("www", ("192.0.2.80/32",), attributes=Attributes())))
        world.until(lambda w: set(w.addresses) == {"192.0.2.80"} and is_right(w), 6.0)


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_exabgp_ended_is_started_again(tmp_path: Path, how: signal.Signals) -> None:
    """The session drops with it; another one has the routes again."""

    async def story(s: Scene) -> None:
        await s.announced()
        os.kill(s.agent.exabgp(), how)
        await s.peer.until(lambda p: len(p.opened_at) == 2, 30)
        await s.announced(30)

    play(tmp_path, story)


@pytest.mark.parametrize("which", ["exabgp", "pipe"])
@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_a_frozen_speaker_is_noticed_shown_and_ended(tmp_path: Path, which: str) -> None:
    """SIGSTOP of ExaBGP, or of the pipe: wedged, restarted, announced again."""

    async def story(s: Scene) -> None:
        await s.announced()
        os.kill(getattr(s.agent, which)(), signal.SIGSTOP)
        await s.agent.until(lambda status: status["speaker"]["restarts"] == 1)
        await s.peer.until(lambda p: len(p.opened_at) == 2, 30)
        await s.announced(30)
        assert "wedged" in s.agent.log()

    play(tmp_path, story)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_the_pipe_killed_forgets_nothing(tmp_path: Path) -> None:
    """kill -9 of the pipe, when nothing is on its way: respawned, and nothing changes on the wire."""

    async def story(s: Scene) -> None:
        await s.announced()
        await s.agent.until(lambda status: all(r["sent"] for r in routes_in(status)))
        routes = set(s.peer.table)
        os.kill(s.agent.pipe(), signal.SIGKILL)
        await s.agent.until(lambda status: "connection to the pipe broke" in s.agent.log())
        await s.agent.until(lambda status: status["speaker"]["state"] == "synced")
        await s.agent.until(lambda status: not any(r["adopted"] for r in routes_in(status)))
        await s.peer.has(*routes)
        assert not any(u.withdrawn for u in s.peer.updates)

    play(tmp_path, story)


def test_a_node_whose_uplink_comes_late_announces_with_the_session() -> None:
    """What could not be done before the session is done as it comes up, however long that took."""
    world = World(sessions={LEAF1: False, LEAF2: True})
    world.speaker_errors.update({V4, V6})
    world.start(config())
    world.run(120.0)
    world.speaker_errors.clear()
    world.set_session(LEAF1, up=True)
    world.until(lambda w: LEAF1 in w.announced(V4), 1.0)
