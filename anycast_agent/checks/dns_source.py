"""The classic fault of anycast DNS: a server bound to no address answers from another one than it was asked at.

A probe comes from the service's own address, as it is pinned to it, and gets the right one by chance: the kernel
answers an address of the node from that same address. Every client outside gets an answer that it drops. So the
question is also asked from the loopback; an answer that comes from there shows that the server chooses no address.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address

from anycast_agent.checks.kind import Target
from anycast_agent.checks.outcomes import BAD_ANSWER, Finding
from anycast_agent.checks.sockets import family_of, open_socket

GRACE = 0.005
"""The second question is asked first, so its answer is there when the probe's own comes, or little later. That none
comes says nothing: the server may refuse the loopback. Seconds."""

_LOOPBACK = {int(socket.AF_INET): "127.0.0.1", int(socket.AF_INET6): "::1"}
_OUTSIDE = {int(socket.AF_INET): "203.0.113.1", int(socket.AF_INET6): "2001:db8::1"}


class SecondQuestion:
    """Asked beside the probe. It shows the fault, or nothing; an error of its own is no error of the probe."""

    def __init__(self, target: Target, port: int) -> None:
        self._target, self._port = target, port
        self._sock: socket.socket | None = None

    def ask(self, wire: bytes) -> None:
        address = self._target.address
        if address is None or not _another_source_outside(address):
            return
        family = family_of(address)
        with suppress(OSError):
            self._sock = open_socket(self._target, _LOOPBACK[family], family, socket.SOCK_DGRAM)
            self._sock.sendto(wire, (address, self._port))

    async def fault(self, number: int) -> Finding | None:
        """The problem of a probe that got a good answer."""
        if self._sock is None:
            return None
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(GRACE):
                while True:
                    data, (host, *_) = await loop.sock_recvfrom(self._sock, 65535)
                    if len(data) >= 12 and int.from_bytes(data[:2], "big") == number:
                        return self._judge(str(host))
                    await asyncio.sleep(0)
        return None

    def _judge(self, host: str) -> Finding | None:
        asked = self._target.address or ""
        if ip_address(host.partition("%")[0]) == ip_address(asked):
            return None
        what = f"asked at {asked} it answers from {host}: clients drop that; bind the server to the address"
        return Finding(BAD_ANSWER, what)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()


def _another_source_outside(address: str) -> bool:
    """True if the kernel gives another source to packets that leave the node; not if a route has a ``src``, nor if no
    known route leads outside."""
    family = family_of(address)
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect((_OUTSIDE[family], 9))  # sends nothing
        return ip_address(sock.getsockname()[0].partition("%")[0]) != ip_address(address)
    return False
