"""A leaf in SR Linux's dialect: lines that its command line takes, on top of what containerlab boots it with.

Written from Nokia's published models, release 25.3. Each path was checked against them; no SR Linux has run it.
"""

from __future__ import annotations

from collections.abc import Iterator

from containerlab.generate.plan import ANYCAST4, ANYCAST6, AS, NODES4, NODES6, ROUTER_ID, SITES, neighbors, site_of
from containerlab.generate.sessions import Session, sessions

BGP = "network-instance default protocols bgp"
FAMILIES = {4: "ipv4-unicast", 6: "ipv6-unicast"}
ACCEPT = "action policy-result accept"


def srlinux(node: str, variant: str) -> str:
    lines = [*interfaces(node, variant), *policy(node), *bgp(node, variant)]
    head = f"# {node}: a leaf, in SR Linux's dialect. Written by containerlab/generate: change it there.\n"
    return head + "".join(f"set / {line}\n" for line in lines)


def port_name(interface: str) -> str:
    """eth1 of the plan is ethernet-1/1 here, and e1-1 in a topology file."""
    return f"ethernet-1/{interface.removeprefix('eth')}"


def interfaces(node: str, variant: str) -> Iterator[str]:
    yield "network-instance default type default"
    yield "network-instance default admin-state enable"
    for port, far in neighbors(node):
        name = port_name(port.interface)
        yield f"interface {name} admin-state enable"
        yield f"interface {name} description {far.node}"
        yield f"interface {name} subinterface 0 admin-state enable"
        yield f"interface {name} subinterface 0 ip-mtu 1500"
        for family, address in (("ipv4", port.ip4), ("ipv6", port.ip6)):
            yield f"interface {name} subinterface 0 {family} admin-state enable"
            yield f"interface {name} subinterface 0 {family} address {address}"
        yield f"network-instance default interface {name}.0"
        if variant == "bfd":
            yield f"bfd subinterface {name}.0 admin-state enable"
            yield f"bfd subinterface {name}.0 desired-minimum-transmit-interval 100000"
            yield f"bfd subinterface {name}.0 required-minimum-receive 100000"
            yield f"bfd subinterface {name}.0 detection-multiplier 3"


def policy(node: str) -> Iterator[str]:
    own = f"{SITES[site_of(node)]}:1"
    for name, prefixes in {
        "ANYCAST": ((ANYCAST4, "31..32"), (ANYCAST6, "127..128")),
        "NODES": ((NODES4, "29..29"), (NODES6, "64..64")),
        "DEFAULT": (("0.0.0.0/0", "exact"), ("::/0", "exact")),
    }.items():
        for prefix, length in prefixes:
            yield f"routing-policy prefix-set {name} prefix {prefix} mask-length-range {length}"
    yield "routing-policy community-set SHUTDOWN member [ 65535:0 ]"
    yield f"routing-policy community-set OWN-SITE member [ {own} ]"
    # Of an edge's communities, GRACEFUL_SHUTDOWN is taken over and no other.
    yield f"routing-policy community-set OWN-SITE-SHUTDOWN member [ {own} 65535:0 ]"
    mark = "action bgp communities replace OWN-SITE"
    yield from statements("EDGE-IN", *used_last("ANYCAST", f"{mark}-SHUTDOWN"), ("ANYCAST", "", (mark,)))
    yield from statements("EDGE-OUT", ("ANYCAST", "", ()))
    yield from statements("WAY-IN")
    yield from statements("WAY-OUT", ("DEFAULT", "", ()))
    yield from statements("UP-IN", ("DEFAULT", "", ()), *used_last("ANYCAST"), ("ANYCAST", "", ()), ("NODES", "", ()))
    own_nodes = ("NODES", "", ("match protocol local", "action bgp communities add OWN-SITE"))
    yield from statements("UP-OUT", ("ANYCAST", "OWN-SITE", ()), own_nodes)


def used_last(prefixes: str, *actions: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """What is about to go is the last to be used (RFC 8326)."""
    return ((prefixes, "SHUTDOWN", ("action bgp local-preference set 0", *actions)),)


def statements(name: str, *rules: tuple[str, str, tuple[str, ...]]) -> Iterator[str]:
    """(prefix set, community set or none, actions), in order; what no rule matches is refused."""
    start = f"routing-policy policy {name}"
    yield f"{start} default-action policy-result reject"
    for number, (prefixes, community, actions) in enumerate(rules, 1):
        yield f"{start} statement {number * 10} match prefix prefix-set {prefixes}"
        if community:
            yield f"{start} statement {number * 10} match bgp community-set {community}"
        for action in actions:
            yield f"{start} statement {number * 10} {action}"
        yield f"{start} statement {number * 10} {ACCEPT}"


def bgp(node: str, variant: str) -> Iterator[str]:
    yield f"{BGP} admin-state enable"
    yield f"{BGP} autonomous-system {AS[node]}"
    yield f"{BGP} router-id {ROUTER_ID[node]}"
    yield f"{BGP} ebgp-default-policy import-reject-all true"
    yield f"{BGP} ebgp-default-policy export-reject-all true"
    yield f"{BGP} route-advertisement rapid-withdrawal true"
    for family in FAMILIES.values():
        yield f"{BGP} afi-safi {family} admin-state enable"
        yield f"{BGP} afi-safi {family} multipath allow-multiple-as true"
        yield f"{BGP} afi-safi {family} multipath ebgp maximum-paths 8"
    done: set[tuple[str, int]] = set()
    for version, family in FAMILIES.items():
        for session in sessions(node, version):
            if (session.policy, version) not in done:
                done.add((session.policy, version))
                yield from group(session, version, variant)
            neighbor = f"{BGP} neighbor {session.address}"
            yield f"{neighbor} peer-group {session.policy}-{family}"
            yield f"{neighbor} peer-as {session.remote_as}"
            yield f'{neighbor} description "{session.about}"'


def group(session: Session, version: int, variant: str) -> Iterator[str]:
    """A session carries the family that it runs over, and no other."""
    family, other = FAMILIES[version], FAMILIES[10 - version]
    start = f"{BGP} group {session.policy}-{family}"
    yield f"{start} import-policy [ {session.policy}-IN ]"
    yield f"{start} export-policy [ {session.policy}-OUT ]"
    for timer, seconds in (
        ("connect-retry", 1), ("hold-time", 9), ("keepalive-interval", 3), ("minimum-advertisement-interval", 1),
    ):  # fmt: skip
        yield f"{start} timers {timer} {seconds}"
    # Never towards an agent: a router would keep the routes of one that is gone.
    yield f"{start} graceful-restart admin-state disable"
    yield f"{start} afi-safi {family} admin-state enable"
    yield f"{start} afi-safi {other} admin-state disable"
    yield f"{start} afi-safi {family} {family} prefix-limit-received max-received-routes {session.most}"
    if session.add_path:
        yield f"{start} afi-safi {family} add-paths send true"
        yield f"{start} afi-safi {family} add-paths send-max 8"
    if session.policy == "UP":
        # A leaf sends up how many edges it has.
        yield f"{start} afi-safi {family} {family} link-bandwidth aggregate-used-paths true"
    # BIRD has one BFD session with a router, that of the agent's address.
    if variant == "bfd" and session.policy != "WAY":
        yield f"{start} failure-detection enable-bfd true"
