"""Is there a verdict? Without one, a route that an earlier run announced stays for a bounded time; nothing new is."""

from __future__ import annotations

from anycast_agent.core.ladder import wording
from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, allow, deny
from anycast_agent.core.model import Reason, Tier, Verdict


def ask(case: Case, now: float) -> Finding | None:
    health = case.health.health
    if health.verdict is not Verdict.UNKNOWN or health.stale:
        return None
    evidence, until = wording.waiting_for(case.health), case.wait.keep_until
    if case.route.announced and now < until:
        remedy = "the first verdict confirms, replaces or withdraws it"
        return allow(Tier.ADOPTED, Reason.ADOPTED, evidence, remedy, until)
    return deny(Reason.NOTHING_KNOWN, evidence, "the first verdict")
