"""The configuration, and the slice of each adapter. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from anycast_agent.core.consumers import AsideConfig, LocalConsumers
from anycast_agent.core.model.checks import Check
from anycast_agent.core.model.prefixes import Address, Family, Prefix, address_of, family_of
from anycast_agent.core.model.routes import Attributes, RouteKey, Tier, Will


class AddressMode(StrEnum):
    MANAGE = "manage"
    """The agent adds and removes the addresses, and puts back what someone removed."""
    VERIFY = "verify"
    """Someone else adds and removes them. The agent watches, and withdraws at once when one has gone."""
    UNMANAGED = "unmanaged"
    """Nobody looks at them: rungs 3 and 4 say nothing."""


class ReturnRouteRule(StrEnum):
    """Which return route an anycast address needs."""

    DEFAULT = "default"
    """A usable route to the outside: a default route, or routes that serve as one."""
    ANY = "any"
    """A usable route to anything that is not on this node."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor as ExaBGP is to be configured for it. Durations in seconds."""

    name: str
    address: Address
    """Empty: that of the router on ``interface``, once it is seen."""
    remote_as: int
    local_as: int
    interface: str = ""
    """The session is bound to it; empty: the kernel chooses. A link-local address means nothing without one."""
    local_address: Address | None = None
    """None: the kernel chooses (``auto``)."""
    router_id: Address | None = None
    hold_time: int = 9
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    password_file: str | None = None
    """MD5 (RFC 2385); the secret is read by who writes ExaBGP's configuration, and stands nowhere else."""
    password_digest: str = ""
    """Changes when the password does, so that a reload sees it; says nothing of it."""
    ttl_security: int | None = None
    """GTSM (RFC 5082): how many hops away the neighbor may be."""
    multihop: int | None = None
    """The TTL of outgoing packets where the neighbor is not adjacent."""
    extended_next_hop: bool = False
    """IPv4 routes with an IPv6 next hop (RFC 8950)."""
    add_path_receive: bool = False
    port: int = 179
    listen: bool = False
    """Accept the neighbor's connection as well as opening one."""

    @property
    def family(self) -> Family:
        """Of the session's own address."""
        return family_of(self.address) if self.address else Family.IPV6

    @property
    def ebgp(self) -> bool:
        return self.local_as != self.remote_as


@dataclass(frozen=True, slots=True)
class HoldDown:
    """How long a recovered service waits before it is announced again (the idea of RFC 2439). Seconds."""

    initial: float = 2.0
    """After a single fall."""
    maximum: float = 60.0
    half_life: float = 120.0
    """Time after which half of a flap is forgotten."""


@dataclass(frozen=True, slots=True)
class Require:
    """How many local checks must be up. ``at_least`` None: all of them."""

    at_least: int | None = None

    def needed(self, checks: int) -> int:
        return checks if self.at_least is None else min(self.at_least, checks)


