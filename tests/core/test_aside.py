"""Local consumers: when they go to another replica, and when they come back. By table, in stories, and at random."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.consumers import AsideState, LocalConsumers
from anycast_agent.core.model import AddressState, SessionState, address_of
from anycast_agent.core.news import ConfigApplied, SessionMoved, SpeakerGone
from anycast_agent.core.parts.aside import LINGER, RETURN_WITHIN, Desire, Situation, desire
from anycast_agent.core.parts.offers import ECHO_GONE_WITHIN, MAX_PATHS, Offered, Offers
from anycast_agent.core.requests import Asker, HandOver
from tests.conftest import examples
from tests.support import ends
from tests.support.parts import PartBench
from tests.support.world import LEAF1, LEAF2, V4, V6, World, config, service

ROUTER = "198.51.100.1"
A4, A6 = address_of(V4), address_of(V6)
FOLLOW = config(service(local_consumers=LocalConsumers.FOLLOW))
AS = FOLLOW.neighbors[LEAF1].local_as
OTHER_AS = 65102

# --- the decision, by table ---

WITHDRAWN = Situation(LocalConsumers.FOLLOW, True, False, True, 10.0, (ROUTER,), (ROUTER,))
HOME, ASIDE, RETURNING, BROKEN = AsideState.HOME, AsideState.ASIDE, AsideState.RETURNING, AsideState.BROKEN

DECISIONS: list[tuple[str, dict[str, object], AsideState, AsideState | None]] = [
    ("withdrawn, and offered by another node", {}, HOME, ASIDE),
    ("it is there already", {}, ASIDE, ASIDE),
    ("rules are missing", {}, BROKEN, ASIDE),
    ("it was about to return", {}, RETURNING, ASIDE),
    ("offered by nobody", {"offered": ()}, HOME, HOME),
    ("offered by nobody any more", {"offered": ()}, ASIDE, HOME),
    ("a router may still have our route", {"withdrawn_at": None}, HOME, HOME),
    ("a router may have our route again", {"withdrawn_at": None}, ASIDE, HOME),
    ("it is to be announced", {"announce": True}, ASIDE, RETURNING),
    ("it is announced", {"announce": True}, HOME, HOME),
    ("it returns", {"announce": True}, RETURNING, RETURNING),
    ("announced, and rules are left", {"announce": True}, BROKEN, HOME),
    ("the address has gone", {"there": False}, ASIDE, HOME),
    ("nobody knows whether the address is there", {"there": None}, ASIDE, None),
    ("a stop takes the address in a moment", {"leaving": True, "stays": False}, ASIDE, None),
    ("a stop leaves the address", {"leaving": True}, ASIDE, HOME),
    ("a stop starts nothing new", {"leaving": True, "stays": False}, HOME, HOME),
    ("off", {"rule": LocalConsumers.OFF}, ASIDE, HOME),
    ("nothing known yet, left by an earlier agent", {"decided": False}, ASIDE, None),
    ("nothing known yet", {"decided": False}, HOME, None),
    ("always, offered by nobody", {"rule": LocalConsumers.ALWAYS, "offered": ()}, HOME, ASIDE),
    ("always, no session is up", {"rule": LocalConsumers.ALWAYS, "routers": ()}, HOME, HOME),
]


@pytest.mark.parametrize(("changes", "state", "expected"), [d[1:] for d in DECISIONS], ids=[d[0] for d in DECISIONS])
def test_where_consumers_go(changes: dict[str, object], state: AsideState, expected: AsideState | None) -> None:
    found = desire(replace(WITHDRAWN, **changes), state)  # type: ignore[arg-type]
    assert (found.state if found is not None else None) is expected
    if isinstance(found, Desire) and found.state is ASIDE:
        assert found.gateways == (ROUTER,)


# --- who offers it ---


class Bench(PartBench):
    def __init__(self) -> None:
        super().__init__()
        self.offers = Offers(self.board)
        self.install(self.offers)
        self.post(ConfigApplied(FOLLOW, None))

    def see(self, neighbor: str = LEAF1, path: str = "", *, origin: int = OTHER_AS) -> None:
        self.post(ev.PathSeen(neighbor, V4, path, (65001, origin)))


def test_a_path_of_another_as_is_an_offer_and_one_of_our_own_may_be_an_echo() -> None:
    """Our own AS: once it has outlived our withdrawal by long enough, another node of that AS announces it."""
    bench = Bench()
    bench.see(origin=AS)
    assert bench.offers.of(V4, None, bench.now) == Offered()
    assert bench.offers.of(V4, bench.now, bench.now) == Offered((), bench.now + ECHO_GONE_WITHIN)
    assert bench.offers.of(V4, bench.now, bench.now + ECHO_GONE_WITHIN) == Offered((LEAF1,))
    bench.see(LEAF2)
    assert bench.offers.of(V4, None, bench.now) == Offered((LEAF2,))
    bench.see(origin=OTHER_AS)
    assert bench.offers.of(V4, None, bench.now).neighbors == (LEAF1, LEAF2)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        (ev.PathGone(LEAF1, V4, ""), (LEAF2,)),
        (SessionMoved(LEAF1, SessionState.DOWN), (LEAF2,)),
        (SessionMoved(LEAF1, SessionState.UNKNOWN), (LEAF2,)),
        (SessionMoved(LEAF1, SessionState.UP), (LEAF1, LEAF2)),
        (SpeakerGone("broke"), ()),
        (ConfigApplied(config(service(neighbors=(LEAF2,)), neighbors=(LEAF2,)), FOLLOW), (LEAF2,)),
    ],
)
def test_an_offer_goes_with_what_it_rests_on(gone: object, left: tuple[str, ...]) -> None:
    bench = Bench()
    bench.see(LEAF1)
    bench.see(LEAF2)
    bench.board.take_touched()
    bench.post(gone)
    assert bench.offers.of(V4, None, bench.now).neighbors == left


def test_offers_are_bounded_and_repeating_one_is_no_news() -> None:
    bench = Bench()
    for n in range(2 * MAX_PATHS):
        bench.see(path=str(n))
    bench.post(ev.PathSeen("nobody", V4, "", (65001, OTHER_AS)), ev.PathSeen(LEAF1, "203.0.113.1/32", "", (65001,)))
    assert sum(len(paths) for by in bench.offers._paths.values() for paths in by.values()) == MAX_PATHS
    bench.board.take_touched()
    bench.see(path="0")
    assert not bench.board.is_touched


# --- stories, with the whole core ---


def offer(world: World, neighbor: str = LEAF1, prefix: str = V4, origin: int = OTHER_AS) -> None:
    world.post(ev.PathSeen(neighbor, prefix, "", (65001, origin)))


def aside_world(**outcomes: object) -> World:
    """Dead here, and leaf1 offers the IPv4 prefix from another node."""
    world = World()
    world.start(FOLLOW)
    world.until(lambda w: len(w.router) == 4, 5)
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: not w.router, 5)
    offer(world)
    world.until(lambda w: w.aside == {A4: ASIDE}, 1)
    return world


def sets(world: World) -> list[tuple[str, AsideState, tuple[str, ...]]]:
    return [(a.address, a.state, a.gateways) for _, a in world.actions if isinstance(a, act.SetAside)]


def test_consumers_follow_an_offer_and_each_prefix_by_itself() -> None:
    """Only after the withdrawal was sent; only where somebody is in sight; to the router that offers it."""
    world = aside_world()
    assert sets(world) == [(A4, ASIDE, (world.engine.parts.configuration.config.neighbors[LEAF1].address,))]  # type: ignore[union-attr]
    at = next(t for t, a in world.actions if isinstance(a, act.SetAside))
    assert all(t <= at for t, what, key in world.updates if what == "withdraw" and key.prefix == V4)


def test_another_router_that_offers_it_is_used_as_well() -> None:
    world = aside_world()
    offer(world, LEAF2)
    world.run(0.1)
    assert len(sets(world)[-1][2]) == 2
    world.post(ev.PathGone(LEAF1, V4, ""))
    world.run(0.1)
    assert len(sets(world)[-1][2]) == 1
    assert world.aside == {A4: ASIDE}


def test_the_moment_nobody_offers_it_they_are_served_here() -> None:
    """At once, and not gently: a packet that nobody takes is worse than a refusal."""
    world = aside_world()
    world.post(ev.PathGone(LEAF1, V4, ""))
    world.run(0.01)
    assert sets(world)[-1][:2] == (A4, HOME)
    assert world.aside == {}


def test_they_return_before_the_route_is_announced_again() -> None:
    """Gently: what began aside goes on for a while. Then nothing of ours is left."""
    world = aside_world()
    del world.outcomes["dns"]
    announced = len(world.updates)
    world.until(lambda w: len(w.router) == 4, 20)
    back = next(t for t, a in world.actions if isinstance(a, act.SetAside) and a.state is RETURNING)
    put = min(t for t, what, key in world.updates[announced:] if what == "announce" and key.prefix == V4)
    assert back <= put
    assert world.aside == {A4: RETURNING}
    world.run(LINGER + 1)
    assert world.aside == {}
    assert [s[1] for s in sets(world)] == [ASIDE, RETURNING, HOME]


def test_a_return_that_fails_delays_the_route_by_a_bounded_time() -> None:
    """Users elsewhere do not wait for this node's own. The failure is shown, and tried again."""
    world = aside_world()
    world.aside_errors.add(A4)
    del world.outcomes["dns"]
    world.until(lambda w: any(key.prefix == V6 for key in w.router), 20)
    took = world.until(lambda w: any(key.prefix == V4 for key in w.router), 20)
    assert RETURN_WITHIN / 2 < took < RETURN_WITHIN + 0.5
    assert world.engine is not None
    prefixes = world.engine.snapshot(world.now).services["dns"].prefixes
    assert "permission denied" in next(p for p in prefixes if p.prefix == V4).consumers.error
    world.aside_errors.clear()
    world.until(lambda w: w.aside == {A4: RETURNING}, 35)


