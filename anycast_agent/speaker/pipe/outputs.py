"""The switchboard's requests to the shell. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from anycast_agent.speaker import wire


@dataclass(frozen=True, slots=True)
class ToExaBGP:
    line: str


@dataclass(frozen=True, slots=True)
class ToAgent:
    agent: int
    """The number of the connection."""
    message: wire.ToAgent


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the connection, after its buffer is sent."""

    agent: int


class Kind(StrEnum):
    RELOAD = "reload"
    """ExaBGP reads its configuration again."""
    END = "end"
    KILL = "kill"
    """It does not end by itself."""


@dataclass(frozen=True, slots=True)
class SignalExaBGP:
    kind: Kind


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """Read the settings' file. Answered by ``Switchboard.settings_read``."""

    agent: int
    request: wire.Reload


@dataclass(frozen=True, slots=True)
class Say:
    """For the log."""

    text: str


@dataclass(frozen=True, slots=True)
class TellSystemd:
    """ExaBGP has just answered: where it is a service, its watchdog is fed by that."""

    first: bool


Output = ToExaBGP | ToAgent | HangUp | SignalExaBGP | ReadSettings | Say | TellSystemd
