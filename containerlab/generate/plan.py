"""The address plan: nodes, their AS numbers, and the ends of every link with their addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VARIANTS = ("bfd", "hold")

ANYCAST4, ANYCAST6 = "192.0.2.0/24", "2001:db8:53::/48"
"""Their aggregate: announced while anything of it is there, a last resort too."""

HEALTHY4, HEALTHY6 = "192.0.2.0/25", "2001:db8:53::/49"
"""The half that the services are in: announced while a host route is there, and preferred, because it is longer."""

NODES4, NODES6 = "198.51.100.0/25", "2001:db8:1::/48"
"""The networks between leaves and edges, /29 and /64 each: the addresses by which an edge asks others."""

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
    """The links of the topology file: /31 and /127 between routers; an edge's links have room for BIRD's own session."""
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
        four, other = f"198.51.100.{128 + 2 * number}/31", f"198.51.100.{129 + 2 * number}/31"
        add(a, b, four, other, f"2001:db8:0:{number + 1}::0/127", f"2001:db8:0:{number + 1}::1/127")
    edges = [(f"{site}-leaf{leaf}", f"{site}-edge{edge}") for site in SITES for leaf in (1, 2) for edge in (1, 2)]
    for number, (leaf, edge) in enumerate(edges):
        fours = [f"198.51.100.{8 * number + host}/29" for host in (1, 2, 3)]
        sixes = [f"2001:db8:1:{number + 1}::{host}/64" for host in (1, 2, 3)]
        add(leaf, edge, fours[0], fours[1], sixes[0], sixes[1], (fours[2], sixes[2]))
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


def site_of(node: str) -> str:
    return node.split("-")[0]
