"""Chooses the stretches of a drill that are worth a chart, with their time, bars and moments. It draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.drills.result import BUCKET, Mark, Result, Stream, Window

LOST = "lost"
_FINEST = 240
"""Bars in a chart of a whole drill: more would be thinner than three pixels."""
_BEFORE, _AFTER = 0.2, 1.0
_LONGEST = 6.0
"""A longer stretch is seen well enough in the chart of the whole drill. Seconds."""
DONE = ("fault", "recovery")
"""Kinds of marks for acts. The others are for effects."""


@dataclass(frozen=True, slots=True)
class View:
    title: str
    begin: float
    end: float
    zero: float | None = None
    """The axis counts from here, where that is not the drill's start."""

    @property
    def span(self) -> float:
        return self.end - self.begin

    def share(self, at: float) -> float:
        return (at - self.begin) / self.span

    def holds(self, at: float) -> bool:
        return self.begin <= at <= self.end


@dataclass(frozen=True, slots=True)
class Bars:
    """Counts by name, in bars of ``width`` seconds from the drill's start; the last one may be narrower or wider."""

    width: float
    last: float
    counts: Mapping[str, Sequence[int]]

    def __len__(self) -> int:
        return max(map(len, self.counts.values()), default=0)

    def rates(self, name: str) -> list[float]:
        values = [count / self.width for count in self.counts[name]]
        return [*values[:-1], self.counts[name][-1] / self.last] if values else []


def whole(result: Result) -> View:
    longest = max((len(values) for s in result.streams for values in s.series.values()), default=0)
    return View("The whole drill", 0.0, max(result.duration, (longest - 1) * BUCKET, BUCKET))


def zooms(result: Result) -> list[View]:
    """Around the first fault, and around where most was lost if that is elsewhere; none where the whole shows it."""
    everything = whole(result)
    found: list[View] = []
    for number in _chosen(result):
        view = _around(result, number, everything)
        if view.span <= min(_LONGEST, everything.span / 2) and not any(v.holds(view.begin + _BEFORE) for v in found):
            found.append(view)
    return found


def _starts(result: Result) -> list[tuple[float, str]]:
    """When episodes begin: with an act, or where there was none, with a loss."""
    done = sorted((m.at, m.kind) for m in result.marks if m.kind in DONE)
    return done or sorted((w.begin, "loss") for s in result.streams for w in s.windows)[:1]


def _chosen(result: Result) -> list[int]:
    starts = _starts(result)
    if not starts:
        return []
    lost = [sum(w.lost for w in _windows(result, number)) for number in range(len(starts))]
    first = next((number for number, (_, kind) in enumerate(starts) if kind == "fault"), 0)
    return list(dict.fromkeys([first, *([lost.index(max(lost))] if any(lost) else [])]))


def _until(result: Result, number: int) -> float:
    starts = _starts(result)
    return starts[number + 1][0] if number + 1 < len(starts) else float("inf")


def _windows(result: Result, number: int) -> list[Window]:
    """Those that begin in an episode: a request in flight when the fault came was sent a little before it."""
    begin, until = _starts(result)[number][0] - _BEFORE / 2, _until(result, number) - _BEFORE / 2
    return [w for s in result.streams for w in s.windows if begin <= w.begin < until]


def _around(result: Result, number: int, everything: View) -> View:
    at, kind = _starts(result)[number]
    ends = [everything.end if w.end is None else w.end for w in _windows(result, number)]
    said = [m.at for m in result.marks if m.kind not in DONE and at <= m.at < _until(result, number)]
    last = max([at, *ends, *said])
    return View(f"Around the {kind}", max(everything.begin, at - _BEFORE), min(everything.end, last + _AFTER), at)


def bars(streams: Iterable[Stream], groups: Mapping[str, str], everything: View, fine: bool) -> Bars:
    """The streams summed; ``groups`` says under which name a node is counted."""
    merged: dict[str, list[int]] = {}
    for stream in streams:
        for name, values in stream.series.items():
            total = merged.setdefault(groups.get(name, name), [])
            total.extend([0] * (len(values) - len(total)))
            for place, value in enumerate(values):
                total[place] += value
    longest = max(map(len, merged.values()), default=0)
    for total in merged.values():
        total.extend([0] * (longest - len(total)))
    return _cut(merged, longest, 1 if fine else max(1, -(-longest // _FINEST)), everything.end)


def _cut(merged: Mapping[str, list[int]], longest: int, per: int, end: float) -> Bars:
    width = per * BUCKET
    counts = {k: [sum(v[i : i + per]) for i in range(0, longest, per)] for k, v in merged.items()}
    number = -(-longest // per)
    last = min(width, max(end - (number - 1) * width, 0.0)) if number else width
    if number > 1 and last < width / 2:  # too short for a rate that means something: part of the one before
        counts = {k: [*v[:-2], v[-2] + v[-1]] for k, v in counts.items()}
        last += width
    return Bars(width, last or width, counts)


def moments(marks: Iterable[Mark], most: int) -> tuple[list[Mark], int]:
    """The marks to show, in order, and how many are left out. The first of each kind always stays."""
    ordered = sorted(marks, key=lambda m: (m.at, m.kind, m.text))
    kinds: set[str] = set()
    rank = {}
    for place, mark in enumerate(ordered):
        rank[place] = (mark.kind in kinds, place)
        kinds.add(mark.kind)
    kept = sorted(sorted(rank, key=lambda place: rank[place])[:most])
    return [ordered[place] for place in kept], len(ordered) - len(kept)


def lost_spans(streams: Iterable[Stream], view: View, closest: float) -> list[tuple[float, float]]:
    """When any of the streams lost something; spans nearer to each other than ``closest`` are one."""
    spans: list[tuple[float, float]] = []
    cut = sorted((w.begin, view.end if w.end is None else w.end) for s in streams for w in s.windows)
    for begin, end in cut:
        begin, end = max(begin, view.begin), min(end, view.end)
        if begin > end:
            continue
        if spans and begin - spans[-1][1] <= closest:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((begin, end))
    return spans
