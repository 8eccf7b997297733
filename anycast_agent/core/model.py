"""What the agent reasons about: services, routes, verdicts, reasons. Values only; nothing here does anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from anycast_agent.core.consumers import AsideConfig, LocalConsumers
from anycast_agent.core.outcome import Measure

Prefix = str
"""A host route in canonical text: ``192.0.2.53/32`` or ``2001:db8:53::53/128``."""

Address = str
"""An IP address in canonical text."""


class Family(StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"


def address_of(prefix: Prefix) -> Address:
    """The one address of a host route: ``192.0.2.53`` of ``192.0.2.53/32``."""
    return prefix.partition("/")[0]


def prefix_of(address: Address) -> Prefix:
    """The host route of an address."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def is_host_route(prefix: Prefix) -> bool:
    """Whether it is a /32 or a /128, and not a cover."""
    return prefix == prefix_of(address_of(prefix))


def family_of(prefix_or_address: str) -> Family:
    """The family of a prefix or an address in canonical text; IPv6 text always has a colon (RFC 5952)."""
    return Family.IPV6 if ":" in prefix_or_address else Family.IPV4


# --- checks -------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What the last probes of a check, or the checks of a service, add up to."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class Scope(StrEnum):
    LOCAL = "local"
    """Measures this replica: may withdraw."""
    SHARED = "shared"
    """Measures what every site has in common: may only lower preference, however many fail."""


@dataclass(frozen=True, slots=True)
class Check:
    """A configured check. Durations are in seconds.

    ``params`` is the protocol's own frozen model: the core carries it and never looks inside. It is compared, so
    that a reload knows whether the check has changed.
    """

    name: str
    kind: str
    params: Any
    interval: float
    timeout: float
    fast_interval: float
    rise: int = 3
    fall: int = 2
    jitter: float = 0.1
    """The share of an interval by which a probe may come early, 0 to 0.5."""
    doubt_window: float = 1.0
    """How long doubtful outcomes must last, first to last, before they count."""
    fresh_for: float = 10.0
    """A verdict older than this is stale, and no longer a verdict."""
    scope: Scope = Scope.LOCAL
    codes: tuple[str, ...] = ()
    """The words of its kind for how a probe may end: each is counted from the start."""
    measures: tuple[Measure, ...] = ()
    """The numbers that a probe of its kind may find."""
    prefix: Prefix = ""
    """The prefix of the service whose address it asks: its verdict counts for that prefix only. Empty: the check has
    a target of its own, and counts for every prefix of the service."""


# --- routes -------------------------------------------------------------------------------------------------


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
    """The AS path as it goes out, literally; empty: what the speaker makes of it (its own AS once, on eBGP)."""
    communities: tuple[str, ...] = ()
    """RFC 1997, ``65000:1``."""
    large_communities: tuple[str, ...] = ()
    """RFC 8092, ``65000:1:2``."""
    extended_communities: tuple[str, ...] = ()
    """RFC 4360, as ExaBGP writes them: ``target:65000:1``, ``bandwidth:65000:1250000``."""


class Will(StrEnum):
    """What the pipe does with a route when the agent dies."""

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


# --- what is configured -------------------------------------------------------------------------------------


class AddressMode(StrEnum):
    MANAGE = "manage"
    """The agent adds and removes the addresses, and puts back what someone removed."""
    VERIFY = "verify"
    """Someone else does; the agent looks, and withdraws at once what has gone."""
    UNMANAGED = "unmanaged"
    """Not looked at: gates 3 and 4 say nothing."""


class ReturnRouteRule(StrEnum):
    """Which return route an anycast address needs."""

    DEFAULT = "default"
    """A usable route to what is outside: a default route, or what serves as one."""
    ANY = "any"
    """A usable route to anything that is not on this node."""
    OFF = "off"


class Tier(StrEnum):
    """How a route is announced, best first."""

    ADOPTED = "adopted"
    FULL = "full"
    DEGRADED = "degraded"
    LAST_RESORT = "last_resort"


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A BGP neighbor as ExaBGP is to be configured for it. Durations in seconds."""

    name: str
    address: Address
    remote_as: int
    local_as: int
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
    def ebgp(self) -> bool:
        return self.local_as != self.remote_as


@dataclass(frozen=True, slots=True)
class HoldDown:
    """How long a recovered service waits before it is announced again (the idea of RFC 2439). Seconds."""

    initial: float = 2.0
    """After a single fall."""
    maximum: float = 60.0
    half_life: float = 120.0
    """After so long, half of a flap is forgotten."""


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
    """Each neighbor that it is announced to, with what it carries."""


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
    """For FULL and DEGRADED: every (neighbor, prefix) this service is announced to, with what it carries."""
    hold_down: HoldDown = field(default_factory=HoldDown)
    linger: float = 1.0
    """How long an address stays after its withdrawals were sent, for what is still under way. Seconds."""
    will: Will = Will.WITHDRAW
    covers: tuple[Cover, ...] = ()
    local_consumers: LocalConsumers = LocalConsumers.OFF

    @property
    def keys(self) -> tuple[RouteKey, ...]:
        """Every route this service may have."""
        return (*self.attributes.get(Tier.FULL, {}), *(key for cover in self.covers for key in cover.attributes))

    def offers(self) -> dict[Prefix, dict[Tier, dict[RouteKey, Attributes]]]:
        """What ``attributes`` says, by prefix."""
        found: dict[Prefix, dict[Tier, dict[RouteKey, Attributes]]] = {prefix: {} for prefix in self.prefixes}
        for tier, routes in self.attributes.items():
            for key, attributes in routes.items():
                found[key.prefix].setdefault(tier, {})[key] = attributes
        return found


@dataclass(frozen=True, slots=True)
class SpeakerConfig:
    """What ExaBGP and the pipe are configured for. Durations in seconds."""

    neighbors: Mapping[str, Neighbor] = field(default_factory=lambda: MappingProxyType({}))
    router_id: Address | None = None
    dead_man: float = 5.0
    adopt_for: float = 30.0
    keep_for: float = 86_400.0
    prefixes: frozenset[Prefix] = frozenset()
    """What the pipe passes on; it refuses any other."""


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """What the kernel adapter looks after."""

    interface: str = "lo"
    address_mode: AddressMode = AddressMode.MANAGE
    return_route: ReturnRouteRule = ReturnRouteRule.DEFAULT
    addresses: frozenset[Address] = frozenset()
    covers: frozenset[Prefix] = frozenset()
    """What is discarded on the node where nothing longer matches."""


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
    """What the jitter is drawn from; the node's name by default."""

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


# --- observed -----------------------------------------------------------------------------------------------


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
    """That route is marked as ours."""
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


# --- decisions ----------------------------------------------------------------------------------------------


class Reason(StrEnum):
    """Why a prefix is announced or not: what the log, the API, the metrics and the page all show."""

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
    """What the ladder says of one prefix."""

    announce: bool
    rung: Rung
    reason: Reason
    evidence: str
    """What it was seen by, for people: ``check answers: refused, 2 in a row``."""
    remedy: str
    """What would change it, for people."""
    tier: Tier | None = None
    """How, where announce is true."""
    until: float | None = None
    """When time alone will change it (monotonic), if so."""
