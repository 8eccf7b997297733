"""Return routes: whether this node would send a reply from an anycast address off the node.

The kernel itself is asked (RTM_GETROUTE, RTM_F_FIB_MATCH): it applies the policy rules, the metrics and the tables as
it does for a real reply, and nothing is sent. A reply is asked for without a firewall mark, a port or another user.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from ipaddress import ip_network

from anycast_agent.core.model import Address, Family, ReturnRoute, ReturnRouteRule, family_of
from anycast_agent.kernel import netlink as nl
from anycast_agent.kernel import routes

OUTSIDE: dict[Family, tuple[tuple[str, ...], ...]] = {
    Family.IPV4: (("12.0.0.1", "41.0.0.1", "73.0.0.1"), ("151.101.0.1", "177.0.0.1", "193.0.0.1")),
    Family.IPV6: (("2400:cb00::1", "2600::1", "2a00:1450::1"),),
}
"""Destinations outside that stand for all others, in each half of IPv4 and in 2000::/3.

They are in use, far apart, and nothing special: private, reserved and documentation ranges are often blackholed on
purpose, and well-known resolvers may have a route of their own. Most of a group decide, so that one such exception,
or one network that a full table lacks just now, does not.
"""

TRIED_IN_A_TABLE = 8
"""``any``: so many routes of a table that no rule leads to are tried in vain; the rest of that table is then passed."""

_RTA_DST, _RTA_SRC = 1, 2
_RTM_F_FIB_MATCH = 0x2000
_REFUSALS = {
    errno.ENETUNREACH: "there is no route to {}",
    errno.EHOSTUNREACH: "the route to {} is unreachable",
    errno.EACCES: "the route to {} is prohibited",
    errno.EINVAL: "the route to {} is a blackhole",
    errno.EAFNOSUPPORT: "this kernel has no route to {}: it runs without IPv6",
    errno.EOPNOTSUPP: "this kernel has no route to {}: it runs without IPv6",
}


def look(sources: Iterable[Address], rule: ReturnRouteRule, loopback: Iterable[int]) -> dict[Address, ReturnRoute]:
    """The return route of each address that is on the node.

    ``loopback``: the interfaces that lead nowhere. Blocks: call it in a thread. OSError.
    """
    with nl.dump_socket() as sock:
        kernel = _Kernel(sock, frozenset(loopback))
        if rule is ReturnRouteRule.ANY:
            return _any(kernel, sources)
        return {source: _default(kernel, source) for source in sources}


def concerns(message: bytes, rule: ReturnRouteRule) -> bool:
    """True if a route message may change the answer. With rule ``default``, a full table's churn does not count."""
    prefix = routes.prefix(message)
    return prefix is not None and (rule is ReturnRouteRule.ANY or prefix in _COVERING)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _covering() -> Iterator[tuple[int, bytes]]:
    """Every prefix, as (length, network), that holds a destination outside."""
    for address in (address for groups in OUTSIDE.values() for group in groups for address in group):
        packed = _packed(address)
        bits = 8 * len(packed)
        for length in range(1, bits + 1):
            yield length, (int.from_bytes(packed) >> bits - length << bits - length).to_bytes(len(packed))


_COVERING = frozenset([(0, b""), *_covering()])


class _Kernel:
    """Answers from the kernel, within one look."""

    def __init__(self, sock: socket.socket, loopback: frozenset[int]) -> None:
        self._sock = sock
        self._loopback = loopback
        self.nexthops = cache(routes.nexthop_objects)  # only where a route names one by its number alone

    def usable(self, route: routes.Route) -> bool:
        return route.kind == routes.RTN_UNICAST and route.usable(self.nexthops, self._loopback)

    def refusal(self, source: Address, destination: str) -> str:
        """Why a packet would not leave the node; empty where it would. OSError."""
        wanted, by = _packed(destination), _packed(source)
        family, bits = nl.FAMILIES[family_of(source)], 8 * len(by)
        body = routes.RTMSG.pack(family, bits, bits, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
        for kind, address in ((_RTA_DST, wanted), (_RTA_SRC, by)):
            body += nl.attribute(kind, address)
        try:
            route = routes.read(nl.request_on(self._sock, nl.RTM_GETROUTE, body))
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, None):
                raise  # a shortage is no answer
            said = _REFUSALS.get(error.errno, f"the route to {{}}: {os.strerror(error.errno).lower()}")
            return said.format(destination)
        if route.kind == routes.RTN_LOCAL:
            return f"{destination} is on this node"
        return "" if self.usable(route) else f"every next hop of the route to {destination} is down"


def _default(kernel: _Kernel, source: Address) -> ReturnRoute:
    """The majority of destinations of each group must have a usable route."""
    for group in OUTSIDE[family_of(source)]:
        refusals: list[str] = []
        most = len(group) // 2 + 1
        for asked, destination in enumerate(group, 1):
            refusals += filter(None, [kernel.refusal(source, destination)])
            if len(refusals) >= most:
                return ReturnRoute(usable=False, evidence=refusals[0])
            if asked - len(refusals) >= most:
                break
    return ReturnRoute(usable=True)


def _any(kernel: _Kernel, sources: Iterable[Address]) -> dict[Address, ReturnRoute]:
    """One destination with a usable route is enough. The node's own routes name the candidates."""
    found: dict[Address, ReturnRoute] = {}
    for family in Family:
        left = {source for source in sources if family_of(source) is family}
        for destination in _destinations(kernel, family) if left else ():
            reached = {source for source in left if not kernel.refusal(source, destination)}
            found |= dict.fromkeys(reached, ReturnRoute(usable=True))
            left -= reached
            if not left:
                break
        found |= dict.fromkeys(left, ReturnRoute(usable=False, evidence="no route leads off this node"))
    return found


def _destinations(kernel: _Kernel, family: Family) -> Iterator[str]:
    """Destinations that a default route would reach, then one of each route in the tables, the main table first."""
    for group in OUTSIDE[family]:
        yield from group
    tried: Counter[int] = Counter()
    for table in (routes.RT_TABLE_MAIN, 0):
        for route in _table(family, table):
            if tried[route.table] >= TRIED_IN_A_TABLE or (table == 0 and route.table == routes.RT_TABLE_MAIN):
                continue
            if kernel.usable(route) and (inside := list(_inside(route))):
                tried[route.table] += 1
                yield from inside


def _table(family: Family, table: int) -> Iterator[routes.Route]:
    """The unicast routes of a table; 0: of all. A dump that was interrupted is read on: the change is heard of."""
    body = routes.RTMSG.pack(nl.FAMILIES[family], 0, 0, 0, table, 0, 0, routes.RTN_UNICAST, 0)
    try:
        with suppress(nl.InterruptedDumpError):
            for message in nl.dump(nl.RTM_GETROUTE, body, strict=True):
                if message[16 + 7] == routes.RTN_UNICAST:
                    route = routes.read(message)
                    if route.table != routes.RT_TABLE_LOCAL and not route.cloned:
                        yield route
    except OSError as error:
        if error.errno != errno.ENOENT:  # nobody has ever added a route to this table
            raise


def _inside(route: routes.Route) -> Iterator[str]:
    """Two destinations inside a route's prefix: one of them may be an address of the node itself."""
    network = ip_network((route.destination, route.length))
    if network.is_link_local or network.is_multicast:
        return
    room = 1 if network.num_addresses > 2 else 0
    yield str(network[room])
    if network.num_addresses > 1:
        yield str(network[-1 - room])
