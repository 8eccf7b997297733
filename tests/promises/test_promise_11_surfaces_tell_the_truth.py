"""Promise 11.

What the status shows carries its age; taken, sent and echoed are never shown for one another, and never wished.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, Outcome, SessionState
from anycast_agent.core.snapshot import PrefixSnapshot, RouteSnapshot, Snapshot
from tests.support.agent import Scene, play, routes_in
from tests.support.netns import needs_root
from tests.support.world import LEAF1, V4, World, config, service

# --- 1. the core, in virtual time -----------------------------------------------------------------------------
# In tests/core/test_properties.py each random story compares every snapshot with the world, and with one drawn anew.


def started(seconds: float = 3.0, **changes: object) -> World:
    world = World(**changes)  # type: ignore[arg-type]
    world.start(config())
    world.run(seconds)
    return world


def snapshot(world: World) -> Snapshot:
    assert world.engine is not None
    return world.engine.snapshot(world.now)


def prefix(world: World, name: str = V4) -> PrefixSnapshot:
    return next(p for p in snapshot(world).services["dns"].prefixes if p.prefix == name)


def route(world: World, neighbor: str = LEAF1) -> RouteSnapshot:
    return next(r for r in prefix(world).routes if r.neighbor == neighbor)


def test_wanted_taken_sent_and_echoed_are_four_facts() -> None:
    """Each becomes true by its own event, in its own instant, and not by another's."""
    world = World(speaker_delay=1.0, silent={"sent"})
    world.start(config())
    world.until(lambda w: bool(prefix(w).routes) and bool(route(w).pending), 5)
    first = route(world)
    assert (first.taken, first.sent, first.echoed, first.pending) == (None, None, False, "put")
    assert first.wanted == Attributes()
    assert first.taken_at is not None, "that it is not there was heard from the replay"
    world.until(lambda w: route(w).taken is not None, 5)
    second = route(world)
    assert (second.sent, second.echoed, second.pending) == (None, False, "")
    assert second.taken_at is not None
    assert second.taken_at > first.taken_at
    world.post(ev.RoutesSent(LEAF1, (V4,)))
    third = route(world)
    assert (third.sent, third.sent_at, third.echoed) == (True, world.now, False)
    world.post(ev.PathSeen(LEAF1, V4, "1", (65001, 65101)))
    assert route(world).echoed
    assert route(world).echoed_at == world.now


def test_a_path_of_another_node_is_no_echo_of_ours() -> None:
    """Its origin is another AS."""
    world = started()
    world.post(ev.PathSeen(LEAF1, V4, "1", (65001, 65102)))
    assert not route(world).echoed


def test_announced_is_not_shown_on_a_session_that_is_down() -> None:
    """Taken stays, for ExaBGP has it; sent does not, and the session's own state stands beside it."""
    world = started()
    assert route(world).sent is True
    world.set_session(LEAF1, up=False)
    shown = route(world)
    assert (shown.taken, shown.sent, shown.sent_at, shown.session) == (
        Attributes(), False, world.now, SessionState.DOWN,
    )  # fmt: skip
    world.set_session(LEAF1, up=True)
    assert (route(world).sent, route(world).session) == (True, SessionState.UP)


def test_what_was_known_of_a_speaker_that_is_away_is_shown_as_no_longer_known() -> None:
    """And a replay makes it known again, sent included."""
    world = started()
    world.lose_pipe()
    shown = route(world)
    assert (shown.taken_known, shown.sent, shown.session) == (False, None, SessionState.UNKNOWN)
    assert snapshot(world).speaker.state == "absent"
    assert snapshot(world).not_ready == ("speaker",)
    world.connect()
    assert (route(world).taken_known, route(world).sent, route(world).session) == (True, True, SessionState.UP)


def test_what_was_sent_before_is_not_shown_for_new_attributes() -> None:
    """While they are on their way, it is not known what the router has."""
    world = started()
    world.speaker_delay = 1.0
    world.offer(config(service("dns", attributes=Attributes(med=9))))
    shown = route(world)
    assert (shown.wanted, shown.taken, shown.sent) == (Attributes(med=9), Attributes(), None)
    world.run(1.5)
    assert (route(world).taken, route(world).sent) == (Attributes(med=9), True)


def test_what_is_adopted_says_so_and_shows_what_was_found() -> None:
    """Not what the configuration would have: that is not wanted before there is a verdict."""
    world = started()
    world.kill()
    world.hangs.add("dns")
    world.start(config(service("dns", attributes=Attributes(med=9))))
    world.run(1.0)
    shown = route(world)
    assert (shown.adopted, shown.wanted, shown.taken) == (True, Attributes(), Attributes())
    assert prefix(world).decision.reason == "adopted"
    world.hangs.clear()


def test_since_is_when_the_decision_came_to_be_what_it_is() -> None:
    """More evidence of the same does not move it; another reason does."""
    world = started()
    announced = prefix(world).since
    world.run(30.0)
    assert prefix(world).since == announced
    world.outcomes["dns"] = Outcome.REFUSED
    world.until(lambda w: not prefix(w).decision.announce, 3.0)
    down = prefix(world).since
    assert world.now - down < 0.02
    evidence = prefix(world).decision.evidence
    world.run(10.0)
    assert prefix(world).since == down
    assert prefix(world).decision.evidence != evidence
    assert prefix(world).changes == 2


def test_every_fact_has_the_instant_of_its_last_news() -> None:
    """Checks, addresses, kernel, speaker: each age is that of what was heard, not of when it was asked for."""
    world = started()
    probed = next(a for a in snapshot(world).services["dns"].checks if a.prefix == V4).finished_at
    assert probed is not None
    assert world.now - probed <= 1.0
    seen = prefix(world).address_at
    world.run(5.0)
    assert prefix(world).address_at == seen, "nothing was heard of it since"
    world.report_kernel()
    assert prefix(world).address_at == snapshot(world).kernel_at == world.now
    answered = snapshot(world).speaker.answered_at
    assert answered is not None
    assert world.now - answered <= 1.01
    world.pipe_frozen = True
    world.run(4.0)
    assert world.now - (snapshot(world).speaker.answered_at or 0.0) > 3.0


def test_only_the_services_that_changed_are_drawn_anew() -> None:
    """The others are the very same objects as before."""
    world = World()
    world.start(config(service("dns"), service("www", ("192.0.2.80/32",))))
    world.run(3.0)
    world.hangs.add("dns")
    world.run(1.1)
    before, again = snapshot(world), snapshot(world)
    assert all(again.services[name] is before.services[name] for name in ("dns", "www"))
    world.run(1.1)
    after = snapshot(world)
    assert after.services["dns"] is before.services["dns"]
    assert after.services["www"] is not before.services["www"]


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_router_restarted_has_the_routes_again(tmp_path: Path) -> None:
    """Session down is shown, and never as sent; then both are back."""

    async def story(s: Scene) -> None:
        await s.announced()
        await s.peer.close()
        status = await s.agent.until(lambda status: status["neighbors"][0]["session"] == "down")
        assert {r["sent"] for r in routes_in(status)} == {False}
        await s.peer.listen()
        await s.announced(30)
        await s.agent.until(lambda status: {r["sent"] for r in routes_in(status)} == {True})

    play(tmp_path, story)
