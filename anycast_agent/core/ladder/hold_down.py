"""Has the service been well for long enough? After falls, a recovery waits (the idea of RFC 2439)."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason


def ask(case: Case, now: float) -> Finding | None:
    if now >= case.wait.hold_until:
        return None
    evidence = f"recovered, after {case.wait.flaps:.1f} falls not yet forgotten"
    return deny(Reason.HOLD_DOWN, evidence, "staying healthy until then", case.wait.hold_until)
