"""Blackhole routes of the main table: how they are read, asked for and explained.

The route protocol marks ours, as it does an address of ours; no kernel is too old for that.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from anycast_agent.core.model import Prefix
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel import routes
from anycast_agent.kernel.changes import PATIENCE

RTN_BLACKHOLE = 6
RT_SCOPE_NOWHERE = 255
_RTA_DST = 1
_TABLE, _PROTOCOL, _TYPE = 16 + 4, 16 + 5, 16 + 7
"""Where they stand in a route's message."""

Found = dict[Prefix, bool]
"""The blackhole routes; True: marked as ours."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A blackhole route of the main table, of which a message tells."""

    prefix: Prefix
    ours: bool


def in_main(message: bytes) -> bool:
    return message[_TABLE] == routes.RT_TABLE_MAIN


def is_ours(message: bytes) -> bool:
    """Said of every route that there is, so it is quick."""
    return message[_PROTOCOL] == nl.PROTOCOL_OURS and message[_TYPE] == RTN_BLACKHOLE


def seen(message: bytes) -> Seen | None:
    found = routes.prefix(message)
    if message[_TYPE] != RTN_BLACKHOLE or not in_main(message) or found is None:
        return None
    length, network = found
    family = socket.AF_INET6 if message[16] == nl.AF_INET6 else socket.AF_INET
    address = network or bytes(16 if family == socket.AF_INET6 else 4)  # a default route names none
    return Seen(f"{socket.inet_ntop(family, address)}/{length}", is_ours(message))


def read_all() -> Found:
    """Both families. Blocks: call it in a thread. OSError."""
    found: Found = {}
    for family in nl.FAMILIES.values():
        for one in _dump(family):
            found[one.prefix] = one.ours or found.get(one.prefix, False)
    return found


def _dump(family: int) -> Iterator[Seen]:
    """A dump that was interrupted is read again: what stays is in one of them, and what has gone, the monitor hears."""
    body = routes.RTMSG.pack(family, 0, 0, 0, routes.RT_TABLE_MAIN, 0, 0, RTN_BLACKHOLE, 0)
    for _ in range(nl.DUMP_TRIES):
        try:
            for message in nl.dump(nl.RTM_GETROUTE, body, strict=True):
                one = seen(message)
                if one is not None:
                    yield one
            return
        except nl.InterruptedDumpError:
            continue
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                raise
            return  # nobody has ever added a route to this table, or this kernel runs without the family


def request(prefix: Prefix, *, there: bool) -> bytes:
    """The body of a request that adds our route, or removes it: a route of another protocol never matches."""
    address, _, length = prefix.partition("/")
    family = socket.AF_INET6 if ":" in prefix else socket.AF_INET
    scope = 0 if there else RT_SCOPE_NOWHERE
    head = routes.RTMSG.pack(family, int(length), 0, 0, routes.RT_TABLE_MAIN, nl.PROTOCOL_OURS, scope, RTN_BLACKHOLE, 0)
    return head + nl.attribute(_RTA_DST, socket.inet_pton(family, address))


def explain(code: int, prefix: Prefix) -> str:
    """What an error of one route means, and what to do."""
    family = "-6 " if ":" in prefix else ""
    if code == errno.ETIMEDOUT:
        return f"the kernel did not answer within {PATIENCE} s"
    if code == errno.EPERM:
        return "not permitted: the agent needs CAP_NET_ADMIN, or node.addresses: verify"
    if code == errno.EEXIST:
        return f"another route for {prefix} is in the main table: ip {family}route show {prefix} says whose"
    if code in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT) and family:
        return "this kernel runs without IPv6: boot it without ipv6.disable=1, or take the IPv6 prefix out"
    return f"{errno.errorcode.get(code, code)} {os.strerror(code)}"