def test_what_somebody_breaks_is_repaired() -> None:
    world = aside_world()
    world.set_aside(A4, BROKEN)
    world.run(0.1)
    assert world.aside == {A4: ASIDE}
    world.set_aside(A4, HOME)
    world.run(0.1)
    assert world.aside == {A4: ASIDE}


def test_a_stop_leaves_no_rule_and_a_hand_over_leaves_all() -> None:
    world = aside_world()
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: w.exit is not None, 25)
    assert world.exit is not None
    assert (world.exit.code, world.aside, world.addresses) == (0, {}, {})
    assert sets(world)[-1][:2] == (A4, HOME)

    world = aside_world()
    for address in (A4, A6):
        world.set_address(address, AddressState("lo", ours=False))
    world.post(ev.StopAsked("SIGTERM"))
    world.until(lambda w: w.exit is not None, 25)
    assert world.aside == {}, "the address stays, and nobody looks after its rules any more"

    world = aside_world()
    world.post(ev.Asked(HandOver(60.0), Asker("SIGUSR2")))
    world.run(1.5 * world.kernel_delay)  # the files were looked at, and the pipe is asked to wait
    world.post(ev.PathGone(LEAF1, V4, ""))
    world.until(lambda w: w.exit is not None, 25)
    assert world.aside == {A4: ASIDE}


