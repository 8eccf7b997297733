"""A raw BGP peer (RFC 4271, 4760, 6793, 7911): holds what it is sent, and when each UPDATE came.

Small on purpose: it knows the attributes that the agent uses, and shows the others as bytes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from tests.support.until import PATIENCE, until

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
AS_TRANS = 23456


@dataclass(frozen=True)
class Path:
    """The attributes of a route as they came over the wire."""

    next_hop: str = ""
    as_path: tuple[int, ...] = ()
    med: int | None = None
    local_preference: int | None = None
    communities: tuple[str, ...] = ()
    large_communities: tuple[str, ...] = ()
    extended_communities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Update:
    """One UPDATE: when it was read (time.monotonic), and what it said."""

    at: float
    announced: tuple[str, ...]
    withdrawn: tuple[str, ...]
    path: Path


@dataclass
class BgpPeer:
    """Listens, accepts one session at a time, and keeps the resulting table.

    ``async with BgpPeer("127.0.0.1", 0, 65011) as peer``; ``peer.port`` is the port that was given.
    """

    address: str = "127.0.0.1"
    port: int = 0
    asn: int = 65011
    router_id: str = "198.51.100.11"
    hold_time: int = 9
    extended_next_hop: bool = False
    families: tuple[int, ...] | None = (1, 2)
    """That it takes, as AFIs, unicast; None: it sends no capabilities at all."""
    password: str = ""
    """TCP MD5 signature (RFC 2385) towards ``password_for``."""
    password_for: str = "127.0.0.1"
    listening: socket.socket | None = None
    """A socket that listens already, in another namespace for instance."""
    table: dict[str, Path] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    notifications: list[tuple[float, int, int]] = field(default_factory=list)
    opened_at: list[float] = field(default_factory=list)
    closed_at: list[float] = field(default_factory=list)
    established: bool = False
    heard_open: bytes = b""
    """What the speaker said in its last OPEN."""

    def __post_init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusing = False

    async def __aenter__(self) -> BgpPeer:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self) -> None:
        if self.listening is not None:
            self._server = await asyncio.start_server(self._accept, sock=self.listening)
        else:
            self._server = await asyncio.start_server(self._accept, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.password:
            for listening in self._server.sockets:
                _sign(listening, self.password_for, self.password)

    async def connect(self, address: str, port: int) -> None:
        """Open the session from this side."""
        reader, writer = await asyncio.open_connection(address, port, local_addr=(self.address, 0))
        task = asyncio.create_task(self._accept(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop listening, and end the session without a word: what a router that crashes does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """End the TCP connection without a NOTIFICATION."""
        if self._writer is not None:
            self._writer.transport.abort()

    def notify(self, code: int, subcode: int, data: bytes = b"") -> None:
        """Send a NOTIFICATION (RFC 4271, 6.)."""
        if self._writer is not None:
            self._writer.write(_message(NOTIFICATION, bytes([code, subcode]) + data))

    def refresh(self, afi: int = 1) -> None:
        """Ask for all routes of a family again (RFC 2918)."""
        if self._writer is not None:
            self._writer.write(_message(ROUTE_REFRESH, struct.pack("!HBB", afi, 0, 1)))

    def announce(self, prefix: str, as_path: tuple[int, ...], next_hop: str) -> None:
        """Send a path for a prefix of either family; the next hop is of the same."""
        segment = bytes([2, len(as_path)]) + b"".join(struct.pack("!I", a) for a in as_path)
        attributes = b"\x40\x01\x01\x00" + b"\x40\x02" + bytes([len(segment)]) + segment
        hop = ipaddress.ip_address(next_hop).packed
        if len(hop) == 4:
            self._update(b"", attributes + b"\x40\x03\x04" + hop, _encode(prefix))
            return
        reach = b"\x00\x02\x01\x10" + hop + b"\x00" + _encode(prefix)  # MP_REACH_NLRI (RFC 4760, 3.)
        self._update(b"", attributes + b"\x80\x0e" + bytes([len(reach)]) + reach, b"")

    def withdraw(self, prefix: str) -> None:
        if ":" not in prefix:
            self._update(_encode(prefix), b"", b"")
            return
        unreach = b"\x00\x02\x01" + _encode(prefix)  # MP_UNREACH_NLRI (RFC 4760, 4.)
        self._update(b"", b"\x80\x0f" + bytes([len(unreach)]) + unreach, b"")

    def _update(self, withdrawn: bytes, attributes: bytes, nlri: bytes) -> None:
        assert self._writer is not None
        body = struct.pack("!H", len(withdrawn)) + withdrawn + struct.pack("!H", len(attributes)) + attributes + nlri
        self._writer.write(_message(UPDATE, body))

    async def until(self, condition: Callable[[BgpPeer], bool], deadline: float = PATIENCE) -> float:
        """Wait until the condition holds; returns the instant (time.monotonic). AssertionError past the deadline."""
        shown = lambda: f"table {self.table}, established {self.established}"  # noqa: E731
        await until(lambda: condition(self), shown, deadline, self._changed)
        return time.monotonic()

    async def has(self, *prefixes: str, deadline: float = PATIENCE) -> float:
        """Wait until the table is just these prefixes."""
        return await self.until(lambda peer: set(peer.table) == set(prefixes), deadline)

    # --- the session ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing or self._writer is not None:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writer = writer
        keepalives = asyncio.create_task(self._keepalives(writer))
        try:
            async for kind, body in _messages(reader):
                self._receive(kind, body, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            keepalives.cancel()
            writer.transport.abort()
            self._writer = None
            self.established = False
            self.table.clear()
            self.closed_at.append(time.monotonic())
            self._changed.set()

    async def _keepalives(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(self.hold_time / 3)
            writer.write(_message(KEEPALIVE, b""))

    def _receive(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == OPEN:
            self.heard_open = body
            writer.write(_message(OPEN, self._open()) + _message(KEEPALIVE, b""))
        elif kind == KEEPALIVE and not self.established:
            self.established = True
            self.opened_at.append(time.monotonic())
        elif kind == UPDATE:
            update = _parse_update(body, time.monotonic())
            self.updates.append(update)
            for prefix in update.withdrawn:
                self.table.pop(prefix, None)
            for prefix in update.announced:
                self.table[prefix] = update.path
        elif kind == NOTIFICATION:
            self.notifications.append((time.monotonic(), body[0], body[1]))
        self._changed.set()

    def _open(self) -> bytes:
        capabilities = b"".join(struct.pack("!BBHBB", 1, 4, afi, 0, 1) for afi in self.families or ())
        capabilities += b"\x02\x00" + b"\x41\x04" + struct.pack("!I", self.asn)
        if self.extended_next_hop:
            capabilities += b"\x05\x06\x00\x01\x00\x01\x00\x02"  # RFC 8950: IPv4 unicast over IPv6
        optional = b"" if self.families is None else bytes([2, len(capabilities)]) + capabilities
        asn = self.asn if self.asn < 65536 else AS_TRANS
        router_id = ipaddress.IPv4Address(self.router_id).packed
        return struct.pack("!BHH", 4, asn, self.hold_time) + router_id + bytes([len(optional)]) + optional


def _sign(listening: Any, peer: str, password: str) -> None:
    """TCP_MD5SIG (tcp(7)): Python has the option's number, and not its structure."""
    address = ipaddress.ip_address(peer)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    where = struct.pack("=HH", family, 0) + (b"" if address.version == 4 else b"\0" * 4) + address.packed
    key = password.encode("ascii")
    signature = where.ljust(128, b"\0") + struct.pack("=BBHI", 0, 0, len(key), 0) + key.ljust(80, b"\0")
    listening.setsockopt(socket.IPPROTO_TCP, 14, signature)


