"""The link to the speaker: beats, silence, replays, sessions, and ExaBGP's configuration."""

from __future__ import annotations

from dataclasses import replace

from anycast_agent.core import events as ev
from anycast_agent.core.actions import ConfigureSpeaker, RestartSpeaker
from anycast_agent.core.life import Link, LinkEvent
from anycast_agent.core.link import (
    REPLAY_WITHIN,
    SETTLE_BEFORE_REMOVAL,
    UNHEARD_AFTER,
    BeatDue,
    ConfigureDue,
    ReplayDue,
    SilenceEnds,
    SpeakerLink,
)
from anycast_agent.core.model import Config, RouteKey, SessionState
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.timers import Timers
from tests.support.world import LEAF1, LEAF2, V4, World, config, neighbor, service

NOW = 100.0


class Bench:
    def __init__(self, owned: bool = True, conf: Config | None = None) -> None:
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.link = SpeakerLink(self.timers, self.opened, owned, NOW)
        self.link.want(conf or config(), NOW)

    def connect(self, now: float = NOW) -> None:
        self.link.connected("pipe 1", now)
        self.link.apply(LinkEvent.CONNECTED, now)

    def configure(self, now: float = NOW, settled: bool = True) -> ConfigureSpeaker | None:
        return self.link.configure(lambda: settled, now)

    def configured(self, now: float = NOW) -> None:
        action = self.configure(now)
        assert action is not None
        assert self.end(action, None, now) is not None

    def end(
        self, action: ConfigureSpeaker | RestartSpeaker, error: str | None = None, now: float = NOW
    ) -> frozenset[str] | None:
        self.opened.end(action.id)
        return self.link.configured(action, error, now)


# --- hearing from it ---


def test_beats_come_five_times_within_the_dead_mans_time_and_each_second_at_least() -> None:
    """So that one that is lost or late does not matter."""
    for dead_man, interval in ((1.0, 0.2), (5.0, 1.0), (30.0, 1.0)):
        bench = Bench(conf=config(dead_man=dead_man))
        bench.connect()
        assert bench.timers.get(BeatDue()) == NOW
        bench.link.beat(NOW)
        assert bench.timers.get(BeatDue()) == NOW + interval


def test_silence_counts_from_the_last_answer_with_exabgp_behind_it() -> None:
    """An answer of the pipe alone, while ExaBGP is silent, does not put it off."""
    bench = Bench()
    bench.connect()
    assert bench.timers.get(SilenceEnds()) == NOW + 5.0
    assert bench.link.answered(0.1, NOW + 1.0)
    assert bench.timers.get(SilenceEnds()) == NOW + 6.0
    assert not bench.link.answered(5.0, NOW + 2.0)
    assert bench.timers.get(SilenceEnds()) == NOW + 6.0
    assert bench.link.why == "ExaBGP has not answered the pipe for 5.0 s"
    assert bench.link.answered(0.1, NOW + 3.0)
    assert bench.link.why == ""


def test_what_is_not_connected_has_no_beat_and_no_silence() -> None:
    """Nor does a late answer of the old connection count."""
    bench = Bench()
    bench.connect()
    bench.link.lost("broke", NOW)
    bench.link.apply(LinkEvent.LOST, NOW)
    assert not bench.link.answered(0.0, NOW)
    assert [bench.timers.get(k) for k in (BeatDue(), SilenceEnds(), ReplayDue())] == [None] * 3


# --- replays ---


def test_one_replay_is_under_way_at_a_time_and_another_follows_where_it_was_asked_for() -> None:
    """What was lost while it ran makes it worth nothing."""
    bench = Bench()
    bench.connect()
    assert bench.link.replaying
    assert bench.timers.get(ReplayDue()) == NOW + REPLAY_WITHIN
    assert bench.link.replay_ended()
    assert bench.link.ask_replay(NOW)
    assert not bench.link.ask_replay(NOW)
    assert not bench.link.replay_ended(), "it is not to be believed"
    assert bench.link.ask_replay(NOW)
    assert bench.link.replay_ended()


# --- sessions ---


def test_only_what_is_known_to_be_down_is_down() -> None:
    """Unknown and never heard of may be up."""
    bench = Bench()
    states = [(s, bench.link.session(LEAF1, s, "", NOW), bench.link.session_down(LEAF1)) for s in SessionState]
    assert {s: down for s, _, down in states} == {
        SessionState.UNKNOWN: False, SessionState.DOWN: True, SessionState.CONNECTED: True, SessionState.UP: False,
    }  # fmt: skip
    assert not bench.link.session_down("never heard of")


def test_a_session_flaps_when_it_leaves_up_and_its_since_is_that_of_its_state() -> None:
    """Hearing the same again changes neither."""
    bench = Bench()
    for at, state in enumerate((SessionState.UP, SessionState.UP, SessionState.DOWN, SessionState.UP)):
        bench.link.session(LEAF1, state, "", NOW + at)
    session = bench.link.sessions[LEAF1]
    assert (session.flaps, session.since) == (1, NOW + 3)


# --- configuration ---


