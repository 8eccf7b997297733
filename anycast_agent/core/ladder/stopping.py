"""Is the agent stopping? A stop withdraws everything first."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason


def ask(case: Case, now: float) -> Finding | None:
    return deny(Reason.STOPPING, "the agent was asked to stop", "start the agent") if case.stopping else None
