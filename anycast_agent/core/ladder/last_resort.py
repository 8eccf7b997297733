"""May the last resort be announced? Whatever the checks say, once the rest of its prefix is discarded on this node.

What is out already stays: a packet that loops harms less than a service that is off the air everywhere.
"""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case, CoverFact
from anycast_agent.core.ladder.finding import Finding, allow, deny
from anycast_agent.core.model import Reason, Tier


def ask(case: Case, now: float) -> Finding | None:
    fact = case.cover
    if fact is None:
        return None
    problem = _problem(fact)
    if problem is None:
        evidence = f"{case.host} is on the node; checks have no say in a last resort"
        return allow(Tier.LAST_RESORT, Reason.LAST_RESORT, evidence, "nothing: it stays announced for an emergency")
    if case.route.announced:
        return allow(Tier.LAST_RESORT, problem.reason, problem.evidence, problem.remedy)
    return problem


def _problem(fact: CoverFact) -> Finding | None:
    if fact.state is not None and fact.state.holds is not None:
        evidence = f"{fact.state.holds}, an address of this node, is inside {fact.prefix}"
        remedy = f"take {fact.state.holds} off the node, or give the service a last resort without it"
        return deny(Reason.NODE_ADDRESS_INSIDE, evidence, remedy)
    if fact.state is None or not fact.state.blackholed:
        evidence = f"the rest of {fact.prefix} is not discarded on this node, so packets to it would loop"
        return deny(Reason.BLACKHOLE_MISSING, evidence + (f": {fact.error}" if fact.error else ""), _remedy(fact))
    return None


def _remedy(fact: CoverFact) -> str:
    if fact.managed:
        return f"the agent adds a blackhole route for {fact.prefix} and tries again by itself"
    family = "-6 " if ":" in fact.prefix else ""
    return f"ip {family}route add blackhole {fact.prefix}"
