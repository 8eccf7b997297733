"""The ladder: may a prefix be announced, and how? Read it from the top.

A gate denies, allows (then only later denying gates are asked), or says nothing (None). Each is one function of
what is known of one prefix; ``decide`` asks them in the order of ``GATES`` and then asks the preference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anycast_agent.core.health import CheckHealth, Health
from anycast_agent.core.model import (
    AddressMode,
    AddressState,
    Check,
    Decision,
    Prefix,
    Reason,
    Rung,
    Scope,
    Service,
    Tier,
    Verdict,
    address_of,
)


@dataclass(frozen=True, slots=True)
class View:
    """All that the ladder may know of one prefix."""

    service: Service
    prefix: Prefix
    stopping: bool
    announced: bool
    """A route for it is with the speaker now, from this run or an earlier one."""
    mode: AddressMode
    interface: str
    kernel_known: bool
    """What the kernel has is known, or was so recently that what is announced may stay."""
    address: AddressState | None
    address_error: str
    repairing: bool
    """It has gone, and the attempt to put it back has not failed."""
    link_up: bool
    way_back: bool | None
    """None: not yet known."""
    checks: tuple[tuple[Check, CheckHealth], ...]
    health: Health
    keep_until: float
    """Until when what is announced stays without a verdict."""
    hold_until: float
    flaps: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What a gate says."""

    allow: bool
    rung: Rung
    reason: Reason
    evidence: str
    remedy: str
    until: float | None = None


Gate = Callable[[View, float], Finding | None]


def _deny(rung: Rung, reason: Reason, evidence: str, remedy: str, until: float | None = None) -> Finding:
    return Finding(False, rung, reason, evidence, remedy, until)


def not_wanted(view: View, now: float) -> Finding | None:
    """1. Disabled, or only observed."""
    name = view.service.name
    if not view.service.enabled:
        evidence, remedy = f"service {name} has enabled: false", "set enabled: true and reload"
        return _deny(Rung.NOT_WANTED, Reason.DISABLED, evidence, remedy)
    if view.service.observe_only:
        evidence, remedy = f"service {name} has observe_only: true", "set observe_only: false and reload"
        return _deny(Rung.NOT_WANTED, Reason.OBSERVE_ONLY, evidence, remedy)
    return None


def stopping(view: View, now: float) -> Finding | None:
    """2. The agent is stopping."""
    if not view.stopping:
        return None
    return _deny(Rung.STOPPING, Reason.STOPPING, "the agent was asked to stop", "start the agent")


def address_on_node(view: View, now: float) -> Finding | None:
    """3. The address is not on the node, and repair failed: no, whatever the checks say."""
    if view.mode is AddressMode.UNMANAGED:
        return None
    address, rung = address_of(view.prefix), Rung.ADDRESS
    if not view.kernel_known:
        evidence = "the kernel's addresses are not known"
        return _deny(rung, Reason.ADDRESS_UNKNOWN, evidence, "the agent asks again by itself; see its log")
    if view.address is None:
        if view.announced and view.repairing:
            return None
        evidence = f"{address} is not on the node" + (f": {view.address_error}" if view.address_error else "")
        return _deny(rung, Reason.ADDRESS_MISSING, evidence, _address_remedy(view, address))
    if not view.address.usable:
        evidence = f"{address} on {view.address.interface} is tentative or a duplicate"
        return _deny(rung, Reason.ADDRESS_NOT_USABLE, evidence, "find who else has the address on this link")
    if not view.link_up:
        evidence = f"interface {view.address.interface} is down"
        return _deny(rung, Reason.INTERFACE_DOWN, evidence, f"ip link set {view.address.interface} up")
    return None


def _address_remedy(view: View, address: str) -> str:
    if view.mode is AddressMode.VERIFY:
        return f"ip address add {view.prefix} dev {view.interface}"
    return f"the agent adds {address} to {view.interface} and tries again by itself"


def way_back(view: View, now: float) -> Finding | None:
    """4. No usable route for the family: replies would go nowhere."""
    if view.mode is AddressMode.UNMANAGED or view.way_back:
        return None
    family = "IPv6" if ":" in view.prefix else "IPv4"
    if view.way_back is None:
        evidence = f"the {family} routes are not known"
        return _deny(Rung.WAY_BACK, Reason.WAY_BACK_UNKNOWN, evidence, "the agent asks again by itself; see its log")
    remedy = f"give the node a usable {family} route, or set node.way_back"
    return _deny(Rung.WAY_BACK, Reason.NO_WAY_BACK, f"no usable {family} route back", remedy)


