"""Is there a usable return route for the family? Without one, replies go nowhere."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason


def ask(case: Case, now: float) -> Finding | None:
    fact = case.return_route
    if not fact.watched or fact.usable:
        return None
    family = "IPv6" if ":" in case.prefix else "IPv4"
    if fact.usable is None:
        evidence = f"the {family} routes are not known"
        return deny(Reason.WAY_BACK_UNKNOWN, evidence, "the agent asks again by itself; see its log")
    remedy = f"give the node a usable {family} route, or set node.way_back"
    return deny(Reason.NO_WAY_BACK, f"no usable {family} route back", remedy)
