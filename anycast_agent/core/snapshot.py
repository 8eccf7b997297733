"""One immutable picture of the engine, from which every surface is made.

Instants are monotonic seconds; surfaces turn them into ages with ``Snapshot.at``. ``None`` for an instant means that
it has not happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anycast_agent.core.consumers import AsideState, LocalConsumers
from anycast_agent.core.model import (
    Address,
    AddressState,
    Attributes,
    CoverState,
    Decision,
    Family,
    Prefix,
    Scope,
    SessionState,
    Verdict,
    Will,
)
from anycast_agent.core.outcome import Measure, Outcome


@dataclass(frozen=True, slots=True)
class CheckSnapshot:
    name: str
    prefix: Prefix
    """The prefix whose address it asks; empty if the check has a target of its own."""
    kind: str
    scope: Scope
    verdict: Verdict
    state: str
    """The state in the verdict's table: unknown, up, suspect, down, recovering."""
    since: float
    stale: bool
    kept: bool
    """The verdict is older than ``fresh_for``, and kept because the agent itself is starved."""
    streak: int
    """Probes in a row that ended like the last one: success or failure."""
    outcome: Outcome | None
    """Of the last probe."""
    duration: float | None
    finished_at: float | None
    next_at: float | None
    codes: tuple[str, ...]
    """The words for how a probe of its kind may end."""
    measures: tuple[Measure, ...]
    """The numbers that a probe of its kind may find."""
    runs: Mapping[str, int]
    """How many probes ended with each of them, since the start."""
    duration_sum: float
    interval: float
    fast: bool


@dataclass(frozen=True, slots=True)
class PaceSnapshot:
    """The agent's own pace."""

    in_flight: int
    queued: int
    """Probes that are due and wait for their turn."""
    cap: int
    """The cap on probes in flight."""
    starved_since: float | None
    """Since when this process is too late to look at its events; None where it is on time."""


@dataclass(frozen=True, slots=True)
class RouteSnapshot:
    """A route to one neighbor. Desired, acknowledged, sent and echoed are four facts, never shown for one another."""

    neighbor: str
    desired: Attributes | None
    desired_since: float
    acknowledged: Attributes | None
    acknowledged_known: bool
    """False: the speaker is not connected, and its routes are unknown."""
    acknowledged_at: float | None
    sent: bool | None
    """The last UPDATE reported: True announced, False withdrawn, None not known."""
    sent_at: float | None
    withdrawal_sent_at: float | None
    """The instant of a withdrawal's UPDATE, if ``sent`` is False because of it; None if no UPDATE was sent."""
    echoed: bool
    echoed_at: float | None
    adopted: bool
    pending: str
    """The open action, if any: put, drop, confirm."""
    error: str
    waits_for: str
    """The missing precondition of a put, which is not an error."""
    will: Will
    session: SessionState

    @property
    def on_wire(self) -> bool | None:
        """True if the neighbor has it from us: it was sent on a session that is established. None: unknown."""
        if self.sent and self.session is SessionState.UP:
            return True
        if self.sent is False or self.session in (SessionState.DOWN, SessionState.CONNECTED):
            return False
        never = self.acknowledged_known and self.acknowledged is None and self.sent_at is None and not self.pending
        return False if never else None


@dataclass(frozen=True, slots=True)
class ConsumersSnapshot:
    """Where this node's own packets to a prefix go."""

    rule: LocalConsumers
    state: AsideState | None
    """None: unknown."""
    since: float | None
    routers: tuple[str, ...]
    """The neighbors that take them while they are aside."""
    error: str


@dataclass(frozen=True, slots=True)
class PrefixSnapshot:
    prefix: Prefix
    address: AddressState | None
    address_known: bool
    address_at: float | None
    address_error: str
    address_repairs: int
    """The number of times that it was put back after someone removed it."""
    health: Verdict
    health_since: float
    flaps: float
    """The decayed count of falls that hold-down goes by."""
    decision: Decision
    since: float
    """The instant of the last change of announce, tier or reason."""
    changes: int
    """The number of changes between announced and not announced, since the start."""
    routes: tuple[RouteSnapshot, ...]
    consumers: ConsumersSnapshot
    cover: Prefix = ""
    """The prefix of its last resort, one that is on the wire first; empty: it has none."""
    cover_on_wire: bool | None = False

    @property
    def on_wire(self) -> bool | None:
        """True if it was sent on at least one established session. None: unknown."""
        return _on_wire(self.routes)

    @property
    def on_last_resort(self) -> bool | None:
        """True if routers have only its last resort from this node. None: unknown."""
        if not self.cover or self.on_wire is True or self.cover_on_wire is False:
            return False
        return None if self.on_wire is None else self.cover_on_wire


@dataclass(frozen=True, slots=True)
class CoverSnapshot:
    """The last resort of some prefixes of a service."""

    prefix: Prefix
    behind: tuple[Prefix, ...]
    """The prefixes of the service that are inside."""
    state: CoverState | None
    """None: the kernel has not told yet."""
    state_at: float | None
    error: str
    """Why its blackhole route could not be added."""
    repairs: int
    """How often its blackhole route was put back after someone removed it."""
    decision: Decision
    since: float
    changes: int
    routes: tuple[RouteSnapshot, ...]

    @property
    def on_wire(self) -> bool | None:
        """True if it was sent on at least one established session. None: unknown."""
        return _on_wire(self.routes)


def _on_wire(routes: tuple[RouteSnapshot, ...]) -> bool | None:
    found = [r.on_wire for r in routes]
    return True if True in found else None if None in found else False


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    name: str
    health: Verdict
    """The worst of its prefixes'."""
    checks: tuple[CheckSnapshot, ...]
    prefixes: tuple[PrefixSnapshot, ...]
    covers: tuple[CoverSnapshot, ...] = ()
    """Its last resort."""


@dataclass(frozen=True, slots=True)
class NeighborSnapshot:
    name: str
    address: Address
    """Empty: not known yet."""
    interface: str
    """The one that the session is bound to; empty: none."""
    remote_as: int
    local_as: int
    state: SessionState
    since: float
    why: str
    flaps: int
    """The number of times that the session left UP."""


@dataclass(frozen=True, slots=True)
class SpeakerSnapshot:
    state: str
    """The state in the speaker link's table: absent, syncing, synced, wedged."""
    since: float
    pipe: str
    why: str
    """Why it is not synced."""
    answered_at: float | None
    exabgp_age: float | None
    restarts: int


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    loaded_at: float | None
    reloads_ok: int
    reloads_failed: int
    errors: tuple[str, ...]
    """Why the last reload failed; empty after one that did not."""
    failed_at: float | None
    files: Mapping[str, str]
    """The files in force, as they were read; by path."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: float
    node: str
    site: str
    life: str
    """The state in the life cycle's table: starting, running, stopping, handing_over, ended."""
    life_since: float
    started_at: float
    ready: bool
    not_ready: tuple[str, ...]
    """The reasons why the agent is not ready."""
    pace: PaceSnapshot
    speaker: SpeakerSnapshot
    neighbors: tuple[NeighborSnapshot, ...]
    services: Mapping[str, ServiceSnapshot]
    kernel_known: bool
    kernel_at: float | None
    links: Mapping[str, bool]
    return_route: Mapping[Family, bool]
    config: ConfigSnapshot
    warnings: Mapping[str, str]
    adapter_failures: Mapping[str, int]
    open_actions: int
    overdue_actions: int
