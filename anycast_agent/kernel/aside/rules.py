"""Policy rules (ip-rule(8), include/uapi/linux/fib_rules.h) and routes of one table, written and read. Blocks.

The kernel takes a field that a deletion leaves out as "any", and deletes the first rule that matches. So a deletion
names every field of the rule that it means.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from anycast_agent.core.model import Address, Family, family_of
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel import routes

OURS = nl.PROTOCOL_OURS
"""The protocol number of our rules (FRA_PROTOCOL, Linux 4.17) and routes: an agent that comes later finds them by
it."""

RTM_GETRULE = 34
LOCAL = routes.RT_TABLE_LOCAL

_HEADER = struct.Struct("=BBBBBBBBI")
_FR_ACT_TO_TBL = 1
_DST, _SRC, _IIF, _PRIORITY, _MARK, _TABLE, _MASK, _UIDS, _PROTOCOL = 1, 2, 3, 6, 10, 15, 16, 20, 21
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_MULTIPATH, _RTA_TABLE = 1, 4, 5, 7, 9, 15
_RTNH = struct.Struct("=HBBi")
_EXACT = 0xFFFFFFFF
_SCOPE_UNIVERSE, _NLM_F_REPLACE = 0, 0x100
MAX_RULES = 10_000
"""Rules that are read. A node with more is not understood."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that looks into a table. Empty fields match everything."""

    priority: int
    table: int
    to: Address = ""
    source: Address = ""
    incoming: str = ""
    """``lo``: packets of this node itself."""
    mark: int | None = None
    users: tuple[int, int] | None = None
    """First and last user of the sending process."""
    protocol: int = OURS
    other: bool = False
    """It has a field that is not listed here, or another action: it is not ours, and no plain look-up."""

    @property
    def plain_local(self) -> bool:
        """``from all lookup local``, as every kernel has it."""
        return self == Rule(self.priority, LOCAL, protocol=self.protocol)


@dataclass(frozen=True, slots=True)
class Hop:
    """A next hop, and the source address that this node has towards it."""

    gateway: Address
    interface: int
    source: Address


class Rules:
    """One netlink socket for rules and routes. Use it in one thread at a time, and close it."""

    def __init__(self) -> None:
        self._sock = nl.dump_socket()

    def __enter__(self) -> Rules:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def all(self, family: Family) -> list[Rule]:
        """In the order in which the kernel asks them. Raises OSError."""
        body = _HEADER.pack(nl.FAMILIES[family], 0, 0, 0, 0, 0, 0, 0, 0)
        for _ in range(nl.DUMP_TRIES):
            try:
                with nl.dump_socket() as sock:
                    return [_read(message) for message, _ in zip(_dump(sock, body), range(MAX_RULES), strict=False)]
            except nl.InterruptedDumpError:
                continue
        raise OSError(errno.EBUSY, "the policy rules changed all the while they were read")

    def add(self, family: Family, rule: Rule, *, again: bool = False) -> None:
        """A rule that is there already stays as it is; ``again``: add a second one like it. Raises OSError."""
        flags = nl.NLM_F_CREATE | (0 if again else nl.NLM_F_EXCL)
        self._ask(nl.RTM_NEWRULE, flags, _write(family, rule), (errno.EEXIST,))

    def delete(self, family: Family, rule: Rule) -> None:
        """The first rule like this one; none is no error. Raises OSError."""
        self._ask(nl.RTM_DELRULE, 0, _write(family, rule), (errno.ENOENT,))

    def set_route(self, address: Address, table: int, hops: tuple[Hop, ...]) -> None:
        """One route for the address in the table, by these next hops; their sources must be one. Raises OSError."""
        self._ask(nl.RTM_NEWROUTE, nl.NLM_F_CREATE | _NLM_F_REPLACE, _route(address, table, hops), ())

    def delete_route(self, address: Address, table: int) -> None:
        """None is no error. Raises OSError."""
        self._ask(nl.RTM_DELROUTE, 0, _route(address, table, ()), (errno.ESRCH, errno.ENOENT))

    def routes(self, family: Family, table: int) -> frozenset[Address]:
        """The addresses that have a route of ours in the table. Raises OSError."""
        body = routes.RTMSG.pack(nl.FAMILIES[family], 0, 0, 0, table, 0, 0, 0, 0)
        found = set()
        try:
            for message in nl.dump(nl.RTM_GETROUTE, body, strict=True):
                route = routes.read(message)
                protocol, bits = message[16 + 5], 8 * len(route.destination)
                if route.table == table and protocol == OURS and route.length == bits:
                    found.add(socket.inet_ntop(route.family, route.destination))
        except OSError as error:
            if error.errno != errno.ENOENT:  # nobody has ever added a route to this table
                raise
        return frozenset(found)

    def hop(self, gateway: Address) -> Hop:
        """How this node reaches a router: over which next hop, and with which source. Raises OSError."""
        family = nl.FAMILIES[family_of(gateway)]
        packed = socket.inet_pton(family, gateway)
        body = routes.RTMSG.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, 0) + nl.attribute(_RTA_DST, packed)
        told = routes.attributes(nl.request_on(self._sock, nl.RTM_GETROUTE, body), 16 + routes.RTMSG.size)
        if _RTA_OIF not in told or _RTA_PREFSRC not in told:
            raise OSError(errno.ENETUNREACH, f"the kernel names no interface towards {gateway}")
        via = socket.inet_ntop(family, told.get(_RTA_GATEWAY, packed))
        return Hop(via, int.from_bytes(told[_RTA_OIF], "little"), socket.inet_ntop(family, told[_RTA_PREFSRC]))

    def _ask(self, kind: int, flags: int, body: bytes, fine: tuple[int, ...]) -> None:
        self._sock.send(nl.packed(kind, flags | nl.NLM_F_ACK, 1, body))
        code = next((code for _, code in nl.acknowledged(self._sock.recv(1 << 16))), errno.EIO)
        if code and code not in fine:
            raise OSError(code, errno.errorcode.get(code, str(code)))


