"""ExaBGP's configuration: when it is sent, what differs, and what follows from an error."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.actions import ConfigureSpeaker, RestartSpeaker
from anycast_agent.core.model import Config, Neighbor, RouteKey
from anycast_agent.core.news import ConfigApplied, Ending, RoutersFound, SpeakerCame, SpeakerSetUp, SpeakerTook
from anycast_agent.core.parts.speaker_setup import SETTLE_BEFORE_REMOVAL, ConfigureDue, SpeakerSetup, Wedge
from tests.support.parts import PartBench
from tests.support.world import LEAF1, LEAF2, V4, config, neighbor, service


class Bench(PartBench):
    def __init__(self, *, configured: bool = False) -> None:
        super().__init__(SpeakerSetUp, SpeakerTook)
        self.wedge: Wedge | None = None
        self.settled = True
        self.routers: dict[str, Neighbor] | None = None
        """The neighbors as they are resolved; None: as they are written."""
        self.setup = SpeakerSetup(
            self.board,
            self.timers,
            self.opened,
            lambda: self.wedge,
            lambda neighbors: self.settled or not neighbors,
            lambda written: written if self.routers is None else replace(written, neighbors=self.routers),
        )
        self.install(self.setup)
        self.want(config())
        if configured:
            self.end(self.one())
            self.news.clear()

    def want(self, conf: Config) -> None:
        self.post(ConfigApplied(conf, None))

    def turn(self) -> list[ConfigureSpeaker | RestartSpeaker]:
        return [a for a in self.plan() if isinstance(a, ConfigureSpeaker | RestartSpeaker)]

    def one(self) -> ConfigureSpeaker | RestartSpeaker:
        (action,) = self.turn()
        return action

    def end(self, action: ConfigureSpeaker | RestartSpeaker, error: str | None = None) -> None:
        self.post(ev.SpeakerConfigured(action.id, error))

    def set_up(self) -> SpeakerSetUp:
        return next(n for n in reversed(self.news) if isinstance(n, SpeakerSetUp))


@pytest.mark.parametrize("same", [config(), config(service("dns", checks=()), seed="other", stop_within=3.0)])
def test_what_does_not_concern_exabgp_does_not_configure_it(same: Config) -> None:
    """Checks, attributes and seeds do not; the slice is equal, though every object is another one."""
    bench = Bench(configured=True)
    bench.want(same)
    assert bench.turn() == []
    assert not bench.setup.pending


@pytest.mark.parametrize(
    "other",
    [
        config(service("dns", (V4,))),
        config(neighbors=(LEAF1,)),
        config(dead_man=9.0),
        config(adopt_for=9.0),
        replace(config(), neighbors={LEAF1: replace(neighbor(LEAF1, 1), hold_time=30), LEAF2: neighbor(LEAF2, 2)}),
    ],
)
def test_what_concerns_exabgp_configures_it(other: Config) -> None:
    """Neighbors, prefixes and the pipe's clocks."""
    bench = Bench(configured=True)
    bench.want(other)
    assert bench.setup.pending
    action = bench.one()
    assert isinstance(action, ConfigureSpeaker)
    assert action.config == other.speaker
    bench.end(action)
    assert not bench.setup.pending


def test_changed_names_the_neighbors_that_differ_and_renewed_those_that_it_had() -> None:
    """Added, removed, altered; of these only the altered one may have forgotten routes."""
    bench = Bench(configured=True)
    altered = replace(neighbor(LEAF1, 1), hold_time=30)
    bench.want(replace(config(), neighbors={LEAF1: altered, "leaf3": neighbor("leaf3", 3)}))
    action = bench.one()
    assert isinstance(action, ConfigureSpeaker)
    assert action.changed == (LEAF1, LEAF2, "leaf3")
    bench.end(action)
    assert bench.set_up() == SpeakerSetUp(None, frozenset({LEAF1}), settled=True)


def test_a_put_needs_the_neighbor_and_the_prefix_to_be_with_exabgp() -> None:
    """Verified, not asked for."""
    bench, key = Bench(), RouteKey(LEAF1, V4)
    action = bench.one()
    assert not bench.setup.may_put(key)
    bench.end(action)
    assert bench.setup.may_put(key)
    assert not bench.setup.may_put(RouteKey("leaf9", V4))
    assert not bench.setup.may_put(RouteKey(LEAF1, "192.0.2.99/32"))


