"""Routes: for each tier, the attributes of each prefix at each neighbor that carries its family."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from anycast_agent.config.models import AttributesModel, ServiceModel
from anycast_agent.config.problems import did_you_mean
from anycast_agent.config.report import Report
from anycast_agent.config.source import Where
from anycast_agent.config.translate.neighbors import Peers
from anycast_agent.core import model as core

OURS, LAST_RESORT = 172, 1
"""In a large community (RFC 8195): this agent, and the state of the route."""

Routes = dict[core.Tier, dict[core.RouteKey, core.Attributes]]


@dataclass(frozen=True, slots=True)
class _Offer:
    """The attributes of one tier towards one neighbor, and where each of them stands."""

    attributes: AttributesModel
    everywhere: AttributesModel
    """Those of every route at the neighbor."""
    service: Where
    own: AttributesModel | None = None
    """What stands under tiers for it; None for the full tier."""
    tier: str = ""

    def place(self, field: str, neighbor: str) -> Where:
        if getattr(self.own, field, None) is not None:
            return (*self.service, "tiers", self.tier, field)
        if getattr(self.attributes, field) is None and getattr(self.everywhere, field) is not None:
            return ("bgp", "neighbors", neighbor, "attributes", field)
        return (*self.service, "attributes", field)


def core_routes(report: Report, where: Where, written: ServiceModel, peers: Peers) -> Routes:
    """The routes of one service. Each prefix needs a neighbor that carries its family."""
    neighbors = peers.neighbors
    chosen = _chosen(report, where, written, neighbors)
    full, lower = written.attributes, written.tiers.degraded
    _check_prepend(report, where, full, chosen)
    judged = _all_are_known(report, where, written, neighbors)
    routes: Routes = {core.Tier.FULL: {}, core.Tier.DEGRADED: {}}
    for i, prefix in enumerate(written.prefixes):
        family = core.family_of(prefix)
        carrying = [n for n in chosen if family in n.families]
        if judged and not carrying:
            report.problem((*where, "prefixes", i), f"no neighbor of this service carries {family}: see families")
        for n in carrying:
            key = core.RouteKey(n.name, prefix)
            everywhere = peers.attributes[n.name]
            routes[core.Tier.FULL][key] = _attributes(report, _Offer(full, everywhere, where), n, prefix)
            offer = _Offer(_degraded(full, lower, everywhere, n.ebgp), everywhere, where, lower, "degraded")
            routes[core.Tier.DEGRADED][key] = _attributes(report, offer, n, prefix)
    return routes


def last_resort_attributes(
    report: Report, where: Where, written: ServiceModel, peers: Peers, key: core.RouteKey
) -> core.Attributes:
    """What the last resort of a prefix carries at a neighbor."""
    own, n = written.tiers.last_resort, peers.neighbors[key.neighbor]
    attributes = _last_resort(written.attributes, own, n.local_as)
    offer = _Offer(attributes, peers.attributes[n.name], where, own, "last_resort")
    return _attributes(report, offer, n, key.prefix)


def _chosen(
    report: Report, where: Where, written: ServiceModel, neighbors: Mapping[str, core.Neighbor]
) -> list[core.Neighbor]:
    """The neighbors that a service names, each once; all of them if it names none."""
    if written.neighbors is None:
        return list(neighbors.values())
    if not written.neighbors:
        report.problem((*where, "neighbors"), "an empty list announces nothing: leave neighbors out for all of them")
    for i, name in enumerate(written.neighbors):
        if name not in neighbors and report.sound(("bgp",)):
            report.problem((*where, "neighbors", i), f"no neighbor {name!r}{did_you_mean(name, neighbors)}")
    return [neighbors[name] for name in dict.fromkeys(written.neighbors) if name in neighbors]


def _all_are_known(report: Report, where: Where, written: ServiceModel, names: Iterable[str]) -> bool:
    """True if every neighbor of a service could be read: only then "no neighbor carries this family" is certain."""
    sound = report.sound(("bgp",)) and report.sound((*where, "neighbors"))
    return sound and written.neighbors != () and set(written.neighbors or ()) <= set(names)


def _check_prepend(report: Report, where: Where, full: AttributesModel, chosen: Sequence[core.Neighbor]) -> None:
    if report.sound(("bgp",)) and chosen and full.prepend and not any(n.ebgp for n in chosen):
        text = "no neighbor of this service is eBGP, and an iBGP one takes our own AS for a loop: local_preference"
        report.problem((*where, "attributes", "prepend"), text)


def _attributes(report: Report, offer: _Offer, n: core.Neighbor, prefix: str) -> core.Attributes:
    a, every = offer.attributes, offer.everywhere
    if a.local_preference is not None and n.ebgp and report.sound(("bgp",)):
        text = f"local_preference does not leave an AS: neighbor {n.name} is eBGP"
        report.problem(offer.place("local_preference", n.name), text)
    prepend = (a.prepend or 0) + (every.prepend or 0)
    hops = a.next_hop or every.next_hop or ()
    return core.Attributes(
        next_hop=_next_hop(report, offer.place("next_hop", n.name), hops, n, prefix),
        med=every.med if a.med is None else a.med,
        local_preference=every.local_preference if a.local_preference is None else a.local_preference,
        as_path=(n.local_as,) * (prepend + 1) if prepend and n.ebgp else (),
        communities=_all(a.communities, every.communities),
        large_communities=_all(a.large_communities, every.large_communities),
        extended_communities=_all(a.extended_communities, every.extended_communities),
    )


def _all(own: tuple[str, ...] | None, everywhere: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*(own or ()), *(everywhere or ()))))


def _next_hop(report: Report, where: Where, given: Sequence[str], n: core.Neighbor, prefix: str) -> str:
    """An address of the prefix's family, or ``self``: ExaBGP's word for the session's own address."""
    family, session = core.family_of(prefix), n.family
    _refuse_loopback(report, where, given, n)
    fits = [hop for hop in given if core.family_of(hop) is family]
    if fits:
        return fits[0]
    over_ipv6 = family is core.Family.IPV4 and n.extended_next_hop
    if given and over_ipv6:
        return given[0]
    if given:
        report.problem(where, f"no next hop for {prefix}: {', '.join(given)} is of the other family")
    if family is session or over_ipv6:
        return "self"
    if not given and report.sound(where) and report.sound(("bgp",)):
        text = f"{prefix} on the {session} session with {n.name} needs next_hop: an {family} address of this node"
        report.problem(where, text)
    return "self"


