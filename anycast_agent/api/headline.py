"""The first sentence about a prefix and about the node: the wire, and the obstacle if it is not as it should be.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from anycast_agent.api.shapes import Counts, Mood, State
from anycast_agent.core.model import Reason, SessionState, Tier
from anycast_agent.core.snapshot import CoverSnapshot, NeighborSnapshot, PrefixSnapshot, RouteSnapshot

MAX_NAMED = 3
"""Neighbors that a headline names."""

_NOT_WANTED = frozenset({Reason.DISABLED, Reason.OBSERVE_ONLY})
_HOW = {Tier.FULL: "healthy", Tier.DEGRADED: "degraded", Tier.ADOPTED: "kept from an earlier run"}
_COVER = "a last resort"
_WORST_FIRST = (Mood.BAD, Mood.WARN, Mood.OFF, Mood.OK)

Neighbors = Mapping[str, NeighborSnapshot]


@dataclass(frozen=True, slots=True)
class Headline:
    state: State
    mood: Mood
    text: str
    remedy: str
    """The remedy; empty: the ladder's own."""


def of_prefix(p: PrefixSnapshot, neighbors: Neighbors) -> Headline:
    head = _of_wire(p, neighbors)
    if p.on_last_resort is True:
        text = f"{head.text}; on last resort, {p.cover}"
        return replace(head, state=State.LAST_RESORT, mood=Mood.BAD, text=text)
    return head


def of_cover(c: CoverSnapshot, neighbors: Neighbors) -> Headline:
    head = _of_wire(c, neighbors)
    if c.decision.announce and c.decision.reason is not Reason.LAST_RESORT and head.state is State.ANNOUNCED:
        return replace(head, mood=Mood.WARN, text=f"{head.text}, with a fault", remedy=c.decision.remedy)
    return head


def _of_wire(p: PrefixSnapshot | CoverSnapshot, neighbors: Neighbors) -> Headline:
    if not p.decision.announce:
        return _unwanted(p)
    desired = [r for r in p.routes if r.desired is not None]
    missing = [r for r in desired if r.on_wire is not True]
    tier = p.decision.tier or Tier.FULL
    how = _HOW.get(tier, _COVER)
    why = _listed([_missing(r) for r in missing]) or "no neighbor is configured for it"
    remedy = _listed([_remedy(r, neighbors) for r in missing])
    if p.on_wire is None:
        return Headline(State.UNKNOWN, Mood.WARN, f"{how}; unknown whether a router has it: {why}", remedy)
    if not p.on_wire:
        remedy = remedy or "a neighbor that takes routes of this family"
        return Headline(State.NO_ROUTER, Mood.BAD, f"{how}, but on no router: {why}", remedy)
    full = tier in (Tier.FULL, Tier.LAST_RESORT)
    if full and not missing:
        return Headline(State.ANNOUNCED, Mood.OK, "announced", "nothing: it is announced at its best")
    text = "announced" if full else f"announced, {tier}"
    if missing:
        text += f", at {len(desired) - len(missing)} of {len(desired)} neighbors: {why}"
    return Headline(State.ANNOUNCED, Mood.WARN, text, remedy)


def _unwanted(p: PrefixSnapshot | CoverSnapshot) -> Headline:
    has = [r.neighbor for r in p.routes if r.on_wire]
    if has:
        remedy = f"the withdrawal goes out, or the session ends; then: {p.decision.remedy}"
        return Headline(State.LEFT, Mood.BAD, f"not to be announced, but still announced at {_listed(has)}", remedy)
    if p.on_wire is None:
        return Headline(State.UNKNOWN, Mood.WARN, "not to be announced; unknown whether a router still has it", "")
    return Headline(State.WITHDRAWN, Mood.OFF if p.decision.reason in _NOT_WANTED else Mood.BAD, "not announced", "")


def _missing(r: RouteSnapshot) -> str:
    """Why a desired route is not known to be on the wire."""
    match r.session:
        case SessionState.DOWN:
            return f"{r.neighbor} is down"
        case SessionState.CONNECTED:
            return f"{r.neighbor} is not established yet"
        case SessionState.UNKNOWN:
            return f"the session to {r.neighbor} is unknown"
    if r.waits_for:
        return f"{r.neighbor} waits for {r.waits_for}"
    if r.error:
        return f"{r.neighbor} cannot be sent it ({r.error})"
    return f"{r.neighbor} has not been sent it yet" if r.on_wire is False or r.pending else f"{r.neighbor} is unknown"


def _remedy(r: RouteSnapshot, neighbors: Neighbors) -> str:
    neighbor = neighbors.get(r.neighbor)
    why = f" ({neighbor.why})" if neighbor is not None and neighbor.why else ""
    if r.session in (SessionState.DOWN, SessionState.CONNECTED):
        return f"the session to {r.neighbor} comes up{why}"
    if r.session is SessionState.UNKNOWN:
        return f"the speaker tells of the session to {r.neighbor}{why}"
    if r.waits_for:
        return f"at {r.neighbor}, {r.waits_for}"
    return f"the speaker sends it to {r.neighbor}; the agent tries again by itself"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return ", ".join(texts[:MAX_NAMED]) + more


def worst(moods: Iterable[Mood]) -> Mood:
    found = set(moods)
    return next((mood for mood in _WORST_FIRST if mood in found), Mood.OK)


def counted(states: Iterable[tuple[State, Mood]], neighbors: Iterable[NeighborSnapshot]) -> Counts:
    found, sessions = list(states), [n.state for n in neighbors]
    off = sum(mood is Mood.OFF for _, mood in found)
    return Counts(
        prefixes=len(found) - off,
        announced=sum(state is State.ANNOUNCED for state, _ in found),
        unknown=sum(state is State.UNKNOWN for state, _ in found),
        last_resort=sum(state is State.LAST_RESORT for state, _ in found),
        off=off,
        sessions=len(sessions),
        sessions_up=sessions.count(SessionState.UP),
        sessions_unknown=sessions.count(SessionState.UNKNOWN),
    )


def of_node(c: Counts) -> str:
    """``3 of 12 prefixes announced, 1 of 3 sessions up``."""
    unknown = f" ({c.unknown} unknown)" if c.unknown else ""
    off = f", {c.off} not wanted here" if c.off else ""
    last = f", {c.last_resort} on last resort" if c.last_resort else ""
    no_word = f" ({c.sessions_unknown} unknown)" if c.sessions_unknown else ""
    prefixes = f"{c.announced} of {c.prefixes} prefix{'' if c.prefixes == 1 else 'es'} announced{unknown}{last}{off}"
    return f"{prefixes}, {c.sessions_up} of {c.sessions} session{'' if c.sessions == 1 else 's'} up{no_word}"
