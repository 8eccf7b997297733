"""A topology and results that look like the lab's, made up: the pictures' tests need no lab."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.topology import End, Link, Node, Topology


def topology(nodes: Mapping[str, Mapping[str, str]], links: Iterable[tuple[str, str]]) -> Topology:
    """Nodes with their labels; interfaces are numbered in the order of the links."""
    used = dict.fromkeys(nodes, 0)

    def end(name: str) -> End:
        used[name] += 1
        return End(name, f"eth{used[name]}")

    made = {name: Node(name, "", "", "", (), (), {}, {}, labels) for name, labels in nodes.items()}
    return Topology("sample", Path("sample.yml"), made, tuple(Link(end(a), end(b)) for a, b in links))


def datacenters() -> Topology:
    """Two sites, dual-homed edges, a private backbone."""
    nodes: dict[str, dict[str, str]] = {
        "client1": {"graph-level": "1"}, "client2": {"graph-level": "1"},
        "isp1": {"graph-level": "2", "graph-note": "AS 64496"}, "isp2": {"graph-level": "2", "graph-note": "AS 64497"},
    }  # fmt: skip
    links = [("client1", "isp1"), ("client2", "isp2"), ("isp1", "isp2"), ("isp1", "ams-border"), ("isp2", "fra-border")]
    links += [("ams-border", "fra-border")]
    for number, at in enumerate(("ams", "fra")):
        nodes[f"{at}-border"] = {"graph-level": "3", "graph-note": f"AS {64510 + number}", "site": at}
        for n in (1, 2):
            nodes[f"{at}-leaf{n}"] = {"graph-level": "4", "graph-note": f"AS {65010 + 10 * number + n}", "site": at}
            links.append((f"{at}-border", f"{at}-leaf{n}"))
        for n in (1, 2):
            nodes[f"{at}-edge{n}"] = {"graph-level": "5", "graph-note": "AS 65100", "site": at}
            links += [(f"{at}-edge{n}", f"{at}-leaf1"), (f"{at}-edge{n}", f"{at}-leaf2")]
    return topology(nodes, links)
