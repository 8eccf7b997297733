"""The last resort in virtual time: when it is announced, what takes it back, and its blackhole route."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.life import Life
from anycast_agent.core.model import (
    AddressMode,
    AddressState,
    Config,
    Family,
    RouteKey,
    Tier,
    Will,
    address_of,
)
from anycast_agent.core.outcome import Outcome
from anycast_agent.core.requests import Asker, HandOver
from tests.support import ends
from tests.support.world import LEAF1, LEAF2, V4, V6, World, config, cover, service

COVER4, COVER6 = "192.0.2.52/31", "2001:db8:53::52/127"
COVERS = (cover(COVER4, V4), cover(COVER6, V6))
BOTH = {LEAF1, LEAF2}


def covered(**changes: object) -> Config:
    return config(service("dns", covers=COVERS, **changes))  # type: ignore[arg-type]


def running(conf: Config | None = None, world: World | None = None) -> World:
    world = world or World()
    world.start(conf or covered())
    world.until(lambda w: len(w.router) == 8, 10)
    return world


def reason(world: World, prefix: str) -> str:
    assert world.engine is not None
    return world.engine.parts.last_resort.states[prefix].decision.reason


def test_it_is_announced_before_any_verdict_and_after_address_and_blackhole() -> None:
    """With its own attributes and the will to be kept; the prefix itself waits for its checks."""
    world = World()
    world.outcomes["dns"] = ends.REFUSED
    world.start(covered())
    world.until(lambda w: w.announced(COVER4) == BOTH and w.announced(COVER6) == BOTH, 5)
    assert world.announced(V4) == set()
    puts = [(at, a) for at, a in world.actions if isinstance(a, act.PutRoutes)]
    assert {a.will for _, a in puts} == {Will.KEEP}
    assert {a.attributes.communities for _, a in puts} == {("65101:9",)}
    assert {p for _, a in puts for p in a.prefixes} == {COVER4, COVER6}
    blackholed = next(at for at, a in world.actions if isinstance(a, act.AddBlackholes))
    assert blackholed < min(at for at, _ in puts)
    assert world.blackholes == {COVER4: True, COVER6: True}


@pytest.mark.parametrize("outcome", [ends.REFUSED, ends.TIMEOUT, ends.NOT_RUN])
def test_no_check_takes_it_back(outcome: Outcome) -> None:
    """Down, in doubt or stale for an hour, and back again: not one UPDATE for the covers."""
    world = running()
    world.outcomes["dns"] = outcome
    world.until(lambda w: not w.announced(V4) and not w.announced(V6), 30)
    world.run(3600.0)
    del world.outcomes["dns"]
    world.until(lambda w: len(w.router) == 8, 120)
    assert [u for u in world.updates if u[2].prefix in (COVER4, COVER6) and u[1] == "withdraw"] == []
    assert len([u for u in world.updates if u[2].prefix in (COVER4, COVER6)]) == 4


def test_an_agent_that_dies_leaves_it_and_a_new_one_stands_behind_it() -> None:
    """The prefixes go after dead_man; the covers stay, and no UPDATE tells of the restart."""
    world = running()
    world.kill()
    world.until(lambda w: not w.announced(V4), 10)
    world.run(3600.0)
    assert world.announced(COVER4) == BOTH
    before = len(world.updates)
    world.outcomes["dns"] = ends.REFUSED
    world.start(covered())
    world.run(60.0)
    assert world.announced(COVER4) == BOTH
    assert world.updates[before:] == []
    assert [a for _, a in world.actions if isinstance(a, act.ConfirmRoutes) and RouteKey(LEAF1, COVER4) in a.keys]


def test_a_stop_withdraws_it_before_anything_of_it_goes_from_the_node() -> None:
    """Route, then linger, then address and blackhole; nothing is left."""
    world = running(covered(linger=1.0))
    began = len(world.actions)
    at = world.now
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: w.exit is not None, 20)
    assert world.exit is not None
    assert world.exit.code == 0
    assert (world.addresses, world.blackholes) == ({}, {})
    withdrawn = [t for t, what, key in world.updates if what == "withdraw" and key.prefix in (COVER4, COVER6)]
    assert len(withdrawn) == 4
    removed = [
        t for t, a in world.actions[began:] if isinstance(a, act.RemoveAddresses | act.RemoveBlackholes)
    ]  # fmt: skip
    assert min(removed) >= max(withdrawn) + 0.99
    assert max(withdrawn) - at < 1.0


def test_a_hand_over_leaves_everything_of_it() -> None:
    """Route, blackhole and address."""
    world = running()
    world.post(ev.Asked(HandOver(), Asker("SIGUSR2")))
    world.run(10.0)
    assert world.engine is None
    assert world.announced(COVER4) == BOTH
    assert set(world.blackholes) == {COVER4, COVER6}


@pytest.mark.parametrize("change", [{"enabled": False}, {"observe_only": True}])
def test_a_service_that_is_not_wanted_here_has_none(change: dict[str, bool]) -> None:
    """A person says so; the blackhole may stay, and the reason is that of the service."""
    world = running()
    world.offer(covered(**change), force=True)
    world.until(lambda w: not w.router, 10)
    assert reason(world, COVER4) in change or reason(world, COVER4) == "disabled"


def test_without_the_address_there_is_none() -> None:
    """Somebody takes it away and it cannot be put back: the cover goes with the prefix; it comes back with it."""
    world = running()
    world.kernel_errors.add(address_of(V4))
    world.set_address(address_of(V4), None)
    world.until(lambda w: not w.announced(V4) and not w.announced(COVER4), 10)
    assert reason(world, COVER4) == "address_missing"
    assert world.announced(COVER6) == BOTH
    world.kernel_errors.clear()
    world.until(lambda w: len(w.router) == 8, 60)


def test_an_address_that_is_put_back_at_once_costs_no_update() -> None:
    """As for the prefix itself."""
    world = running()
    before = len(world.updates)
    world.set_address(address_of(V4), None)
    world.run(10.0)
    assert world.updates[before:] == []


def test_without_a_return_route_there_is_none() -> None:
    """Of the family that lost it."""
    world = running()
    world.set_return_route(Family.IPV4, False)
    world.until(lambda w: not w.announced(COVER4), 5)
    assert reason(world, COVER4) == "no_return_route"
    assert world.announced(COVER6) == BOTH


def test_the_interface_of_the_address_counts() -> None:
    """Down: no cover."""
    world = running()
    world.links["lo"] = False
    world.post(ev.LinkSeen("lo", up=False))
    world.until(lambda w: not w.router, 5)
    assert reason(world, COVER4) == "interface_down"


# --- the blackhole route ---


def test_a_blackhole_that_cannot_be_added_keeps_a_new_cover_back_and_says_why() -> None:
    """The prefix itself does not wait for it; it is tried again until it comes."""
    world = World()
    world.kernel_errors.add(COVER4)
    world.start(covered())
    world.until(lambda w: len(w.router) == 6, 10)
    world.run(20.0)
    assert world.announced(V4) == BOTH
    assert world.announced(COVER4) == set()
    assert reason(world, COVER4) == "blackhole_missing"
    tried = [a for _, a in world.actions if isinstance(a, act.AddBlackholes) and COVER4 in a.prefixes]
    assert 3 <= len(tried) <= 10
    world.kernel_errors.clear()
    world.until(lambda w: w.announced(COVER4) == BOTH, 60)


def test_a_blackhole_that_is_removed_is_put_back_and_the_cover_stays() -> None:
    """At once after a long peace; later each time where somebody fights for it. Never a withdrawal."""
    world = running()
    world.run(60.0)
    before = len(world.updates)
    world.set_blackhole(COVER4, None)
    assert world.until(lambda w: COVER4 in w.blackholes, 5) < 0.1
    for _ in range(5):
        world.until(lambda w: COVER4 in w.blackholes, 60)
        world.set_blackhole(COVER4, None)
    assert reason(world, COVER4) == "blackhole_missing"
    assert world.until(lambda w: COVER4 in w.blackholes, 60) > 1.0
    world.run(1.0)
    assert reason(world, COVER4) == "last_resort"
    assert world.updates[before:] == []


def test_what_an_earlier_run_left_is_cleaned_up_once_its_cover_is_withdrawn() -> None:
    """After a crash, with another configuration."""
    world = running()
    world.kill()
    world.start(config(service("dns")))
    world.until(lambda w: not w.blackholes, 20)
    assert world.announced(COVER4) == set()
    assert world.announced(V4) == BOTH


def test_a_blackhole_of_somebody_else_serves_and_stays() -> None:
    """Seen before the first turn; nothing is added and, at the end, nothing removed."""
    world = World(blackholes={COVER4: False})
    running(world=world)
    assert [a.prefixes for _, a in world.actions if isinstance(a, act.AddBlackholes)] == [(COVER6,)]
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: w.exit is not None, 20)
    assert world.blackholes == {COVER4: False}


def test_an_address_of_the_node_inside_keeps_a_new_cover_back() -> None:
    """It would draw what is sent to that node alone; once the address has gone, the cover comes."""
    world = World(strangers={COVER4: "192.0.2.52"})
    world.start(covered())
    world.until(lambda w: len(w.router) == 6, 10)
    assert reason(world, COVER4) == "node_address_inside"
    world.strangers.clear()
    world.report_kernel()
    world.until(lambda w: w.announced(COVER4) == BOTH, 5)
    world.strangers[COVER4] = "192.0.2.52"
    world.report_kernel()
    world.run(10.0)
    assert world.announced(COVER4) == BOTH
    assert reason(world, COVER4) == "node_address_inside"


def test_verify_adds_nothing_and_waits_for_whoever_does() -> None:
    """Neither address nor blackhole route; with both there it is announced, and stays when the blackhole goes."""
    world = World()
    world.start(replace(covered(), address_mode=AddressMode.VERIFY))
    world.set_address(address_of(V4), AddressState("lo", ours=False))
    world.run(5.0)
    assert world.announced(COVER4) == set()
    assert reason(world, COVER4) == "blackhole_missing"
    world.set_blackhole(COVER4, ours=False)
    world.until(lambda w: w.announced(COVER4) == BOTH, 5)
    assert not [a for _, a in world.actions if isinstance(a, act.AddBlackholes | act.AddAddresses)]


def test_an_action_that_never_ends_is_given_up_and_the_kernel_asked() -> None:
    """The next one comes with the answer; other actions have not waited."""
    world = running()
    assert world.engine is not None
    lost: list[act.Action] = []
    execute = world.execute
    world.execute = lambda a: lost.append(a) if isinstance(a, act.AddBlackholes) else execute(a)  # type: ignore[method-assign]
    world.set_blackhole(COVER4, None)
    world.run(5.0)
    assert lost
    assert [a for _, a in world.actions if isinstance(a, act.Resync) and "blackhole" in a.why]
    world.execute = execute  # type: ignore[method-assign]
    world.until(lambda w: COVER4 in w.blackholes, 30)


# --- reloads ---


def test_a_reload_adds_alters_and_takes_back_a_cover_alone() -> None:
    """The prefixes see no UPDATE of it; the blackhole goes after the route."""
    world = World()
    world.start(config(service("dns")))
    world.until(lambda w: len(w.router) == 4, 10)
    before = len(world.updates)
    world.offer(covered())
    world.until(lambda w: len(w.router) == 8, 5)
    altered = (cover(COVER4, V4, communities=("65101:10",)), COVERS[1])
    world.offer(config(service("dns", covers=altered)))
    world.until(lambda w: w.router[RouteKey(LEAF1, COVER4)].communities == ("65101:10",), 5)
    world.offer(config(service("dns")))
    world.until(lambda w: len(w.router) == 4 and not w.blackholes, 10)
    assert {u[2].prefix for u in world.updates[before:]} == {COVER4, COVER6}
    world.offer(config(service("dns")))  # what is over is forgotten with the next one
    world.run(1.0)
    assert world.engine is not None
    assert not [key for key in world.engine.parts.routes.table.states if key.prefix in (COVER4, COVER6)]
    assert not world.engine.parts.blackholes.records


def test_a_cover_with_two_prefixes_needs_both_addresses() -> None:
    """It draws the users of both."""
    other = "192.0.2.52/32"
    both = service("dns", (V4, other), covers=(cover(COVER4, V4, other),))
    world = World()
    world.start(config(both))
    world.until(lambda w: len(w.router) == 6, 10)
    world.kernel_errors.add(address_of(other))
    world.set_address(address_of(other), None)
    world.until(lambda w: not w.announced(COVER4), 10)
    assert world.announced(V4) == BOTH


def test_one_that_is_turned_away_by_the_reload_guard_is_counted_as_a_route() -> None:
    """Prefixes and covers are what is announced: all covers of healthy prefixes are half of it, and not more."""
    world = running()
    world.offer(config(service("dns")))
    world.until(lambda w: len(w.router) == 4, 10)
    world.offer(covered())
    world.until(lambda w: len(w.router) == 8, 10)
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: len(w.router) == 4, 30)
    world.offer(config(service("dns")))
    world.run(5.0)
    assert world.announced(COVER4) == BOTH


# --- what is told and shown ---


def test_falling_on_the_last_resort_is_told_once_and_shown_as_long_as_it_lasts() -> None:
    """Not at the start, when no verdict is there yet."""
    world = running()
    assert world.engine is not None
    assert not [c for _, c in world.changes if "on last resort" in c.text]
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.announced(V4) and not w.announced(V6), 30)
    world.run(60.0)
    told = [c for _, c in world.changes if "on last resort" in c.text]
    assert {c.subject for c in told} == {V4, V6}
    assert len(told) == 2
    shown = world.engine.snapshot(world.now).services["dns"]
    assert [p.on_last_resort for p in shown.prefixes] == [True, True]
    assert [(c.prefix, c.behind, c.on_wire, c.decision.tier) for c in shown.covers] == [
        (COVER4, (V4,), True, Tier.LAST_RESORT),
        (COVER6, (V6,), True, Tier.LAST_RESORT),
    ]
    del world.outcomes["dns"]
    world.until(lambda w: len(w.router) == 8, 120)
    shown = world.engine.snapshot(world.now).services["dns"]
    assert [p.on_last_resort for p in shown.prefixes] == [False, False]


def test_where_nobody_knows_what_is_on_the_wire_the_last_resort_is_unknown_too() -> None:
    """The speaker is away."""
    world = running()
    assert world.engine is not None
    world.lose_pipe()
    world.run(0.1)
    (first, *_) = world.engine.snapshot(world.now).services["dns"].prefixes
    assert first.on_last_resort is None
    assert world.engine.parts.life.state is Life.RUNNING


# --- with ExaBGP's own troubles ---


def test_exabgp_that_dies_gets_the_cover_again_whatever_the_checks_say() -> None:
    """A new ExaBGP has nothing; the cover is put as soon as it is there."""
    world = running()
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.announced(V4) and not w.announced(V6), 30)
    world.speaker_dies()
    assert not world.router
    world.later(0.5, world.connect)
    world.until(lambda w: w.announced(COVER4) == BOTH, 10)
    assert world.announced(V4) == set()


def test_a_pipe_that_restarts_knows_a_last_resort_by_its_prefix() -> None:
    """It has lost the wills; that of a cover can only be to be kept."""
    from anycast_agent.speaker.pipe.ledger import KEEP, Ledger

    ledger = Ledger(5.0, 30.0, 0.0)
    for prefix in (V4, COVER4, V6, COVER6):
        ledger.found(("198.51.100.1", prefix), "attributes next-hop self nlri", 0.0)
    keys, _ = ledger.overdue(6.0)
    assert [prefix for _, prefix in keys] == [V4, V6]
    assert ledger.entries["198.51.100.1", COVER4].will == KEEP