def test_the_removal_of_a_neighbor_waits_for_its_withdrawals_but_not_for_ever() -> None:
    """Three seconds at most."""
    bench = Bench(configured=True)
    bench.settled = False
    bench.want(config(neighbors=(LEAF1,)))
    assert bench.turn() == []
    assert bench.timers.get(ConfigureDue()) == bench.now + SETTLE_BEFORE_REMOVAL
    bench.now += SETTLE_BEFORE_REMOVAL
    bench.one()


def test_a_configuration_that_fails_is_tried_ever_later_and_at_once_on_a_new_connection() -> None:
    """1, 2, 4 … seconds; the error is kept to be shown, and told to whoever waits."""
    bench, waits = Bench(), []
    for _ in range(7):
        bench.end(bench.one(), "no speaker")
        assert bench.setup.error == "no speaker"
        assert bench.set_up() == SpeakerSetUp("no speaker", settled=True)
        assert bench.turn() == []
        at = bench.timers.get(ConfigureDue())
        assert at is not None
        waits.append(at - bench.now)
        bench.now = at
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    bench.end(bench.one(), "no speaker")
    bench.post(SpeakerCame())
    bench.one()


def test_a_configuration_that_never_ends_is_given_up_as_a_failure() -> None:
    """It is overdue after 30 seconds, and its end, should it come, is about nothing."""
    bench = Bench()
    action = bench.one()
    bench.now += 30.0
    assert bench.turn() == []
    assert bench.setup.error == "no answer from the speaker"
    bench.end(action)
    assert bench.setup.pending


def test_a_wedged_speaker_is_restarted_and_the_new_one_gets_its_time() -> None:
    """As long as the old one had, before it is ended in its turn; one that is not ours is never restarted."""
    bench = Bench(configured=True)
    assert bench.turn() == []
    bench.wedge = Wedge("no answer for 5 s", 5.0)
    action = bench.one()
    assert isinstance(action, RestartSpeaker)
    assert bench.turn() == []
    bench.end(action)
    bench.now += 4.9
    assert bench.turn() == []
    bench.now += 0.1
    bench.one()
    assert bench.setup.restarts == 2


def test_a_restart_that_failed_is_tried_again_when_it_may_be() -> None:
    """By a clock of its own: no heartbeat or probe has to come first."""
    bench = Bench(configured=True)
    bench.wedge = Wedge("no answer for 5 s", 5.0)
    for wait in (1.0, 2.0):
        bench.end(bench.one(), "no pipe within 10 s")
        assert bench.turn() == []
        assert bench.timers.deadline() == bench.now + wait
        bench.now += wait
    assert isinstance(bench.one(), RestartSpeaker)


def test_a_restart_that_failed_is_not_complained_of_once_the_speaker_is_there() -> None:
    """It came later than it was waited for; it has the configuration, so nothing else would take the words back."""
    bench = Bench(configured=True)
    bench.wedge = Wedge("no answer for 5 s", 5.0)
    bench.end(bench.one(), "no pipe within 10 s")
    assert bench.setup.error
    bench.post(SpeakerCame())
    assert bench.setup.error == ""


def test_a_configuration_that_was_refused_is_complained_of_until_it_is_taken() -> None:
    """A new connection to the pipe says nothing of it."""
    bench = Bench()
    bench.end(bench.one(), "ExaBGP has not accepted the configuration")
    bench.post(SpeakerCame())
    assert bench.setup.error


def test_an_agent_that_ends_configures_nothing_more() -> None:
    """Neither for a stop nor for a hand-over."""
    for stop in (True, False):
        bench = Bench()
        bench.post(Ending("asked", stop))
        assert bench.turn() == []


def test_a_router_that_is_found_is_configured_and_again_for_a_speaker_that_came_anew() -> None:
    """The unit of a speaker begins with what the files say, where the router's address does not stand."""
    bench = Bench()
    bench.routers = {}
    bench.want(replace(config(), neighbors={LEAF1: replace(neighbor(LEAF1, 1), address="")}))
    bench.end(bench.one())
    bench.routers = {LEAF1: neighbor(LEAF1, 1)}
    bench.post(RoutersFound())
    action = bench.one()
    assert isinstance(action, ConfigureSpeaker) and set(action.config.neighbors) == {LEAF1}
    bench.end(action)
    assert bench.turn() == []
    bench.post(SpeakerCame())
    assert isinstance(bench.one(), ConfigureSpeaker)
