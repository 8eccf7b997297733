"""Promise 11.

What the status shows carries its age; taken, sent and echoed are never shown for one another, and never wished.
"""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from anycast_agent.api import render
from anycast_agent.api.page import page
from anycast_agent.api.shapes import Status, Why, read
from anycast_agent.cli.live_verbs import show_status, show_why
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, SessionState
from anycast_agent.core.snapshot import PrefixSnapshot, RouteSnapshot, Snapshot
from anycast_agent.metrics import Metrics
from tests.support import ends
from tests.support.agent import Scene, play, routes_in
from tests.support.netns import needs_root
from tests.support.world import LEAF1, LEAF2, OWN, V4, V6, World, as_sent, config, service

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
    assert (first.acknowledged, first.sent, first.echoed, first.pending) == (None, None, False, "put")
    assert first.desired == as_sent(Attributes())
    assert first.acknowledged_at is not None, "that it is not there was heard from the replay"
    world.until(lambda w: route(w).acknowledged is not None, 5)
    second = route(world)
    assert (second.sent, second.echoed, second.pending) == (None, False, "")
    assert second.acknowledged_at is not None
    assert second.acknowledged_at > first.acknowledged_at
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
    assert (shown.acknowledged, shown.sent, shown.sent_at, shown.session) == (
        as_sent(Attributes()), False, world.now, SessionState.DOWN,
    )  # fmt: skip
    world.set_session(LEAF1, up=True)
    assert (route(world).sent, route(world).session) == (True, SessionState.UP)


def test_what_was_known_of_a_speaker_that_is_away_is_shown_as_no_longer_known() -> None:
    """And a replay makes it known again, sent included."""
    world = started()
    world.lose_pipe()
    shown = route(world)
    assert (shown.acknowledged_known, shown.sent, shown.session) == (False, None, SessionState.UNKNOWN)
    assert snapshot(world).speaker.state == "absent"
    assert snapshot(world).not_ready == ("speaker",)
    world.connect()
    assert (route(world).acknowledged_known, route(world).sent, route(world).session) == (True, True, SessionState.UP)


def test_a_withdrawal_is_shown_as_sent_only_where_one_was() -> None:
    """A session that never was up, or is down, had none; one that carried the route and its withdrawal had."""
    world = World()
    world.sessions[LEAF1] = False
    world.start(config())
    world.run(10.0)
    assert (route(world).sent, route(world).withdrawal_sent_at) == (False, None)
    world.set_session(LEAF1, up=True)
    world.run(1.0)
    world.set_session(LEAF1, up=False)
    world.run(1.0)
    assert (route(world).sent, route(world).withdrawal_sent_at) == (False, None)
    world.set_session(LEAF1, up=True)
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.announced(V4), 5.0)
    world.run(0.1)
    assert route(world).sent is False
    assert route(world).withdrawal_sent_at is not None


def test_what_is_waited_for_is_shown_and_is_no_error() -> None:
    """The uplink has no address yet: the route says what it waits for, and is announced once that is there."""
    world = World()
    world.own_addresses[LEAF1], world.sessions[LEAF1] = "", False
    world.start(config())
    world.run(40.0)
    assert "address on the session" in route(world).waits_for
    assert route(world).error == ""
    assert [c for _, c in world.changes if c.level == "error"] == []
    world.set_own_address(LEAF1, OWN)
    world.until(lambda w: route(w).waits_for == "", 1.6)
    world.set_session(LEAF1, up=True)
    world.until(lambda w: LEAF1 in w.announced(V4), 0.1)
    assert route(world).waits_for == ""


def test_a_refused_withdrawal_turns_readiness_red_and_is_told_once() -> None:
    """Until it is taken, a router may have a stale route; in the log, one line says so and not one a try."""
    world = World()
    world.start(config())
    world.until(lambda w: len(w.router) == 4, 10.0)
    world.speaker_errors.add(V4)
    world.speaker.exabgp.refuses_clear = True
    world.outcomes["dns"] = ends.REFUSED
    waits = ("withdrawals that ExaBGP refuses (2)",)
    world.until(lambda w: w.engine is not None and w.engine.snapshot(w.now).not_ready == waits, 3.0)
    world.run(1.5)
    assert world.engine is not None
    assert world.engine.snapshot(world.now).not_ready == waits
    assert len([c for _, c in world.changes if c.subject == "DropRoutes"]) <= 2
    world.speaker_errors.clear()
    world.until(lambda w: not w.router, 1.0)
    world.run(0.1)
    assert world.engine.snapshot(world.now).ready


