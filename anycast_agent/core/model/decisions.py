"""The ladder's decisions, and their reasons. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from anycast_agent.core.model.routes import Tier


class Reason(StrEnum):
    """Why a prefix is announced or not. The log, the API, the metrics and the page show the same one."""

    DISABLED = "disabled"
    OBSERVE_ONLY = "observe_only"
    STOPPING = "stopping"
    ADDRESS_UNKNOWN = "address_unknown"
    ADDRESS_MISSING = "address_missing"
    ADDRESS_NOT_USABLE = "address_not_usable"
    INTERFACE_DOWN = "interface_down"
    RETURN_ROUTE_UNKNOWN = "return_route_unknown"
    NO_RETURN_ROUTE = "no_return_route"
    NOTHING_KNOWN = "nothing_known"
    ADOPTED = "adopted"
    HEALTH_DOWN = "health_down"
    HEALTH_STALE = "health_stale"
    HOLD_DOWN = "hold_down"
    HEALTHY = "healthy"
    SHARED_CHECK_DOWN = "shared_check_down"
    LAST_RESORT = "last_resort"
    BLACKHOLE_MISSING = "blackhole_missing"
    NODE_ADDRESS_INSIDE = "node_address_inside"


@dataclass(frozen=True, slots=True)
class Rung:
    """A row of the ladder, as people see it: its number in the documentation, and its title."""

    number: int
    title: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The ladder's answer for one prefix."""

    announce: bool
    rung: Rung
    reason: Reason
    evidence: str
    """The evidence, for people: ``check answers: refused, 2 in a row``."""
    remedy: str
    """The remedy, for people."""
    tier: Tier | None = None
    """The tier, if announce is true."""
    until: float | None = None
    """When time alone will change it (monotonic), if so."""
