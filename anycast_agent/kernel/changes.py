"""Adding and removing many addresses in one call, and the error message for each failure."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterable

from anycast_agent.kernel import netlink as nl

PATIENCE = 1.5
"""Time limit for the kernel's answers to all changes of one call. Seconds."""

Failures = dict[str, int]
"""The error number (errno) of each address or prefix that failed. One that is not in it succeeded."""

_IFADDRMSG = struct.Struct("=BBBBI")
_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
_FOR_EVER = 0xFFFFFFFF


class Changes:
    """One netlink socket for changes. It is opened at the first change, and again after a failure.

    Its calls block: make them in a thread, one at a time.
    """

    def __init__(self) -> None:
        self._sock: socket.socket | None = None
        self._last = 0

    def add(self, addresses: Iterable[str], index: int, *, mark: bool) -> Failures:
        """EEXIST where it is there, ETIMEDOUT where the kernel did not answer. Raises OSError."""
        flags = nl.NLM_F_CREATE | nl.NLM_F_EXCL
        return self._do(nl.RTM_NEWADDR, flags, {a: _body(a, index) + _kept(a, mark) for a in addresses})

    def remove(self, addresses: Iterable[str], index: int) -> Failures:
        """EADDRNOTAVAIL where it has gone, ETIMEDOUT where the kernel did not answer. Raises OSError."""
        return self._do(nl.RTM_DELADDR, 0, {address: _body(address, index) for address in addresses})

    def add_routes(self, bodies: dict[str, bytes]) -> Failures:
        """Add routes. EEXIST where another one is there, ETIMEDOUT where the kernel did not answer. Raises OSError."""
        return self._do(nl.RTM_NEWROUTE, nl.NLM_F_CREATE | nl.NLM_F_EXCL, bodies)

    def remove_routes(self, bodies: dict[str, bytes]) -> Failures:
        """Remove routes. ESRCH where it has gone, ETIMEDOUT where the kernel did not answer. Raises OSError."""
        return self._do(nl.RTM_DELROUTE, 0, bodies)

    def _do(self, kind: int, flags: int, bodies: dict[str, bytes]) -> Failures:
        if not bodies:
            return {}
        if self._sock is None:
            self._sock = nl.dump_socket()
        asked = {self._next(): address for address in bodies}
        requests = [nl.packed(kind, flags | nl.NLM_F_ACK, number, bodies[a]) for number, a in asked.items()]
        try:
            self._sock.send(b"".join(requests))
            return self._answers(self._sock, asked)
        except BaseException:
            self.close()
            raise

    def _answers(self, sock: socket.socket, asked: dict[int, str]) -> Failures:
        failures = dict.fromkeys(asked.values(), errno.ETIMEDOUT)
        until = time.monotonic() + PATIENCE
        while asked and (left := until - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                data = sock.recv(1 << 18)
            except TimeoutError:
                break
            for number, code in nl.acknowledged(data):
                if (address := asked.pop(number, None)) is not None:
                    failures[address] = code
        if asked:
            self.close()  # a late answer would stand before the next ones
        return {address: code for address, code in failures.items() if code}

    def _next(self) -> int:
        self._last = self._last % 0xFFFFFFFF + 1
        return self._last

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


def _body(address: str, index: int) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    head = _IFADDRMSG.pack(family, 8 * len(packed), 0, 0, index)
    return head + nl.attribute(_IFA_LOCAL, packed) + nl.attribute(_IFA_ADDRESS, packed)


def _kept(address: str, mark: bool) -> bytes:
    """The attributes of a new address: the mark that it is ours, and the flags that IPv6 needs."""
    marked = nl.attribute(_IFA_PROTO, bytes([nl.PROTOCOL_OURS])) if mark else b""
    if ":" not in address:
        return marked
    # No duplicate detection: every copy of an anycast address is one. Preferred 0: it is never the source of the
    # node's own traffic.
    times = struct.pack("=IIII", 0, _FOR_EVER, 0, 0)
    flags = struct.pack("=I", nl.IFA_F_NODAD)
    return marked + nl.attribute(_IFA_FLAGS, flags) + nl.attribute(_IFA_CACHEINFO, times)


def explain(code: int, address: str, interface: str) -> str:
    """The meaning of an address's error, and the remedy."""
    if code == errno.ETIMEDOUT:
        return f"the kernel did not answer within {PATIENCE} s"
    if code == errno.EPERM:
        return "not permitted: the agent needs CAP_NET_ADMIN, or node.addresses: verify"
    if code == errno.EACCES and ":" in address:
        return f"IPv6 is disabled here: sysctl -w net.ipv6.conf.{_dotless(interface)}.disable_ipv6=0"
    if code in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT) and ":" in address:
        return "this kernel runs without IPv6: boot it without ipv6.disable=1, or take the IPv6 prefix out"
    if code == errno.ENODEV:
        return f"there is no interface {interface}; see node.interface"
    return f"{errno.errorcode.get(code, code)} {os.strerror(code)}"


def _dotless(interface: str) -> str:
    return interface.replace(".", "/")  # as sysctl(8) wants it