def _refuse_loopback(report: Report, where: Where, given: Sequence[str], n: core.Neighbor) -> None:
    """A loopback address is a next hop only if the router is on this machine, as in a laboratory or the demo."""
    here = bool(n.address) and ipaddress.ip_address(n.address).is_loopback
    for hop in given:
        if ipaddress.ip_address(hop).is_loopback and not here:
            report.problem(where, f"{hop} cannot be a next hop: routers cannot send to it")


def _last_resort(full: AttributesModel, own: AttributesModel | None, local_as: int) -> AttributesModel:
    """The attributes of the last resort. A key that is not given is as in the full tier, with the community by which
    anybody knows a last resort."""
    given = {} if own is None else {k: v for k, v in own.model_dump().items() if v is not None}
    given.setdefault("large_communities", (*(full.large_communities or ()), f"{local_as}:{OURS}:{LAST_RESORT}"))
    return full.model_copy(update=given)


def _degraded(
    full: AttributesModel, degraded: AttributesModel | None, everywhere: AttributesModel, ebgp: bool
) -> AttributesModel:
    """The attributes of the degraded tier. A key that is not given is as in the full tier.

    If none is given at all, the path is longer: every router understands that. An iBGP neighbor takes our own AS in the
    path for a loop (RFC 4271, 9.1.2) and drops the route, which would be a withdrawal. It gets a lower local preference
    in place of the longer path.
    """
    given = {} if degraded is None else {k: v for k, v in degraded.model_dump().items() if v is not None}
    if degraded is None:
        given["prepend"] = (full.prepend or 0) + 2
    if not ebgp and given.get("prepend") and "local_preference" not in given:
        preferences = (full.local_preference, everywhere.local_preference, 100)
        preference = next(p for p in preferences if p is not None)
        given["local_preference"] = max(0, preference - 50)
    return full.model_copy(update=given)
