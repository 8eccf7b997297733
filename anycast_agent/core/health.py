"""From probes to verdicts: rise, fall, doubt, freshness; of one check, then of all that a prefix rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from anycast_agent.core.model import Check, HoldDown, Require, Scope, Verdict
from anycast_agent.core.outcome import Evidence, Outcome


class Phase(StrEnum):
    """The state of a check's verdict."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    """Up, and the last probes failed: one good probe clears it."""
    DOWN = "down"
    RECOVERING = "recovering"
    """Down, and the last probes succeeded."""


class Signal(StrEnum):
    """The effect of one probe, or of time, on a check's verdict."""

    SUCCESS = "success"
    RISEN = "risen"
    """The success that completes ``rise``."""
    FAILURE = "failure"
    FALLEN = "fallen"
    """The failure that completes ``fall``, and the doubt window where it is needed."""
    NOTHING = "nothing"
    """A probe that could not be made."""
    EXPIRED = "expired"
    """No conclusive probe for ``fresh_for``."""


P, S = Phase, Signal
VERDICT_TABLE: Mapping[tuple[Phase, Signal], Phase] = {
    (P.UNKNOWN, S.SUCCESS): P.UNKNOWN,
    (P.UNKNOWN, S.RISEN): P.UP,
    (P.UNKNOWN, S.FAILURE): P.UNKNOWN,
    (P.UNKNOWN, S.FALLEN): P.DOWN,
    (P.UNKNOWN, S.NOTHING): P.UNKNOWN,
    (P.UNKNOWN, S.EXPIRED): P.UNKNOWN,
    (P.UP, S.SUCCESS): P.UP,
    (P.UP, S.RISEN): P.UP,
    (P.UP, S.FAILURE): P.SUSPECT,
    (P.UP, S.FALLEN): P.DOWN,
    (P.UP, S.NOTHING): P.UP,
    (P.UP, S.EXPIRED): P.UNKNOWN,
    (P.SUSPECT, S.SUCCESS): P.UP,
    (P.SUSPECT, S.RISEN): P.UP,
    (P.SUSPECT, S.FAILURE): P.SUSPECT,
    (P.SUSPECT, S.FALLEN): P.DOWN,
    (P.SUSPECT, S.NOTHING): P.SUSPECT,
    (P.SUSPECT, S.EXPIRED): P.UNKNOWN,
    (P.DOWN, S.SUCCESS): P.RECOVERING,
    (P.DOWN, S.RISEN): P.UP,
    (P.DOWN, S.FAILURE): P.DOWN,
    (P.DOWN, S.FALLEN): P.DOWN,
    (P.DOWN, S.NOTHING): P.DOWN,
    (P.DOWN, S.EXPIRED): P.UNKNOWN,
    (P.RECOVERING, S.SUCCESS): P.RECOVERING,
    (P.RECOVERING, S.RISEN): P.UP,
    (P.RECOVERING, S.FAILURE): P.DOWN,
    (P.RECOVERING, S.FALLEN): P.DOWN,
    (P.RECOVERING, S.NOTHING): P.RECOVERING,
    (P.RECOVERING, S.EXPIRED): P.UNKNOWN,
}

VERDICT_OF: Mapping[Phase, Verdict] = {
    P.UNKNOWN: Verdict.UNKNOWN,
    P.UP: Verdict.UP,
    P.SUSPECT: Verdict.UP,
    P.DOWN: Verdict.DOWN,
    P.RECOVERING: Verdict.DOWN,
}

