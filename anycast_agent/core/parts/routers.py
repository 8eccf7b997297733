"""Neighbors without an address in the configuration: the router that is seen on their interface.

Invariants: a router that was found is kept until it is gone and another one is there, so that a moment without an entry
in the kernel's table costs no session. No two neighbors have one address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from anycast_agent.core import events as ev
from anycast_agent.core.actions import WatchRouters
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Told
from anycast_agent.core.model import Address, Neighbor, SpeakerConfig
from anycast_agent.core.news import ConfigApplied, RoutersFound
from anycast_agent.core.part import Binding, Part, on


class Routers(Part):
    def __init__(self, board: Board) -> None:
        self._board = board
        self._neighbors: Mapping[str, Neighbor] = {}
        self._interfaces: frozenset[str] = frozenset()
        self._seen: Mapping[str, tuple[Address, ...]] = {}
        """By interface; one that was not looked at yet is missing."""
        self.found: dict[str, Address] = {}
        """By the neighbor's name."""

    def handlers(self) -> Iterable[Binding]:
        return on(ConfigApplied, self._config_applied), on(ev.RoutersSeen, self._routers_seen)

    def resolved(self, config: SpeakerConfig) -> SpeakerConfig:
        """Each neighbor with its address; those without one are left out."""
        known = {
            name: n if n.address else replace(n, address=self.found[name])
            for name, n in config.neighbors.items()
            if n.address or name in self.found
        }
        return replace(config, neighbors=MappingProxyType(known))

    def why(self, neighbor: str) -> str:
        """Why a neighbor has no address yet; empty if it has one."""
        n = self._neighbors.get(neighbor)
        if n is None or n.address or neighbor in self.found:
            return ""
        seen = self._seen.get(n.interface)
        if seen is None:
            return f"the routers on {n.interface} are not known yet"
        free = [address for address in seen if address not in self._taken()]
        if len(free) > 1:
            return f"{len(free)} routers on {n.interface}, {', '.join(free[:2])}: write the address of this neighbor"
        if seen and not free:
            return f"the router on {n.interface}, {seen[0]}, has the address of another neighbor"
        return (
            f"no router is seen on {n.interface}: it has to be up, the router has to send router advertisements, and "
            f"net.ipv6.conf.{n.interface}.accept_ra has to be 1, or 2 where this node forwards packets"
        )

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._neighbors = {n.name: n for n in news.config.neighbors.values()}
        asking = {n.name: n for n in self._neighbors.values() if not n.address}
        before = news.old.neighbors if news.old is not None else {}
        moved = {name for name in asking if name in before and before[name].interface != asking[name].interface}
        self.found = {name: a for name, a in self.found.items() if name in asking and name not in moved}
        interfaces = frozenset(n.interface for n in asking.values())
        if interfaces != self._interfaces:
            self._interfaces = interfaces
            self._seen = {name: seen for name, seen in self._seen.items() if name in interfaces}
            self._board.act(WatchRouters(interfaces))
        self._find(now)

    def _routers_seen(self, event: ev.RoutersSeen, now: float) -> None:
        self._seen = {name: seen for name, seen in event.routers.items() if name in self._interfaces}
        self._find(now)

    def _taken(self) -> set[Address]:
        return {n.address for n in self._neighbors.values() if n.address} | set(self.found.values())

    def _find(self, now: float) -> None:
        before = dict(self.found)
        for n in self._neighbors.values():
            if n.address:
                continue
            seen, had = self._seen.get(n.interface, ()), self.found.pop(n.name, "")
            free = [address for address in seen if address not in self._taken()]
            if had and (had in seen or len(free) != 1):
                self.found[n.name] = had
            elif len(free) == 1:
                self.found[n.name] = free[0]
                self._board.tell(Told(n.name, f"the router on {n.interface} is {free[0]}"))
        for name in self._neighbors:
            self._board.post(ev.Warned(f"address of {name}", self.why(name)), now)
        if self.found != before:
            self._board.post(RoutersFound(), now)
