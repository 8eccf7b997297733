"""The tables of outcomes: each way in which a probe may end, and its worth as evidence.

A kind's table is its own; these are the rows that several kinds share. *Definite* is a failure that no moment's
overload explains. *Doubtful* is one that a moment's overload does explain: it must last to count.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.outcome import NOT_RUN as NOT_RUN_WORD
from anycast_agent.core.outcome import Evidence, Number, Outcome

MAX_DETAIL = 200


@dataclass(frozen=True, slots=True)
class Code:
    """A row of a kind's table."""

    word: str
    """In the status, the log and the metrics, where it is the value of a label: it is never made of what a service
    says."""
    evidence: Evidence
    meaning: str
    """For the reference."""
    by_time: bool = False
    """An agent that is late brings about this end by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How a probe ended."""

    code: Code
    detail: str = ""
    """The question, the answer and the expectation, in a few words."""
    numbers: tuple[Number, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """In the core's words."""
        return Outcome(self.code.evidence, self.code.word, self.detail, self.numbers, self.code.by_time)


class CannotProbeError(RuntimeError):
    """The probe could not be made, by no fault of the service's. The text says why."""


OK_CODE = Code("ok", Evidence.SUCCESS, "All that is asked for is so.")
TIMEOUT = Code("timeout", Evidence.DOUBTFUL, "No answer came within the timeout.", by_time=True)
NOT_RUN = Code(NOT_RUN_WORD, Evidence.NONE, "The probe could not be made, by no fault of the service's.")
BROKEN = Code("broken", Evidence.NONE, "The probe itself is at fault, not the service: a bug to report.")
COMMON = (OK_CODE, TIMEOUT, NOT_RUN, BROKEN)
"""In the table of every kind. A probe returns OK_CODE; the prober adds the others."""

REFUSED = Code("refused", Evidence.DEFINITE, "The connection was refused: nothing listens there.")
RESET = Code("reset", Evidence.DEFINITE, "The connection was closed before the whole answer.", by_time=True)
UNREACHABLE = Code("unreachable", Evidence.DEFINITE, "No route leads to the address.")
CONNECTING = (REFUSED, RESET, UNREACHABLE)
"""In the table of a kind that connects."""
TLS = Code("tls", Evidence.DEFINITE, "TLS was not agreed on, or the certificate is not good.")

PROTOCOL = Code("protocol", Evidence.DEFINITE, "What answers does not speak the protocol.")
BAD_ANSWER = Code("bad_answer", Evidence.DEFINITE, "The answer is not the one that is asked for.")

OK = Finding(OK_CODE)


def clean(text: str) -> str:
    """Text from outside, fit to be shown: bounded, one line, nothing that a terminal would obey."""
    text = text[: 2 * MAX_DETAIL]
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:MAX_DETAIL]