def nothing_known(view: View, now: float) -> Finding | None:
    """6. No verdict yet: what was announced stays, for a bounded time; nothing new."""
    if view.health.verdict is not Verdict.UNKNOWN or view.health.stale:
        return None
    evidence, rung = _waiting_for(view), Rung.NOTHING_KNOWN
    if view.announced and now < view.keep_until:
        remedy = "the first verdict confirms, replaces or withdraws it"
        return Finding(True, rung, Reason.ADOPTED, evidence, remedy, view.keep_until)
    return _deny(rung, Reason.NOTHING_KNOWN, evidence, "the first verdict")


def health(view: View, now: float) -> Finding | None:
    """8. Down, or stale beyond its bound: no."""
    if view.health.verdict is Verdict.UP or (view.health.verdict is Verdict.UNKNOWN and not view.health.stale):
        return None
    if view.health.verdict is Verdict.DOWN:
        remedy = "the service answers its checks again: " + _needs(view)
        return _deny(Rung.HEALTH, Reason.HEALTH_DOWN, _failing(view), remedy)
    stale = [c.name for c, h in view.checks if h.expired]
    evidence = f"no conclusive probe lately of {', '.join(stale)}" + _last_detail(view, stale)
    return _deny(Rung.HEALTH, Reason.HEALTH_STALE, evidence, "probes that can be made again: " + _needs(view))


def hold_down(view: View, now: float) -> Finding | None:
    """10. Healthy again, but not for long enough yet."""
    if now >= view.hold_until:
        return None
    evidence = f"recovered, after {view.flaps:.1f} falls not yet forgotten"
    return _deny(Rung.HOLD_DOWN, Reason.HOLD_DOWN, evidence, "staying healthy until then", view.hold_until)


GATES: tuple[Gate, ...] = (not_wanted, stopping, address_on_node, way_back, nothing_known, health, hold_down)


def preference(view: View) -> tuple[Tier, Reason, str, str]:
    """How it is announced, best first: full, then degraded where a check that every site shares fails."""
    if view.health.shared_down:
        evidence = _failing(view, Scope.SHARED)
        return Tier.DEGRADED, Reason.SHARED_CHECK_DOWN, evidence, "the shared check succeeds again"
    return Tier.FULL, Reason.HEALTHY, _standing(view), "nothing: it is announced at its best"


def decide(view: View, now: float) -> Decision:
    """What the ladder says of one prefix. Total: there is always a decision, and always a reason."""
    allowed: Finding | None = None
    for gate in GATES:
        finding = gate(view, now)
        if finding is None:
            continue
        if not finding.allow:
            return Decision(False, finding.rung, finding.reason, finding.evidence, finding.remedy, until=finding.until)
        allowed = allowed or finding
    if allowed is not None:
        return Decision(
            True, allowed.rung, allowed.reason, allowed.evidence, allowed.remedy, Tier.ADOPTED, allowed.until
        )
    tier, reason, evidence, remedy = preference(view)
    return Decision(True, Rung.PREFERENCE, reason, evidence, remedy, tier)


# --- evidence, in words -------------------------------------------------------------------------------------


def _local(view: View) -> list[tuple[Check, CheckHealth]]:
    return [(c, h) for c, h in view.checks if c.scope is Scope.LOCAL]


def _needs(view: View) -> str:
    local = _local(view)
    return f"{view.service.require.needed(len(local))} of {len(local)} local checks up"


def _standing(view: View) -> str:
    local = _local(view)
    up = sum(h.verdict is Verdict.UP for _, h in local)
    return f"{up} of {len(local)} local checks up, {view.service.require.needed(len(local))} needed"


def _waiting_for(view: View) -> str:
    waiting = [(c, h) for c, h in _local(view) if h.verdict is Verdict.UNKNOWN]
    said = [f"{c.name} {h.successes} of {c.rise} successes" for c, h in waiting]
    return "no verdict yet: " + ", ".join(said) if said else "no local check has a verdict, or there is none"


def _failing(view: View, scope: Scope = Scope.LOCAL) -> str:
    said = []
    for check, state in view.checks:
        if check.scope is scope and state.verdict is Verdict.DOWN:
            outcome = state.outcome.value if state.outcome else "?"
            count = f", {state.failures} in a row" if state.failures else f", {state.successes} of {check.rise} good"
            said.append(f"check {check.name}: {outcome}{count}" + (f" ({state.detail})" if state.detail else ""))
    return "; ".join(said)


def _last_detail(view: View, names: list[str]) -> str:
    details = [h.detail for c, h in view.checks if c.name in names and h.detail]
    return f" ({details[0]})" if details else ""
