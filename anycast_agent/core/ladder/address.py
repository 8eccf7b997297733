"""Is the address on the node and usable? A route to a missing address is a black hole, whatever the checks say. A short
repair is allowed: a route that flaps with it helps nobody."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case
from anycast_agent.core.ladder.finding import Finding, deny
from anycast_agent.core.model import AddressMode, Reason


def ask(case: Case, now: float) -> Finding | None:
    fact, host = case.address, case.host
    if not fact.watched:
        return None
    if not fact.known:
        evidence = "the kernel's addresses are not known"
        return deny(Reason.ADDRESS_UNKNOWN, evidence, "the agent asks again by itself; see its log")
    if fact.state is None:
        if case.route.announced and fact.repairing:
            return None
        evidence = f"{host} is not on the node" + (f": {fact.error}" if fact.error else "")
        return deny(Reason.ADDRESS_MISSING, evidence, _remedy(case))
    if not fact.state.usable:
        evidence = f"{host} on {fact.state.interface} is tentative or a duplicate"
        return deny(Reason.ADDRESS_NOT_USABLE, evidence, "find who else has the address on this link")
    if not fact.link_up:
        interface = fact.state.interface
        return deny(Reason.INTERFACE_DOWN, f"interface {interface} is down", f"ip link set {interface} up")
    return None


def _remedy(case: Case) -> str:
    if case.address.mode is AddressMode.VERIFY:
        return f"ip address add {case.prefix} dev {case.address.interface}"
    return f"the agent adds {case.host} to {case.address.interface} and tries again by itself"