def test_a_refused_withdrawal_ends_with_no_route_at_any_router() -> None:
    """Whatever ExaBGP refuses: a lost session is better than a stale route."""
    for refuses_clear in (False, True):
        world = World()
        world.start(config())
        world.until(lambda w: len(w.router) == 4, 10.0)
        world.speaker_errors.add(V4)
        world.speaker.exabgp.refuses_clear = refuses_clear
        world.outcomes["dns"] = ends.REFUSED
        world.until(lambda w: not w.announced(V4), 8.0)


def test_what_was_sent_before_is_not_shown_for_new_attributes() -> None:
    """While they are on their way, it is not known what the router has."""
    world = started()
    world.speaker_delay = 1.0
    world.offer(config(service("dns", attributes=Attributes(med=9))))
    shown = route(world)
    assert (shown.desired, shown.acknowledged, shown.sent) == (as_sent(Attributes(med=9)), as_sent(Attributes()), None)
    world.run(1.5)
    assert (route(world).acknowledged, route(world).sent) == (as_sent(Attributes(med=9)), True)


def test_what_is_adopted_says_so_and_shows_what_was_found() -> None:
    """Not what the configuration would have: that is not wanted before there is a verdict."""
    world = started()
    world.kill()
    world.hangs.add("dns")
    world.start(config(service("dns", attributes=Attributes(med=9))))
    world.run(1.0)
    shown = route(world)
    assert (shown.adopted, shown.desired, shown.acknowledged) == (True, as_sent(Attributes()), as_sent(Attributes()))
    assert prefix(world).decision.reason == "adopted"
    world.hangs.clear()


def test_since_is_when_the_decision_came_to_be_what_it_is() -> None:
    """More evidence of the same does not move it; another reason does."""
    world = started()
    announced = prefix(world).since
    world.run(30.0)
    assert prefix(world).since == announced
    world.outcomes["dns"] = ends.REFUSED
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


# --- every surface says the same of the wire --------------------------------------------------------------------


def everywhere(world: World, name: str = V4) -> tuple[str, bool | None, float, str, str]:
    """A prefix as the command line, JSON, the metrics, the page and ``why`` have it."""
    shown = snapshot(world)
    status = json.loads("".join(render.status_json(shown)))
    (p,) = [p for s in status["services"].values() for p in s["prefixes"] if p["prefix"] == name]
    rows = [row for row in show_status(read(Status, status)) if row.startswith(f"{name} ")]
    state = re.split(r" {2,}", rows[0])[2]
    families = text_string_to_metric_families(Metrics(lambda: shown).text())
    (gauge,) = [
        s.value
        for f in families for s in f.samples
        if s.name == "anycast_prefix_on_wire" and s.labels["prefix"] == name
    ]  # fmt: skip
    text = "".join(page(shown))
    row = text[text.index(f'<tr data-key="{name}">') :].partition("</tr>")[0]
    why = show_why(render.now(render.Drawing(shown).why(name)))
    assert p["headline"] in html.unescape(row)
    assert p["headline"] in why[0]
    return state, p["on_wire"], gauge, p["headline"], "\n".join(why)


def test_the_headline_is_the_wire() -> None:
    """Announced is what an established session carries; what may be announced and is on no router says so, with the
    neighbor, on every surface; and nothing says that it is at its best."""
    world = started()
    state, on_wire, gauge, text, why = everywhere(world)
    assert (state, on_wire, gauge, text) == ("announced", True, 1.0, "announced")
    assert "nothing: it is announced at its best" in why
    world.set_session(LEAF1, up=False)
    state, on_wire, gauge, text, why = everywhere(world)
    assert (state, on_wire, gauge) == ("announced", True, 1.0)
    assert text == "announced, at 1 of 2 neighbors: leaf1 is down"
    assert "at its best" not in why
    world.set_session(LEAF2, up=False)
    world.post(ev.SessionChanged(LEAF2, SessionState.DOWN, "no route to host"))
    state, on_wire, gauge, text, why = everywhere(world)
    assert (state, on_wire, gauge) == ("on no router", False, 0.0)
    assert text == "healthy, but on no router: leaf1 is down, leaf2 is down"
    assert "the session to leaf2 comes up (no route to host)" in why
    assert "at its best" not in why


def test_unknown_is_said_as_unknown_on_every_surface() -> None:
    """Without the speaker nobody knows: null in JSON, NaN in the metrics, the word on the page and the command line."""
    world = started()
    world.lose_pipe()
    state, on_wire, gauge, text, why = everywhere(world)
    assert (state, on_wire) == ("unknown", None)
    assert math.isnan(gauge)
    assert text.startswith("healthy; unknown whether a router has it: the session to leaf1 is unknown")
    assert "  route     leaf1: desired, acknowledged unknown, sent unknown; session unknown" in why
    status = json.loads("".join(render.status_json(snapshot(world))))
    assert status["headline"] == "0 of 2 prefixes announced (2 unknown), 0 of 2 sessions up (2 unknown)"
    families = {f.name: f for f in text_string_to_metric_families(Metrics(lambda: snapshot(world)).text())}
    for name in ("route_acknowledged", "route_sent", "session_up"):
        assert all(math.isnan(s.value) for s in families[f"anycast_{name}"].samples), name
    world.connect()
    assert everywhere(world)[:3] == ("announced", True, 1.0)


