"""The observed state of addresses, covers, return routes and sessions. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from anycast_agent.core.model.prefixes import Address


@dataclass(frozen=True, slots=True)
class AddressState:
    """An anycast address as it is on the node."""

    interface: str
    ours: bool
    usable: bool = True
    """False while IPv6 calls it tentative or a duplicate."""


@dataclass(frozen=True, slots=True)
class CoverState:
    """The prefix of a last resort as it is on the node."""

    blackholed: bool
    """A blackhole route for it is in the main table."""
    ours: bool
    """The route is marked as ours."""
    holds: Address | None = None
    """An address of this node that is inside and no anycast address; one of them, where there are several."""


@dataclass(frozen=True, slots=True)
class ReturnRoute:
    """Whether replies from an anycast address have a usable route off the node, by the rule that is configured."""

    usable: bool
    evidence: str = ""
    """What the kernel said where there is none, for people."""


class SessionState(StrEnum):
    UNKNOWN = "unknown"
    DOWN = "down"
    CONNECTED = "connected"
    """TCP is up, OPEN not yet agreed."""
    UP = "up"