def _message(kind: int, body: bytes) -> bytes:
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    while True:
        header = await reader.readexactly(19)
        length, kind = struct.unpack("!HB", header[16:])
        yield kind, await reader.readexactly(length - 19)


def _encode(prefix: str) -> bytes:
    network = ipaddress.ip_network(prefix)
    return bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]


def _decode(data: bytes, version: int) -> list[str]:
    prefixes, size = [], 4 if version == 4 else 16
    while data:
        length = data[0]
        octets = (length + 7) // 8
        address = ipaddress.ip_address(data[1 : 1 + octets].ljust(size, b"\0"))
        prefixes.append(f"{address}/{length}")
        data = data[1 + octets :]
    return prefixes


def _parse_update(body: bytes, at: float) -> Update:
    (size,) = struct.unpack_from("!H", body)
    withdrawn = _decode(body[2 : 2 + size], 4)
    (attributes_size,) = struct.unpack_from("!H", body, 2 + size)
    start = 4 + size
    attributes = body[start : start + attributes_size]
    announced = _decode(body[start + attributes_size :], 4)
    values: dict[str, object] = {}
    while attributes:
        flags, code = attributes[0], attributes[1]
        length, skip = (struct.unpack_from("!H", attributes, 2)[0], 4) if flags & 0x10 else (attributes[2], 3)
        value, attributes = attributes[skip : skip + length], attributes[skip + length :]
        _attribute(code, value, values, announced, withdrawn)
    return Update(at, tuple(announced), tuple(withdrawn), Path(**values))  # type: ignore[arg-type]


def _attribute(code: int, value: bytes, values: dict[str, object], announced: list[str], withdrawn: list[str]) -> None:
    if code == 2:
        path: list[int] = []
        while value:
            count = value[1]
            path += struct.unpack_from(f"!{count}I", value, 2)
            value = value[2 + 4 * count :]
        values["as_path"] = tuple(path)
    elif code == 3:
        values["next_hop"] = str(ipaddress.ip_address(value))
    elif code == 4:
        values["med"] = struct.unpack("!I", value)[0]
    elif code == 5:
        values["local_preference"] = struct.unpack("!I", value)[0]
    elif code == 8:
        values["communities"] = tuple(f"{a}:{b}" for a, b in struct.iter_unpack("!HH", value))
    elif code == 32:
        values["large_communities"] = tuple(f"{a}:{b}:{c}" for a, b, c in struct.iter_unpack("!III", value))
    elif code == 16:
        values["extended_communities"] = tuple(value[i : i + 8].hex() for i in range(0, len(value), 8))
    elif code == 14:
        family, length = struct.unpack_from("!HxB", value)
        hop = value[4 : 4 + length]
        values["next_hop"] = str(ipaddress.ip_address(hop[:16] if length >= 16 else hop[:4]))
        announced += _decode(value[5 + length :], 4 if family == 1 else 6)
    elif code == 15:
        (family,) = struct.unpack_from("!H", value)
        withdrawn += _decode(value[3:], 4 if family == 1 else 6)
