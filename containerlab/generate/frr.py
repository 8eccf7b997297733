"""Routers in FRR's dialect: the routing policy of providers, borders and leaves."""

from __future__ import annotations

from containerlab.generate.plan import (
    ANYCAST4,
    ANYCAST6,
    AS,
    CUSTOMERS,
    HEALTHY4,
    HEALTHY6,
    NODES4,
    NODES6,
    ROUTER_ID,
    SITES,
    neighbors,
    role,
    site_of,
)
from containerlab.generate.sessions import sessions

HEAD = """\
! {node}: {about}
! Written by containerlab/generate: change it there.
frr defaults traditional
hostname {node}
log file /var/log/frr/frr.log informational
log timestamp precision 3
service integrated-vtysh-config
! FRR 8.4 leaves one member of an ECMP group in the kernel after a link has flapped, where it uses nexthop objects.
no zebra nexthop kernel enable
ip forwarding
ipv6 forwarding
!
"""

LISTS = f"""\
! Anycast host routes and the last resorts around them (/31, /127) live inside, and cross the backbone.
ip prefix-list ANYCAST seq 5 permit {ANYCAST4} ge 31
ipv6 prefix-list ANYCAST seq 5 permit {ANYCAST6} ge 127
! What the internet sees of them.
ip prefix-list AGGREGATE seq 5 permit {ANYCAST4}
ip prefix-list AGGREGATE seq 10 permit {HEALTHY4}
ipv6 prefix-list AGGREGATE seq 5 permit {ANYCAST6}
ipv6 prefix-list AGGREGATE seq 10 permit {HEALTHY6}
! What an edge is answered at when it asks as a consumer.
ip prefix-list NODES seq 5 permit {NODES4} ge 29 le 29
ipv6 prefix-list NODES seq 5 permit {NODES6} ge 64 le 64
ip prefix-list DEFAULT seq 5 permit 0.0.0.0/0
ipv6 prefix-list DEFAULT seq 5 permit ::/0
! What the ISPs' own customers have.
ip prefix-list CUSTOMERS seq 5 permit 203.0.113.0/24 ge 25 le 25
ipv6 prefix-list CUSTOMERS seq 5 permit 2001:db8:c0::/44 ge 48 le 48
! What is about to be taken out of service (RFC 8326).
bgp community-list standard SHUTDOWN seq 5 permit graceful-shutdown
!
"""

AGGREGATES4, AGGREGATES6 = (ANYCAST4, HEALTHY4), (ANYCAST6, HEALTHY6)

BFD = """\
bfd
 profile fast
  detect-multiplier 3
  receive-interval 100
  transmit-interval 100
 exit
exit
!
"""


def match(name: str, sequence: int, list_name: str, *lines: str, verdict: str = "permit") -> str:
    """The same step of a route map for both families."""
    body = "".join(f" {line}\n" for line in lines)
    return (
        f"route-map {name} {verdict} {sequence}\n match ip address prefix-list {list_name}\n{body}exit\n"
        f"route-map {name} {verdict} {sequence + 1}\n match ipv6 address prefix-list {list_name}\n{body}exit\n"
    )


def anycast_in(name: str, sequence: int, *lines: str) -> str:
    """Host routes come in; one that is about to go is the last to be used (RFC 8326)."""
    return match(name, sequence - 5, "ANYCAST", "match community SHUTDOWN", "set local-preference 0", *lines) + match(
        name, sequence, "ANYCAST", *lines
    )


def policy(node: str) -> str:
    """The route maps of a router, by its role."""
    return {"leaf": leaf_policy, "border": border_policy, "isp": provider_policy}[role(node)](node)


def leaf_policy(node: str) -> str:
    own = f"{SITES[site_of(node)]}:1"
    return (
        f"bgp community-list standard OWN-SITE seq 5 permit {own}\n"
        + "! Of an edge's communities, GRACEFUL_SHUTDOWN is taken over and no other: an edge asks nothing of providers.\n"
        + match("EDGE-IN", 5, "ANYCAST", "match community SHUTDOWN", "set local-preference 0",
                f"set community {own} graceful-shutdown")
        + match("EDGE-IN", 10, "ANYCAST", f"set community {own}")
        + "! To the agents: who else announces.\n"
        + match("EDGE-OUT", 10, "ANYCAST")
        + "! To BIRD on the edge: the way back, for as long as we have one ourselves.\n"
        + "route-map WAY-IN deny 10\nexit\n"
        + match("WAY-OUT", 10, "DEFAULT")
        + match("UP-IN", 10, "DEFAULT")
        + anycast_in("UP-IN", 20)
        + match("UP-IN", 30, "NODES")
        + match("CONNECTED", 10, "NODES", f"set community {own}")
        + "! Our own edges' routes, weighted by how many of them there are; never what came from above.\n"
        + match("UP-OUT", 10, "ANYCAST", "match community OWN-SITE", "set extcommunity bandwidth num-multipaths")
        + match("UP-OUT", 20, "NODES", "match community OWN-SITE")
    )  # fmt: skip