@pytest.mark.parametrize("offered", [True, False])
def test_what_an_earlier_agent_left_is_kept_until_it_is_known(offered: bool) -> None:
    """A killed agent leaves the rules. The next one does not touch them before it has decided; then as always."""
    world = aside_world()
    world.kill()
    world.probe_delay = 0.3
    world.start(FOLLOW)
    world.run(0.2)
    assert world.aside == {A4: ASIDE}
    if offered:
        offer(world)
    world.run(5)
    assert world.aside == ({A4: ASIDE} if offered else {})


def test_a_reload_that_turns_it_off_or_takes_the_service_away_leaves_no_rule() -> None:
    for new in (config(service()), config(service(prefixes=(V6,)))):
        world = aside_world()
        world.offer(new, force=True)
        world.run(10)
        assert world.aside == {}


def test_off_is_the_default_and_does_nothing() -> None:
    world = World()
    world.start(config())
    world.until(lambda w: len(w.router) == 4, 5)
    world.outcomes["dns"] = ends.REFUSED
    offer(world)
    world.run(10)
    assert sets(world) == []


def test_always_goes_to_every_router_of_the_family() -> None:
    world = World()
    world.start(config(service(local_consumers=LocalConsumers.ALWAYS)))
    world.until(lambda w: len(w.router) == 4, 5)
    world.outcomes["dns"] = ends.REFUSED
    world.until(lambda w: A4 in w.aside, 10)
    assert A6 not in world.aside, "its routers have IPv4 addresses: they take no IPv6 packet of ours"
    assert len(sets(world)[-1][2]) == 2
    for name in (LEAF1, LEAF2):
        world.set_session(name, up=False)
    world.run(0.1)
    assert world.aside == {}


