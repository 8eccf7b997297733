#!/usr/bin/env python3
"""The address plan and the routing policy, written once: ``python containerlab/generate.py`` writes the routers' files.

``config/VARIANT/NODE/…``: VARIANT is ``bfd`` (3 × 100 ms between all neighbors) or ``hold`` (hold time 9 s, and nothing
else to notice a neighbor that is gone while the link stays up).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
VARIANTS = ("bfd", "hold")

ANYCAST4, ANYCAST6 = "192.0.2.0/24", "2001:db8:53::/48"
SITES = {"ams": 64510, "fra": 64511}
AS = {
    "isp1": 64496, "isp2": 64497, "ams-border": 64510, "fra-border": 64511,
    "ams-leaf1": 65011, "ams-leaf2": 65012, "fra-leaf1": 65021, "fra-leaf2": 65022,
    "ams-edge1": 65101, "ams-edge2": 65102, "fra-edge1": 65201, "fra-edge2": 65202,
}  # fmt: skip
ROUTER_ID = {node: f"198.51.100.{201 + number}" for number, node in enumerate(AS)}
CUSTOMERS = {"isp1": ("203.0.113.0/25", "2001:db8:c1::/48"), "isp2": ("203.0.113.128/25", "2001:db8:c2::/48")}


@dataclass(frozen=True)
class Port:
    """One end of a link: interface and addresses with their lengths; ``bird4`` and ``bird6`` on an edge's end."""

    node: str
    interface: str
    ip4: str
    ip6: str
    bird4: str = ""
    bird6: str = ""

    @property
    def four(self) -> str:
        return self.ip4.split("/")[0]

    @property
    def six(self) -> str:
        return self.ip6.split("/")[0]


def links() -> list[tuple[Port, Port]]:
    """As in the topology file. Between routers /31 and /127; on an edge's links there is room for BIRD's own session."""
    used: dict[str, int] = {}
    found = []

    def interface(node: str) -> str:
        used[node] = used.get(node, 0) + 1
        return f"eth{used[node]}"

    def add(a: str, b: str, a4: str, b4: str, a6: str, b6: str, bird: tuple[str, str] = ("", "")) -> None:
        found.append((Port(a, interface(a), a4, a6), Port(b, interface(b), b4, b6, *bird)))

    for number, (isp, client) in enumerate((("isp1", "client1"), ("isp2", "client2"))):
        net4, net6 = f"203.0.113.{128 * number}", f"2001:db8:c{number + 1}:"
        base = net4.rsplit(".", 1)[0]
        add(
            isp,
            client,
            f"{base}.{128 * number + 1}/29",
            f"{base}.{128 * number + 2}/29",
            f"{net6}:1/64",
            f"{net6}:2/64",
        )
    pairs = [
        ("isp1", "isp2"), ("isp1", "ams-border"), ("isp2", "fra-border"), ("ams-border", "fra-border"),
        *((f"{site}-border", f"{site}-leaf{n}") for site in SITES for n in (1, 2)),
    ]  # fmt: skip
    for number, (a, b) in enumerate(pairs):
        four = [f"198.51.100.{128 + 2 * number + end}/31" for end in (0, 1)]
        six = [f"2001:db8:0:{number + 1}::{end}/127" for end in (0, 1)]
        add(a, b, *four, *six)
    edges = [(f"{site}-leaf{leaf}", f"{site}-edge{edge}") for site in SITES for leaf in (1, 2) for edge in (1, 2)]
    for number, (leaf, edge) in enumerate(edges):
        four = [f"198.51.100.{8 * number + host}/29" for host in (1, 2, 3)]
        six = [f"2001:db8:1:{number + 1}::{host}/64" for host in (1, 2, 3)]
        add(leaf, edge, four[0], four[1], six[0], six[1], (four[2], six[2]))
    return found


LINKS = links()


def neighbors(node: str) -> Iterator[tuple[Port, Port]]:
    """(our end, the other end) of each link of a node."""
    for a, b in LINKS:
        if a.node == node:
            yield a, b
        elif b.node == node:
            yield b, a


def role(node: str) -> str:
    return "isp" if node.startswith("isp") else node.split("-")[-1].rstrip("12") if "-" in node else "client"


# --- routers ---

HEAD = """\
! {node}: {about}
! Written by containerlab/generate.py: change it there.
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
! Anycast host routes live inside, and cross the backbone.
ip prefix-list ANYCAST seq 5 permit {ANYCAST4} ge 32
ipv6 prefix-list ANYCAST seq 5 permit {ANYCAST6} ge 128
! What the internet sees of them.
ip prefix-list AGGREGATE seq 5 permit {ANYCAST4}
ipv6 prefix-list AGGREGATE seq 5 permit {ANYCAST6}
ip prefix-list DEFAULT seq 5 permit 0.0.0.0/0
ipv6 prefix-list DEFAULT seq 5 permit ::/0
! What the ISPs' own customers have.
ip prefix-list CUSTOMERS seq 5 permit 203.0.113.0/24 ge 25 le 25
ipv6 prefix-list CUSTOMERS seq 5 permit 2001:db8:c0::/44 ge 48 le 48
! What is about to be taken out of service (RFC 8326).
bgp community-list standard SHUTDOWN seq 5 permit graceful-shutdown
!
"""

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