def border_policy(node: str) -> str:
    asn, isp = AS[node], "isp1" if site_of(node) == "ams" else "isp2"
    return (
        f"bgp community-list standard OWN-SITE seq 5 permit {asn}:1\n"
        f"bgp as-path access-list FROM-ISP seq 5 permit ^{AS[isp]}_\n"
        + anycast_in("LEAF-IN", 10)
        + match("LEAF-IN", 20, "NODES")
        + match("LEAF-OUT", 10, "DEFAULT")
        + match("LEAF-OUT", 12, "NODES")
        + "! A leaf knows its own site's edges itself: from us, it would only hunt along them.\n"
        + "route-map LEAF-OUT deny 20\n match community OWN-SITE\nexit\n"
        + match("LEAF-OUT", 30, "ANYCAST")
        + "! Nobody outside tells us about our own addresses.\n"
        + match("ISP-IN", 10, "DEFAULT")
        + match("ISP-IN", 20, "CUSTOMERS")
        + f"! `set community {AS[isp]}:80` here makes us the backup at our ISP; 65535:0 takes us out (RFC 8326).\n"
        + match("ISP-OUT", 10, "AGGREGATE")
        + "! The longer aggregate goes out while a host route is there, ours or the other site's: a last resort alone must\n"
        + "! not draw the internet away from a site that is healthy.\n"
        + f"ip prefix-list HOST seq 5 permit {ANYCAST4} ge 32\nipv6 prefix-list HOST seq 5 permit {ANYCAST6} ge 128\n"
        + f"ip prefix-list HEALTHY seq 5 permit {HEALTHY4}\nipv6 prefix-list HEALTHY seq 5 permit {HEALTHY6}\n"
        + match("HOST", 10, "HOST")
        + match("HEALTHY", 10, "HEALTHY")
        + "! Our own ISP before the other site's.\n"
        + match("BACKBONE-IN", 10, "DEFAULT", "set local-preference 90")
        + match("BACKBONE-IN", 20, "CUSTOMERS", "set local-preference 90")
        + "! One way, whichever of their leaves is behind it. FRR 10 would hand the kernel the same next hop with two\n"
        + "! weights, and Linux refuses that for IPv6.\n"
        + anycast_in("BACKBONE-IN", 30, "set extcommunity none")
        + match("BACKBONE-IN", 40, "NODES")
        + match("BACKBONE-OUT", 10, "DEFAULT", "match as-path FROM-ISP")
        + match("BACKBONE-OUT", 20, "CUSTOMERS", "match as-path FROM-ISP")
        + match("BACKBONE-OUT", 30, "ANYCAST", "match community OWN-SITE")
        + match("BACKBONE-OUT", 40, "NODES", "match community OWN-SITE")
    )


