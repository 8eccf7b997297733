"""The configuration as it is written: what may stand where, with its default and its meaning."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.types import (
    AddressText,
    Asn,
    Community,
    Duration,
    ExtendedCommunity,
    HoldTime,
    LargeCommunity,
    NextHop,
    PrefixText,
    RouterId,
)

LISTS_MOST = 64


class NodeModel(Model):
    """This machine."""

    name: str = Field(
        default_factory=lambda: socket.gethostname().partition(".")[0], description="By default the host's."
    )
    site: str = Field("", description="The datacenter it stands in.")
    interface: str = Field("lo", max_length=15, pattern=r"^[^\s/]+$", description="Where the anycast addresses go.")
    addresses: Literal["manage", "verify", "unmanaged"] = Field(
        "manage", description="manage: the agent adds and removes them; verify: someone else does, the agent looks; "
        "unmanaged: nobody looks."
    )  # fmt: skip
    way_back: Literal["default", "any", "off"] = Field(
        "default",
        description="The return route that replies from an anycast address need: a usable one to what is outside, a "
        "usable one to anything off this node, or none is asked for. The kernel says, with its policy rules; it is "
        "asked without a firewall mark.",
    )


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


class AtLeast(Model):
    at_least: int = Field(ge=1)


class HoldDownModel(Model):
    """How long a recovered service waits before it is announced again."""

    initial: Duration = Field(2.0, description="After a single fall.")
    maximum: Duration = Field(60.0, description="However often it fell.")
    half_life: Duration = Field(120.0, description="After so long, half of the falls are forgotten.")


class CheckModel(Model):
    """What every check has, beside the parameters of its type."""

    type: str
    interval: Duration = 1.0
    timeout: Duration | None = Field(
        None, description="Over everything. By default 1s, or the interval if that is less."
    )
    fast_interval: Duration | None = Field(
        None,
        description="While the verdict is about to change; how soon after a change at another of the service's prefixes"
        " this one is asked, too. By default a tenth of the interval, at least 50ms.",
    )
    rise: int = Field(3, ge=1, le=1000, description="Successes in a row until it is up.")
    fall: int = Field(2, ge=1, le=1000, description="Failures in a row until it is down.")
    jitter: float = Field(0.1, ge=0, le=0.5, description="The share of an interval by which a probe may come early.")
    doubt_window: Duration | None = Field(
        None, description="How long doubtful outcomes must last to count. By default (fall - 1) intervals."
    )
    fresh_for: Duration | None = Field(
        None, description="After so long without a conclusive probe the verdict is stale. By default three rounds."
    )
    scope: Literal["local", "shared"] = Field(
        "local",
        description="local: this replica, may withdraw; shared: what every site has in common, may only degrade.",
    )


class ServiceModel(Model):
    """What users reach."""

    prefixes: tuple[PrefixText, ...] = Field(min_length=1, description="Host routes: IPv4 /32, IPv6 /128.")
    checks: dict[str, dict[str, Any]] = Field(min_length=1, description="By name. One at least of scope local.")
    require: Literal["all", "any"] | AtLeast = Field("all", description="How many of the local checks must be up.")
    attributes: AttributesModel = Field(default_factory=AttributesModel)
    tiers: TiersModel = Field(default_factory=TiersModel)
    neighbors: tuple[str, ...] | None = Field(None, description="By default all.")
    enabled: bool = Field(True, description="false: announce nothing.")
    observe_only: bool = Field(False, description="Check and decide, announce nothing.")
    hold_down: HoldDownModel = Field(default_factory=HoldDownModel)
    linger: Duration = Field(1.0, description="How long an address stays after its withdrawal.")
    will: Literal["withdraw", "keep"] = Field("withdraw", description="What becomes of a route if the agent dies.")


class ApiModel(Model):
    listen: str = Field(
        "127.0.0.1:9179",
        description="Read only: pages, JSON, metrics. 0.0.0.0:9179 is every IPv4 address of the node, [::]:9179 every "
        "IPv6 one: whoever reaches them can read everything.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names under which it may be asked, beside addresses, localhost and node.name; *.example.org is "
        "every name below example.org.",
    )


class AgentModel(Model):
    dead_man: Duration = Field(5.0, description="Without a beat of the agent for so long, the wills are carried out.")
    adopt_for: Duration = Field(30.0, description="How long what an earlier run announced stays without a verdict.")
    stop_within: Duration = Field(20.0, description="Bound on a clean stop.")
    exec_slots: int = Field(
        32,
        ge=0,
        le=10_000,
        description="Programs of exec checks that run at once on the node, beside one for each service. A service takes"
        " no more of them than it leaves free.",
    )
    api: ApiModel = Field(default_factory=ApiModel)
    control_socket: Path = Field(
        Path("/run/anycast-agent/control.sock"), description="For the verbs that change something."
    )
    run_dir: Path = Field(Path("/run/anycast-agent"), description="Shared with the speaker.")
    state_dir: Path = Field(Path("/var/lib/anycast-agent"), description="What outlives a reboot.")


class RootModel(Model):
    """The whole of it, all files together."""

    node: NodeModel = Field(default_factory=NodeModel)
    agent: AgentModel = Field(default_factory=AgentModel)
    bgp: BgpModel
    services: dict[str, ServiceModel] = Field(
        default_factory=dict, max_length=10_000, description="May be none yet: conf.d brings and takes them."
    )
