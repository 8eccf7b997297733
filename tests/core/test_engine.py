"""The engine against a small world, in virtual time: the stories that the design tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import AddressMode, AddressState, Attributes, Family, Scope, Tier
from anycast_agent.core.requests import Asker, HandOver
from tests.support import ends
from tests.support.world import LEAF1, LEAF2, V4, V6, World, as_sent, check, config, service


def started() -> World:
    world = World()
    world.start(config())
    world.until(lambda w: w.announced(V4) == w.announced(V6) == {LEAF1, LEAF2}, 5)
    return world


def test_a_healthy_service_is_announced_to_every_neighbor() -> None:
    """Address first, three successes, then both families at both leaves."""
    world = started()
    assert world.address_there(V4)
    assert world.address_there(V6)
    snapshot = world.engine.snapshot(world.now) if world.engine else None
    assert snapshot is not None
    assert snapshot.ready
    assert {r.sent for p in snapshot.services["dns"].prefixes for r in p.routes} == {True}


def test_a_failing_service_is_withdrawn_and_comes_back_after_the_hold_down() -> None:
    """Two definite failures withdraw; the address stays; recovery waits for rise and hold-down."""
    world = started()
    world.outcomes["dns"] = ends.BAD_STATUS
    took = world.until(lambda w: not w.router, 5)
    assert took < 1.3
    assert world.reason(V4) == "health_down"
    assert world.address_there(V4)
    del world.outcomes["dns"]
    world.until(lambda w: w.reason(V4) == "hold_down", 5)
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 5)


def test_a_clean_stop_withdraws_lingers_and_removes_the_addresses() -> None:
    """The order is withdrawal, linger, address, exit."""
    world = started()
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: not w.router, 1)
    withdrawn = world.now
    assert world.address_there(V4)
    world.until(lambda w: w.exit is not None, 10)
    assert world.exit == act.Exit(0, "stopped; nothing is left")
    assert not world.addresses
    assert world.now - withdrawn >= 0.9


def test_a_hand_over_leaves_everything_and_the_next_agent_confirms_it() -> None:
    """Not one UPDATE between the old agent and the new one."""
    world = started()
    before = len(world.updates)
    world.post(ev.Asked(HandOver(), Asker("SIGUSR2")))
    world.until(lambda w: w.exit is not None, 1.0)
    assert world.exit is not None
    assert world.exit.hand_over
    world.run(1.0)
    world.start(config())
    world.run(60.0)
    assert world.updates[before:] == []
    assert all(e.unconfirmed_since is None for e in world.ledger.values())


def test_an_address_removed_by_hand_is_put_back_and_nothing_is_withdrawn() -> None:
    """Repair takes a moment in which the route stays; what failed to be repaired is withdrawn."""
    world = started()
    before = len(world.updates)
    world.set_address("192.0.2.53", None)
    world.run(1.0)
    assert world.address_there(V4)
    assert world.updates[before:] == []
    world.kernel_errors.add("192.0.2.53")
    world.set_address("192.0.2.53", None)
    world.until(lambda w: not w.announced(V4), 1)
    assert world.announced(V6)
    assert world.reason(V4) == "address_missing"
    world.kernel_errors.clear()
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 60)


def test_the_wire_is_right_again_after_the_speaker_died() -> None:
    """kill -9 of ExaBGP: the routes are put again by themselves."""
    world = started()
    world.speaker_dies()
    assert not world.router
    world.connect()
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 2)


def test_a_frozen_pipe_is_noticed_and_its_speaker_restarted() -> None:
    """No answers to heartbeats: wedged, ended, started again, announced again."""
    world = started()
    world.pipe_frozen = True
    world.until(lambda w: any(isinstance(a, act.RestartSpeaker) for _, a in w.actions), 10)
    world.until(lambda w: not w.pipe_frozen and w.announced(V4) == {LEAF1, LEAF2}, 10)


def test_a_reload_that_would_withdraw_more_than_half_is_refused_unless_forced() -> None:
    """Nothing changes, the reply lists what would go; with force it goes."""
    world = World()
    both = config(service("dns", (V4,)), service("www", ("192.0.2.80/32",)), service("ntp", ("192.0.2.123/32",)))
    world.start(both)
    world.until(lambda w: len(w.router) == 6, 5)
    less = config(service("dns", (V4,)))
    world.offer(less, request=1)
    replies = [a for _, a in world.actions if isinstance(a, act.Reply)]
    assert not replies[-1].ok
    assert "4 of 6" in replies[-1].lines[0]
    assert len(world.router) == 6
    world.offer(less, force=True, request=2)
    world.until(lambda w: len(w.router) == 2 and len(w.addresses) == 1, 5)


def test_a_service_that_hangs_goes_down_after_the_doubt_window() -> None:
    """Timeouts count only once they have lasted."""
    world = started()
    world.outcomes["dns"] = ends.TIMEOUT
    took = world.until(lambda w: not w.router, 10)
    assert 1.0 < took < 4.0


@pytest.mark.parametrize("has_degraded", [True, False])
def test_a_shared_check_lowers_preference_and_never_withdraws(has_degraded: bool) -> None:
    """Degraded attributes where there are any, the full ones where not; and back. No withdrawal at any time."""
    world = World()
    one = service("dns", checks=(*service().checks, check("backbone", scope=Scope.SHARED)))
    if not has_degraded:
        one = replace(one, attributes={Tier.FULL: one.attributes[Tier.FULL]})
    world.start(config(one))
    world.until(lambda w: len(w.router) == 4, 5)
    world.outcomes["dns/backbone"] = ends.REFUSED
    world.run(5.0)
    assert world.reason(V4) == "shared_check_down"
    assert len(world.router) == 4
    as_path = (65101, 65101) if has_degraded else ()
    assert {a.as_path for a in world.router.values()} == {as_path}
    world.outcomes.clear()
    world.run(5.0)
    assert set(world.router.values()) == {as_sent(Attributes())}
    assert {what for _, what, _ in world.updates} == {"announce"}


def test_with_verify_an_address_that_has_gone_withdraws_at_once_and_nothing_is_touched() -> None:
    """Somebody else puts it there; the agent only looks."""
    there = {a: AddressState("lo", ours=False) for a in ("192.0.2.53", "2001:db8:53::53")}
    world = World(addresses=dict(there))
    world.start(config(address_mode=AddressMode.VERIFY))
    world.until(lambda w: len(w.router) == 4, 5)
    world.set_address("192.0.2.53", None)
    world.until(lambda w: not w.announced(V4), 0.1)
    assert world.announced(V6)
    world.run(10.0)
    world.set_address("192.0.2.53", there["192.0.2.53"])
    world.until(lambda w: len(w.router) == 4, 5)
    assert not [a for _, a in world.actions if isinstance(a, act.AddAddresses | act.RemoveAddresses)]


def test_a_node_of_one_family_only() -> None:
    """No IPv4 at all: neither its addresses nor its way back are missed."""
    world = World(return_route={Family.IPV4: False, Family.IPV6: True})
    world.start(config(service("dns", (V6,))))
    world.until(lambda w: w.announced(V6) == {LEAF1, LEAF2}, 5)


def test_a_configuration_that_comes_after_the_replay_adopts_what_was_found() -> None:
    """The order in which an agent hears of things is not its own: nothing is withdrawn for it."""
    world = started()
    before = list(world.updates)
    world.kill()
    world.engine = Engine(world.now)
    world.generation += 1
    world.connect()
    world.report_kernel()
    world.run(1.0)
    world.offer(config())
    world.run(10.0)
    assert world.updates == before


def test_an_address_that_an_earlier_run_left_is_removed_also_where_its_route_has_gone() -> None:
    """Heard of before the speaker was: nothing else would make anyone look at it again."""
    world = World(addresses={"192.0.2.80": AddressState("lo", ours=True)}, speaker_delay=1.0)
    world.start(config())
    world.until(lambda w: "192.0.2.80" not in w.addresses, 5)


def test_a_put_waits_for_an_address_that_is_being_put_back() -> None:
    """The route may stay as it is meanwhile; anything new about it is said only with its address there."""
    world = started()
    world.kernel_delay = 1.0
    world.set_address("192.0.2.53", None)
    world.offer(config(service("dns", attributes=Attributes(med=50))))
    world.run(0.9)
    assert {key.prefix: a.med for key, a in world.router.items()} == {V4: None, V6: 50}
    world.until(lambda w: w.address_there(V4), 0.2)
    world.until(lambda w: {a.med for a in w.router.values()} == {50}, 0.1)


def test_a_suspended_agent_does_not_blame_the_speaker() -> None:
    """Stopped for longer than the silence that counts as a wedge: on waking up, ExaBGP is not ended for it."""
    world = started()
    assert world.engine is not None
    world.now += 30.0
    world.turn()
    world.run(5.0)
    assert not any(isinstance(a, act.RestartSpeaker) for _, a in world.actions)
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 10)


def test_an_overdue_action_on_addresses_touches_its_own_alone() -> None:
    """The kernel stays known and the others' routes stay; it is asked in full, and its silence is noticed."""
    services = tuple(service(f"s{n}", (f"192.0.2.{n}/32",)) for n in range(1, 4))
    world = World(kernel_delay=0.001)
    world.start(config(*services))
    world.until(lambda w: len(w.router) == 6, 10)
    assert world.engine is not None
    world.kernel_delay = 60.0
    world.set_address("192.0.2.2", None)
    world.run(2.5)
    assert world.engine.opened.overdue_total == 1
    assert world.engine.parts.addresses.known
    asked = [a for _, a in world.actions if isinstance(a, act.Resync) and a.source is ev.Source.KERNEL]
    assert len(asked) == 1
    assert {key.prefix for key in world.router} == {"192.0.2.1/32", "192.0.2.3/32"}
    world.run(5.5)
    assert not world.engine.parts.addresses.known, "no full report came either"
    world.kernel_delay = 0.001
    world.until(lambda w: len(w.router) == 6, 80)


