"""Sockets of probes, pinned to the address of the service, and the meaning of their errors."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from ipaddress import ip_address

from anycast_agent.checks.kind import Target
from anycast_agent.checks.outcomes import NOT_RUN, REFUSED, RESET, TIMEOUT, TLS, UNREACHABLE, Finding

# Our own shortage says nothing of the service.
_NOT_RUN = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL, errno.EACCES,
                      errno.EPERM, errno.EADDRINUSE, errno.ENODEV, errno.EAFNOSUPPORT, errno.EINVAL})  # fmt: skip
_OF_PYTHON = re.compile(r"\[SSL[^]]*\]|\(_ssl\.c:\d+\)")
_BY_ERRNO = {
    errno.ECONNREFUSED: REFUSED,
    errno.ECONNRESET: RESET,
    errno.EPIPE: RESET,
    errno.ECONNABORTED: RESET,
    errno.ENETUNREACH: UNREACHABLE,
    errno.EHOSTUNREACH: UNREACHABLE,
    errno.ETIMEDOUT: TIMEOUT,
}


def from_error(error: OSError) -> Finding:
    """The meaning of a socket's error."""
    if isinstance(error, ssl.SSLError):
        return Finding(TLS, _OF_PYTHON.sub("", f"{error.reason or error}").lower().replace("_", " ").strip())
    if isinstance(error, socket.gaierror):
        return Finding(NOT_RUN, f"the name does not resolve: {error.strerror}")
    if error.errno == errno.EADDRNOTAVAIL:
        return Finding(NOT_RUN, "the address is not on this node")
    text = (os.strerror(error.errno) if error.errno else str(error)).lower()
    if error.errno in _NOT_RUN:
        return Finding(NOT_RUN, f"the probe could not be made: {text}")
    return Finding(_BY_ERRNO.get(error.errno or 0, UNREACHABLE), text)


def open_socket(target: Target, source: str | None, family: int, kind: int) -> socket.socket:
    """A socket bound as the target asks for. Raises OSError."""
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        bind(sock, target.address, source)
    except OSError:
        sock.close()
        raise
    return sock


def bind(sock: socket.socket, pinned: str | None, source: str | None) -> None:
    if pinned is not None and source is not None:
        # Bound to the loopback device instead, it would not get the answers to an address of another interface.
        _is_here(sock.family, pinned)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
    address = source or pinned
    if address is not None:
        # The port is chosen at connect: two probes of one address may then share a port towards two services.
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        sock.bind((address, 0))


def _is_here(family: int, address: str) -> None:
    """Raises OSError where the address is not on this node.

    To reach an address of its own the kernel comes from that very address. Binding to it says less: with
    net.ipv6.ip_nonlocal_bind it works anywhere, and IPv6 knows no SO_DONTROUTE.
    """
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as here:
        here.connect((address, 9))  # sends nothing
        if ip_address(here.getsockname()[0]) != ip_address(address):
            raise OSError(errno.EADDRNOTAVAIL, "not here")


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