def test_it_is_configured_once_and_again_only_where_something_that_concerns_it_differs() -> None:
    """Neighbors, prefixes and the pipe's clocks do; checks and attributes do not."""
    bench = Bench()
    bench.configured()
    assert not bench.link.pending
    other_checks = config(service("dns", checks=()), seed="other", stop_within=3.0)
    for same in (config(), other_checks):
        bench.link.want(same, NOW)
        assert bench.configure() is None
        assert not bench.link.pending
    for other in (
        config(service("dns", (V4,))),
        config(neighbors=(LEAF1,)),
        config(dead_man=9.0),
        config(adopt_for=9.0),
        replace(config(), neighbors={LEAF1: replace(neighbor(LEAF1, 1), hold_time=30), LEAF2: neighbor(LEAF2, 2)}),
    ):
        bench = Bench()
        bench.configured()
        bench.link.want(other, NOW)
        assert bench.link.pending
        assert bench.configure() is not None


def test_changed_names_the_neighbors_that_differ_and_renewed_those_that_it_had() -> None:
    """Added, removed, altered; of these only the altered one may have forgotten routes."""
    bench = Bench()
    bench.configured()
    altered = replace(neighbor(LEAF1, 1), hold_time=30)
    bench.link.want(replace(config(), neighbors={LEAF1: altered, "leaf3": neighbor("leaf3", 3)}), NOW)
    action = bench.configure()
    assert action is not None
    assert action.changed == (LEAF1, LEAF2, "leaf3")
    assert bench.end(action) == {LEAF1}


def test_a_put_needs_the_neighbor_and_the_prefix_to_be_with_exabgp() -> None:
    """Verified, not asked for."""
    bench = Bench()
    key = RouteKey(LEAF1, V4)
    assert not bench.link.may_put(key)
    action = bench.configure()
    assert not bench.link.may_put(key)
    assert action is not None
    bench.end(action)
    assert bench.link.may_put(key)
    assert not bench.link.may_put(RouteKey("leaf9", V4))
    assert not bench.link.may_put(RouteKey(LEAF1, "192.0.2.99/32"))


def test_the_removal_of_a_neighbor_waits_for_its_withdrawals_but_not_for_ever() -> None:
    """Three seconds at most."""
    bench = Bench()
    bench.configured()
    bench.link.want(config(neighbors=(LEAF1,)), NOW)
    assert bench.configure(settled=False) is None
    at = bench.timers.get(ConfigureDue())
    assert at == NOW + SETTLE_BEFORE_REMOVAL
    assert bench.configure(at, settled=False) is not None


def test_a_configuration_that_fails_is_tried_ever_later_and_at_once_on_a_new_connection() -> None:
    """1, 2, 4 … seconds; the error is kept to be shown."""
    bench, now, waits = Bench(), NOW, []
    for _ in range(7):
        action = bench.configure(now)
        assert action is not None
        bench.end(action, "no speaker", now)
        assert bench.link.configure_error == "no speaker"
        assert bench.configure(now) is None
        at = bench.timers.get(ConfigureDue())
        assert at is not None
        waits.append(at - now)
        now = at
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    action = bench.configure(now)
    assert action is not None
    bench.end(action, "no speaker", now)
    bench.connect(now + 0.1)
    assert bench.configure(now + 0.1) is not None


def test_only_a_wedged_speaker_of_ours_is_restarted_and_the_new_one_gets_its_time() -> None:
    """One that is external has a watchdog of its own."""
    for owned in (True, False):
        bench = Bench(owned)
        bench.configured()
        bench.connect()
        assert bench.link.restart(NOW) is None
        bench.link.apply(LinkEvent.SILENT, NOW)
        action = bench.link.restart(NOW)
        assert (action is not None) is owned
        if action is not None:
            assert bench.link.restart(NOW) is None
            bench.end(action)
            assert bench.link.restart(NOW + 4.9) is None
            assert bench.timers.get(ConfigureDue()) == NOW + 5.0
            assert bench.link.restart(NOW + 5.0) is not None
            assert bench.link.restarts == 2


def test_an_end_that_is_not_of_the_open_action_changes_nothing() -> None:
    """It was given up before."""
    bench = Bench()
    action = bench.configure()
    assert action is not None
    assert bench.link.configured(replace(action, id=action.id + 99), None, NOW) is None
    assert bench.link.pending
    assert bench.link.state is Link.ABSENT


def test_a_restart_that_failed_is_not_complained_of_once_the_speaker_is_there() -> None:
    """It came later than it was waited for; it has the configuration, so that nothing else would take the words back."""
    bench = Bench()
    bench.connect()
    bench.configured()
    bench.link.apply(LinkEvent.SILENT, NOW)
    action = bench.link.restart(NOW)
    assert action is not None
    bench.end(action, "no pipe within 10 s")
    assert bench.link.configure_error
    bench.connect(NOW + 1)
    assert bench.link.configure_error == ""


def test_a_configuration_that_was_refused_is_complained_of_until_it_is_taken() -> None:
    """A new connection to the pipe says nothing of it."""
    bench = Bench()
    bench.connect()
    action = bench.configure()
    assert action is not None
    bench.end(action, "ExaBGP has not taken the configuration")
    bench.connect(NOW + 1)
    assert bench.link.configure_error


# --- routers that do not answer, or do not read ---------------------------------------------------------------


def _warnings(world: World) -> dict[str, str]:
    assert world.engine is not None
    return dict(world.engine.warnings)


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
