"""The tables of outcomes: how a probe of a kind may end, and what each end is worth as evidence.

A kind's table is its own: these are the rows that several kinds share. *Definite* is what no moment's overload
explains; what a moment's overload does explain is *doubtful*, and must last to count.
"""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.outcome import NOT_RUN as NOT_RUN_WORD
from anycast_agent.core.outcome import Evidence, Number, Outcome


@dataclass(frozen=True, slots=True)
class Code:
    """A row of a kind's table."""

    word: str
    """In the status, the log and the metrics: a label of its own, so lower case, and never made of what a service
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
    numbers: tuple[Number, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """In the core's words."""
        return Outcome(self.code.evidence, self.code.word, self.detail, self.numbers, self.code.by_time)


class CannotProbeError(RuntimeError):
    """The probe could not be made, by no fault of the service's. The text says why."""


OK_CODE = Code("ok", Evidence.SUCCESS, "All that was asked for is so.")
TIMEOUT = Code("timeout", Evidence.DOUBTFUL, "No answer came within the timeout.", by_time=True)
NOT_RUN = Code(NOT_RUN_WORD, Evidence.NONE, "The probe could not be made here: no file descriptor, no such program.")
BROKEN = Code("broken", Evidence.NONE, "The probe itself is at fault: please report it.")
COMMON = (OK_CODE, TIMEOUT, NOT_RUN, BROKEN)
"""In the table of every kind."""

REFUSED = Code("refused", Evidence.DEFINITE, "The connection was refused: nothing listens there.")
RESET = Code("reset", Evidence.DEFINITE, "The connection was closed before the whole answer.", by_time=True)
UNREACHABLE = Code("unreachable", Evidence.DEFINITE, "There is no way to the address.")
TLS = Code("tls", Evidence.DEFINITE, "TLS could not be agreed on, or the certificate is not good.")
CONNECTING = (REFUSED, RESET, UNREACHABLE)
"""In the table of a kind that connects."""

PROTOCOL = Code("protocol", Evidence.DEFINITE, "What answers does not speak the protocol.")
BAD_ANSWER = Code("bad_answer", Evidence.DEFINITE, "The answer is not the one that is asked for.")

OK = Finding(OK_CODE)
