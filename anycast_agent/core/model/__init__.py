"""The values that the agent reasons about: services, routes, verdicts, reasons. Nothing here does anything.

prefixes   Prefixes and addresses, as canonical text.
checks     Checks, as they are configured, and verdicts.
routes     Routes: attributes, keys, wills and tiers.
config     The configuration, and the slice of each adapter.
states     The observed state of addresses, covers, return routes and sessions.
decisions  The ladder's decisions, and their reasons.
"""

from __future__ import annotations

from anycast_agent.core.model.checks import Check, Scope, Verdict
from anycast_agent.core.model.config import (
    AddressMode,
    Config,
    Cover,
    HoldDown,
    KernelConfig,
    Neighbor,
    Require,
    ReturnRouteRule,
    Service,
    SpeakerConfig,
)
from anycast_agent.core.model.decisions import Decision, Reason, Rung
from anycast_agent.core.model.prefixes import (
    Address,
    Family,
    Prefix,
    address_of,
    family_of,
    is_host_route,
    is_link_local,
    prefix_of,
)
from anycast_agent.core.model.routes import SELF, Attributes, Route, RouteKey, Tier, Will
from anycast_agent.core.model.states import AddressState, CoverState, ReturnRoute, SessionState

__all__ = [
    "SELF",
    "Address",
    "AddressMode",
    "AddressState",
    "Attributes",
    "Check",
    "Config",
    "Cover",
    "CoverState",
    "Decision",
    "Family",
    "HoldDown",
    "KernelConfig",
    "Neighbor",
    "Prefix",
    "Reason",
    "Require",
    "ReturnRoute",
    "ReturnRouteRule",
    "Route",
    "RouteKey",
    "Rung",
    "Scope",
    "Service",
    "SessionState",
    "SpeakerConfig",
    "Tier",
    "Verdict",
    "Will",
    "address_of",
    "family_of",
    "is_host_route",
    "is_link_local",
    "prefix_of",
]