def site_of(node: str) -> str:
    return node.split("-")[0]


def policy(node: str) -> str:
    kind = role(node)
    if kind == "leaf":
        own = f"{SITES[site_of(node)]}:1"
        return (
            f"bgp community-list standard OWN-SITE seq 5 permit {own}\n"
            + anycast_in("EDGE-IN", 10, f"set community {own} additive")
            + "! To the agents: who else announces.\n"
            + match("EDGE-OUT", 10, "ANYCAST")
            + "! To BIRD on the edge: the way back, for as long as we have one ourselves.\n"
            + "route-map WAY-IN deny 10\nexit\n"
            + match("WAY-OUT", 10, "DEFAULT")
            + match("UP-IN", 10, "DEFAULT")
            + anycast_in("UP-IN", 20)
            + "! Our own edges' routes, weighted by how many of them there are; never what came from above.\n"
            + match("UP-OUT", 10, "ANYCAST", "match community OWN-SITE", "set extcommunity bandwidth num-multipaths")
        )
    if kind == "border":
        asn, isp = AS[node], "isp1" if site_of(node) == "ams" else "isp2"
        return (
            f"bgp community-list standard OWN-SITE seq 5 permit {asn}:1\n"
            f"bgp as-path access-list FROM-ISP seq 5 permit ^{AS[isp]}_\n"
            + anycast_in("LEAF-IN", 10)
            + match("LEAF-OUT", 10, "DEFAULT")
            + "! A leaf knows its own site's edges itself: from us, it would only hunt along them.\n"
            + "route-map LEAF-OUT deny 20\n match community OWN-SITE\nexit\n"
            + match("LEAF-OUT", 30, "ANYCAST")
            + "! Nobody outside tells us about our own addresses.\n"
            + match("ISP-IN", 10, "DEFAULT")
            + match("ISP-IN", 20, "CUSTOMERS")
            + f"! `set community {AS[isp]}:80` here makes us the backup at our ISP; 65535:0 takes us out (RFC 8326).\n"
            + match("ISP-OUT", 10, "AGGREGATE")
            + "! Our own ISP before the other site's.\n"
            + match("BACKBONE-IN", 10, "DEFAULT", "set local-preference 90")
            + match("BACKBONE-IN", 20, "CUSTOMERS", "set local-preference 90")
            + "! One way, whichever of their leaves is behind it. FRR 10 would hand the kernel the same next hop with two\n"
            + "! weights, and Linux refuses that for IPv6.\n"
            + anycast_in("BACKBONE-IN", 30, "set extcommunity none")
            + match("BACKBONE-OUT", 10, "DEFAULT", "match as-path FROM-ISP")
            + match("BACKBONE-OUT", 20, "CUSTOMERS", "match as-path FROM-ISP")
            + match("BACKBONE-OUT", 30, "ANYCAST", "match community OWN-SITE")
        )
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
        + match("PEER-IN", 10, "AGGREGATE")
        + match("PEER-IN", 20, "CUSTOMERS")
        + match("PEER-OUT", 10, "AGGREGATE", "match community LONGER", f"set as-path prepend {asn} {asn} {asn}")
        + match("PEER-OUT", 20, "AGGREGATE", "match community CUSTOMER")
        + "bgp as-path access-list OWN seq 5 permit ^$\n"
        + match("PEER-OUT", 30, "CUSTOMERS", "match as-path OWN")
    )  # fmt: skip


@dataclass(frozen=True)
class Session:
    address: str
    remote_as: int
    about: str
    policy: str
    """The route maps' name before -IN and -OUT."""
    most: int
    add_path: bool = False
    default: bool = False


def sessions(node: str, version: int) -> Iterator[Session]:
    for _, far in neighbors(node):
        address = far.four if version == 4 else far.six
        kinds = role(node), role(far.node)
        if kinds == ("leaf", "edge"):
            yield Session(address, AS[far.node], f"{far.node} agent", "EDGE", 16, add_path=True)
            bird = (far.bird4 if version == 4 else far.bird6).split("/")[0]
            yield Session(bird, AS[far.node], f"{far.node} way back", "WAY", 1)
        elif kinds == ("leaf", "border"):
            yield Session(address, AS[far.node], far.node, "UP", 64)
        elif kinds == ("border", "leaf"):
            yield Session(address, AS[far.node], far.node, "LEAF", 16, add_path=True)
        elif kinds == ("border", "border"):
            yield Session(address, AS[far.node], far.node, "BACKBONE", 64, add_path=True)
        elif kinds == ("border", "isp"):
            yield Session(address, AS[far.node], far.node, "ISP", 100)
        elif kinds == ("isp", "border"):
            yield Session(address, AS[far.node], far.node, "CUSTOMER", 4, default=True)
        elif kinds == ("isp", "isp"):
            yield Session(address, AS[far.node], far.node, "PEER", 100)


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
    for version in (4, 6):
        lines += [" !", f" address-family ipv{version} unicast"]
        if role(node) == "border":
            lines.append(f"  aggregate-address {ANYCAST4 if version == 4 else ANYCAST6}")
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
            if s.default:
                lines.append(f"  neighbor {s.address} default-originate")
        lines += ["  maximum-paths 8", " exit-address-family"]
    return "\n".join([*lines, "exit", "!", ""])


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


