"""An agent without processor time: how much it asks at once, and what it does not hold against anybody."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core import events as ev
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.model import AddressMode, Config, Verdict
from anycast_agent.core.outcome import Outcome
from anycast_agent.core.pace import CALM, CAP_FIRST, CAP_LEAST, GROWTH, KEPT_FOR, MAX_CAP, STEP, Pace
from anycast_agent.core.snapshot import CheckSnapshot, Snapshot
from tests.support import ends
from tests.support.world import V4, World, check, config, service

NAMES = [f"s{n}" for n in range(500)]


def prefix(number: int) -> str:
    return f"10.{number >> 8}.{number & 255}.1/32"


def many(count: int, **changes: object) -> Config:
    """So many services with a check each."""
    services = [service(NAMES[n], (prefix(n),), checks=(check(**changes),)) for n in range(count)]  # type: ignore[arg-type]
    return config(*services, address_mode=AddressMode.UNMANAGED)


def started(conf: Config) -> World:
    world = World()
    world.start(conf)
    return world


def starve(world: World, seconds: float, share: float = 0.9) -> None:
    """The shell reports as a process does that stands still for most of the time."""
    end = world.now + seconds
    while world.now < end:
        world.run(STEP)
        world.post(ev.LoopWasLate(share * STEP, STEP))


def snapshot(world: World) -> Snapshot:
    assert world.engine is not None
    return world.engine.snapshot(world.now)


def first_check(world: World, name: str = "s0") -> CheckSnapshot:
    return snapshot(world).services[name].checks[0]


def in_flight(world: World) -> int:
    return snapshot(world).pace.in_flight


# --- the cap ------------------------------------------------------------------------------------------------


def test_the_cap_halves_what_is_in_flight_and_grows_while_it_is_quiet() -> None:
    """Never below its least, nor above its most; and one late report is forgotten within seconds."""
    pace = Pace(0.0)
    assert pace.cap(0.0) == CAP_FIRST
    assert CAP_FIRST < pace.cap(1.0) < pace.cap(2.0) < pace.cap(3.5) == pace.cap(1e9) == MAX_CAP
    pace.report(0.2, 0.25, 600, 10.0)
    assert pace.cap(10.0) == 300
    assert pace.cap(10.0 + STEP) == 450
    for n in range(20):
        pace.report(0.2, 0.25, 600, 10.0 + n * STEP)
    assert pace.cap(10.0 + 19 * STEP) == CAP_LEAST
    assert pace.cap(10.0 + 19 * STEP + 5.0) == MAX_CAP


@pytest.mark.parametrize(("lost", "over", "late"), [(0.0, 0.25, False), (0.05, 0.25, False), (0.07, 0.25, True), (9.0, 9.0, True), (0.0, 0.0, False)])  # fmt: skip
def test_what_is_late(lost: float, over: float, late: bool) -> None:
    """A quarter of the time."""
    pace = Pace(0.0)
    pace.report(lost, over, 10, 1.0)
    assert (pace.starved_since == 1.0) is late


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.integers(0, 5000), st.floats(0, 30)), max_size=40))
def test_the_cap_stays_within_its_bounds_and_starvation_ends(story: list[tuple[float, float, int, float]]) -> None:
    """Whatever is reported."""
    pace, now = Pace(0.0), 0.0
    for lost, over, probes, pause in story:
        pace.report(lost, over, probes, now)
        assert CAP_LEAST <= pace.cap(now) <= MAX_CAP
        now += pause
        pace.settle(now)
    pace.settle(now + CALM)
    assert pace.starved_since is None


@pytest.mark.parametrize("hang", [True, False])
def test_a_start_asks_no_more_at_once_than_the_cap(hang: bool) -> None:
    """500 checks that are not known yet, be they well or hanging; and all have been asked within seconds."""
    world, most = World(hangs=set(NAMES) if hang else set()), 0

    def look(w: World) -> None:
        nonlocal most
        assert w.engine is not None
        probing = w.engine.parts.probing
        assert probing.in_flight <= probing.pace.cap(w.now)
        most = max(most, probing.in_flight)

    world.after_turn = look
    world.start(many(500))
    world.run(STEP)
    assert most <= CAP_FIRST * GROWTH
    world.run(3.0)
    asked = {a.key for _, a in world.actions if isinstance(a, RunProbe)}
    assert len(asked) == 500


def test_a_starved_agent_asks_few_at_a_time_and_everyone_in_turn() -> None:
    """Each probe takes 0.1 s for want of processor time: four at a time, none twice before another once."""
    world = started(many(100, interval=1.0))
    world.run(3.0)
    world.probe_delay = 0.1
    starve(world, 3.0)
    before = len(world.actions)
    starve(world, 10.0)
    runs = [a.key for _, a in world.actions[before:] if isinstance(a, RunProbe)]
    counts = {key: runs.count(key) for key in set(runs)}
    assert len(counts) == 100
    assert max(counts.values()) - min(counts.values()) <= 1
    assert in_flight(world) <= 2 * CAP_LEAST
    assert {first_check(world, NAMES[n]).verdict for n in range(100)} == {Verdict.UP}


def test_the_fast_interval_takes_only_what_the_others_leave() -> None:
    """Fifty that fail and want to be asked ten times a second do not put off who is due: with the cap at its least."""
    world = started(many(100, interval=1.0, fall=1000))
    world.run(3.0)
    world.probe_delay = 0.035
    world.outcomes = dict.fromkeys(NAMES[:50], ends.REFUSED)
    starve(world, 3.0)
    before = len(world.actions)
    starve(world, 10.0)
    runs = [(at, a.key) for at, a in world.actions[before:] if isinstance(a, RunProbe)]
    for name in NAMES[50:100]:
        asked = [at for at, key in runs if key == CheckKey(name, "answers")]
        assert max(b - a for a, b in itertools.pairwise(asked)) < 1.2, name
    of_failing = sum(key.service in NAMES[:50] for _, key in runs)
    of_well = len(runs) - of_failing
    assert of_failing > 1.05 * of_well, "what is left is used"


def test_services_that_hang_put_off_no_other_while_the_loop_is_on_time() -> None:
    """490 of 500 hang for their timeout: ten that are well are asked every second, as ever."""
    world = started(many(500, timeout=0.9))
    world.run(5.0)
    world.outcomes = dict.fromkeys(NAMES[10:], ends.TIMEOUT)
    world.run(3.0)
    before = len(world.actions)
    world.run(6.0)
    for name in NAMES[:10]:
        asked = [at for at, a in world.actions[before:] if isinstance(a, RunProbe) and a.key.service == name]
        assert all(b - a < 1.01 for a, b in itertools.pairwise(asked))
        assert len(asked) >= 5


# --- what is no evidence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [ends.TIMEOUT, ends.RESET])
@pytest.mark.parametrize(("late", "counts"), [(0.0, True), (0.1, True), (0.15, False), (0.5, False)])
def test_a_probe_whose_own_process_was_late_is_no_evidence(outcome: Outcome, late: float, counts: bool) -> None:
    """Of a timeout of 0.5 s, a quarter was lost: nothing is held against the service, and the detail says why."""
    world = started(many(1))
    world.run(3.0)
    world.outcomes["s0"], world.probe_late = outcome, late
    world.run(3.5)
    shown = first_check(world)
    assert (shown.verdict is Verdict.DOWN) is counts
    assert shown.outcome is not None and shown.outcome.code == (outcome if counts else ends.NOT_RUN).code
    if not counts:
        assert shown.outcome.detail == f"as told; the agent itself was {late * 1000:.0f} ms late"


@pytest.mark.parametrize("outcome", [ends.REFUSED, ends.BAD_STATUS, ends.EXIT_STATUS, ends.OVERLOADED])
def test_what_a_service_has_said_counts_however_late_it_was_heard(outcome: Outcome) -> None:
    """A dead service is withdrawn by a starved agent, too."""
    world = started(many(1))
    world.run(3.0)
    world.outcomes["s0"], world.probe_late = outcome, 0.5
    starve(world, 5.0)
    assert first_check(world).verdict is Verdict.DOWN
    assert not world.announced(prefix(0))


# --- verdicts of a starved agent ----------------------------------------------------------------------------


def test_verdicts_of_a_starved_agent_are_kept_and_shown_for_a_bounded_time() -> None:
    """No probe concludes: the route stays, the evidence says why, and after the bound it is withdrawn as stale."""
    world = started(many(1))
    world.run(5.0)
    heard = world.now
    world.outcomes["s0"], world.probe_late = ends.TIMEOUT, 0.5
    starve(world, 30.0)
    shown = snapshot(world)
    check_, decision = shown.services["s0"].checks[0], shown.services["s0"].prefixes[0].decision
    assert (check_.verdict, check_.kept, check_.stale) == (Verdict.UP, True, False)
    assert "without a conclusive probe lately: answers: the agent itself is starved" in decision.evidence
    assert "too little processor time" in shown.warnings["starved"]
    assert shown.pace.starved_since is not None
    assert world.announced(prefix(0))
    while world.announced(prefix(0)):
        starve(world, STEP)
        assert world.now - heard < KEPT_FOR + 4.5 + 3.0
    assert world.now - heard > KEPT_FOR
    assert first_check(world).stale


def test_when_starvation_ends_verdicts_have_their_time_to_be_renewed() -> None:
    """Nothing is withdrawn in the moment in which the processor is back; and what is kept is no longer shown so."""
    world = started(many(20))
    world.run(5.0)
    world.outcomes, world.probe_late = dict.fromkeys(NAMES, ends.TIMEOUT), 0.5
    starve(world, 20.0)
    updates = len(world.updates)
    world.outcomes, world.probe_late = {}, 0.0
    world.run(CALM + 3.0)
    assert len(world.updates) == updates
    shown = snapshot(world)
    assert "starved" not in shown.warnings
    assert shown.pace.starved_since is None
    for n in range(20):
        assert not shown.services[NAMES[n]].checks[0].kept
        assert "starved" not in shown.services[NAMES[n]].prefixes[0].decision.evidence


def test_without_starvation_verdicts_expire_as_ever() -> None:
    """Probes that say nothing for another cause are no reason to keep a verdict."""
    world = started(many(1))
    world.run(5.0)
    world.outcomes["s0"] = ends.NOT_RUN
    world.run(6.0)
    assert first_check(world).stale
    assert not world.announced(prefix(0))


def test_a_late_moment_is_no_warning() -> None:
    """As when a page is drawn, or a configuration read."""
    world = started(many(1))
    world.run(5.0)
    world.post(ev.LoopWasLate(0.2, 0.25))
    world.run(1.0)
    assert "starved" not in snapshot(world).warnings
    world.run(CALM)
    assert snapshot(world).pace.starved_since is None
    assert [c for at, c in world.changes if "processor" in c.text] == []


def test_nothing_new_is_announced_by_keeping() -> None:
    """A check without a verdict has none to keep."""
    world = World(outcomes=dict.fromkeys(NAMES, ends.TIMEOUT), probe_late=0.5)
    world.start(many(1))
    starve(world, 30.0)
    assert first_check(world).verdict is Verdict.UNKNOWN
    assert not world.announced(V4)
    assert not world.router
