"""What a route carries, as it is written."""

from __future__ import annotations

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.types import Community, ExtendedCommunity, LargeCommunity, NextHop

LISTS_MOST = 64


class AttributesModel(Model):
    """What a route carries."""

    med: int | None = Field(
        None, ge=0, le=2**32 - 1, description="For the first hop only; different ones end multipath."
    )
    local_preference: int | None = Field(None, ge=0, le=2**32 - 1, description="For iBGP neighbors only.")
    prepend: int | None = Field(
        None, ge=0, le=10, description="How many more times the local AS stands in the path, towards eBGP neighbors."
    )
    communities: tuple[Community, ...] | None = Field(
        None, max_length=LISTS_MOST, description="RFC 1997, as numbers: 65000:1."
    )
    large_communities: tuple[LargeCommunity, ...] | None = Field(
        None, max_length=LISTS_MOST, description="RFC 8092: 65000:1:2."
    )
    extended_communities: tuple[ExtendedCommunity, ...] | None = Field(
        None, max_length=LISTS_MOST, description="RFC 4360: target:65000:1, origin:65000:1, bandwidth:65000:1250000."
    )
    next_hop: NextHop = Field(
        None, description="By default the session's own address; one for each family where several are given."
    )


class TiersModel(Model):
    degraded: AttributesModel | None = Field(
        None,
        description="While a shared check fails; what is not given is as in attributes. By default prepend + 2; "
        "towards an iBGP neighbor, which would take a prepend for a loop, a local preference 50 lower.",
    )
