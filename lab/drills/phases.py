"""The phases of a drill: before the fault, the fault, and the way back. Each is judged by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from lab.drills.conduct import Story

BEFORE, FAULT, BACK = "before the fault", "the fault", "the way back"


@dataclass(frozen=True, slots=True)
class Span:
    """``begin`` and ``end``: monotonic."""

    kind: str
    begin: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.begin


class Phases:
    """A fault begins a phase that lasts until a recovery, and a recovery one that lasts until the next fault."""

    def __init__(self, story: Story) -> None:
        marks = sorted((m.at, m.kind) for m in story.marks if m.kind in ("fault", "recovery"))
        self.faults = [at for at, kind in marks if kind == "fault"]
        turns = [(story.begin, BEFORE)] if marks else [(story.begin, FAULT)]  # without a fault, all of it is judged
        for at, kind in marks:
            phase = FAULT if kind == "fault" else BACK
            if turns[-1][1] != phase:
                turns.append((at, phase))
        ends = [*turns, (story.end, "")]
        self.spans = tuple(Span(kind, begin, end) for (begin, kind), (end, _) in pairwise(ends))

    def at(self, at: float) -> str:
        """The phase of a moment. A moment before the drill counts for its first phase."""
        return next((span.kind for span in reversed(self.spans) if span.begin <= at), self.spans[0].kind)

    def of(self, kind: str) -> Iterator[Span]:
        return (span for span in self.spans if span.kind == kind)

    def fault_before(self, at: float) -> float | None:
        """The fault from which the time of an event is counted."""
        return max((fault for fault in self.faults if fault <= at), default=None)
