"""Is the service well? A prefix is not announced if its checks are down, or stale beyond their bound."""

from __future__ import annotations

from anycast_agent.core.ladder import wording
from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason, Verdict


def ask(case: Case, now: float) -> Finding | None:
    fact = case.health
    if fact.health.verdict is Verdict.DOWN:
        remedy = "the service answers its checks again: " + wording.needs(fact)
        return deny(Reason.HEALTH_DOWN, wording.failing(fact), remedy)
    if fact.health.verdict is Verdict.UNKNOWN and fact.health.stale:
        stale = [c.name for c, h in fact.checks if h.expired]
        evidence = f"no conclusive probe lately of {', '.join(stale)}" + wording.last_detail(fact, stale)
        return deny(Reason.HEALTH_STALE, evidence, "probes that can be made again: " + wording.needs(fact))
    return None
