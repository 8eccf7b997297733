"""BGP and its neighbors, as they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.types import AddressText, Asn, HoldTime, RouterId


class NeighborModel(Model):
    """A BGP neighbor."""

    address: AddressText = Field(description="The neighbor's.")
    remote_as: Asn = Field(description="The neighbor's AS.")
    local_as: Asn | None = Field(None, description="By default bgp.local_as.")
    local_address: AddressText | None = Field(None, description="By default what the kernel chooses.")
    hold_time: HoldTime = Field(9, description="Whole seconds, 9 or 9s: 0 (never) or at least 3 (RFC 4271).")
    families: tuple[Literal["ipv4", "ipv6"], ...] | None = Field(
        None, description="By default that of the session's address; with extended_next_hop, IPv4 too."
    )
    password_file: Path | None = Field(None, description="MD5 (RFC 2385). The file is readable by its owner only.")
    ttl_security: int | None = Field(None, ge=1, le=254, description="GTSM (RFC 5082): hops away at the most.")
    multihop: int | None = Field(None, ge=1, le=255, description="TTL of what is sent, for a neighbor further away.")
    extended_next_hop: bool = Field(False, description="IPv4 over an IPv6 next hop (RFC 8950).")
    add_path_receive: bool = Field(False, description="Take more than one path a prefix (RFC 7911).")
    port: int = Field(179, ge=1, le=65535, description="The TCP port it listens on; ours, too, with listen.")
    listen: bool = Field(False, description="Let the neighbor connect to us, too; needs local_address.")
    password: Any = Field(None, exclude=True, json_schema_extra={"deprecated": True})


class BgpModel(Model):
    local_as: Asn = Field(description="Ours. One for each node is recommended.")
    router_id: RouterId = Field(description="Written like an IPv4 address.")
    neighbors: dict[str, NeighborModel] = Field(default_factory=dict, description="By name; in conf.d, too.")
