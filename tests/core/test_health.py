"""From probes to verdicts: rise, fall, doubt, freshness, what checks add up to, and flaps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.health import (
    NO_FLAPS,
    CheckHealth,
    Flaps,
    Health,
    Phase,
    combine,
)
from anycast_agent.core.model import Check, HoldDown, Require, Scope, Verdict
from anycast_agent.core.outcome import Evidence, Outcome
from tests.support import ends
from tests.support.world import check

OK, REFUSED, TIMEOUT, NOT_RUN = ends.OK, ends.REFUSED, ends.TIMEOUT, ends.NOT_RUN


def told(conf: Check, *outcomes: Outcome, every: float = 0.1, start: CheckHealth | None = None) -> CheckHealth:
    """The health after these outcomes, one every so many seconds."""
    health, now = start or CheckHealth(), 100.0 if start is None else (start.finished_at or 100.0)
    for outcome in outcomes:
        now += every
        health = health.after(conf, outcome, 0.001, now)
    return health


def up(conf: Check) -> CheckHealth:
    return told(conf, *[OK] * conf.rise)


# --- one check ---


def test_a_verdict_of_up_takes_rise_successes_in_a_row() -> None:
    """Two of three is unknown, and a failure between starts the count anew."""
    conf = check(rise=3)
    assert told(conf, OK, OK).phase is Phase.UNKNOWN
    assert told(conf, OK, OK, OK).phase is Phase.UP
    assert told(conf, OK, OK, REFUSED, OK, OK).phase is not Phase.UP
    assert told(conf, OK, OK, REFUSED, OK, OK, OK).phase is Phase.UP


def test_definite_failures_count_as_they_come() -> None:
    """``fall`` refusals withdraw however quickly they came; one fewer is only suspect."""
    conf = check(fall=3, doubt_window=10.0)
    assert told(conf, REFUSED, REFUSED, start=up(conf), every=0.001).phase is Phase.SUSPECT
    assert told(conf, REFUSED, REFUSED, REFUSED, start=up(conf), every=0.001).phase is Phase.DOWN


def test_doubtful_failures_must_also_last() -> None:
    """Timeouts within the doubt window are only suspect; the one that completes the window is the fall."""
    conf = check(fall=2, doubt_window=1.0)
    assert told(conf, *[TIMEOUT] * 9, start=up(conf), every=0.1).phase is Phase.SUSPECT
    assert told(conf, *[TIMEOUT] * 12, start=up(conf), every=0.1).phase is Phase.DOWN
    assert told(conf, TIMEOUT, start=up(conf), every=5.0).phase is Phase.SUSPECT, "one is never enough"


def test_a_mixed_streak_falls_by_what_is_definite_in_it_or_by_lasting() -> None:
    """A doubtful outcome neither counts as definite nor breaks the streak of those that are."""
    conf = check(fall=2, doubt_window=10.0)
    assert told(conf, REFUSED, TIMEOUT, start=up(conf)).phase is Phase.SUSPECT
    assert told(conf, REFUSED, TIMEOUT, REFUSED, start=up(conf)).phase is Phase.DOWN
    assert told(replace(conf, doubt_window=0.1), REFUSED, TIMEOUT, start=up(conf), every=0.15).phase is Phase.DOWN


def test_a_success_clears_suspicion_and_the_doubt_window_starts_anew() -> None:
    """What failed before the last success is forgotten, as the streak and as its span."""
    conf = check(fall=2, doubt_window=1.0)
    health = told(conf, TIMEOUT, TIMEOUT, OK, start=up(conf), every=0.6)
    assert (health.phase, health.failures, health.definite) == (Phase.UP, 0, 0)
    assert told(conf, TIMEOUT, TIMEOUT, start=health, every=0.6).phase is Phase.SUSPECT


def test_a_probe_that_could_not_be_made_says_nothing() -> None:
    """Neither streak nor verdict nor freshness move; only the outcome is shown."""
    conf = check()
    for before in (CheckHealth(), up(conf), told(conf, REFUSED, REFUSED, start=up(conf))):
        after = told(conf, NOT_RUN, start=before)
        moved = {"outcome", "duration", "finished_at"}
        fields = [f for f in CheckHealth.__dataclass_fields__ if f not in moved]
        assert [getattr(after, f) for f in fields] == [getattr(before, f) for f in fields]
        assert after.outcome is NOT_RUN


def test_a_verdict_goes_stale_fresh_for_after_the_last_conclusive_probe() -> None:
    """NOT_RUN does not keep it fresh; once expired it is unknown, says so, and rise counts from zero."""
    conf = check(fresh_for=4.0, rise=3)
    health = up(conf)
    at = health.concluded_at
    assert at is not None
    assert told(conf, NOT_RUN, start=health).stale_at(conf) == at + 4.0
    gone = health.expire(at + 4.0)
    assert (gone.verdict, gone.expired, gone.since) == (Verdict.UNKNOWN, True, at + 4.0)
    assert gone.stale_at(conf) is None
    assert told(conf, OK, OK, start=gone).expired
    assert told(conf, OK, OK, start=gone).phase is Phase.UNKNOWN
    back = told(conf, OK, OK, OK, start=gone)
    assert (back.phase, back.expired) == (Phase.UP, False)


def test_what_never_had_a_verdict_does_not_expire_as_one() -> None:
    """Unknown stays unknown, and not stale: rung 7 speaks, and not rung 9."""
    assert not told(check(), OK).expire(200.0).expired


@pytest.mark.parametrize(
    ("outcomes", "fast"),
    [
        ((), True), ((OK,), True), ((OK,) * 3, False), ((OK,) * 3 + (REFUSED,), True),
        ((OK,) * 3 + (REFUSED,) * 2, False), ((OK,) * 3 + (REFUSED,) * 2 + (OK,), True),
        ((NOT_RUN,), False), ((OK,) * 3 + (REFUSED, NOT_RUN), False),
    ],
)  # fmt: skip
def test_the_fast_interval_is_for_a_verdict_that_is_about_to_change(outcomes: tuple[Outcome, ...], fast: bool) -> None:
    """Unknown, suspect and recovering are probed fast; what could not be made is not made faster."""
    assert told(check(), *outcomes).wants_fast() is fast


def test_since_is_when_the_state_was_entered() -> None:
    """More of the same does not move it; a change does."""
    conf = check()
    health = up(conf)
    assert told(conf, OK, OK, start=health).since == health.since
    fallen = told(conf, REFUSED, REFUSED, start=health)
    assert fallen.since == fallen.finished_at
    assert told(conf, REFUSED, REFUSED, start=fallen).since == fallen.since


@given(st.lists(st.sampled_from(ends.EVERY), max_size=40), st.integers(1, 5), st.integers(1, 5))
def test_a_verdict_is_never_ahead_of_its_evidence(outcomes: list[Outcome], rise: int, fall: int) -> None:
    """It turns up only at the rise-th success in a row, and down only with ``fall`` failures in a row."""
    conf = check(rise=rise, fall=fall, doubt_window=0.25)
    health, successes, failures = CheckHealth(), 0, 0
    for number, outcome in enumerate(outcomes):
        before, health = health, health.after(conf, outcome, 0.0, 100.0 + number / 10)
        evidence = outcome.evidence
        if evidence is Evidence.SUCCESS:
            successes, failures = successes + 1, 0
        elif evidence is not Evidence.NONE:
            successes, failures = 0, failures + 1
        if health.verdict is not before.verdict:
            assert (successes >= rise) if health.verdict is Verdict.UP else (failures >= fall)
        if successes >= rise:
            assert health.verdict is Verdict.UP


# --- what checks add up to ---

_PHASES = {Verdict.UP: Phase.UP, Verdict.DOWN: Phase.DOWN, Verdict.UNKNOWN: Phase.UNKNOWN}
_ORDER = (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP)
VERDICTS = st.sampled_from(_ORDER)


def rests_on(local: list[Verdict], shared: list[Verdict], at_least: int | None) -> Health:
    checks = [(check(f"l{i}"), CheckHealth(_PHASES[v])) for i, v in enumerate(local)]
    checks += [(check(f"s{i}", scope=Scope.SHARED), CheckHealth(_PHASES[v])) for i, v in enumerate(shared)]
    return combine(checks, Require(at_least))


@given(st.lists(VERDICTS, max_size=5), st.lists(VERDICTS, max_size=3), st.none() | st.integers(1, 6))
def test_combine_is_the_truth_about_what_can_still_come(
    local: list[Verdict], shared: list[Verdict], at_least: int | None
) -> None:
    """Up: enough are. Down: enough never could be, whatever the unknown ones turn out. Unknown: it hangs on those."""
    needed = len(local) if at_least is None else min(at_least, len(local))
    best, worst = len(local) - local.count(Verdict.DOWN), local.count(Verdict.UP)
    if not local:
        expected = Verdict.UNKNOWN
    elif worst >= needed:
        expected = Verdict.UP
    else:
        expected = Verdict.UNKNOWN if best >= needed else Verdict.DOWN
    assert rests_on(local, shared, at_least).verdict is expected


@given(st.lists(VERDICTS, min_size=1, max_size=5), st.none() | st.integers(1, 5), st.data())
def test_a_check_that_gets_better_never_makes_the_service_worse(
    local: list[Verdict], at_least: int | None, data: st.DataObject
) -> None:
    """Monotone in every check, whatever is required."""
    index = data.draw(st.integers(0, len(local) - 1))
    better = data.draw(st.sampled_from(_ORDER[_ORDER.index(local[index]) :]))
    before = rests_on(local, [], at_least).verdict
    after = rests_on([*local[:index], better, *local[index + 1 :]], [], at_least).verdict
    assert _ORDER.index(after) >= _ORDER.index(before)


@given(st.lists(VERDICTS, max_size=4), st.lists(VERDICTS, max_size=4), st.none() | st.integers(1, 4))
def test_shared_checks_never_move_the_verdict(
    local: list[Verdict], shared: list[Verdict], at_least: int | None
) -> None:
    """However many fail, they lower preference and nothing else."""
    alone, together = rests_on(local, [], at_least), rests_on(local, shared, at_least)
    assert (together.verdict, together.stale) == (alone.verdict, alone.stale)
    assert together.shared_down is (Verdict.DOWN in shared)


def test_stale_is_said_only_where_it_is_why_nothing_is_known() -> None:
    """An expired check beside enough good ones does not make the prefix stale."""
    conf = check()
    expired = up(conf).expire(200.0)
    assert combine([(conf, expired)], Require()) == Health(Verdict.UNKNOWN, stale=True)
    assert combine([(conf, expired), (check("b"), up(conf))], Require(1)) == Health(Verdict.UP)


# --- flaps ---

HOLD = HoldDown(initial=2.0, maximum=60.0, half_life=120.0)


def test_the_hold_doubles_with_each_flap_up_to_its_cap() -> None:
    """2, 4, 8, 16, 32, 60, 60 seconds where the falls come at once."""
    flaps, holds = NO_FLAPS, []
    for _ in range(7):
        flaps = flaps.fallen(HOLD, 100.0)
        holds.append(flaps.hold_for(HOLD, 100.0))
    assert holds == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert NO_FLAPS.hold_for(HOLD, 100.0) == 0.0, "what never fell is not held"


def test_a_flap_is_half_forgotten_after_the_half_life() -> None:
    """And half of that after another."""
    flaps = Flaps(4.0, 100.0)
    assert [flaps.decayed(HOLD, 100.0 + t) for t in (0.0, 120.0, 240.0)] == [4.0, 2.0, 1.0]


@given(st.lists(st.floats(0.0, 1e7), max_size=200), st.floats(0.0, 1e9))
def test_the_hold_is_always_within_its_bounds(gaps: list[float], later: float) -> None:
    """No history of falls, however dense or old, makes it negative, endless or overflow."""
    now, flaps = 0.0, NO_FLAPS
    for gap in gaps:
        now += gap
        flaps = flaps.fallen(HOLD, now)
    assert 0.0 <= flaps.hold_for(HOLD, now + later) <= HOLD.maximum
    assert flaps.decayed(HOLD, now + later) <= len(gaps)
