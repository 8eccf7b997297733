"""The key figures: when a fault was detected, when routes and tables moved, when nothing was lost any more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lab.drills.conduct import Story
from lab.drills.phases import FAULT, Phases
from lab.drills.result import Family, Figures, Mark, Stream
from lab.drills.windows import longest
from lab.net.tables import Change

TABLES_SETTLE = 5.0
"""A change of a table later than this after a fault, with none in between, is not of its making. Seconds."""

MAX_MARKS = 200

FAMILIES = ("IPv4", "IPv6")

_IPV6 = re.compile(r"\b[0-9a-f]{1,4}(:[0-9a-f]{0,4}){2,}|-v6\b", re.I)
_IPV4 = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b|-v4\b")


def figures_of(story: Story, streams: Sequence[Stream]) -> Figures:
    windows = [w for s in streams for w in s.windows]
    fault = next((m.at for m in story.marks if m.kind == "fault"), None)
    if fault is None:
        return Figures(loss=longest(windows, story), flaps=_flaps(story))
    recovery = next((m.at for m in story.marks if m.kind == "recovery" and m.at > fault), story.end)
    detected = next((s.at for s in story.seen if fault <= s.at < recovery), None)
    changes = sorted(c.at for c in story.changes if fault <= c.at < recovery)
    withdrawals = [c.at for c in story.changes if fault <= c.at < recovery and _a_way_less(c)]
    lost = [w for w in windows if w.end is None or w.end + story.begin > fault]
    open_end = any(w.end is None for w in lost)
    ends = [w.end + story.begin for w in lost if w.end is not None and w.begin + story.begin < recovery]
    return Figures(
        detected=ago(detected, fault),
        withdrawn=ago(min(withdrawals, default=None), fault),
        table=ago(_burst_end(changes), fault),
        loss=longest(windows, story),
        restored=ago(max(ends) if ends and not open_end else None, fault),
        flaps=_flaps(story),
        families={family: _family(story, family, fault) for family in FAMILIES},
    )


def _family(story: Story, family: str, fault: float) -> Family:
    hosts = [prefix for prefix in host_routes(story) if family_of(prefix) == family]
    gone = [at for at in withdrawals_of(story, hosts).values() if at is not None]
    return Family(
        ago(detected_of(story, family), fault), ago(min(gone, default=None), fault), ago(max(gone, default=None), fault)
    )


def host_routes(story: Story) -> list[str]:
    """The services' own prefixes, without aggregates and default routes."""
    return [p for prefixes in story.prefixes.values() for p in prefixes if p.endswith(("/32", "/128"))]


def withdrawals_of(story: Story, prefixes: Sequence[str]) -> dict[str, float | None]:
    """When some table first lost a next hop of each prefix on account of the fault; None: never."""
    phases, found = Phases(story), dict[str, float | None].fromkeys(prefixes)
    for change in sorted(story.changes, key=lambda c: c.at):
        fault = change.prefix in found and phases.at(change.at) == FAULT
        if fault and found[change.prefix] is None and _a_way_less(change):
            found[change.prefix] = change.at
    return found


def detected_of(story: Story, family: str) -> float | None:
    """When an agent or a router first reported the fault. A report that names no family counts for both."""
    phases = Phases(story)
    of_fault = (seen for seen in story.seen if phases.at(seen.at) == FAULT)
    return next((seen.at for seen in of_fault if family_of(seen.text) in ("", family)), None)


def family_of(text: str) -> str:
    """The family of the first address or session name in a text; empty without one."""
    found = [(match.start(), family) for family, p in (("IPv6", _IPV6), ("IPv4", _IPV4)) if (match := p.search(text))]
    return min(found)[1] if found else ""


def _a_way_less(change: Change) -> bool:
    """A table leaves a next hop of a service's prefix; an edge's own way out says nothing of the service."""
    return not change.prefix.startswith("default") and bool(set(change.before or ()) - set(change.after or ()))


def ago(at: float | None, since: float) -> float | None:
    return None if at is None else round(max(at - since, 0.0), 4)


def _burst_end(changes: Sequence[float]) -> float | None:
    """The last change that follows the ones before it."""
    last: float | None = None
    for at in changes:
        if last is not None and at - last > TABLES_SETTLE:
            break
        last = at
    return last


def _flaps(story: Story) -> int:
    """A table that changes away and back while nothing is done to the lab."""
    bounds = sorted(m.at for m in story.marks)
    seen: dict[tuple[str, str], list[object]] = {}
    flaps = 0
    phase = 0
    for change in sorted(story.changes, key=lambda c: c.at):
        while phase < len(bounds) and change.at >= bounds[phase]:
            phase, seen = phase + 1, {}
        states = seen.setdefault((change.node, change.prefix), [change.before])
        flaps += change.after in states
        states.append(change.after)
    return flaps


def marks_of(story: Story) -> Iterator[Mark]:
    """The lines of the chart: the acts, the first notice of each phase, and the changes of the tables."""
    bounds = [m.at for m in story.marks if m.kind in ("fault", "recovery")]
    found = list(story.marks)
    for begin, end in zip(bounds, [*bounds, story.end][1:], strict=True):
        noticed = next((s for s in story.seen if begin <= s.at < end), None)
        if noticed is not None:
            found.append(Mark(noticed.at, "detected", f"{noticed.node}: {noticed.text}"))
        changes = sorted((c for c in story.changes if begin <= c.at < end), key=lambda c: c.at)
        if changes:
            first = changes[0]
            gone = first.after is None or set(first.after) < set(first.before or ())
            kind = "withdrawn" if gone else "announced"
            to = " and ".join(first.after) if first.after else "nobody"
            found.append(Mark(first.at, kind, f"{first.node}: {first.prefix} → {to}"))
            last = _burst_end([c.at for c in changes])
            if last is not None and last > first.at:
                at_last = next(c for c in reversed(changes) if c.at == last)
                to = " and ".join(at_last.after) if at_last.after else "nobody"
                found.append(
                    Mark(last, "table", f"the last of {len(changes)}: {at_last.node}: {at_last.prefix} → {to}")
                )
    for mark in sorted(found, key=lambda m: m.at)[:MAX_MARKS]:
        yield Mark(round(mark.at - story.begin, 4), mark.kind, mark.text)