def test_a_route_that_is_not_to_be_there_and_is_shows_as_that() -> None:
    """While its withdrawal is on its way a router still has it: that is not called withdrawn."""
    world = started()
    world.speaker_delay = 5.0
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not prefix(w).decision.announce, 5)
    state, on_wire, gauge, text, _ = everywhere(world)
    assert (state, on_wire, gauge) == ("still announced", True, 1.0)
    assert text == "not to be announced, but still announced at leaf1, leaf2"
    world.until(lambda w: not w.router, 20)
    state, on_wire, gauge, text, why = everywhere(world)
    assert (state, on_wire, gauge, text) == ("not announced", False, 0.0, "not announced")
    assert "withdrawal sent" in why


def test_what_never_was_announced_is_known_not_to_be() -> None:
    """A service that fails from the start: not sent, and neither a withdrawal nor unknown."""
    world = World()
    world.outcomes["dns"] = ends.REFUSED
    world.start(config())
    world.run(5.0)
    state, on_wire, gauge, _, why = everywhere(world)
    assert (state, on_wire, gauge) == ("not announced", False, 0.0)
    assert "leaf1: not desired, not acknowledged, not sent; session up" in why


def test_what_was_not_there_is_not_unknown_for_good_after_the_speaker_was_away() -> None:
    """A disabled prefix, and one that was withdrawn: nobody but us would announce them, and the replay has neither."""
    world = World()
    world.start(config(service("dns"), service("off", ("192.0.2.80/32",), enabled=False)))
    world.run(3.0)
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.router, 10)
    world.lose_pipe()
    world.run(1.0)
    world.connect()
    world.run(1.0)
    for name in (V4, "192.0.2.80/32"):
        assert everywhere(world, name)[:3] == ("not announced", False, 0.0)


def test_the_node_is_summed_up_in_a_sentence() -> None:
    """What is not wanted here is counted apart, and does not make it red."""
    world = World()
    services = [service("dns"), service("off", ("192.0.2.80/32",), enabled=False)]
    world.start(config(*services, service("seen", ("192.0.2.81/32",), observe_only=True)))
    world.run(5.0)
    status = json.loads("".join(render.status_json(snapshot(world))))
    assert status["headline"] == "2 of 2 prefixes announced, 2 not wanted here, 2 of 2 sessions up"
    assert status["mood"] == "ok"
    world.set_session(LEAF1, up=False)
    status = json.loads("".join(render.status_json(snapshot(world))))
    assert (status["headline"].endswith("1 of 2 sessions up"), status["mood"]) == (True, "warn")


def test_why_explains_a_prefix_a_service_or_all_that_is_not_well() -> None:
    """A service has all of its prefixes; without a word, what is well and what nobody wants is counted and left out."""
    world = World()
    services = [service("dns"), service("off", ("192.0.2.80/32",), enabled=False), service("web", ("192.0.2.81/32",))]
    world.outcomes["web"] = ends.REFUSED
    world.start(config(*services))
    world.run(5.0)

    def why(word: str) -> Why:
        return read(Why, json.loads("".join(render.why_json(snapshot(world), word))))

    assert [e.prefix.prefix for e in why("dns").prefixes] == [V4, V6]
    assert [e.prefix.prefix for e in why("192.0.2.81").prefixes] == ["192.0.2.81/32"]
    assert [e.prefix.service for e in why("off").prefixes] == ["off"]
    node = why("")
    assert [e.prefix.service for e in node.prefixes] == ["web"]
    lines = show_why(node)
    assert lines[0] == "2 of 3 prefixes announced, 1 not wanted here, 2 of 2 sessions up"
    assert lines[-2:] == [
        "2 announced at their best, at every neighbor",
        "1 not wanted here: disabled, or only observed",
    ]
    assert show_why(replace(node, well=1))[-2] == "1 announced at its best, at every neighbor"
    with pytest.raises(LookupError, match="no prefix and no service 'wbe' is configured here"):
        why("wbe")


def test_a_check_that_cannot_be_made_says_why_there_is_no_verdict() -> None:
    """A program that may not be run never gets a verdict: the evidence names it."""
    world = World()
    world.outcomes["dns"] = ends.NOT_RUN
    world.start(config())
    world.run(5.0)
    assert prefix(world).decision.reason == "nothing_known"
    assert prefix(world).decision.evidence == "no verdict yet: answers 0 of 3 successes (last not_run: as told)"


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