def test_a_reload_is_answered_at_once_where_no_speaker_is_there_to_take_it() -> None:
    """Whoever asked does not wait for a speaker that may not come for hours."""
    engine = Engine(100.0)
    engine.handle(ev.ConfigOffered(config(), request=7), 100.0)
    assert act.Reply(7, True, ("reloaded",)) in engine.settle(100.0).actions


def test_what_an_earlier_run_left_of_an_unknown_service_goes_without_a_linger() -> None:
    """Its linger is not known any more: the address goes as soon as the withdrawals were sent."""
    world, www = World(), "192.0.2.80/32"
    world.start(config(service("dns"), service("www", (www,))))
    world.until(lambda w: w.announced(www) == {LEAF1, LEAF2}, 5)
    world.kill()
    world.start(config(service("dns")))
    world.until(lambda w: not w.announced(www), 5)
    assert world.until(lambda w: not w.address_there(www), 5) < 0.5


def test_a_verdict_ends_an_adoption_also_where_it_is_forgotten_again() -> None:
    """Adopted and found down; the withdrawal waits for a pipe that stands still, and a reload brings another check:
    without a verdict, the route is not adopted once more."""
    world = World()
    world.start(config(adopt_for=60.0))
    world.until(lambda w: w.announced(V4) == {LEAF1, LEAF2}, 5)
    world.kill()
    world.outcomes["dns"] = ends.BAD_STATUS
    world.start(config(adopt_for=60.0))
    world.until(lambda w: w.reason(V4) == "adopted", 5, step=0.001)
    world.pipe_frozen = True
    world.until(lambda w: w.reason(V4) == "health_down", 5, step=0.001)
    world.hangs = {"dns"}
    world.offer(config(service("dns", checks=(check(rise=4),)), adopt_for=60.0), force=True)
    world.run(0.05)
    assert world.reason(V4) == "nothing_known"
