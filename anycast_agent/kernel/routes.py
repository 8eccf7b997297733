"""Ways back: whether a family has a usable route that leaves this node.

Routes are read from the messages' headers first, and no further than the first that will do: a node may hold a
million of them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Set
from functools import cache
from sys import byteorder
from typing import Any

from anycast_agent.core.model import Family
from anycast_agent.kernel import netlink as nl

RTNH_F_DEAD, RTNH_F_LINKDOWN = 0x1, 0x10
RTN_UNICAST, RT_TABLE_MAIN = 1, 254
RTM_F_CLONED = 0x200
RTA_NH_ID = 30
"""pyroute2 0.9 does not name it."""

NHA_ID, NHA_GROUP, NHA_BLACKHOLE, NHA_OIF = 1, 2, 4, 5

_RTMSG = struct.Struct("=BBBBBBBBI")
_NHMSG = struct.Struct("=BBBBI")
_RTA = struct.Struct("=HH")
Hop = tuple[int, int]
"""(flags, interface)"""

Objects = dict[int, Hop | list[int]]
"""By number, a single nexthop object, or the members' numbers of a group. Blackholes are not in it."""

_NO_LOCAL = {Family.IPV4: "169.254.", Family.IPV6: "fe80:"}


def has_route(family: Family, *, default_only: bool, loopback: Set[int], anycast: int | None) -> bool:
    """Whether the main table has a usable unicast route of the family that leaves this node.

    ``loopback``: the interfaces that lead nowhere; ``anycast``: the one that carries the addresses, whose host routes
    end here. Blocks for as long as the dump takes: call it in a thread. OSError.
    """
    for _ in range(nl.DUMP_TRIES):
        try:
            return _has_route(family, default_only, loopback, anycast)
        except nl.InterruptedDumpError:
            continue  # none was found, and the table changed meanwhile
        except OSError as error:
            if error.errno == errno.ENOENT:  # there is no main table: nobody has ever added a route
                return False
            raise
    return False


def _has_route(family: Family, default_only: bool, loopback: Set[int], anycast: int | None) -> bool:
    objects = cache(_nexthops)  # read at most once for a look, and only where a route names one by its number alone
    host = 128 if family is Family.IPV6 else 32
    body = _RTMSG.pack(nl.FAMILIES[family], 0, 0, 0, RT_TABLE_MAIN, 0, 0, RTN_UNICAST, 0)
    for message in nl.dump(nl.RTM_GETROUTE, body, strict=True):
        _, length, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(message, 16)
        if kind != RTN_UNICAST or table != RT_TABLE_MAIN or flags & RTM_F_CLONED or (default_only and length != 0):
            continue
        route = nl.parse(message)
        if str(route.get_attr("RTA_DST") or "").startswith(_NO_LOCAL[family]):
            continue
        nowhere = loopback | {anycast} if length == host and anycast is not None else loopback
        hops = _hops(message, route, objects)
        if any(not bad & (RTNH_F_DEAD | RTNH_F_LINKDOWN) and oif not in nowhere for bad, oif in hops):
            return True
    return False


def _hops(message: bytes, route: Any, objects: Callable[[], Objects]) -> list[Hop]:
    if hops := route.get_attr("RTA_MULTIPATH"):
        return [(hop["flags"], hop["oif"]) for hop in hops]
    if (oif := route.get_attr("RTA_OIF")) is not None:
        return [(route["flags"], oif)]
    named = _attributes(message, 16 + _RTMSG.size).get(RTA_NH_ID)
    if named is None:
        return []
    number = int.from_bytes(named, byteorder)  # net.ipv4.nexthop_compat_mode=0 tells no more than this
    found = objects().get(number)
    members = found if isinstance(found, list) else [number]
    return [hop for member in members if isinstance(hop := objects().get(member), tuple)]


def _nexthops() -> Objects:
    found: Objects = {}
    for message in nl.dump(nl.RTM_GETNEXTHOP, _NHMSG.pack(0, 0, 0, 0, 0)):
        flags = _NHMSG.unpack_from(message, 16)[4]
        attributes = _attributes(message, 16 + _NHMSG.size)
        number = int.from_bytes(attributes[NHA_ID], byteorder)
        if NHA_GROUP in attributes:
            group = attributes[NHA_GROUP]  # struct nexthop_grp: the number, then four bytes of weights
            found[number] = [int.from_bytes(group[at : at + 4], byteorder) for at in range(0, len(group), 8)]
        elif NHA_OIF in attributes and NHA_BLACKHOLE not in attributes:
            found[number] = (flags, int.from_bytes(attributes[NHA_OIF], byteorder))
    return found


def _attributes(message: bytes, offset: int) -> dict[int, bytes]:
    found = {}
    while offset + 4 <= len(message):
        length, kind = _RTA.unpack_from(message, offset)
        if length < 4:
            raise ValueError("netlink: an attribute was cut")
        found[kind & 0x3FFF] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def concerns(message: bytes, *, default_only: bool) -> bool:
    """Whether a route's message may change the answer: where only the default counts, a full table's churn does not."""
    _, length, _, _, _, _, _, _, flags = _RTMSG.unpack_from(message, 16)
    return not flags & RTM_F_CLONED and (not default_only or length == 0)
