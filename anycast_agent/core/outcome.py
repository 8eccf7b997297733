"""How a probe ended: what it is worth as evidence, in the words of its kind of check.

The core counts the evidence and passes everything else on. Which words and numbers there are, and what each is worth,
is said by the kinds of checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """What the end of a probe says about the service."""

    SUCCESS = "success"
    DEFINITE = "definite"
    """A failure that no moment's overload explains."""
    DOUBTFUL = "doubtful"
    """A failure that may be a moment's overload: it must last to count."""
    NONE = "none"
    """Nothing: the probe could not be made."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that the probes of a kind may find."""

    name: str
    unit: str
    meaning: str

    def of(self, value: float) -> Number:
        return Number(self, value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a probe found."""

    measure: Measure
    value: float


@dataclass(frozen=True, slots=True)
class Outcome:
    evidence: Evidence
    code: str
    """A word of the check's kind, for people and for metrics."""
    detail: str = ""
    """For people; bounded by who writes it."""
    numbers: tuple[Number, ...] = ()
    by_time: bool = False
    """An agent that is late brings about this end by itself: it does not see the answer, or the server waits no
    longer."""


NOT_RUN = "not_run"
"""The one word that the core has itself: every kind has it, with no evidence."""


def not_run(detail: str) -> Outcome:
    """The end of a probe that could not be made, or whose end says nothing."""
    return Outcome(Evidence.NONE, NOT_RUN, detail)
