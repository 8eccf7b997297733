"""The send queues of the BGP sessions, from the kernel: bytes that a router has not read yet.

A router that stops reading keeps its session: its KEEPALIVEs go on coming, and ExaBGP reports a queued UPDATE as sent.
sock_diag(7) shows the queues to any user. If the kernel lacks it, they are unknown.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator

_SOCK_DIAG, _BY_FAMILY, _REQUEST_DUMP = 4, 20, 0x0301
_ESTABLISHED = 1 << 1
_BYTECODE, _REMOTE_ADDRESS = 1, 8
_DONE, _ERROR = 3, 2
_HEADER, _ID, _QUEUES = struct.Struct("=IHHII"), struct.Struct("!HH16s16s"), struct.Struct("=III")
WITHIN = 1.0
"""Time limit for the kernel's answer. Seconds."""


def octets(address: str, port: int) -> int | None:
    """Bytes that wait in the session with a router; None if unknown, or if there is no session. Blocks shortly."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG) as kernel:
            kernel.settimeout(WITHIN)
            kernel.sendto(_request(address), (0, 0))
            found = [queue for ports, queue in _answers(kernel) if port in ports]
    except OSError:
        return None
    return max(found, default=None)


def _request(address: str) -> bytes:
    """All established connections with that address."""
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    condition = struct.pack("=BBxxi", family, ip.max_prefixlen, -1) + ip.packed
    size = 4 + len(condition)
    # A match goes on to the end of the code, which is "yes"; anything else goes beyond it, which is "no".
    code = struct.pack("=BBH", _REMOTE_ADDRESS, size, size + 4) + condition
    attribute = struct.pack("=HH", 4 + len(code), _BYTECODE) + code
    request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, _ESTABLISHED) + attribute
    return _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST_DUMP, 1, os.getpid()) + request


def _answers(kernel: socket.socket) -> Iterator[tuple[tuple[int, int], int]]:
    """The two ports, and the octets in the send queue, of each connection."""
    while True:
        data = kernel.recv(1 << 16)
        while len(data) >= _HEADER.size:
            length, kind = _HEADER.unpack_from(data)[:2]
            if kind in (_DONE, _ERROR) or length < _HEADER.size:
                return
            body = data[_HEADER.size : length]
            ours, theirs = _ID.unpack_from(body, 4)[:2]
            yield (ours, theirs), _QUEUES.unpack_from(body, 52)[2]
            data = data[(length + 3) & ~3 :]