def _dump(sock: socket.socket, body: bytes) -> Iterator[bytes]:
    return nl.dump_on(sock, RTM_GETRULE, body)


def _write(family: Family, rule: Rule) -> bytes:
    def packed(address: Address) -> bytes:
        return socket.inet_pton(nl.FAMILIES[family], address) if address else b""

    to, source = packed(rule.to), packed(rule.source)
    body = _HEADER.pack(nl.FAMILIES[family], 8 * len(to), 8 * len(source), 0, rule.table, 0, 0, _FR_ACT_TO_TBL, 0)
    numbers = {_PRIORITY: rule.priority, _TABLE: rule.table}
    if rule.mark is not None:
        numbers |= {_MARK: rule.mark, _MASK: _EXACT}
    for kind, number in numbers.items():
        body += nl.attribute(kind, struct.pack("=I", number))
    body += nl.attribute(_PROTOCOL, bytes([rule.protocol]))
    for kind, value in ((_DST, to), (_SRC, source)):
        body += nl.attribute(kind, value) if value else b""
    if rule.incoming:
        body += nl.attribute(_IIF, rule.incoming.encode() + b"\0")
    if rule.users is not None:
        body += nl.attribute(_UIDS, struct.pack("=II", *rule.users))
    return body


_KNOWN = frozenset({_DST, _SRC, _IIF, _PRIORITY, _MARK, _TABLE, _MASK, _UIDS, _PROTOCOL})
_SAYS_NOTHING = frozenset({13, 14})
"""FRA_SUPPRESS_IFGROUP and FRA_SUPPRESS_PREFIXLEN are in each message; all ones mean that they are not used."""


def _read(message: bytes) -> Rule:
    family, to_length, from_length, tos, table, _, _, kind, flags = _HEADER.unpack_from(message, 16)
    told = routes.attributes(message, 16 + _HEADER.size)

    def number(of: int, default: int) -> int:
        return int.from_bytes(told[of], "little") if of in told else default

    def address(of: int) -> Address:
        return socket.inet_ntop(family, told[of]) if of in told else ""

    full = 128 if family == nl.AF_INET6 else 32
    used = {of for of, value in told.items() if not (of in _SAYS_NOTHING and value == b"\xff\xff\xff\xff")}
    rule = Rule(
        number(_PRIORITY, 0),
        number(_TABLE, table),
        address(_DST),
        address(_SRC),
        told[_IIF].rstrip(b"\0").decode(errors="replace") if _IIF in told else "",
        number(_MARK, 0) if _MARK in told else None,
        struct.unpack("=II", told[_UIDS]) if _UIDS in told else None,
        number(_PROTOCOL, 0),
    )
    plain = kind == _FR_ACT_TO_TBL and not tos and not flags and to_length in (0, full) and from_length in (0, full)
    exact = number(_MASK, _EXACT) == _EXACT
    return rule if plain and exact and not used - _KNOWN else replace(rule, other=True)


def _route(address: Address, table: int, hops: tuple[Hop, ...]) -> bytes:
    family = nl.FAMILIES[family_of(address)]

    def packed(text: Address) -> bytes:
        return socket.inet_pton(family, text)

    bits = 8 * len(packed(address))
    kind = routes.RTN_UNICAST if hops else 0
    body = routes.RTMSG.pack(family, bits, 0, 0, table, OURS, _SCOPE_UNIVERSE, kind, 0)
    body += nl.attribute(_RTA_DST, packed(address)) + nl.attribute(_RTA_TABLE, struct.pack("=I", table))
    if not hops:
        return body
    body += nl.attribute(_RTA_PREFSRC, packed(hops[0].source))
    if len(hops) == 1:
        return (
            body
            + nl.attribute(_RTA_OIF, struct.pack("=i", hops[0].interface))
            + nl.attribute(_RTA_GATEWAY, packed(hops[0].gateway))
        )
    legs = b""
    for hop in hops:
        gateway = nl.attribute(_RTA_GATEWAY, packed(hop.gateway))
        legs += _RTNH.pack(_RTNH.size + len(gateway), 0, 0, hop.interface) + gateway
    return body + nl.attribute(_RTA_MULTIPATH, legs)
