"""Route messages: where a route leads, and over which interfaces, as far as they can carry a packet.

They are read by hand: a node may hold a million routes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from sys import byteorder

from anycast_agent.kernel import netlink as nl

RTN_UNICAST, RTN_LOCAL = 1, 2
RT_TABLE_MAIN, RT_TABLE_LOCAL = 254, 255
RTM_F_CLONED = 0x200

_RTNH_F_DEAD, _RTNH_F_LINKDOWN = 0x1, 0x10
_RTA_DST, _RTA_OIF, _RTA_MULTIPATH, _RTA_TABLE, _RTA_NH_ID = 1, 4, 9, 15, 30
_NHA_ID, _NHA_GROUP, _NHA_BLACKHOLE, _NHA_OIF = 1, 2, 4, 5

RTMSG = struct.Struct("=BBBBBBBBI")
_NHMSG = struct.Struct("=BBBBI")
_RTNH = struct.Struct("=HBBi")
_RTA = struct.Struct("=HH")

Hop = tuple[int, int]
"""(flags, interface)"""

Objects = dict[int, Hop | list[int]]
"""Nexthop objects by number: a single one, or the member numbers of a group. Blackholes are not in it."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route as a message tells it."""

    family: int
    length: int
    destination: bytes
    """All zeros for a default route."""
    table: int
    kind: int
    flags: int
    _attributes: dict[int, bytes]

    @property
    def cloned(self) -> bool:
        """Made for one destination, such as a path MTU, and no route of the table."""
        return bool(self.flags & RTM_F_CLONED)

    def usable(self, nexthops: Callable[[], Objects], loopback: frozenset[int]) -> bool:
        """True if at least one of its next hops can carry a packet off this node."""
        hops = self._hops(nexthops)
        return any(not flags & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN) and oif not in loopback for flags, oif in hops)

    def _hops(self, nexthops: Callable[[], Objects]) -> list[Hop]:
        attributes = self._attributes
        if _RTA_MULTIPATH in attributes:
            return list(_legs(attributes[_RTA_MULTIPATH]))
        if _RTA_OIF in attributes:
            return [(self.flags, _number(attributes[_RTA_OIF]))]
        if _RTA_NH_ID not in attributes:
            return []
        number = _number(attributes[_RTA_NH_ID])  # net.ipv4.nexthop_compat_mode=0 tells no more than this
        objects = nexthops()
        found = objects.get(number)
        members = found if isinstance(found, list) else [number]
        return [hop for member in members if isinstance(hop := objects.get(member), tuple)]


def read(message: bytes) -> Route:
    """Raises ValueError for a message that was cut."""
    family, length, _, _, table, _, _, kind, flags = RTMSG.unpack_from(message, 16)
    found = attributes(message, 16 + RTMSG.size)
    destination = found.get(_RTA_DST, bytes(16 if family == nl.AF_INET6 else 4))
    return Route(family, length, destination, _number(found.get(_RTA_TABLE, bytes([table]))), kind, flags, found)


def prefix(message: bytes) -> tuple[int, bytes] | None:
    """(length, network) of a route, and no more, for the sake of speed; None for a clone."""
    _, length, _, _, _, _, _, _, flags = RTMSG.unpack_from(message, 16)
    if flags & RTM_F_CLONED:
        return None
    offset = 16 + RTMSG.size
    while length and offset + _RTA.size <= len(message):
        size, kind = _RTA.unpack_from(message, offset)
        if kind == _RTA_DST:
            return length, message[offset + _RTA.size : offset + size]
        offset += max(_RTA.size, (size + 3) & ~3)
    return length, b""


def nexthop_objects() -> Objects:
    """Blocks: call it in a thread. OSError."""
    found: Objects = {}
    for message in nl.dump(nl.RTM_GETNEXTHOP, _NHMSG.pack(0, 0, 0, 0, 0)):
        flags = _NHMSG.unpack_from(message, 16)[4]
        told = attributes(message, 16 + _NHMSG.size)
        number = _number(told[_NHA_ID])
        if _NHA_GROUP in told:
            group = told[_NHA_GROUP]  # struct nexthop_grp: the number, then four bytes of weights
            found[number] = [_number(group[at : at + 4]) for at in range(0, len(group), 8)]
        elif _NHA_OIF in told and _NHA_BLACKHOLE not in told:
            found[number] = (flags, _number(told[_NHA_OIF]))
    return found


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """Raises ValueError where one was cut."""
    found = {}
    while offset + _RTA.size <= len(message):
        length, kind = _RTA.unpack_from(message, offset)
        if length < _RTA.size or offset + length > len(message):
            raise ValueError("netlink: an attribute was cut")
        found[kind & 0x3FFF] = message[offset + _RTA.size : offset + length]
        offset += (length + 3) & ~3
    return found


def _legs(data: bytes) -> Iterator[Hop]:
    offset = 0
    while offset + _RTNH.size <= len(data):
        length, flags, _, interface = _RTNH.unpack_from(data, offset)
        if length < _RTNH.size:
            raise ValueError("netlink: a next hop was cut")
        yield flags, interface
        offset += (length + 3) & ~3


def _number(data: bytes) -> int:
    return int.from_bytes(data, byteorder)
