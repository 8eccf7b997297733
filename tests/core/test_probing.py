"""When each check is probed."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import StopAsked
from anycast_agent.core.model import AddressMode, Config
from anycast_agent.core.outcome import Outcome
from anycast_agent.core.parts.probing import PROBE_GRACE, SPREAD_PER_CHECK, ProbeDue, VerdictStale
from tests.conftest import examples
from tests.support import ends
from tests.support.world import V4, V6, World, check, config, service


def started(conf: Config, **changes: object) -> World:
    world = World(**changes)  # type: ignore[arg-type]
    world.start(conf)
    return world


def one(**changes: object) -> Config:
    """A service with one check, with a target of its own."""
    return config(service("dns", (V4,), checks=(check(**changes),)), address_mode=AddressMode.UNMANAGED)  # type: ignore[arg-type]


def runs(world: World) -> list[float]:
    return [at for at, a in world.actions if isinstance(a, RunProbe)]


def gaps(world: World) -> list[float]:
    return [b - a for a, b in itertools.pairwise(runs(world))]


@settings(max_examples=examples(40))
@given(st.floats(0.05, 5.0), st.floats(0.0, 0.5), st.floats(0.001, 0.04))
def test_the_interval_is_from_start_to_start_and_jitter_comes_early_only(
    interval: float, jitter: float, delay: float
) -> None:
    """Never later than configured, and earlier by its share at most; however long a probe takes meanwhile."""
    conf = one(interval=interval, fast_interval=interval, jitter=jitter, timeout=0.05)
    world = started(conf, probe_delay=delay)
    world.run(20 * interval)
    assert len(gaps(world)) >= 15
    assert all(interval * (1 - jitter) - 1e-6 <= gap <= interval + 1e-6 for gap in gaps(world))


def test_jitter_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    """A run can be repeated; two nodes do not probe in step."""
    stories = []
    for seed in ("a", "a", "b"):
        conf = config(service("dns", (V4,), checks=(check(jitter=0.5),)), seed=seed)
        world = started(conf)
        world.run(30.0)
        stories.append([at - 1000.0 for at in runs(world)])
    assert stories[0] == stories[1] != stories[2]


def test_a_start_is_spread_over_two_milliseconds_a_check() -> None:
    """500 checks begin within a second, in no burst; one begins at once."""
    services = [service(f"s{n}", (f"192.0.2.{n % 250}/32",), checks=(check(),)) for n in range(500)]
    world = started(config(*services, address_mode=AddressMode.UNMANAGED))
    world.run(0.95)
    firsts = sorted({a.key: at for at, a in reversed(world.actions) if isinstance(a, RunProbe)}.values())
    assert firsts[-1] - 1000.0 <= 500 * SPREAD_PER_CHECK
    assert firsts[-1] - firsts[0] > 0.8 * 500 * SPREAD_PER_CHECK
    assert max(sum(1 for at in firsts if begin <= at < begin + 0.1) for begin in firsts) < 100
    world = started(one())
    world.run(SPREAD_PER_CHECK)
    assert len(runs(world)) == 1


@settings(max_examples=examples(30))
@given(st.lists(st.sampled_from(("hang", "slow", "quick", ends.REFUSED, ends.NOT_RUN)), max_size=15))
def test_one_probe_of_a_check_is_open_at_a_time(story: list[str]) -> None:
    """Whatever became of the last one; and one that never ends is given up in its time."""
    world = started(one(interval=0.3, fast_interval=0.05, timeout=0.2))
    seen = 0
    for what in story:
        world.hangs = {"dns"} if what == "hang" else set()
        world.outcomes = {"dns": what} if isinstance(what, Outcome) else {}
        world.probe_delay = 0.19 if what == "slow" else 0.001
        world.run(0.7)
        assert world.engine is not None
        open_probes = [a for a in world.engine.opened._open.values() if isinstance(a, RunProbe)]
        assert len(open_probes) <= 1
        seen += len(open_probes)
    world.hangs = set()
    world.run(0.2 + PROBE_GRACE + 0.4)
    at = world.now
    world.run(1.0)
    assert [t for t in runs(world) if t > at], "it goes on"


def test_the_fast_interval_is_used_while_the_verdict_is_about_to_change() -> None:
    """Rise at 0.1 s, then 1 s; the first failure brings 0.1 s again, and the verdict of down 1 s."""
    world = started(one())
    world.run(3.3)
    assert [round(g, 3) for g in gaps(world)] == [0.1, 0.1, 1.0, 1.0, 1.0]
    before = len(runs(world))
    world.outcomes["dns"] = ends.REFUSED
    world.run(3.0)
    assert [round(g, 3) for g in gaps(world)][before - 1 :] == [1.0, 0.1, 1.0]


def runs_of(world: World, key: CheckKey) -> list[float]:
    return [at for at, a in world.actions if isinstance(a, RunProbe) and a.key == key]


@pytest.mark.parametrize("fall", [1, 2])
@pytest.mark.parametrize("begins", [(ends.OK, ends.REFUSED), (ends.REFUSED, ends.OK)])
def test_what_one_prefix_finds_the_services_others_are_asked_next(begins: tuple[Outcome, Outcome], fall: int) -> None:
    """A service that has failed is found by the first look of any family; and so is one that is well again.

    Another check of that prefix, and another service, are not meant.
    """
    checks = [check(name, prefix, fall=fall, jitter=0.5) for prefix in (V4, V6) for name in ("answers", "other")]
    beside = service("web", ("192.0.2.80/32",), checks=(check(prefix="192.0.2.80/32", jitter=0.5),))
    world = started(config(service("dns", checks=tuple(checks)), beside, address_mode=AddressMode.UNMANAGED))
    names = [f"dns/answers@{prefix.partition('/')[0]}" for prefix in (V4, V6)]
    world.outcomes = dict.fromkeys(names, begins[0])
    keys = [CheckKey("dns", "answers", V4), CheckKey("dns", "answers", V6)]
    rest = [CheckKey("dns", "other", V4), CheckKey("dns", "other", V6), CheckKey("web", "answers", "192.0.2.80/32")]

    def due(key: CheckKey) -> float:
        assert world.engine is not None
        at = world.engine.parts.probing._timers.get(ProbeDue(key))
        return at if at is not None else world.now  # it is being asked

    world.run(8.0)
    world.until(lambda w: abs(due(keys[0]) - due(keys[1])) > 0.3 and min(map(due, keys)) - w.now > 0.11, 60, 0.005)
    first, second = sorted(keys, key=due)
    nexts = {key: due(key) for key in [*keys, *rest]}
    world.outcomes = dict.fromkeys(names, begins[1])
    world.run(nexts[first] - world.now + 2 * world.probe_delay)
    assert nexts[first] < runs_of(world, second)[-1] <= nexts[first] + 2 * world.probe_delay
    assert {key: due(key) for key in rest if nexts[key] > world.now} == {
        key: at for key, at in nexts.items() if key in rest and at > world.now
    }


@pytest.mark.parametrize("outcome", [ends.TIMEOUT, ends.OVERLOADED])
def test_after_a_doubtful_outcome_nobody_else_is_asked(outcome: Outcome) -> None:
    """It may be load: to ask more would add to it."""
    checks = (check(prefix=V4), check(prefix=V6, interval=0.7))  # not in step
    world = started(config(service(checks=checks), address_mode=AddressMode.UNMANAGED))
    world.run(4.0)
    world.outcomes["dns/answers@192.0.2.53"] = outcome
    before = len(runs_of(world, CheckKey("dns", "answers", V6)))
    world.run(5.0)
    asked = runs_of(world, CheckKey("dns", "answers", V6))[before - 1 :]
    assert all(b - a == pytest.approx(0.7, abs=0.01) for a, b in itertools.pairwise(asked)) and len(asked) > 4


def test_where_many_prefixes_are_asked_next_it_is_no_burst() -> None:
    """One after the other, as at a start; each that was found failing itself at its fast interval."""
    prefixes = tuple(f"192.0.2.{n}/32" for n in range(200))
    world = started(config(service("dns", prefixes), address_mode=AddressMode.UNMANAGED))
    world.run(4.0)
    world.outcomes["dns"] = ends.REFUSED
    before = len(runs(world))
    world.until(lambda w: len(runs(w)) > before, 2, 0.0005)
    at, before = world.now, len(runs(world))
    world.run(0.1)
    assert 40 <= len([t for t in runs(world)[before:] if t < at + 0.1]) <= 110
    world.run(0.35)
    assert {a.key for t, a in world.actions if isinstance(a, RunProbe) and t >= at - 0.001} == {
        CheckKey("dns", "answers", prefix) for prefix in prefixes
    }


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.sampled_from((V4, V6)), st.sampled_from(ends.EVERY), st.floats(0.01, 1.2)), max_size=12))
def test_nobody_is_asked_more_often_than_at_the_fast_interval(story: list[tuple[str, Outcome, float]]) -> None:
    """However the families take turns to fail and recover."""
    world = started(config(service(), address_mode=AddressMode.UNMANAGED))
    for prefix, outcome, seconds in story:
        world.outcomes[f"dns/answers@{prefix.partition('/')[0]}"] = outcome
        world.run(seconds)
    for prefix in (V4, V6):
        asked = runs_of(world, CheckKey("dns", "answers", prefix))
        assert all(b - a >= 0.1 - 0.001 for a, b in itertools.pairwise(asked))


def test_a_check_of_an_address_waits_for_it_and_runs_the_moment_it_is_there() -> None:
    """Asked before, another node might answer."""
    world = started(config(service("dns", (V4,))), kernel_errors={"192.0.2.53"})
    world.run(3.0)
    assert runs(world) == []
    world.kernel_errors.clear()
    world.until(lambda w: w.address_there(V4), 10, 0.0005)
    assert world.now - runs(world)[0] < 0.001


def test_a_verdict_goes_stale_while_its_address_is_away() -> None:
    """Nobody asks, so nobody knows."""
    world = started(config(service("dns", (V4,))))
    world.run(3.0)
    world.kernel_errors.add("192.0.2.53")
    world.set_address("192.0.2.53", None)
    world.run(5.0)
    assert world.engine is not None
    (shown,) = world.engine.snapshot(world.now).services["dns"].checks
    assert (shown.verdict, shown.stale) == ("unknown", True)


def test_checks_that_did_not_change_keep_their_history_and_their_time() -> None:
    """A reload adds one beside it: not a probe of the old one is moved."""
    world, twin = (started(one()) for _ in range(2))
    for each in (world, twin):
        each.run(2.5)
    both = config(service("dns", (V4,), checks=(check(), check("other"))), address_mode=AddressMode.UNMANAGED)
    world.offer(both)
    for each in (world, twin):
        each.run(5.0)
    key = CheckKey("dns", "answers")
    assert [t for t, a in world.actions if isinstance(a, RunProbe) and a.key == key] == runs(twin)


def test_no_probe_is_begun_while_the_agent_stops() -> None:
    """Nothing would come of it."""

    world = started(config(service("dns", linger=5.0)))
    world.run(3.0)
    asked = world.now
    world.post(StopAsked("SIGTERM"))
    world.run(4.0)
    assert [t for t in runs(world) if t > asked] == []


@pytest.mark.parametrize("prefix", ["", V4])
def test_a_check_knows_the_prefixes_whose_health_it_is_part_of(prefix: str) -> None:
    """One with a target of its own: all of the service's. One of an address: that prefix's."""
    both = (V4, "192.0.2.80/32")
    conf = config(service("dns", both, checks=(check(prefix=prefix),)), service("www", ("192.0.2.99/32",)))
    world = started(conf)
    assert world.engine is not None
    assert tuple(world.engine.parts.probing.prefixes_of(CheckKey("dns", "answers", prefix))) == (
        (prefix,) if prefix else both
    )


def test_a_check_that_changed_begins_anew_with_what_is_written_now() -> None:
    """Its history was of something else."""
    world = started(one())
    world.run(5.0)
    world.offer(one(interval=0.25, fast_interval=0.25, rise=9))
    world.run(0.1)
    assert world.engine is not None
    (shown,) = world.engine.snapshot(world.now).services["dns"].checks
    assert (shown.verdict, shown.interval) == ("unknown", 0.25)


def test_a_check_that_was_taken_out_wakes_nobody() -> None:
    """Neither its next probe nor its verdict."""
    world = started(one())
    world.run(5.0)
    world.offer(config(service("dns", (V4,), checks=()), address_mode=AddressMode.UNMANAGED), force=True)
    world.run(0.1)
    assert world.engine is not None
    key = CheckKey("dns", "answers")
    assert [world.engine.timers.get(timer) for timer in (ProbeDue(key), VerdictStale(key))] == [None, None]


def test_jitter_is_another_one_at_each_run() -> None:
    """Two nodes that fell into step do not stay in step."""
    world = started(one(jitter=0.5))
    world.run(30.0)
    assert len({round(gap, 6) for gap in gaps(world)[5:]}) > 10