_ABOUT_TO_CHANGE = frozenset({P.UNKNOWN, P.SUSPECT, P.RECOVERING})


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """The sum of one check's probes. Instants are monotonic seconds."""

    phase: Phase = Phase.UNKNOWN
    since: float = 0.0
    successes: int = 0
    """Conclusive probes in a row that succeeded; 0 once one failed."""
    failures: int = 0
    """Likewise that failed; of these, ``definite`` ones."""
    definite: int = 0
    failing_since: float = 0.0
    concluded_at: float | None = None
    """When a probe last said anything of the service."""
    expired: bool = False
    """It had a verdict, and the verdict went stale; cleared by the next one."""
    kept: bool = False
    """The verdict is older than ``fresh_for``, and kept because the agent itself is starved."""
    outcome: Outcome | None = None
    """Of the last probe."""
    duration: float | None = None
    finished_at: float | None = None

    @property
    def verdict(self) -> Verdict:
        return VERDICT_OF[self.phase]

    def wants_fast(self) -> bool:
        """True if the next probe should come at the fast interval: the verdict is about to change.

        A probe that could not be made is not repeated faster: that would only add to the load that prevents it.
        """
        return self.phase in _ABOUT_TO_CHANGE and (self.outcome is None or self.outcome.evidence is not Evidence.NONE)

    def stale_at(self, check: Check) -> float | None:
        """When this verdict goes stale; None where there is nothing to expire."""
        return None if self.concluded_at is None else self.concluded_at + check.fresh_for

    def after(self, check: Check, outcome: Outcome, duration: float, now: float) -> CheckHealth:
        """The health after a probe with this end."""
        if outcome.evidence is Evidence.NONE:
            return replace(self, outcome=outcome, duration=duration, finished_at=now)
        if outcome.evidence is Evidence.SUCCESS:
            successes, failures, definite, failing_since = self.successes + 1, 0, 0, 0.0
            signal = Signal.RISEN if successes >= check.rise else Signal.SUCCESS
        else:
            successes, failures = 0, self.failures + 1
            definite = self.definite + (outcome.evidence is Evidence.DEFINITE)
            failing_since = self.failing_since if self.failures else now
            fallen = _has_fallen(check, failures, definite, now - failing_since)
            signal = Signal.FALLEN if fallen else Signal.FAILURE
        phase = VERDICT_TABLE[self.phase, signal]
        return CheckHealth(
            phase=phase,
            since=self.since if phase is self.phase else now,
            successes=successes,
            failures=failures,
            definite=definite,
            failing_since=failing_since,
            concluded_at=now,
            expired=self.expired and phase is Phase.UNKNOWN,
            outcome=outcome,
            duration=duration,
            finished_at=now,
        )

    def keep(self) -> CheckHealth:
        """The health while the agent is starved and cannot hear anything conclusive."""
        return replace(self, kept=True)

    def expire(self, now: float) -> CheckHealth:
        """The health after too long without anything conclusive: rise counts from zero again."""
        phase = VERDICT_TABLE[self.phase, Signal.EXPIRED]
        return replace(
            self,
            phase=phase,
            since=self.since if phase is self.phase else now,
            successes=0,
            failures=0,
            definite=0,
            concluded_at=None,
            kept=False,
            expired=self.expired or self.phase is not Phase.UNKNOWN,
        )


def _has_fallen(check: Check, failures: int, definite: int, span: float) -> bool:
    """Definite failures count as they come; with doubtful ones among them, the streak must also last."""
    return definite >= check.fall or (failures >= check.fall and span >= check.doubt_window)


# --- what a prefix rests on ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Health:
    """The sum of a prefix's checks."""

    verdict: Verdict
    stale: bool = False
    """Unknown because a verdict has expired, not because none was reached yet."""
    shared_down: bool = False


NOTHING_HEARD = Health(Verdict.UNKNOWN)


def combine(checks: Iterable[tuple[Check, CheckHealth]], require: Require) -> Health:
    """The health of a prefix: enough local checks up is up; too few that could be is down; else unknown.

    A shared check that is down never counts towards down, however many there are.
    """
    total = up = unknown = 0
    stale = shared_down = False
    for check, health in checks:
        verdict = VERDICT_OF[health.phase]
        if check.scope is Scope.SHARED:
            shared_down = shared_down or verdict is Verdict.DOWN
            continue
        total += 1
        up += verdict is Verdict.UP
        unknown += verdict is Verdict.UNKNOWN
        stale = stale or health.expired
    needed = require.needed(total)
    if total and up >= needed:
        return Health(Verdict.UP, shared_down=shared_down)
    if up + unknown < needed:
        return Health(Verdict.DOWN, shared_down=shared_down)
    return Health(Verdict.UNKNOWN, stale=stale, shared_down=shared_down)


# --- flaps --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flaps:
    """A decaying count of falls, as in route flap damping (RFC 2439)."""

    count: float = 0.0
    at: float = 0.0

    def decayed(self, hold: HoldDown, now: float) -> float:
        return float(self.count * 0.5 ** ((now - self.at) / hold.half_life))

    def fallen(self, hold: HoldDown, now: float) -> Flaps:
        return Flaps(self.decayed(hold, now) + 1.0, now)

    def hold_for(self, hold: HoldDown, now: float) -> float:
        """The wait of a recovery at ``now``, in seconds: doubled by each flap that is not forgotten yet."""
        count = self.decayed(hold, now)
        if count <= 0.0:
            return 0.0
        exponent = min(count - 1.0, 64.0)
        return float(min(hold.maximum, hold.initial * 2.0**exponent))


NO_FLAPS = Flaps()
