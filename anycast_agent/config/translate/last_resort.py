"""The last resort of a service: its covers, and what none of them may hold."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from anycast_agent.config.models import RootModel, ServiceModel
from anycast_agent.config.report import Report
from anycast_agent.config.source import Where
from anycast_agent.config.translate.neighbors import Peers
from anycast_agent.config.translate.routes import Routes, last_resort_attributes
from anycast_agent.core import model as core

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WAY_OUT = "give the service a prefix with a free network around it, or a last resort without that"


class _Networks:
    """Which of many networks hold an address, without asking each of them."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = frozenset(networks)
        self._lengths = sorted({(n.version, n.prefixlen) for n in self._networks})

    def around(self, address: str) -> list[Network]:
        ip = ipaddress.ip_address(address)
        lengths = (length for version, length in self._lengths if version == ip.version)
        found = (ipaddress.ip_network((ip.packed, length), strict=False) for length in lengths)
        return [network for network in found if network in self._networks]


def core_covers(
    report: Report, where: Where, written: ServiceModel, routes: Routes, peers: Peers
) -> tuple[core.Cover, ...]:
    """The covers of one service, each with the prefixes inside and its routes."""
    _check_tier(report, where, written)
    places = _covers(where, written)
    index = _Networks(places)
    behind: dict[Network, list[str]] = {network: [] for network in places}
    for prefix in written.prefixes:
        around = index.around(core.address_of(prefix))
        for network in around:
            behind[network].append(prefix)
        if places and not around:
            report.problem((*where, "last_resort"), f"no prefix of this last resort holds {prefix}")
    for network in places:
        if not behind[network]:
            report.problem(places[network], f"{network} holds no prefix of this service")
    attributes = _attributes(report, where, written, routes, peers)
    return tuple(_cover(network, inside, attributes) for network, inside in behind.items() if inside)


def _attributes(
    report: Report, where: Where, written: ServiceModel, routes: Routes, peers: Peers
) -> dict[str, dict[str, core.Attributes]]:
    """By prefix and neighbor, what its last resort carries: to each neighbor that gets the prefix itself."""
    found: dict[str, dict[str, core.Attributes]] = {}
    for key in routes[core.Tier.FULL] if written.last_resort not in (False, "never") else ():
        attributes = last_resort_attributes(report, where, written, peers, key)
        found.setdefault(key.prefix, {})[key.neighbor] = attributes
    return found


def _cover(network: Network, inside: list[str], attributes: Mapping[str, Mapping[str, core.Attributes]]) -> core.Cover:
    by_neighbor = {name: a for prefix in inside for name, a in attributes.get(prefix, {}).items()}
    routes = {core.RouteKey(name, str(network)): a for name, a in by_neighbor.items()}
    return core.Cover(str(network), tuple(inside), routes)


def refuse_covers(report: Report, root: RootModel, owners: Mapping[str, str], machines: Mapping[str, str]) -> None:
    """A cover draws everything inside: no other service, and no machine's own address, may be there.

    ``owners``: the service of each prefix. ``machines``: what each address that stands for one machine is.
    """
    asked: dict[Network, list[tuple[str, Where]]] = {}
    for name, written in root.services.items():
        for network, place in _covers(("services", name), written).items():
            _check_mode(report, place, root)
            asked.setdefault(network, []).append((name, place))
    index = _Networks(asked)
    for prefix, owner in owners.items():
        for network in index.around(core.address_of(prefix)):
            for name, place in asked[network]:
                if name != owner:
                    report.problem(place, f"{network} holds {prefix} of service {owner}: {_WAY_OUT}")
    for address, role in machines.items():
        for network in index.around(address):
            for _, place in asked[network]:
                report.problem(place, f"{network} holds {address}, {role}: {_WAY_OUT}")


def _check_mode(report: Report, place: Where, root: RootModel) -> None:
    if root.node.addresses == "unmanaged":
        text = "a last resort needs node.addresses: manage or verify: nobody else would see that the address has gone"
        report.problem(place, text)


def _check_tier(report: Report, where: Where, written: ServiceModel) -> None:
    if written.tiers.last_resort is not None and written.last_resort in (False, "never"):
        text = "this service has no last resort: set last_resort, or leave this out"
        report.problem((*where, "tiers", "last_resort"), text)


def _covers(where: Where, written: ServiceModel) -> dict[Network, Where]:
    """The networks of a last resort, and where each is asked for."""
    place = (*where, "last_resort")
    match written.last_resort:
        case True:
            return {ipaddress.ip_network(prefix).supernet(): place for prefix in written.prefixes}
        case tuple() as prefixes:
            return {ipaddress.ip_network(prefix): place for prefix in prefixes}
    return {}
