"""How a last resort is shown: while nobody needs it, while it is what users have, and when something is wrong with it."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from anycast_agent.api import render
from anycast_agent.api.page import page
from anycast_agent.api.shapes import Status, Why, read
from anycast_agent.cli.live_verbs import show_status, show_why
from anycast_agent.metrics import Metrics
from tests.api.surfaces import picture
from tests.support import ends
from tests.support.world import LEAF1, LEAF2, V4, V6, World, config, cover, service

COVER4, COVER6 = "192.0.2.52/31", "2001:db8:53::52/127"
COVERS = (cover(COVER4, V4), cover(COVER6, V6))


def covered(**changes: Any) -> World:
    world = World()
    world.start(config(service("dns", covers=COVERS, **changes)))
    world.until(lambda w: len(w.router) == 8, 10)
    return world


def fallen() -> World:
    world = covered()
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.announced(V4) and not w.announced(V6), 30)
    world.run(3.0)
    return world


def status(world: World) -> Status:
    return read(Status, json.loads("".join(render.status_json(picture(world)))))


def why(world: World, word: str = "") -> Why:
    return read(Why, json.loads("".join(render.why_json(picture(world), word))))


def metrics(world: World) -> dict[tuple[str, str], float]:
    """(name, prefix) of what has no other label than the service."""
    text = Metrics(lambda: picture(world)).text()
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {(s.name, s.labels["prefix"]): s.value for s in samples if set(s.labels) == {"service", "prefix"}}


def test_one_that_nobody_needs_is_shown_and_is_well() -> None:
    """The headline counts prefixes, not covers; ``why`` has it beside its prefix."""
    world = covered()
    shown = status(world)
    assert (shown.headline, shown.mood) == ("2 of 2 prefixes announced, 2 of 2 sessions up", "ok")
    first, second = shown.services["dns"].last_resorts
    assert (first.prefix, first.protects, first.state, first.mood) == (COVER4, (V4,), "announced", "ok")
    assert (second.prefix, second.on_wire.value, second.reason) == (COVER6, True, "last_resort")
    assert [(r.neighbor, r.will) for r in first.routes] == [(LEAF1, "keep"), (LEAF2, "keep")]
    (prefix, _) = shown.services["dns"].prefixes
    assert (prefix.last_resort, prefix.on_last_resort.value, prefix.advice) == (COVER4, False, ())
    lines = show_why(why(world, V4))
    assert f"  last resort {COVER4}: announced; the rest of it is discarded here, by a route of ours" in lines
    assert show_why(why(world))[-1] == "2 announced at their best, at every neighbor"
    assert any(line.startswith(COVER4) and "sent to 2 of 2" in line for line in show_status(shown))
    assert metrics(world)["anycast_prefix_on_last_resort", V4] == 0
    assert metrics(world)["anycast_last_resort_on_wire", COVER4] == 1
    assert metrics(world)["anycast_last_resort_blackholed", COVER4] == 1


def test_a_service_without_one_has_nothing_of_it() -> None:
    """Neither a table on the page nor a series of a last resort; the prefix is on none."""
    world = World()
    world.start(config(service("dns")))
    world.until(lambda w: len(w.router) == 4, 10)
    assert status(world).services["dns"].last_resorts == ()
    assert "Last resort" not in "".join(page(picture(world)))
    found = metrics(world)
    assert found["anycast_prefix_on_last_resort", V4] == 0
    assert not [name for name, _ in found if name.startswith("anycast_last_resort")]


def test_a_prefix_of_which_routers_have_only_that_is_red_and_counted() -> None:
    """On the page, in JSON, status and metrics; and ``why`` says what it means and what to type."""
    world = fallen()
    shown = status(world)
    said = "0 of 2 prefixes announced, 2 on last resort, 2 of 2 sessions up"
    assert (shown.headline, shown.mood, shown.counts.last_resort) == (said, "bad", 2)
    (prefix, _) = shown.services["dns"].prefixes
    assert (prefix.state, prefix.mood, prefix.on_last_resort.value) == ("last resort", "bad", True)
    assert prefix.headline == f"not announced; on last resort, {COVER4}"
    lines = show_why(why(world, V4))
    at = next(n for n, line in enumerate(lines) if line.startswith("  meaning   "))
    assert lines[at : at + 4] == [
        f"  meaning   this node still announces {COVER4}: users come here only while no node announces {V4}",
        f"            type on the other nodes: anycast-agent why {V4}; if one says announced, its users are served there",
        "            if none does, users get whatever dns answers here: mend dns, or its checks if dns is well",
        "            if a wrong answer is worse than none: set enabled: false for dns here; anycast-agent reload --force",
    ]
    html = "".join(page(picture(world)))
    assert f'<span class="bad">not announced; on last resort, {COVER4}</span>' in html
    assert f"type on the other nodes: anycast-agent why {V4}" in html
    assert metrics(world)["anycast_prefix_on_last_resort", V4] == 1
    assert {e.prefix.prefix for e in why(world).prefixes} == {V4, V6}


def test_a_cover_names_what_it_protects() -> None:
    """``why 192.0.2.52/31`` explains the prefixes inside; the names that are offered have it."""
    world = covered()
    (found,) = why(world, COVER4).prefixes
    assert (found.prefix.prefix, [c.prefix for c in found.last_resorts]) == (V4, [COVER4])
    assert COVER4 in "".join(render.names_json(picture(world)))


def test_one_that_is_not_announced_is_not_well_and_says_what_it_lacks() -> None:
    """Though the prefix itself is at its best."""
    world = World()
    world.kernel_errors.add(COVER4)
    world.start(config(service("dns", covers=COVERS)))
    world.until(lambda w: len(w.router) == 6, 10)
    assert status(world).mood == "bad"
    (found,) = why(world).prefixes
    assert (found.prefix.prefix, found.prefix.mood) == (V4, "ok")
    lines = show_why(why(world))
    said = next(line for line in lines if line.startswith(f"  last resort {COVER4}"))
    assert "not announced; 13. last resort: the rest of 192.0.2.52/31 is not discarded on this node" in said
    assert "permission denied" in said
    assert any(line.startswith("    changes the agent adds a blackhole route") for line in lines)
    assert metrics(world)["anycast_last_resort_announce", COVER4] == 0
    assert metrics(world)["anycast_last_resort_blackholed", COVER4] == 0


def test_one_that_stays_out_with_a_fault_is_a_warning() -> None:
    """Its blackhole route is gone and cannot be put back: announced, and yellow."""
    world = covered()
    world.kernel_errors.add(COVER4)
    world.set_blackhole(COVER4, None)
    world.run(3.0)
    shown = status(world)
    assert shown.mood == "warn"
    (found, _) = shown.services["dns"].last_resorts
    assert (found.state, found.mood, found.headline) == ("announced", "warn", "announced, with a fault")
    assert "13. last resort: <b>blackhole_missing</b>" in "".join(page(picture(world)))
    assert metrics(world)["anycast_blackhole_repairs_total", COVER4] == 1


def test_a_service_that_is_not_wanted_here_is_off_with_its_last_resort() -> None:
    """Neither red nor counted."""
    world = covered()
    world.offer(config(service("dns", covers=COVERS, enabled=False)), force=True)
    world.until(lambda w: not w.router, 10)
    shown = status(world)
    assert {c.mood for c in shown.services["dns"].last_resorts} == {"off"}
    assert shown.counts.last_resort == 0


def test_where_nobody_knows_it_is_unknown() -> None:
    """Null in JSON, NaN in the metrics: the speaker is away."""
    world = fallen()
    world.lose_pipe()
    (prefix, _) = status(world).services["dns"].prefixes
    assert prefix.on_last_resort.value is None
    value = metrics(world)["anycast_prefix_on_last_resort", V4]
    assert value != value