def provider_policy(node: str) -> str:
    asn = AS[node]
    return (
        "! What customers may ask for: to be the backup, or longer towards our peers.\n"
        f"bgp community-list standard BACKUP seq 5 permit {asn}:80\n"
        f"bgp community-list standard LONGER seq 5 permit {asn}:3\n"
        f"bgp community-list standard CUSTOMER seq 5 permit {asn}:100\n"
        + match("CUSTOMER-IN", 4, "AGGREGATE", "match community SHUTDOWN", "set local-preference 0",
                f"set community {asn}:100 additive")
        + match("CUSTOMER-IN", 10, "AGGREGATE", "match community BACKUP", "set local-preference 80",
                f"set community {asn}:100 additive")
        + match("CUSTOMER-IN", 20, "AGGREGATE", "set local-preference 200", f"set community {asn}:100 additive")
        + match("CUSTOMER-OUT", 10, "DEFAULT")
        + match("CUSTOMER-OUT", 20, "CUSTOMERS")
        + "! Our own communities are ours alone: a peer must not make itself a customer with them, nor learn who is one.\n"
        + f"bgp community-list expanded OURS seq 5 permit ^{asn}:\n"
        + match("PEER-IN", 10, "AGGREGATE", "set comm-list OURS delete")
        + match("PEER-IN", 20, "CUSTOMERS", "set comm-list OURS delete")
        + match("PEER-OUT", 10, "AGGREGATE", "match community LONGER", f"set as-path prepend {asn} {asn} {asn}",
                "set comm-list OURS delete")
        + match("PEER-OUT", 20, "AGGREGATE", "match community CUSTOMER", "set comm-list OURS delete")
        + "bgp as-path access-list OWN seq 5 permit ^$\n"
        + match("PEER-OUT", 30, "CUSTOMERS", "match as-path OWN")
    )  # fmt: skip


def bgp(node: str, variant: str) -> str:
    lines = [
        f"router bgp {AS[node]}",
        f" bgp router-id {ROUTER_ID[node]}",
        " bgp log-neighbor-changes",
        " bgp ebgp-requires-policy",
        " no bgp default ipv4-unicast",
        " no bgp network import-check",
        " bgp bestpath as-path multipath-relax",
        " timers bgp 3 9",
    ]
    for version in (4, 6):
        for s in sessions(node, version):
            lines += [
                f" neighbor {s.address} remote-as {s.remote_as}",
                f" neighbor {s.address} description {s.about}",
                f" neighbor {s.address} advertisement-interval 0",
                f" neighbor {s.address} timers connect 1",
            ]
            # BIRD has one BFD session with a router, that of the agent's address; FRR 10 would wait for a second for ever.
            if variant == "bfd" and s.policy != "WAY":
                lines += [f" neighbor {s.address} bfd", f" neighbor {s.address} bfd profile fast"]
    if role(node) == "border":  # FRR's own is a minute
        lines.append(" bgp conditional-advertisement timer 5")
    for version in (4, 6):
        lines += address_family(node, version)
    return "\n".join([*lines, "exit", "!", ""])


def address_family(node: str, version: int) -> list[str]:
    """The routes that a router announces and accepts in one family."""
    lines = [" !", f" address-family ipv{version} unicast"]
    if role(node) == "border":
        lines += [f"  aggregate-address {prefix}" for prefix in (AGGREGATES4 if version == 4 else AGGREGATES6)]
    if role(node) == "leaf":
        lines.append("  redistribute connected route-map CONNECTED")
    if role(node) == "isp":
        lines.append(f"  network {CUSTOMERS[node][version == 6]}")
    for s in sessions(node, version):
        lines += [
            f"  neighbor {s.address} activate",
            f"  neighbor {s.address} soft-reconfiguration inbound",
            f"  neighbor {s.address} route-map {s.policy}-IN in",
            f"  neighbor {s.address} route-map {s.policy}-OUT out",
            f"  neighbor {s.address} maximum-prefix {s.most} restart 1",
        ]
        if s.add_path:
            lines.append(f"  neighbor {s.address} addpath-tx-all-paths")
        if s.policy == "ISP":
            lines.append(f"  neighbor {s.address} advertise-map HEALTHY exist-map HOST")
        if s.default:
            lines.append(f"  neighbor {s.address} default-originate")
    lines += ["  maximum-paths 8", " exit-address-family"]
    return lines


ABOUT = {
    "isp": "an internet provider, which takes aggregates and no host routes",
    "border": "a site's border: host routes inside, the aggregates outside",
    "leaf": "a leaf: the routers that the agents speak with",
}


def frr(node: str, variant: str) -> str:
    text = HEAD.format(node=node, about=ABOUT[role(node)])
    for port, far in neighbors(node):
        text += f"interface {port.interface}\n description {far.node}\n ip address {port.ip4}\n ipv6 address {port.ip6}\nexit\n!\n"
    if role(node) == "isp":
        text += "! What we announce of our own is here, whatever becomes of a customer.\n"
        text += f"ip route {CUSTOMERS[node][0]} blackhole\nipv6 route {CUSTOMERS[node][1]} blackhole\n!\n"
    return text + LISTS + policy(node) + "!\n" + (BFD if variant == "bfd" else "") + bgp(node, variant)
