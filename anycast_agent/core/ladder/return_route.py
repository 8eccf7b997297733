"""Is there a usable return route for the address? Without one, replies go nowhere."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import Reason


def ask(case: Case, now: float) -> Finding | None:
    fact = case.return_route
    if not fact.watched or fact.usable:
        return None
    if fact.usable is None:
        evidence = f"the return route of {case.host} is not known"
        return deny(Reason.RETURN_ROUTE_UNKNOWN, evidence, "the agent asks again by itself; see its log")
    remedy = (
        f"give the node a route for replies from {case.host} (ip route get shows what it has), or set node.return_route"
    )
    return deny(Reason.NO_RETURN_ROUTE, f"no usable return route: {fact.evidence}, from {case.host}", remedy)
