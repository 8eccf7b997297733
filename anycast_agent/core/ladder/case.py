"""The ladder's facts about one prefix, one small value from each part. The ladder never sees a part."""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.health import CheckHealth, Health
from anycast_agent.core.model import (
    Address,
    AddressMode,
    AddressState,
    Check,
    CoverState,
    Prefix,
    Require,
    Scope,
    address_of,
)


@dataclass(frozen=True, slots=True)
class WishFact:
    """The configuration of the service."""

    service: str
    enabled: bool = True
    observe_only: bool = False


@dataclass(frozen=True, slots=True)
class AddressFact:
    """The anycast address on this node."""

    mode: AddressMode
    interface: str
    """The interface of the address."""
    known: bool
    """The kernel's state is known, or was known so recently that an announced route may stay."""
    state: AddressState | None
    error: str = ""
    repairing: bool = False
    """The address has gone, and the attempt to put it back has not failed."""
    link_up: bool = True

    @property
    def watched(self) -> bool:
        return self.mode is not AddressMode.UNMANAGED


@dataclass(frozen=True, slots=True)
class ReturnRouteFact:
    """The route by which replies leave the node."""

    watched: bool
    usable: bool | None
    """None: unknown yet."""
    evidence: str = ""
    """The kernel's error if there is none."""


@dataclass(frozen=True, slots=True)
class HealthFact:
    """The checks of the prefix, and their sum."""

    checks: tuple[tuple[Check, CheckHealth], ...]
    health: Health
    require: Require

    @property
    def local(self) -> list[tuple[Check, CheckHealth]]:
        return [(c, h) for c, h in self.checks if c.scope is Scope.LOCAL]


@dataclass(frozen=True, slots=True)
class RouteFact:
    """The routes of the prefix, or of its last resort where that is asked for."""

    announced: bool
    """A route for it is with the speaker now, from this run or an earlier one."""


@dataclass(frozen=True, slots=True)
class WaitFact:
    """The facts that change by time alone. Instants are monotonic seconds."""

    keep_until: float
    """Until when an announced route stays without a verdict."""
    hold_until: float
    """Until when a recovered prefix waits."""
    flaps: float = 0.0


@dataclass(frozen=True, slots=True)
class CoverFact:
    """The shorter prefix around the prefix, where its last resort is what is asked for."""

    prefix: Prefix
    state: CoverState | None
    """None: the kernel has not told of it yet."""
    managed: bool = True
    """The agent itself adds its blackhole route."""
    error: str = ""
    """Why the blackhole route could not be added."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that the ladder may know of one prefix."""

    prefix: Prefix
    wish: WishFact
    stopping: bool
    address: AddressFact
    return_route: ReturnRouteFact
    health: HealthFact
    route: RouteFact
    wait: WaitFact
    cover: CoverFact | None = None
    """None: the prefix itself is asked about, and not its last resort."""

    @property
    def host(self) -> Address:
        """The prefix's one address."""
        return address_of(self.prefix)
