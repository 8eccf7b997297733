"""The snapshot: immutable, complete from the first moment, and drawn anew only where something changed.

That each of its facts is true is promise 11, in tests/promises; and the random stories compare it with the world.
"""

from __future__ import annotations

import dataclasses

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.actions import ConfigureSpeaker
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import Reason
from anycast_agent.core.snapshot import Snapshot
from tests.support import ends
from tests.support.world import LEAF1, V4, World, config, service

WWW = "192.0.2.80/32"


def running() -> World:
    world = World()
    world.start(config(service("dns"), service("www", (WWW,))))
    world.run(3.0)
    world.hangs = {"dns", "www"}
    world.run(1.5)
    return world


def snapshot(world: World) -> Snapshot:
    assert world.engine is not None
    return world.engine.snapshot(world.now)


def drawn_anew(world: World, event: ev.Event) -> set[str]:
    """The services that are other objects after the event."""
    before = snapshot(world)
    world.post(event)
    after = snapshot(world)
    return {name for name in after.services if after.services[name] is not before.services.get(name)}


def test_there_is_a_snapshot_before_there_is_anything_to_show() -> None:
    """Not ready, and what it waits for."""
    shown = Engine(100.0).snapshot(101.0)
    assert (shown.life, shown.ready, shown.services) == ("starting", False, {})
    assert shown.not_ready == ("configuration", "kernel", "speaker")


def test_a_service_is_shown_from_the_first_moment() -> None:
    """Its prefixes, checks and the reason, before the first probe."""
    engine = Engine(100.0)
    engine.handle(ev.ConfigOffered(config()), 100.0)
    shown = engine.snapshot(100.0).services["dns"]
    assert [p.decision.reason for p in shown.prefixes] == [Reason.NOTHING_KNOWN] * 2
    assert [c.outcome for c in shown.checks] == [None, None]


def test_a_snapshot_cannot_be_changed_and_does_not_change() -> None:
    """Whoever holds it holds what was."""
    world = running()
    held = snapshot(world)
    text = repr(held)
    world.outcomes["www"] = ends.REFUSED
    world.hangs.clear()
    world.run(20.0)
    assert repr(held) == text
    with pytest.raises(dataclasses.FrozenInstanceError):
        held.services["www"].prefixes[0].changes = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        held.services["x"] = held.services["www"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("event", "drawn"),
    [
        (ev.ProbeFinished(10**9, ends.OK), set()),
        (ev.SpeakerAnswered(0.0), set()),
        (ev.Warned("x", "y"), set()),
        (ev.RoutesSent(LEAF1, (WWW,)), {"www"}),
        (ev.AddressSeen("192.0.2.80", None), {"www"}),
        (ev.RoutesDropped((), "x"), set()),
        (ev.SpeakerLost("x"), {"dns", "www"}),
        (ev.LinkSeen("lo", False), {"dns", "www"}),
    ],
    ids=lambda e: type(e).__name__,
)
def test_an_event_redraws_just_what_it_touches(event: ev.Event, drawn: set[str]) -> None:
    """The untouched services are the very same objects."""
    assert drawn_anew(running(), event) == drawn


def test_a_prefix_that_was_just_removed_is_gone_from_the_snapshot_at_once() -> None:
    """While its routes are still being withdrawn."""
    world = running()
    world.speaker_delay = 1.0
    world.offer(config(service("dns"), service("www", ("192.0.2.81/32",))), force=True)
    assert [p.prefix for p in snapshot(world).services["www"].prefixes] == ["192.0.2.81/32"]
    assert world.announced(WWW)
    world.offer(config(service("dns")), force=True)
    assert set(snapshot(world).services) == {"dns"}


def test_counts_are_counts() -> None:
    """Runs by outcome, repairs of the address, changes of the decision, flaps of the session."""
    world = World()
    world.start(config(service("dns", (V4,))))
    world.run(3.0)
    world.outcomes["dns"] = ends.REFUSED
    world.run(3.0)
    world.outcomes.clear()
    world.set_address("192.0.2.53", None)
    world.set_session(LEAF1, up=False)
    world.run(10.0)
    shown = snapshot(world)
    (check,), (prefix,) = shown.services["dns"].checks, shown.services["dns"].prefixes
    assert check.runs["refused"] >= 2
    assert sum(check.runs.values()) * world.probe_delay == pytest.approx(check.duration_sum)
    assert (prefix.address_repairs, prefix.changes) == (1, 3)
    assert next(n for n in shown.neighbors if n.name == LEAF1).flaps == 1


def test_what_was_refused_is_shown_until_a_configuration_is_taken() -> None:
    """The last word about the configuration, not the last error."""
    world = running()
    world.post(ev.ConfigRejected(("no such file",)))
    assert snapshot(world).config.errors == ("no such file",)
    assert snapshot(world).config.failed_at == world.now
    world.offer(config(service("dns"), service("www", (WWW,))))
    assert (snapshot(world).config.errors, snapshot(world).config.failed_at) == ((), None)


def test_a_configuration_that_exabgp_does_not_take_is_a_warning() -> None:
    """It says why, and goes when it is taken."""
    engine = Engine(100.0)
    engine.handle(ev.ConfigOffered(config()), 100.0)
    (action,) = [a for a in engine.settle(100.0).actions if isinstance(a, ConfigureSpeaker)]
    engine.handle(ev.SpeakerConfigured(action.id, "ExaBGP would refuse this"), 100.0)
    assert engine.snapshot(100.0).warnings["speaker configuration"] == "ExaBGP would refuse this"
