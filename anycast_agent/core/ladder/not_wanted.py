"""Is the prefix wanted on this node at all? A service that is disabled or only observed is not announced."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason


def ask(case: Case, now: float) -> Finding | None:
    name = case.wish.service
    if not case.wish.enabled:
        return deny(Reason.DISABLED, f"service {name} has enabled: false", "set enabled: true and reload")
    if case.wish.observe_only:
        evidence = f"service {name} has observe_only: true"
        return deny(Reason.OBSERVE_ONLY, evidence, "set observe_only: false and reload")
    return None
