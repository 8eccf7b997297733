"""The routers on an interface: link-local addresses that the kernel knows to be a router's.

The kernel marks an entry of its neighbor table as a router's by a router advertisement that it accepted, or by the
router bit of a neighbor advertisement (RFC 4861, 4.2 and 4.4).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Address, is_link_local
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel import routes

LOOK_EVERY = 1.0
"""Interval at which the neighbor table is read, where a neighbor has no address of its own in the configuration.
Seconds."""

MAX_ROUTERS = 8
"""So many routers of an interface are told."""

_RTM_GETNEIGH = 30
_NDMSG = struct.Struct("=BxxxiHBB")
_NDA_DST, _NDA_IFINDEX = 1, 8
_NTF_ROUTER = 0x80
_NUD_INCOMPLETE, _NUD_FAILED = 0x01, 0x20

Routers = Mapping[str, tuple[Address, ...]]
"""By interface."""


class RouterWatch:
    """Reports the routers of the interfaces that it is told to watch."""

    def __init__(self, post: Callable[[ev.Event], None], look_every: float = LOOK_EVERY) -> None:
        self._post = post
        self._look_every = look_every
        self._interfaces: frozenset[str] = frozenset()
        self._seen: Routers | None = None
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Report changes, until something fails. The next call reports anew."""
        self._seen = None
        while True:
            self._wake.clear()
            if self._interfaces:
                await self._report()
            try:
                async with asyncio.timeout(self._look_every if self._interfaces else None):
                    await self._wake.wait()
            except TimeoutError:
                pass  # it is due

    async def _report(self) -> None:
        found = await asyncio.to_thread(read, self._interfaces)
        if found != self._seen:
            self._seen = found
            self._post(ev.RoutersSeen(found))

    def execute(self, action: act.WatchRouters) -> None:
        """Begin an action; returns at once."""
        self._interfaces, self._seen = action.interfaces, None
        self._wake.set()


def read(interfaces: Iterable[str]) -> dict[str, tuple[Address, ...]]:
    """The routers of each interface; none of one that is missing. Blocks: call it in a thread. OSError."""
    return {name: _routers(name) for name in interfaces}


def _routers(interface: str) -> tuple[Address, ...]:
    try:
        index = socket.if_nametoindex(interface)
    except OSError:  # it is not there, or not yet
        return ()
    body = _NDMSG.pack(socket.AF_INET6, 0, 0, 0, 0) + nl.attribute(_NDA_IFINDEX, struct.pack("=I", index))
    found = set()
    for message in nl.dump(_RTM_GETNEIGH, body, strict=True):
        _, of, state, flags, _ = _NDMSG.unpack_from(message, 16)
        told = routes.attributes(message, 16 + _NDMSG.size).get(_NDA_DST, b"")
        if of == index and flags & _NTF_ROUTER and not state & (_NUD_INCOMPLETE | _NUD_FAILED) and len(told) == 16:
            found.add(socket.inet_ntop(socket.AF_INET6, told))
    others = found - _own(index)
    return tuple(sorted(address for address in others if is_link_local(address)))[:MAX_ROUTERS]


def _own(index: int) -> set[Address]:
    """This node's addresses on the interface. If it sends router advertisements, the kernel takes it for a router."""
    found = set()
    for line in Path("/proc/thread-self/net/if_inet6").read_text("ascii").splitlines():
        digits, number, *_ = line.split()
        if int(number, 16) == index:
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    return found
