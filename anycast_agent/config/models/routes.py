"""The attributes of routes, as they are written."""

from __future__ import annotations

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.types import Community, ExtendedCommunity, LargeCommunity, NextHop

MAX_LISTS = 64


class AttributesModel(Model):
    """The attributes of a route."""

    med: int | None = Field(
        None,
        ge=0,
        le=2**32 - 1,
        description="MED. It reaches the neighboring AS only, and different values end multipath there.",
    )
    local_preference: int | None = Field(None, ge=0, le=2**32 - 1, description="LOCAL_PREF, for iBGP neighbors only.")
    prepend: int | None = Field(
        None, ge=0, le=10, description="How many times more the local AS is in the path towards eBGP neighbors."
    )
    communities: tuple[Community, ...] | None = Field(
        None, max_length=MAX_LISTS, description="Communities (RFC 1997), as numbers: 65000:1."
    )
    large_communities: tuple[LargeCommunity, ...] | None = Field(
        None, max_length=MAX_LISTS, description="Large communities (RFC 8092): 65000:1:2."
    )
    extended_communities: tuple[ExtendedCommunity, ...] | None = Field(
        None,
        max_length=MAX_LISTS,
        description="Extended communities (RFC 4360): target:65000:1, origin:65000:1, bandwidth:65000:1250000.",
    )
    next_hop: NextHop = Field(
        None, description="One next hop, or one for each family. The default is the session's own address."
    )


class TiersModel(Model):
    degraded: AttributesModel | None = Field(
        None,
        description="The attributes while a shared check fails. A key that is not given is as in attributes. By "
        "default prepend + 2 is added; an iBGP neighbor would take that for a loop and gets a local preference that "
        "is 50 lower.",
    )
    last_resort: AttributesModel | None = Field(
        None,
        description="The attributes of the last resort. A key that is not given is as in attributes, and the large "
        "community LOCAL_AS:172:1 is added. Give it a community that the borders know it by.",
    )
