"""BGP and its neighbors, as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.models.routes import AttributesModel
from anycast_agent.config.types import AddressText, Asn, HoldTime, InterfaceName, NeighborAddress, RouterId


class NeighborModel(Model):
    """A BGP neighbor."""

    address: NeighborAddress | None = Field(
        None,
        description="The neighbor's address. A link-local one needs interface. Without an address, it is that of the "
        "router that is seen on interface.",
    )
    interface: InterfaceName | None = Field(
        None,
        description="The interface that the session is bound to: for a link-local address (unnumbered), or a VRF.",
    )
    remote_as: Asn = Field(description="The neighbor's AS.")
    local_as: Asn | None = Field(None, description="Our AS towards this neighbor. The default is bgp.local_as.")
    local_address: AddressText | None = Field(
        None, description="Our end of the session. By default the kernel chooses it."
    )
    hold_time: HoldTime = Field(9, description="Whole seconds, 9 or 9s: 0 (never) or at least 3 (RFC 4271).")
    families: tuple[Literal["ipv4", "ipv6"], ...] | None = Field(
        None,
        description="The families of the routes. The default is that of the session's address, and IPv4 with "
        "extended_next_hop.",
    )
    password_file: Path | None = Field(
        None, description="The file with the MD5 password (RFC 2385). Only its owner may be able to read it."
    )
    ttl_security: int | None = Field(
        None, ge=1, le=254, description="GTSM (RFC 5082): the neighbor is at most so many hops away."
    )
    multihop: int | None = Field(
        None, ge=1, le=255, description="The TTL of our packets, for a neighbor that is not on the link."
    )
    extended_next_hop: bool | None = Field(
        None,
        description="Announce IPv4 routes with an IPv6 next hop (RFC 8950). The default is false, and true for a "
        "neighbor that is link-local or has no address.",
    )
    attributes: AttributesModel = Field(
        default_factory=AttributesModel,
        description="Attributes of every route at this neighbor. A service's own come first; communities of both are "
        "sent, and prepends are added up.",
    )
    add_path_receive: bool = Field(False, description="Receive several paths for a prefix (RFC 7911).")
    port: int = Field(179, ge=1, le=65535, description="The neighbor's TCP port; with listen, ours as well.")
    listen: bool = Field(False, description="Accept connections from the neighbor; needs local_address.")
    password: Any = Field(None, exclude=True, json_schema_extra={"deprecated": True})


class BgpModel(Model):
    local_as: Asn = Field(description="Our AS. An AS for each node is recommended.")
    router_id: RouterId = Field(description="A number of this node alone, written like an IPv4 address.")
    neighbors: dict[str, NeighborModel] = Field(
        default_factory=dict, description="The neighbors by name. Files in conf.d may add some."
    )
