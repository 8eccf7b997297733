"""The BGP sessions: their state, their flaps, and this node's address on each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import SessionState
from anycast_agent.core.news import ConfigApplied, OwnAddress, SessionMoved, SpeakerGone, SpeakerTook
from anycast_agent.core.parts.sessions import MAX_SESSIONS, UNHEARD_AFTER, Sessions
from tests.support.parts import PartBench
from tests.support.world import LEAF1, LEAF2, World, config, neighbor, service


class Bench(PartBench):
    def __init__(self) -> None:
        super().__init__(SessionMoved, OwnAddress)
        self.sessions = Sessions(self.board, self.timers)
        self.install(self.sessions)
        self.post(ConfigApplied(config(), None))


@pytest.mark.parametrize(
    ("state", "down"),
    [
        (SessionState.UNKNOWN, False),
        (SessionState.DOWN, True),
        (SessionState.CONNECTED, True),
        (SessionState.UP, False),
    ],
)
def test_only_what_is_known_to_carry_nothing_is_down(state: SessionState, down: bool) -> None:
    """Unknown and never heard of may be up."""
    bench = Bench()
    bench.post(ev.SessionChanged(LEAF1, state))
    assert bench.sessions.down(LEAF1) is down
    assert not bench.sessions.down("never heard of")


def test_a_session_flaps_when_it_leaves_up_and_its_since_is_that_of_its_state() -> None:
    """Hearing the same again changes neither, and is no news."""
    bench = Bench()
    for state in (SessionState.UP, SessionState.UP, SessionState.DOWN, SessionState.UP):
        bench.post(ev.SessionChanged(LEAF1, state, "why"))
        bench.now += 1.0
    session = bench.sessions.states[LEAF1]
    assert (session.flaps, session.since) == (1, bench.now - 1.0)
    assert [n.state for n in bench.news if isinstance(n, SessionMoved)] == ["up", "down", "up"]


def test_a_speaker_that_has_gone_leaves_nothing_known_of_its_sessions() -> None:
    """With the reason."""
    bench = Bench()
    bench.post(ev.SessionChanged(LEAF1, SessionState.UP), SpeakerGone("broke"))
    assert (bench.sessions.state(LEAF1), bench.sessions.states[LEAF1].why) == (SessionState.UNKNOWN, "broke")


def test_a_session_is_forgotten_once_exabgp_has_not_its_neighbor_and_nobody_wants_it() -> None:
    """Until both are so, it is shown."""
    bench = Bench()
    both, one = config().speaker, config(neighbors=(LEAF1,)).speaker
    bench.post(SpeakerTook(both, frozenset({LEAF1})))
    assert set(bench.sessions.states) == {LEAF1, LEAF2}
    bench.post(SpeakerTook(one, frozenset({LEAF1})))
    assert set(bench.sessions.states) == {LEAF1}


def test_names_from_outside_are_bounded() -> None:
    """The speaker names the sessions."""
    bench = Bench()
    for number in range(MAX_SESSIONS + 10):
        bench.post(ev.SessionChanged(f"n{number}", SessionState.UP))
    assert len(bench.sessions.states) == MAX_SESSIONS


def test_this_nodes_address_is_news_once_and_is_not_forgotten() -> None:
    """Empty says that it is not known now; what was known is what routes were put with."""
    bench = Bench()
    assert bench.sessions.own_address(LEAF1) == ""
    for address in ("198.51.100.9", "198.51.100.9", "", None, "198.51.100.8"):
        bench.post(ev.SessionChanged(LEAF1, SessionState.UP, own_address=address))
    said = [n.address for n in bench.news if isinstance(n, OwnAddress)]
    assert said == ["198.51.100.9", None, "198.51.100.8"]


def test_a_configured_address_comes_before_what_the_pipe_says() -> None:
    """From when ExaBGP has that configuration."""
    bench = Bench()
    local = replace(neighbor(LEAF1, 1), local_address="198.51.100.77")
    with_address = replace(config(), neighbors={LEAF1: local, LEAF2: neighbor(LEAF2, 2)})
    bench.post(ev.SessionChanged(LEAF1, SessionState.UP, own_address="198.51.100.9"))
    bench.post(SpeakerTook(with_address.speaker, frozenset({LEAF1, LEAF2})))
    assert bench.sessions.own_address(LEAF1) == "198.51.100.77"
    assert OwnAddress(LEAF1, "198.51.100.77") in bench.news


# --- routers that do not answer, or do not read ---------------------------------------------------------------


def _warnings(world: World) -> dict[str, str]:
    assert world.engine is not None
    return dict(world.engine.parts.warnings.texts)


def test_a_router_to_which_no_connection_comes_about_is_warned_of() -> None:
    """Off, filtered, or another MD5 password: nothing tells them apart from here, so all are named."""
    world = World()
    world.sessions[LEAF1] = False
    with_password = {**config().neighbors, LEAF1: replace(neighbor(LEAF1, 1), password_file="/etc/leaf1.key")}
    world.start(replace(config(), neighbors=with_password))
    world.run(UNHEARD_AFTER - 1.0)
    assert _warnings(world) == {}
    world.run(2.0)
    (said,) = _warnings(world).values()
    assert "198.51.100.1" in said
    assert "another MD5 password than /etc/leaf1.key" in said
    world.set_session(LEAF1, up=True)
    assert _warnings(world) == {}


def test_without_an_address_of_our_own_that_is_said() -> None:
    """It is not the router's fault."""
    world = World()
    world.sessions[LEAF1], world.own_addresses[LEAF1] = False, ""
    world.start(config())
    world.run(UNHEARD_AFTER + 1.0)
    (said,) = _warnings(world).values()
    assert "no route to it, or no address on the uplink" in said


def test_a_neighbor_that_is_taken_out_is_warned_of_no_more() -> None:
    """Nor does its timer ring."""
    world = World()
    world.sessions[LEAF1] = False
    world.start(config())
    world.run(UNHEARD_AFTER + 1.0)
    assert len(_warnings(world)) == 1
    world.offer(config(service(neighbors=(LEAF2,)), neighbors=(LEAF2,)), force=True)
    world.run(UNHEARD_AFTER + 10.0)
    assert _warnings(world) == {}


def test_a_router_that_does_not_read_is_warned_of() -> None:
    """What waits for it grows or stays for so long, while the session is up; once it takes something, it reads."""
    world = World()
    world.start(config())
    world.run(1.0)
    for octets in (10, 10, 40, 40, 40, 40, 40):
        assert _warnings(world) == {}
        world.post(ev.SendQueueSeen(LEAF1, octets))
        world.run(2.0)
    (said,) = _warnings(world).values()
    assert "does not read" in said
    world.post(ev.SendQueueSeen(LEAF1, 39))
    assert _warnings(world) == {}


def test_a_busy_session_is_no_router_that_does_not_read() -> None:
    """Something always waits there, but not always more."""
    world = World()
    world.start(config())
    world.run(1.0)
    for octets in (10, 20, 30, 15, 20, 30, 10, 20, 30, 0) * 4:
        world.post(ev.SendQueueSeen(LEAF1, octets))
        world.run(2.0)
        assert _warnings(world) == {}
