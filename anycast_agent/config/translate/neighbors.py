"""Neighbors: their addresses, families and passwords."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from anycast_agent.config import types
from anycast_agent.config.models import AttributesModel, BgpModel, NeighborModel
from anycast_agent.config.report import Report
from anycast_agent.config.secrets import password_digest, refuse_relative
from anycast_agent.config.source import Where
from anycast_agent.core import model as core


@dataclass(frozen=True, slots=True)
class Peers:
    """The neighbors by name, and the attributes of every route at each."""

    neighbors: Mapping[str, core.Neighbor]
    attributes: Mapping[str, AttributesModel]


def core_neighbors(report: Report, bgp: BgpModel, elsewhere: bool) -> dict[str, core.Neighbor]:
    """Every neighbor by its name. No two of them have one address."""
    neighbors: dict[str, core.Neighbor] = {}
    by_address: dict[str, str] = {}
    for name, written in bgp.neighbors.items():
        where: Where = ("bgp", "neighbors", name)
        report.checked(where, types.name, name)
        if written.address in by_address:
            report.problem((*where, "address"), _taken(by_address[written.address], written.address))
        if written.address is not None:
            by_address.setdefault(written.address, name)
        neighbors[name] = _neighbor(report, where, name, written, bgp, elsewhere)
        _check_attributes(report, (*where, "attributes"), written.attributes, neighbors[name])
    _one_port(report, [n for n in neighbors.values() if n.listen])
    return neighbors


def _check_attributes(report: Report, where: Where, written: AttributesModel, n: core.Neighbor) -> None:
    if written.local_preference is not None and n.ebgp:
        report.problem((*where, "local_preference"), "local_preference does not leave an AS: this neighbor is eBGP")
    if written.prepend and not n.ebgp:
        text = "this neighbor is iBGP, and takes our own AS for a loop: local_preference"
        report.problem((*where, "prepend"), text)


def _taken(name: str, address: core.Address) -> str:
    text = f"neighbor {name} has this address already"
    why = "; ExaBGP tells its neighbors apart by address alone: give one of the routers another link-local address"
    return text + why * core.is_link_local(address)


def _one_port(report: Report, listening: Iterable[core.Neighbor]) -> None:
    first: core.Neighbor | None = None
    for n in listening:
        first = first or n
        if n.port != first.port:
            text = f"ExaBGP listens on one port, and neighbor {first.name} has {first.port}"
            report.problem(("bgp", "neighbors", n.name, "port"), text)


def _neighbor(
    report: Report, where: Where, name: str, written: NeighborModel, bgp: BgpModel, elsewhere: bool
) -> core.Neighbor:
    _check_session(report, where, written)
    return core.Neighbor(
        name=name,
        address=written.address or "",
        remote_as=written.remote_as,
        local_as=written.local_as or bgp.local_as,
        interface=written.interface or "",
        local_address=written.local_address,
        router_id=bgp.router_id,
        hold_time=written.hold_time,
        families=_families(report, where, written),
        password_file=str(written.password_file) if written.password_file else None,
        password_digest=_password(report, where, written, elsewhere),
        ttl_security=written.ttl_security,
        multihop=written.multihop,
        extended_next_hop=_extended_next_hop(written),
        add_path_receive=written.add_path_receive,
        port=written.port,
        listen=written.listen,
    )


def _check_session(report: Report, where: Where, written: NeighborModel) -> None:
    if written.ttl_security is not None and written.multihop is not None:
        report.problem((*where, "multihop"), "ttl_security says how far away the neighbor is; leave multihop out")
    local = written.local_address
    if local is not None and core.family_of(local) is not _session_family(written):
        of = written.address or "a link-local session"
        report.problem((*where, "local_address"), f"{local} is not of the family of {of}")
    if written.listen and local is None:
        report.problem((*where, "listen"), "to listen, a local_address is needed")
    if _is_unnumbered(written):
        _check_unnumbered(report, where, written)


def _check_unnumbered(report: Report, where: Where, written: NeighborModel) -> None:
    """Each link has its own fe80::1."""
    if written.address is None and written.interface is None and report.sound((*where, "address")):
        hint = ": the key above it is a name of your own, like leaf1" if _is_ip(where[-1]) else ""
        report.problem(where, f"'address' is missing, or the interface that the router is on{hint}")
    elif written.address is not None and written.interface is None:
        text = f"{written.address} is link-local: name the interface that it is on, interface: eth0"
        report.problem((*where, "address"), text)
    if written.listen and written.local_address is not None:
        report.problem((*where, "listen"), "ExaBGP cannot listen on a link-local address; it opens the session itself")


def _is_ip(part: str | int) -> bool:
    try:
        return isinstance(part, str) and bool(ip_address(part))
    except ValueError:
        return False


def _is_unnumbered(written: NeighborModel) -> bool:
    return written.address is None or core.is_link_local(written.address)


def _session_family(written: NeighborModel) -> core.Family:
    return core.Family.IPV6 if written.address is None else core.family_of(written.address)


def _extended_next_hop(written: NeighborModel) -> bool:
    """An unnumbered link has no IPv4 address to be a next hop."""
    if written.extended_next_hop is not None:
        return written.extended_next_hop
    return _is_unnumbered(written) and (written.families is None or "ipv4" in written.families)


def _families(report: Report, where: Where, written: NeighborModel) -> tuple[core.Family, ...]:
    """By default the family of the session's own address, and IPv4 if it may have an IPv6 next hop (RFC 8950)."""
    own, extended = _session_family(written), _extended_next_hop(written)
    if extended and own is core.Family.IPV4:
        report.problem((*where, "extended_next_hop"), "RFC 8950 carries IPv4 over an IPv6 session; this one is IPv4")
    families = tuple(core.Family(f) for f in written.families) if written.families else (own,)
    if written.families is None and extended and own is core.Family.IPV6:
        families = (core.Family.IPV4, core.Family.IPV6)
    if extended and core.Family.IPV4 not in families:
        report.problem((*where, "families"), "extended_next_hop is for IPv4 routes: ipv4 is not among the families")
    if len(set(families)) != len(families):
        report.problem((*where, "families"), "a family stands here twice")
    return families


def _password(report: Report, where: Where, written: NeighborModel, elsewhere: bool) -> str:
    if written.password is not None:
        report.problem((*where, "password"), "no secret stands in the YAML: put it in a file, name password_file")
    if written.password_file is None:
        return ""
    try:
        if not elsewhere:
            return password_digest(written.password_file)
        refuse_relative(written.password_file)
    except ValueError as error:
        report.problem((*where, "password_file"), str(error))
    return ""
