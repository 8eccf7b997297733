"""The state of checks in words: the evidence that several rows give."""

from __future__ import annotations

from anycast_agent.core.health import CheckHealth
from anycast_agent.core.ladder.case import HealthFact
from anycast_agent.core.model import Scope, Verdict
from anycast_agent.core.outcome import Evidence


def needs(fact: HealthFact) -> str:
    """``1 of 2 local checks up``: the prefix needs these."""
    local = len(fact.local)
    return f"{fact.require.needed(local)} of {local} local checks up"


def standing(fact: HealthFact) -> str:
    """``2 of 2 local checks up, 1 needed``: the prefix has these."""
    local = fact.local
    up = sum(h.verdict is Verdict.UP for _, h in local)
    return f"{up} of {len(local)} local checks up, {fact.require.needed(len(local))} needed" + _kept(fact)


def _kept(fact: HealthFact) -> str:
    names = [c.name for c, h in fact.checks if h.kept]
    return f"; without a conclusive probe lately: {', '.join(names)}: the agent itself is starved" if names else ""


def waiting_for(fact: HealthFact) -> str:
    """Which local checks have no verdict yet, and how far each has come."""
    waiting = [(c, h) for c, h in fact.local if h.verdict is Verdict.UNKNOWN]
    said = [f"{c.name} {h.successes} of {c.rise} successes{_last(h)}" for c, h in waiting]
    return "no verdict yet: " + ", ".join(said) if said else "no local check has a verdict, or there is none"


def _last(state: CheckHealth) -> str:
    """The obstacle to a check's verdict, if its last probe names one."""
    last = state.outcome
    if last is None or last.evidence is Evidence.SUCCESS:
        return ""
    return f" (last {last.code}" + (f": {last.detail})" if last.detail else ")")


def failing(fact: HealthFact, scope: Scope = Scope.LOCAL) -> str:
    """Each check of the scope that is down, with its last outcome."""
    said = []
    for check, state in fact.checks:
        if check.scope is scope and state.verdict is Verdict.DOWN:
            code, detail = (state.outcome.code, state.outcome.detail) if state.outcome else ("?", "")
            count = f", {state.failures} in a row" if state.failures else f", {state.successes} of {check.rise} good"
            said.append(f"check {check.name}: {code}{count}" + (f" ({detail})" if detail else ""))
    return "; ".join(said)


def last_detail(fact: HealthFact, names: list[str]) -> str:
    """The last detail of the first of these checks, in brackets; empty if there is none."""
    details = [h.outcome.detail for c, h in fact.checks if c.name in names and h.outcome and h.outcome.detail]
    return f" ({details[0]})" if details else ""
