"""A leaf in Arista EOS's dialect.

Written from Arista's published command syntax; no EOS has run it. EOS adds up no link bandwidth here: a border divides evenly
between leaves of this kind.
"""

from __future__ import annotations

from collections.abc import Iterator

from containerlab.generate.plan import ANYCAST4, ANYCAST6, AS, NODES4, NODES6, ROUTER_ID, SITES, neighbors, site_of
from containerlab.generate.sessions import sessions

LISTS = f"""\
ip prefix-list ANYCAST seq 5 permit {ANYCAST4} ge 31
ip prefix-list DEFAULT seq 5 permit 0.0.0.0/0
ip prefix-list NODES seq 5 permit {NODES4} ge 29 le 29
!
ipv6 prefix-list ANYCAST
   seq 5 permit {ANYCAST6} ge 127
!
ipv6 prefix-list DEFAULT
   seq 5 permit ::/0
!
ipv6 prefix-list NODES
   seq 5 permit {NODES6} ge 64 le 64
!
! What is about to be taken out of service (RFC 8326).
ip community-list SHUTDOWN permit 65535:0
"""


def eos(node: str, variant: str) -> str:
    return (
        f"! {node}: a leaf, in Arista EOS's dialect. Written by containerlab/generate: change it there.\n"
        f"service routing protocols model multi-agent\n!\nhostname {node}\n!\n"
        f"ip routing\nipv6 unicast-routing\n!\n{interfaces(node)}{LISTS}{policy(node)}{bfd(variant)}"
        + "\n".join(["router bgp " + str(AS[node]), *bgp(node, variant), "!", "end", ""])
    )


def interfaces(node: str) -> str:
    return "".join(
        f"interface {port.interface.replace('eth', 'Ethernet')}\n   description {far.node}\n   mtu 1500\n"
        f"   no switchport\n   ip address {port.ip4}\n   ipv6 enable\n   ipv6 address {port.ip6}\n!\n"
        for port, far in neighbors(node)
    )


def bfd(variant: str) -> str:
    return "router bfd\n   interval 100 min-rx 100 multiplier 3 default\n!\n" if variant == "bfd" else ""


def policy(node: str) -> str:
    own = f"{SITES[site_of(node)]}:1"
    return (
        f"ip community-list OWN-SITE permit {own}\n!\n"
        + match(
            "EDGE-IN",
            5,
            "ANYCAST",
            "match community SHUTDOWN",
            "set local-preference 0",
            f"set community {own} 65535:0",
        )
        + match("EDGE-IN", 10, "ANYCAST", f"set community {own}")
        + match("EDGE-OUT", 10, "ANYCAST")
        + "route-map WAY-IN deny 10\n!\n"
        + match("WAY-OUT", 10, "DEFAULT")
        + match("UP-IN", 10, "DEFAULT")
        + match("UP-IN", 15, "ANYCAST", "match community SHUTDOWN", "set local-preference 0")
        + match("UP-IN", 20, "ANYCAST")
        + match("UP-IN", 30, "NODES")
        + match("CONNECTED", 10, "NODES", f"set community {own}")
        + match("UP-OUT", 10, "ANYCAST", "match community OWN-SITE")
        + match("UP-OUT", 20, "NODES", "match community OWN-SITE")
    )


def match(name: str, sequence: int, prefixes: str, *lines: str) -> str:
    """The same step of a route map for both families."""
    body = "".join(f"   {line}\n" for line in lines)
    return "".join(
        f"route-map {name} permit {sequence + number}\n   match {family} address prefix-list {prefixes}\n{body}!\n"
        for number, family in enumerate(("ip", "ipv6"))
    )


def bgp(node: str, variant: str) -> Iterator[str]:
    yield f"   router-id {ROUTER_ID[node]}"
    yield "   no bgp default ipv4-unicast"
    yield "   timers bgp 3 9"
    yield "   maximum-paths 8 ecmp 8"
    # Never towards an agent: a router would keep the routes of one that is gone.
    yield "   no graceful-restart-helper"
    # RFC 8212: no policy, no routes.
    yield "   bgp missing-policy direction in action deny"
    yield "   bgp missing-policy direction out action deny"
    for version in (4, 6):
        for session in sessions(node, version):
            neighbor = f"   neighbor {session.address}"
            yield f"{neighbor} remote-as {session.remote_as}"
            yield f"{neighbor} description {session.about.replace(' ', '-')}"
            yield f"{neighbor} idle-restart-timer 60"
            yield f"{neighbor} send-community standard extended"
            yield f"{neighbor} maximum-routes {session.most}"
            # BIRD has one BFD session with a router, that of the agent's address.
            if variant == "bfd" and session.policy != "WAY":
                yield f"{neighbor} bfd"
    for version in (4, 6):
        yield "   !"
        yield f"   address-family ipv{version}"
        yield "      redistribute connected route-map CONNECTED"
        for session in sessions(node, version):
            neighbor = f"      neighbor {session.address}"
            yield f"{neighbor} activate"
            yield f"{neighbor} route-map {session.policy}-IN in"
            yield f"{neighbor} route-map {session.policy}-OUT out"
            if session.add_path:
                yield f"{neighbor} additional-paths send any"