# --- at random ---

KINDS = (
    "dead",
    "well",
    "offer",
    "gone",
    "down",
    "up",
    "break",
    "kill",
    "error",
    "fine",
    "address",
    "reload",
    "speaker",
)
PAUSES = (0.0, 0.05, 1.0, 7.0, 40.0)
Step = tuple[str, str, float]
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from((LEAF1, LEAF2)), st.sampled_from(PAUSES)), min_size=3, max_size=16
)


class Story:
    """Steps in a world, judged by it after each pause: who announces, who offers, which rules there are."""

    def __init__(self) -> None:
        self.world = World()
        self.world.start(FOLLOW)
        self.offered: set[str] = set()
        self.seen_aside = 0

    def step(self, what: str, name: str, pause: float) -> None:
        world = self.world
        if what in ("dead", "well"):
            world.outcomes["dns"] = ends.REFUSED if what == "dead" else ends.OK
        elif what == "offer" and world.sessions[name] and world.connected:
            self.offered.add(name)
            offer(world, name)
        elif what == "gone":
            self.offered.discard(name)
            world.post(ev.PathGone(name, V4, ""))
        elif what in ("down", "up"):
            world.set_session(name, up=what == "up")
            self.offered.discard(name)
        elif what == "break" and A4 in world.aside:
            world.set_aside(A4, BROKEN)
        elif what == "kill":
            world.kill()
            world.start(FOLLOW)
            self.offered.clear()
        elif what in ("error", "fine"):
            world.aside_errors = {A4} if what == "error" else set()
        elif what == "address" and A4 in world.addresses:
            world.set_address(A4, None)
        elif what == "reload":
            world.offer(FOLLOW)
        elif what == "speaker":
            world.speaker_dies()
            world.later(0.5, lambda: None if world.connected else world.connect())
            self.offered.clear()
        world.run(pause)
        self.judge(what, pause)

    def judge(self, what: str, pause: float) -> None:
        world = self.world
        if world.aside.get(A4) is ASIDE:
            self.seen_aside += 1
            if pause >= 1.0 and not world.aside_errors and world.reason(V4) != "nothing_known":
                assert self.offered, f"{what}: aside, and nobody else is in sight"
                assert not world.announced(V4), f"{what}: aside, and announced"

    def end(self) -> None:
        """All is well again: announced everywhere, and no rule is left."""
        world = self.world
        world.aside_errors.clear()
        for name in (LEAF1, LEAF2):
            world.set_session(name, up=True)
        world.outcomes["dns"] = ends.OK
        world.run(LINGER + 45)
        assert world.aside == {}
        assert world.announced(V4) == {LEAF1, LEAF2}


@settings(max_examples=examples(60))
@given(STEPS)
def test_aside_only_while_somebody_else_is_in_sight(steps: list[Step]) -> None:
    """Whatever happens, in any order; and with all faults over, nothing of ours is left in the kernel."""
    story = Story()
    for step in steps:
        story.step(*step)
    story.end()


def test_random_stories_are_aside_often_enough() -> None:
    """So that the property above is about something."""
    chance = random.Random(7)
    aside = 0
    for _ in range(40):
        story = Story()
        story.step("dead", LEAF1, 7.0)
        for _ in range(12):
            story.step(chance.choice(KINDS), chance.choice((LEAF1, LEAF2)), chance.choice(PAUSES))
        story.end()
        aside += story.seen_aside > 0
    assert aside >= 12