# --- edges ---


def bird(node: str, variant: str) -> str:
    bfd = variant == "bfd"
    text = f"""\
# {node}: the way back. ExaBGP installs no routes: BIRD takes the leaves' default, both of them while both have one.
# Written by containerlab/generate.py: change it there.
log "/var/log/bird.log" all;
router id {ROUTER_ID[node]};

protocol device {{}}
protocol kernel {{ ipv4 {{ import none; export all; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ import none; export all; }}; merge paths on; }}

filter way_back {{
  if net ~ [ 0.0.0.0/0 ] || net ~ [ ::/0 ] then accept;
  reject;
}}

template bgp leaf {{
  # ExaBGP listens on this node, too: routers connect to it every second, and it waits longer each time it fails.
  strict bind yes;
  hold time 9;
  keepalive time 3;
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  # A leaf that is silent is gone: BIRD would keep the routes of one that can restart gracefully for its restart time.
  graceful restart off;
{"  bfd;" if bfd else "  # No BFD: the hold time notices."}
}}
"""
    if bfd:
        text += "\n# Also for the agent's sessions: ExaBGP speaks no BFD, and a leaf notices no sooner than its hold time.\n"
        text += (
            'protocol bfd {\n  interface "eth*" { min rx interval 100 ms; min tx interval 100 ms; multiplier 3; };\n'
        )
        for port, far in neighbors(node):
            text += f'  neighbor {far.four} local {port.four};\n  neighbor {far.six} dev "{port.interface}" local {port.six};\n'
        text += "}\n"
    for port, far in neighbors(node):
        name = far.node.replace("-", "_")
        for family, own, other in (("ipv4", port.bird4, far.four), ("ipv6", port.bird6, far.six)):
            text += f"""
protocol bgp {name}_{family} from leaf {{
  local {own.split("/")[0]} as {AS[node]};
  neighbor {other} as {AS[far.node]};
  {family} {{ import filter way_back; export none; }};
}}
"""
    return text


def agent(node: str) -> str:
    text = f"""\
# {node}: what the agent runs with. Written by containerlab/generate.py: change it there.
node: {{name: {node}, site: {site_of(node)}}}
bgp:
  local_as: {AS[node]}
  router_id: {ROUTER_ID[node]}
  neighbors:
"""
    for port, far in neighbors(node):
        for label, own, other in (("v4", port.four, far.four), ("v6", port.six, far.six)):
            text += (
                f'    {far.node}-{label}: {{address: "{other}", local_address: "{own}", remote_as: {AS[far.node]}, '
                "hold_time: 9, add_path_receive: true, listen: true}\n"
            )
    return (
        text
        + f"""\
services:
  dns:
    prefixes: [192.0.2.53/32, "2001:db8:53::53/128"]
    attributes: {{extended_communities: ["bandwidth:{AS[node]}:125000000"]}}
    checks:
      answers: {{type: dns, name: www.example, record: A, contains: [192.0.2.80], interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
  www:
    prefixes: [192.0.2.80/32, "2001:db8:53::80/128"]
    attributes: {{extended_communities: ["bandwidth:{AS[node]}:125000000"]}}
    checks:
      page: {{type: http, host: www.example, path: /health, contains: ok, interval: 1s, timeout: 500ms, rise: 2, fall: 2}}
"""
    )


def addresses(node: str) -> str:
    """Lines of ``ip -batch``."""
    text = ""
    for port, far in neighbors(node):
        text += f"addr add {port.ip4} dev {port.interface}\naddr add {port.ip6} dev {port.interface} nodad\n"
        if role(node) == "edge":
            text += f"addr add {port.bird4} dev {port.interface}\naddr add {port.bird6} dev {port.interface} nodad\n"
        else:
            text += f"route add default via {far.four}\nroute add ::/0 via {far.six}\n"
    return text


def files() -> dict[Path, str]:
    """Everything that is generated, by path below this directory."""
    found: dict[Path, str] = {}
    for variant in VARIANTS:
        for node in AS:
            folder = Path("config") / variant / node
            if role(node) == "edge":
                found[folder / "bird.conf"] = bird(node, variant)
            else:
                found[folder / "frr.conf"] = frr(node, variant)
    for node in [*AS, "client1", "client2"]:
        if role(node) in ("edge", "client"):
            found[Path("config") / "common" / node / "addresses"] = addresses(node)
        if role(node) == "edge":
            found[Path("config") / "common" / node / "agent.yaml"] = agent(node)
    return found


def main() -> None:
    for port in (port for pair in LINKS for port in pair):
        ipaddress.ip_interface(port.ip4), ipaddress.ip_interface(port.ip6)
    for path, text in files().items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
