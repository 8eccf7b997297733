"""What is worth telling, as values. The log, the journal and every other reader make their text from these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from anycast_agent.core.model import Decision, Prefix, SessionState, Verdict


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Decided:
    """The ladder says something else of a prefix than before."""

    prefix: Prefix
    service: str
    decision: Decision
    was_announced: bool

    @property
    def subject(self) -> str:
        return self.prefix

    @property
    def text(self) -> str:
        verb = f"announce, {self.decision.tier}" if self.decision.announce else "do not announce"
        return f"{verb}: {self.decision.reason} ({self.decision.evidence})"

    @property
    def level(self) -> Level:
        return Level.WARNING if self.was_announced and not self.decision.announce else Level.INFO


@dataclass(frozen=True, slots=True)
class VerdictChanged:
    """A check has another verdict."""

    service: str
    check: str
    verdict: Verdict
    detail: str

    @property
    def subject(self) -> str:
        return f"{self.service}/{self.check}"

    @property
    def text(self) -> str:
        return f"verdict {self.verdict}" + (f": {self.detail}" if self.detail else "")

    @property
    def level(self) -> Level:
        return Level.DEBUG


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A BGP session has another state."""

    neighbor: str
    state: SessionState
    why: str = ""

    @property
    def subject(self) -> str:
        return self.neighbor

    @property
    def text(self) -> str:
        return f"session {self.state}" + (f": {self.why}"[:200] if self.why else "")

    @property
    def level(self) -> Level:
        well = self.state in (SessionState.UP, SessionState.CONNECTED)
        return Level.INFO if well else Level.WARNING


@dataclass(frozen=True, slots=True)
class Told:
    """Anything else that a person would want to read."""

    subject: str
    text: str
    level: Level = Level.INFO


Change = Decided | VerdictChanged | SessionChange | Told


def first_of(names: list[str]) -> str:
    """The first of these names, and how many more there are."""
    more = len(names) - 1
    return names[0] + (f" and {more} more" if more else "")
