"""The kernel's tables of every node: to whom a prefix goes, by name, and when that changed.

A router's own output is not what it forwards by. The tables are read from the kernels, with netlink.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anycast_agent.kernel import netlink as nl
from lab.net.node import Node
from lab.net.topology import Topology

Hops = tuple[str, ...]
"""The nodes that a route leads to, sorted; ``here`` for one that ends at this node."""

Table = Mapping[str, Hops]
"""The next hops of each prefix; ``default`` and ``default6`` are the routes of length 0."""

RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255
RTN_UNICAST, RTN_LOCAL, RTN_BLACKHOLE = 1, 2, 6
CONSIDERED = {(RT_TABLE_MAIN, RTN_UNICAST), (RT_TABLE_MAIN, RTN_BLACKHOLE), (RT_TABLE_LOCAL, RTN_LOCAL)}
"""The kernel forwards by these routes, or delivers by them: table and type."""

_RTMSG = struct.Struct("=BBBBBBBBI")
SETTLE = 0.002
"""Netlink reports a change in several messages. The table is read this long after the first. Seconds."""


@dataclass(frozen=True, slots=True)
class Change:
    """A node's next hops of a prefix changed. ``at``: monotonic."""

    at: float
    node: str
    prefix: str
    before: Hops | None
    after: Hops | None


@dataclass
class _Eye:
    """Sockets in one node's network namespace, and its table as it was last read."""

    node: str
    monitor: socket.socket
    asking: socket.socket
    table: dict[str, Hops] = field(default_factory=dict)
    dirty: float = 0.0


class Tables:
    """Reads and watches the tables of nodes. ``concerns`` says which prefixes matter."""

    def __init__(self, topology: Topology, nodes: Mapping[str, Node], concerns: Callable[[str], bool]) -> None:
        self._topology, self._nodes, self._concerns = topology, nodes, concerns
        self._eyes: dict[str, _Eye] = {}
        self.changes: list[Change] = []

    def open(self, names: Iterable[str]) -> None:
        """Begin to watch these nodes. Inside a running loop."""
        for name in names:
            self.close(name)
            monitor, asking = self._nodes[name].in_network(lambda: (nl.monitor(1 << 20), nl.dump_socket()))
            eye = self._eyes[name] = _Eye(name, monitor, asking)
            eye.table = self._read(eye)
            asyncio.get_running_loop().add_reader(monitor.fileno(), self._heard, eye)

    def close(self, name: str | None = None) -> None:
        """Stop watching one node, or all."""
        for eye in [self._eyes.pop(name)] if name in self._eyes else list(self._eyes.values()) if name is None else []:
            asyncio.get_running_loop().remove_reader(eye.monitor.fileno())
            eye.monitor.close()
            eye.asking.close()
        if name is None:
            self._eyes.clear()

    def now(self) -> dict[str, dict[str, Hops]]:
        """Read again, not remembered: by node."""
        for eye in self._eyes.values():
            self._compare(eye, time.monotonic())
        return {name: dict(eye.table) for name, eye in self._eyes.items()}

    def _heard(self, eye: _Eye) -> None:
        at = time.monotonic()
        try:
            while True:
                eye.monitor.recv(1 << 16)
        except BlockingIOError:
            pass
        except OSError:
            pass  # an overrun: the whole table is read below
        if not eye.dirty:
            eye.dirty = at
            asyncio.get_running_loop().call_later(SETTLE, self._settled, eye)

    def _settled(self, eye: _Eye) -> None:
        at, eye.dirty = eye.dirty, 0.0
        if self._eyes.get(eye.node) is eye:
            self._compare(eye, at)

    def _compare(self, eye: _Eye, at: float) -> None:
        table = self._read(eye)
        for prefix in sorted({*table, *eye.table}):
            before, after = eye.table.get(prefix), table.get(prefix)
            if before != after:
                self.changes.append(Change(at, eye.node, prefix, before, after))
        eye.table = table

    def _read(self, eye: _Eye) -> dict[str, Hops]:
        for _ in range(nl.DUMP_TRIES):
            try:
                names = {
                    m["index"]: str(m.get_attr("IFLA_IFNAME")) for m in self._dump(eye, nl.RTM_GETLINK, "=BxHiII", 5)
                }
                found: dict[str, dict[int, Hops]] = {}
                for family in (socket.AF_INET, socket.AF_INET6):
                    for message in nl.dump_on(eye.asking, nl.RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                        self._add(found, eye.node, names, family, message)
                # Of several routes to a prefix, the kernel uses the one with the lowest metric.
                return {prefix: tuple(sorted(set(ways[min(ways)]))) for prefix, ways in found.items()}
            except nl.InterruptedDumpError:
                continue
        return eye.table  # it changes all the while: the next change is heard of, and read again

    def _dump(self, eye: _Eye, request: int, form: str, numbers: int) -> list[Any]:
        body = struct.pack(form, *([0] * numbers))
        return [nl.parse(message) for message in nl.dump_on(eye.asking, request, body)]

    def _add(
        self, found: dict[str, dict[int, Hops]], node: str, names: Mapping[int, str], family: int, message: bytes
    ) -> None:
        _, length, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(message, 16)
        if (table, kind) not in CONSIDERED:
            return
        route = nl.parse(message)
        prefix = _name(route.get_attr("RTA_DST"), length, family)
        if not self._concerns(prefix):
            return
        legs = route.get_attr("RTA_MULTIPATH") or [{"oif": route.get_attr("RTA_OIF"), "flags": route["flags"]}]
        hops = [] if kind == RTN_UNICAST else ["here"]
        for leg in legs if kind == RTN_UNICAST else ():
            if not leg["flags"] & 0x11:  # RTNH_F_DEAD, RTNH_F_LINKDOWN: not used
                far = self._topology.far_end(node, names.get(leg["oif"], ""))
                hops.append(far.node if far is not None else "here")
        if hops:
            ways, metric = found.setdefault(prefix, {}), route.get_attr("RTA_PRIORITY") or 0
            metric = metric if table == RT_TABLE_MAIN else -1  # the local table is asked first
            ways[metric] = (*ways.get(metric, ()), *hops)


def _name(destination: str | None, length: int, family: int) -> str:
    if not length:
        return "default6" if family == socket.AF_INET6 else "default"
    return str(ipaddress.ip_network(f"{destination}/{length}"))
