"""Our netlink requests, and the reading of the answers. pyroute2 knows the formats; this module knows what matters."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from anycast_agent.core.model import Family

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWRULE, RTM_DELRULE = 32, 33
RTM_GETNEXTHOP = 106
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400

SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_GET_STRICT_CHK = 270, 1, 12
GROUPS = 0x1 | 0x10 | 0x100 | 0x40 | 0x400 | 0x80 | 0x40000
"""Links; addresses, routes of all tables, and policy rules of IPv4 and IPv6 (rtnetlink(7), RTNLGRP_*)."""

RULE_GROUPS = 0x80 | 0x40000
"""Policy rules of IPv4 and IPv6."""

ROUTE_GROUPS = 0x40 | 0x400

RTNLGRP_NEXTHOP = 32
"""Linux 5.3. The group's number is too high for the mask of bind(2)."""

IFF_UP = 0x1
PROTOCOL_OURS = 0xAC
"""The mark of our routes, and of our addresses on kernels with IFA_PROTO (5.18 and later). No RTPROT_* of rtnetlink.h
has this number."""

IFA_F_NODAD, IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x02, 0x08, 0x40

DUMP_TRIES = 5
DUMP_PATIENCE = 5.0
"""Time limit for the next message of a dump. Seconds."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
AF_INET6 = int(socket.AF_INET6)
FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


def monitor(receive_buffer: int, groups: int = GROUPS) -> socket.socket:
    """A socket that hears of every change to these groups, and to nexthop objects."""
    sock = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
    )
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.bind((0, groups))
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NEXTHOP)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel without nexthop objects has no such group
            sock.close()
            raise
    return sock


def packed(request: int, flags: int, number: int, body: bytes) -> bytes:
    """A request, filled up so that another one may follow."""
    whole = _HEADER.pack(16 + len(body), request, NLM_F_REQUEST | flags, number, 0) + body
    return whole + bytes(-len(whole) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def acknowledged(data: bytes) -> Iterator[tuple[int, int]]:
    """(number of the request, errno or 0) of each acknowledgement in a buffer. Raises ValueError for a cut one."""
    for kind, _, message in messages(data):
        if kind == NLMSG_ERROR and len(message) >= 20:
            yield _HEADER.unpack_from(message)[3], -int(struct.unpack_from("=i", message, 16)[0])


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, the whole message) of each netlink message in a buffer. Raises ValueError for a cut one."""
    offset = 0
    while offset < len(data):
        if offset + 16 > len(data):
            raise ValueError("netlink: a message was cut")
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < 16 or offset + length > len(data):
            raise ValueError("netlink: a message was cut")
        yield kind, flags, data[offset : offset + length]
        offset += (length + 3) & ~3


def _reader() -> Any:
    """pyroute2's reader of rtnetlink, without the rest of pyroute2.

    The package imports every protocol that it knows, which took a fifth of the agent's start. While the reader is
    imported, an empty package stands in its place. Whoever imports pyroute2 after that gets the whole of it.
    """
    spec = None if "pyroute2" in sys.modules else importlib.util.find_spec("pyroute2")
    if spec is not None:
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    try:
        return importlib.import_module("pyroute2.netlink.rtnl.marshal").MarshalRtnl()
    finally:
        if spec is not None:
            for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
                del sys.modules[name]


_parse = _reader().parse


def parse(message: bytes) -> Any:
    """A message as pyroute2 reads it."""
    return next(iter(_parse(message)))


class InterruptedDumpError(OSError):
    """The table changed during the dump (NLM_F_DUMP_INTR): entries may be missing from it."""


def dump(request: int, body: bytes, *, strict: bool = False) -> Iterator[bytes]:
    """Each message of a dump. Blocks: call it in a thread. ``strict``: let the kernel filter, where it can (4.20).

    Raises InterruptedDumpError at its end where the kernel says that it is not consistent, and OSError.
    """
    with dump_socket() as sock:
        if strict:
            _ask_strictly(sock)
        yield from dump_on(sock, request, body)


def dump_socket() -> socket.socket:
    """The socket belongs to the network namespace of the thread that opens it."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    sock.settimeout(DUMP_PATIENCE)
    return sock


def dump_on(sock: socket.socket, request: int, body: bytes) -> Iterator[bytes]:
    interrupted = False
    sock.send(packed(request, NLM_F_DUMP, 1, body))
    while True:
        for kind, flags, message in messages(sock.recv(1 << 18)):
            interrupted |= bool(flags & NLM_F_DUMP_INTR)
            if kind in (NLMSG_ERROR, NLMSG_DONE):
                code = -struct.unpack_from("=i", message, 16)[0] if len(message) >= 20 else 0
                if code > 0:
                    raise OSError(code, f"netlink cannot be read: {errno.errorcode.get(code, code)}")
                if interrupted:
                    raise InterruptedDumpError(errno.EINTR, f"netlink dump {request}: it changed all the while")
                return
            yield message


def request_on(sock: socket.socket, request: int, body: bytes) -> bytes:
    """The one message that answers a request. Blocks: call it in a thread. OSError, with the kernel's own number."""
    sock.send(packed(request, 0, 1, body))
    kind, _, message = next(messages(sock.recv(1 << 16)))
    if kind == NLMSG_ERROR:
        code = -int(struct.unpack_from("=i", message, 16)[0])
        raise OSError(code, f"netlink request {request}: {errno.errorcode.get(code, code)}")
    return message


def _ask_strictly(sock: socket.socket) -> None:
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise


def consistent(request: int, body: bytes) -> list[Any]:
    """A parsed dump without gaps. Blocks: call it in a thread. Raises OSError.

    If every try is interrupted, the result is all messages of all tries, in order: an entry that stays is in one of
    them, and the monitor hears of an entry that goes.
    """
    read: list[bytes] = []
    for _ in range(DUMP_TRIES):
        try:
            whole: list[bytes] = []
            for message in dump(request, body):  # read as fast as can be, parsed after
                whole.append(message)
                read.append(message)
            return [parse(message) for message in whole]
        except InterruptedDumpError:
            continue
    return [parse(message) for message in read]


def all_links() -> list[SeenLink]:
    return [seen_link(m) for m in consistent(RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0))]


def all_addresses() -> list[SeenAddress]:
    found = [seen_address(m) for m in consistent(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0))]
    return [seen for seen in found if seen is not None]


@dataclass(frozen=True, slots=True)
class SeenLink:
    """An interface as the kernel has it."""

    name: str
    index: int
    flags: int
    up: bool


def seen_link(message: Any) -> SeenLink:
    flags, state = message["flags"], message.get_attr("IFLA_OPERSTATE")
    # An interface without a carrier of its own (lo, dummy) calls itself UNKNOWN.
    up = bool(flags & IFF_UP) and state in ("UP", "UNKNOWN")
    return SeenLink(str(message.get_attr("IFLA_IFNAME")), message["index"], flags, up)


@dataclass(frozen=True, slots=True)
class SeenAddress:
    """An address as the kernel has it."""

    address: str
    length: int
    index: int
    marked: bool
    usable: bool

    @property
    def host(self) -> bool:
        return self.length == (128 if ":" in self.address else 32)


def seen_address(message: Any) -> SeenAddress | None:
    """The address of a message; None if it has none."""
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    if address is None:
        return None
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    marked = message.get_attr("IFA_PROTO") == PROTOCOL_OURS
    usable = not flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
    return SeenAddress(str(address), message["prefixlen"], message["index"], marked, usable)
