"""What we ask of netlink, and how we read it. pyroute2 knows the formats; this knows which messages matter.

Routes are read from the buffer's headers first: a node may hold a million of them, and only a few are looked at.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from anycast_agent.core.model import Family

RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = (
    16,
    17,
    20,
    21,
    24,
    25,
    26,
)
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300

GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Links; IPv4 and IPv6 addresses; IPv4 and IPv6 routes (rtnetlink(7), RTMGRP_*)."""

RTNH_F_DEAD, RTNH_F_LINKDOWN = 0x1, 0x10
RTN_UNICAST, RT_TABLE_MAIN = 1, 254
RTM_F_CLONED = 0x200

IFA_PROTO_OURS = 0xAC
"""How our addresses are marked where the kernel (5.18 and later) has IFA_PROTO; the numbers from 4 on are free."""

IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40

_HEADER = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=BBBBBBBBI")
FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def monitor(receive_buffer: int) -> socket.socket:
    """A socket that hears of every change to links, addresses and routes."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((0, GROUPS))
    return sock


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, the whole message) of each netlink message in a buffer."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            return
        yield kind, data[offset : offset + length]
        offset += (length + 3) & ~3


_marshal: Any = MarshalRtnl()


def parse(message: bytes) -> Any:
    """A message as pyroute2 reads it."""
    return next(iter(_marshal.parse(message)))


@dataclass(frozen=True, slots=True)
class SeenAddress:
    """An address as the kernel has it."""

    address: str
    length: int
    index: int
    marked: bool
    usable: bool


def seen_address(message: Any) -> SeenAddress | None:
    """Of an address message; None for one without an address."""
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if address is None:
        return None
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    marked = message.get_attr("IFA_PROTO") == IFA_PROTO_OURS
    usable = not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
    return SeenAddress(str(address), message["prefixlen"], message["index"], marked, usable)


def has_route(family: Family, *, default_only: bool, not_over: int) -> bool:
    """Whether the main table has a usable unicast route of the family that leaves this node.

    ``not_over``: the loopback's index. Blocks for as long as the dump takes: call it in a thread. OSError.
    """
    for message in _dump_routes(FAMILIES[family]):
        _, length, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(message, 16)
        if kind != RTN_UNICAST or table != RT_TABLE_MAIN or flags & RTM_F_CLONED or (default_only and length != 0):
            continue
        if _usable(parse(message), flags, not_over):
            return True
    return False


def _dump_routes(family: int) -> Iterator[bytes]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(5.0)
        body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        sock.send(_HEADER.pack(16 + len(body), RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
        while True:
            for kind, message in messages(sock.recv(1 << 18)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", message, 16)[0]
                    raise OSError(code, f"routes cannot be read: {errno.errorcode.get(code, code)}")
                if kind == RTM_NEWROUTE:
                    yield message


def _usable(route: Any, flags: int, not_over: int) -> bool:
    hops = route.get_attr("RTA_MULTIPATH")
    if hops:
        return any(_hop_usable(hop["flags"], hop["oif"], not_over) for hop in hops)
    return _hop_usable(flags, route.get_attr("RTA_OIF"), not_over) and not _is_link_local(route)


def _hop_usable(flags: int, index: int | None, not_over: int) -> bool:
    return not flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN) and index != not_over


def _is_link_local(route: Any) -> bool:
    return str(route.get_attr("RTA_DST") or "").startswith(("fe80:", "ff00:", "169.254."))
