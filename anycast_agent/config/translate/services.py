"""Services: the owner of each prefix, and the relations between the parts of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycast_agent.config import types
from anycast_agent.config.models import AtLeast, RootModel, ServiceModel
from anycast_agent.config.report import Report
from anycast_agent.config.source import Where
from anycast_agent.config.translate.checks import core_checks
from anycast_agent.config.translate.last_resort import core_covers, refuse_covers
from anycast_agent.config.translate.neighbors import Peers
from anycast_agent.config.translate.routes import core_routes
from anycast_agent.core import model as core
from anycast_agent.core.consumers import LocalConsumers

MAX_PREFIXES = 10_000


def core_services(report: Report, root: RootModel, peers: Peers, elsewhere: bool) -> dict[str, core.Service]:
    """Every service by its name. A prefix belongs to one of them."""
    owners: dict[str, str] = {}
    services = {}
    for name, written in root.services.items():
        where: Where = ("services", name)
        report.checked(where, types.name, name)
        for i, prefix in enumerate(written.prefixes):
            if prefix in owners:
                report.problem((*where, "prefixes", i), f"{prefix} is in service {owners[prefix]} already")
            owners.setdefault(prefix, name)
        _check_times(report, where, written, root)
        if written.local_consumers != "off" and root.node.addresses == "unmanaged":
            text = (
                "needs node.addresses: manage or verify; the agent does not know otherwise whether the address is there"
            )
            report.problem((*where, "local_consumers"), text)
        services[name] = _service(report, where, name, written, peers, elsewhere)
    if len(owners) > MAX_PREFIXES:
        report.problem(("services",), f"more than {MAX_PREFIXES:,} prefixes")
    _refuse_anycast_addresses(report, root, {core.address_of(prefix): name for prefix, name in owners.items()})
    refuse_covers(report, root, owners, {address: role for _, address, role in _addresses_of_one_node(root)})
    return services


def _check_times(report: Report, where: Where, written: ServiceModel, root: RootModel) -> None:
    if report.sound(("agent", "stop_within")) and written.linger >= root.agent.stop_within:
        text = f"linger, {written.linger:g} s, does not fit into agent.stop_within, {root.agent.stop_within:g} s"
        report.problem((*where, "linger"), text)
    if written.hold_down.initial > written.hold_down.maximum:
        report.problem((*where, "hold_down", "initial"), "longer than hold_down.maximum")


def _service(
    report: Report,
    where: Where,
    name: str,
    written: ServiceModel,
    peers: Peers,
    elsewhere: bool,
) -> core.Service:
    checks = core_checks(report, where, written, elsewhere)
    hold_down = written.hold_down
    routes = core_routes(report, where, written, peers)
    return core.Service(
        name=name,
        prefixes=written.prefixes,
        checks=checks,
        require=_require(report, where, written, checks),
        enabled=written.enabled,
        observe_only=written.observe_only,
        attributes=routes,
        hold_down=core.HoldDown(hold_down.initial, hold_down.maximum, max(hold_down.half_life, 0.001)),
        linger=written.linger,
        will=core.Will(written.will),
        covers=core_covers(report, where, written, routes, peers),
        local_consumers=LocalConsumers(written.local_consumers),
    )


def _require(report: Report, where: Where, written: ServiceModel, checks: tuple[core.Check, ...]) -> core.Require:
    """The number of local checks that must be up. Whether there are enough is judged only if every check could be
    read."""
    local = {check.name for check in checks if check.scope is core.Scope.LOCAL}
    sound = report.sound((*where, "checks")) and {check.name for check in checks} == set(written.checks)
    if sound and not local:
        text = "needs a check with scope: local; a shared one never withdraws, however dead the service is"
        report.problem((*where, "checks"), text)
    if not isinstance(written.require, AtLeast):
        return core.Require(None if written.require == "all" else 1)
    at_least = written.require.at_least
    if sound and at_least > len(local):
        text = f"at_least {at_least} can never be met: there are {len(local)} local checks"
        report.problem((*where, "require", "at_least"), text)
    return core.Require(at_least)


def _refuse_anycast_addresses(report: Report, root: RootModel, owners: Mapping[str, str]) -> None:
    """Every node of a service has its anycast address, so the address identifies none of them."""
    for where, address, role in _addresses_of_one_node(root):
        if address in owners:
            text = f"{address} is the anycast address of service {owners[address]}: it cannot be {role}"
            report.problem(where, text)


def _addresses_of_one_node(root: RootModel) -> Iterator[tuple[Where, str, str]]:
    """The addresses that stand for one machine each: place, address and role."""
    yield ("bgp", "router_id"), root.bgp.router_id, "a router id"
    for name, n in root.bgp.neighbors.items():
        if n.address is not None:
            yield ("bgp", "neighbors", name, "address"), n.address, "the address of a neighbor"
        if n.local_address is not None:
            yield ("bgp", "neighbors", name, "local_address"), n.local_address, "the address of a session"
    for name, service in root.services.items():
        for hop in service.attributes.next_hop or ():
            yield ("services", name, "attributes", "next_hop"), hop, "a next hop"
        for tier, attributes in (("degraded", service.tiers.degraded), ("last_resort", service.tiers.last_resort)):
            for hop in (attributes.next_hop if attributes else None) or ():
                yield ("services", name, "tiers", tier, "next_hop"), hop, "a next hop"