@dataclass(frozen=True, slots=True)
class Cover:
    """The last resort of a service: a shorter prefix that is announced whatever the checks say.

    Routers use it only where none of them has the longer prefix any more (longest match).
    """

    prefix: Prefix
    """A network in canonical text: ``192.0.2.52/31``."""
    behind: tuple[Prefix, ...]
    """The host routes of the service that are inside."""
    attributes: Mapping[RouteKey, Attributes]
    """The attributes at each neighbor that it is announced to."""


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    prefixes: tuple[Prefix, ...]
    checks: tuple[Check, ...]
    require: Require = field(default_factory=Require)
    enabled: bool = True
    observe_only: bool = False
    """Check and decide, announce nothing."""
    attributes: Mapping[Tier, Mapping[RouteKey, Attributes]] = field(default_factory=lambda: MappingProxyType({}))
    """For FULL and DEGRADED: the attributes of every (neighbor, prefix) that the service is announced to."""
    hold_down: HoldDown = field(default_factory=HoldDown)
    linger: float = 1.0
    """How long an address stays after its withdrawals were sent, for packets under way. Seconds."""
    will: Will = Will.WITHDRAW
    covers: tuple[Cover, ...] = ()
    local_consumers: LocalConsumers = LocalConsumers.OFF

    @property
    def keys(self) -> tuple[RouteKey, ...]:
        """Every route this service may have."""
        return (*self.attributes.get(Tier.FULL, {}), *(key for cover in self.covers for key in cover.attributes))

    def offers(self) -> dict[Prefix, dict[Tier, dict[RouteKey, Attributes]]]:
        """The attributes, by prefix."""
        found: dict[Prefix, dict[Tier, dict[RouteKey, Attributes]]] = {prefix: {} for prefix in self.prefixes}
        for tier, routes in self.attributes.items():
            for key, attributes in routes.items():
                found[key.prefix].setdefault(tier, {})[key] = attributes
        return found


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """The slice of ExaBGP and the pipe. Durations in seconds."""

    neighbors: Mapping[str, Neighbor] = field(default_factory=lambda: MappingProxyType({}))
    router_id: Address | None = None
    dead_man: float = 5.0
    adopt_for: float = 30.0
    keep_for: float = 86_400.0
    prefixes: frozenset[Prefix] = frozenset()
    """The prefixes that the pipe passes on. It refuses any other."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """The slice of the kernel adapter."""

    interface: str = "lo"
    address_mode: AddressMode = AddressMode.MANAGE
    return_route: ReturnRouteRule = ReturnRouteRule.DEFAULT
    addresses: frozenset[Address] = frozenset()
    covers: frozenset[Prefix] = frozenset()
    """Prefixes whose packets are discarded on the node unless a longer one matches."""


@dataclass(frozen=True, slots=True)
class Config:
    """A whole validated configuration."""

    node: str
    site: str
    neighbors: Mapping[str, Neighbor]
    services: Mapping[str, Service]
    router_id: Address | None = None
    local_as: int = 0
    interface: str = "lo"
    address_mode: AddressMode = AddressMode.MANAGE
    return_route: ReturnRouteRule = ReturnRouteRule.DEFAULT
    dead_man: float = 5.0
    """Without a heartbeat for so long, the pipe carries out the wills. Seconds."""
    adopt_for: float = 30.0
    """How long a route that an earlier run announced stays without a verdict of this one. Seconds."""
    keep_for: float = 86_400.0
    """How long a route whose will is to be kept stays without a heartbeat. Seconds."""
    stop_within: float = 20.0
    """Bound on a clean stop. Seconds."""
    consumers: AsideConfig = field(default_factory=AsideConfig)
    """How local consumers are sent aside; its addresses are those of ``aside``."""
    seed: str = ""
    """The seed of the jitter. The node's name by default."""

    @property
    def prefixes(self) -> frozenset[Prefix]:
        return frozenset(p for s in self.services.values() for p in s.prefixes)

    @property
    def covers(self) -> frozenset[Prefix]:
        return frozenset(cover.prefix for s in self.services.values() for cover in s.covers)

    @property
    def speaker(self) -> SpeakerConfig:
        """The slice that the speaker gets."""
        clocks = (self.dead_man, self.adopt_for, self.keep_for)
        return SpeakerConfig(self.neighbors, self.router_id, *clocks, self.prefixes | self.covers)

    @property
    def aside(self) -> AsideConfig:
        """The slice of the adapter that sends local consumers aside."""
        services = [s for s in self.services.values() if s.local_consumers is not LocalConsumers.OFF]
        return replace(
            self.consumers,
            addresses=frozenset(address_of(p) for s in services for p in s.prefixes),
            anycast=frozenset(address_of(p) for p in self.prefixes),
        )

    @property
    def kernel(self) -> KernelConfig:
        """The slice that the kernel adapter gets."""
        addresses = frozenset(address_of(p) for p in self.prefixes)
        return KernelConfig(self.interface, self.address_mode, self.return_route, addresses, self.covers)
