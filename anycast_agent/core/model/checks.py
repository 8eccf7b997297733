"""Checks, as they are configured, and verdicts. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from anycast_agent.core.model.prefixes import Prefix
from anycast_agent.core.outcome import Measure


class Verdict(StrEnum):
    """The sum of the last probes of a check, or of the checks of a service."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Scope(StrEnum):
    LOCAL = "local"
    """Measures this replica: may withdraw."""
    SHARED = "shared"
    """Measures a thing that all sites share. Its failure lowers the preference, and never withdraws."""


@dataclass(frozen=True, slots=True)
class Check:
    """A configured check. Durations are in seconds.

    ``params`` is the protocol's own frozen model: the core carries it and never looks inside. It is compared, so
    that a reload knows whether the check has changed.
    """

    name: str
    kind: str
    params: Any
    interval: float
    timeout: float
    fast_interval: float
    rise: int = 3
    fall: int = 2
    jitter: float = 0.1
    """The share of an interval by which a probe may come early, 0 to 0.5."""
    doubt_window: float = 1.0
    """How long doubtful outcomes must last, first to last, before they count."""
    fresh_for: float = 10.0
    """A verdict older than this is stale, and no longer a verdict."""
    scope: Scope = Scope.LOCAL
    codes: tuple[str, ...] = ()
    """The words of its kind for how a probe may end: each is counted from the start."""
    measures: tuple[Measure, ...] = ()
    """The numbers that a probe of its kind may find."""
    prefix: Prefix = ""
    """The prefix of the service whose address it asks: its verdict counts for that prefix only. Empty: the check has
    a target of its own, and counts for every prefix of the service."""
