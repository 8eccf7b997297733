"""Routes: attributes, keys, wills and tiers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from anycast_agent.core.model.prefixes import Prefix

SELF = "self"
"""A next hop: the address of this node on the session."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The path attributes of a route, as they go to one neighbor. Communities are numbers in text."""

    next_hop: str = SELF
    """An address, or ``SELF``."""
    med: int | None = None
    local_preference: int | None = None
    as_path: tuple[int, ...] = ()
    """The AS path as it is sent. Empty: the speaker makes it (its own AS once, on eBGP)."""
    communities: tuple[str, ...] = ()
    """RFC 1997, ``65000:1``."""
    large_communities: tuple[str, ...] = ()
    """RFC 8092, ``65000:1:2``."""
    extended_communities: tuple[str, ...] = ()
    """RFC 4360, as ExaBGP writes them: ``target:65000:1``, ``bandwidth:65000:1250000``."""


class Will(StrEnum):
    """The pipe's treatment of a route when the agent dies."""

    WITHDRAW = "withdraw"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, order=True)
class RouteKey:
    neighbor: str
    """The neighbor's name."""
    prefix: Prefix


@dataclass(frozen=True, slots=True)
class Route:
    key: RouteKey
    attributes: Attributes
    will: Will = Will.WITHDRAW


class Tier(StrEnum):
    """The ways to announce a route, best first."""

    ADOPTED = "adopted"
    FULL = "full"
    DEGRADED = "degraded"
    LAST_RESORT = "last_resort"
