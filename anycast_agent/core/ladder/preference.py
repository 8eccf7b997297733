"""How is the prefix announced? In full, or degraded while a check that every site shares is down."""

from __future__ import annotations

from anycast_agent.core.ladder import wording
from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, allow
from anycast_agent.core.model import Reason, Scope, Tier


def ask(case: Case, now: float) -> Finding | None:
    fact = case.health
    if fact.health.shared_down:
        evidence = wording.failing(fact, Scope.SHARED)
        return allow(Tier.DEGRADED, Reason.SHARED_CHECK_DOWN, evidence, "the shared check succeeds again")
    return allow(Tier.FULL, Reason.HEALTHY, wording.standing(fact), "nothing: it may be announced at its best")
