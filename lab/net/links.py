"""The links between nodes: veth pairs, cut and mended, lossy and clean."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyroute2

from lab.net.node import Node, NodeError, in_network
from lab.net.topology import End, Link

INDEX_FIRST = 1000
"""One end of each pair is numbered from here, so that the numbers of two ends never coincide. If they did, the kernel
would not treat a lost carrier as urgent, and would tell the routing up to a second later."""


def plug_in(links: Iterable[Link], nodes: Mapping[str, Node]) -> None:
    """Every link, up at both ends."""
    links = tuple(links)
    with pyroute2.IPRoute() as host:
        for number, link in enumerate(links, INDEX_FIRST):
            a, b = link.ends
            host.link(
                "add", kind="veth", ifname=a.interface, index=number, net_ns_pid=nodes[a.node].keeper, mtu=link.mtu,
                peer={"ifname": b.interface, "net_ns_pid": nodes[b.node].keeper, "mtu": link.mtu},
            )  # fmt: skip
    by_node: dict[str, list[str]] = {}
    for end in (end for link in links for end in link.ends):
        by_node.setdefault(end.node, []).append(end.interface)
    for name, interfaces in by_node.items():
        set_up(nodes[name], interfaces)


def set_up(node: Node, interfaces: Iterable[str], up: bool = True) -> None:
    """``lo`` is set up with the rest."""
    interfaces = tuple(interfaces)

    def work() -> None:
        with pyroute2.IPRoute() as netlink:
            for interface in ["lo", *interfaces] if up else interfaces:
                netlink.link("set", index=_index(netlink, interface), state="up" if up else "down")

    node.in_network(work)
    node.note("netlink", "link", "set", *interfaces, "up" if up else "down")


def move(interfaces: Iterable[str], network: str, to: int) -> None:
    """Take ends of links into another network namespace, a process's: they lose their addresses, as at a boot."""

    def work() -> None:
        with pyroute2.IPRoute() as netlink:
            for interface in interfaces:
                netlink.link("set", index=_index(netlink, interface), net_ns_pid=to)

    in_network(network, work)


def cut(link: Link, nodes: Mapping[str, Node]) -> None:
    """Set one end down; the other loses its carrier."""
    set_up(nodes[link.a.node], [link.a.interface], up=False)


def mend(link: Link, nodes: Mapping[str, Node]) -> None:
    set_up(nodes[link.a.node], [link.a.interface])


def lose(end: End, node: Node, percent: int, family: str = "") -> None:
    """Drop so much of what comes in at an end, of one family or of all (ARP too), with the link up. 0 ends it."""
    _nft(node, _losing(end, percent, family))


def silence(node: Node, ends: Iterable[End]) -> None:
    """Drop everything in and out from one moment on. The kernel closes the connections of a process that it kills, but
    a machine without power sends no FIN."""
    deaf = "".join(_losing(end, 100) for end in ends)
    dumb = "table inet lab_silence {\n chain out {\n  type filter hook output priority raw;\n  drop\n }\n}\n"
    _nft(node, deaf + dumb)


def silenced(node: Node) -> bool:
    words = ["nsenter", f"--net={node.network}", "nft", "list", "table", "inet", "lab_silence"]
    return subprocess.run(words, capture_output=True).returncode == 0


def _losing(end: End, percent: int, family: str = "") -> str:
    table = f"lab_{end.interface.replace('-', '_').replace('.', '_')}"
    script = f"add table netdev {table}\ndelete table netdev {table}\n"
    if percent:
        chance = {"IPv4": "meta protocol ip ", "IPv6": "meta protocol ip6 "}.get(family, "")
        chance += f"numgen random mod 100 < {percent} " if percent < 100 else ""
        hook = f"type filter hook ingress device {end.interface} priority 0;"
        script += f"table netdev {table} {{\n chain in {{\n  {hook}\n  {chance}drop\n }}\n}}\n"
    return script


def packets(end: End, node: Node) -> int:
    """Packets that have crossed an end of a link, in both directions, since it was made."""
    for line in Path(node.network).parents[1].joinpath("net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == end.interface:
            fields = numbers.split()
            return int(fields[1]) + int(fields[9])  # received, sent
    raise NodeError(f"{end.node}: there is no interface {end.interface}")


def _nft(node: Node, script: str) -> None:
    done = subprocess.run(
        ["nsenter", f"--net={node.network}", "nft", "-f", "-"], input=script, capture_output=True, text=True
    )
    node.note("nft", script, status=done.returncode, output=done.stdout + done.stderr)
    if done.returncode != 0:
        raise NodeError(f"{node.name}: nft: {done.stderr.strip()}")


def _index(netlink: Any, interface: str) -> int:
    found = netlink.link_lookup(ifname=interface)
    if not found:
        raise NodeError(f"there is no interface {interface}")
    return int(found[0])
