"""HTTP/1.1 for read-only pages, small on purpose: GET and HEAD, one request a connection, everything bounded.

A request is a head of at most ``MAX_HEAD`` bytes that has come within ``HEAD_WITHIN``; its answer is taken within
``TAKEN_WITHIN``. An answer is sent from one shared object, so a reader that does not read costs a descriptor and
nothing else. Connections are bounded in all and by client: a new one takes the place of the oldest that keeps *us*
waiting (RFC 9112, 9.5 lets a server close those at any time), and is turned away where none does.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import unquote

log = logging.getLogger(__name__)

MAX_CONNECTIONS, MAX_OF_A_CLIENT = 128, 64
"""Each is a file descriptor that a probe might need."""

MAX_HEAD, MAX_FIELDS = 8192, 64
HEAD_WITHIN, TAKEN_WITHIN, LINGER = 5.0, 30.0, 1.0
"""For a request to come; for an answer to be taken; for the client to close after it. Seconds."""

SEND_AT_ONCE = 1 << 16
ACCEPT_AGAIN = 1.0
"""Wait after an error of accept (no descriptor left, for instance). Seconds."""

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)")
_TURNED_AWAY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """Decoded, without the query."""
    host: str | None


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    content_type: str
    fields: Mapping[str, str] = field(default_factory=dict)


class BadRequestError(ValueError):
    """The bytes are not a request that we understand. The text says why."""


def parse(head: bytes) -> Request:
    """The head of a request, without the empty line at its end. Raises BadRequestError."""
    first, *lines = head.split(b"\r\n")
    line = _REQUEST.fullmatch(first)
    if line is None:
        raise BadRequestError("the request line is not METHOD /PATH HTTP/1.1")
    if len(lines) > MAX_FIELDS:
        raise BadRequestError(f"more than {MAX_FIELDS} header fields")
    hosts = []
    for text in lines:
        found = _FIELD.fullmatch(text)
        if found is None:
            raise BadRequestError("a line of the header is not NAME: VALUE")
        if found[1].lower() == b"host":
            hosts.append(found[2].decode("latin-1").strip())
    if len(hosts) != 1 and (line[3] == b"1" or hosts):  # RFC 9112, 3.2; HTTP/1.0 may leave it out
        raise BadRequestError("not exactly one Host")
    path = line[2].decode("ascii").partition("?")[0]
    return Request(line[1].decode("ascii"), unquote(path, errors="replace"), hosts[0] if hosts else None)


def head_of(response: Response) -> bytes:
    lines = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(response.body)),
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        **response.fields,
    }
    reason = HTTPStatus(response.status).phrase
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {response.status} {reason}\r\n{text}\r\n".encode("latin-1", "replace")


@dataclass(eq=False, slots=True)
class _Connection:
    client: str
    task: asyncio.Task[None] | None = None
    idle: bool = True
    """It waits for the client: to send its request, or to take the answer."""


class Listener:
    """Accepts on one socket, and serves each connection in a task of its own."""

    def __init__(
        self, listening: socket.socket, answer: Callable[[Request | BadRequestError], Awaitable[Response]]
    ) -> None:
        """``answer`` never raises. The socket is ours from now on."""
        listening.setblocking(False)
        self._listening = listening
        self._answer = answer
        self._connections: dict[_Connection, None] = {}  # the oldest first
        self._accepting = asyncio.create_task(self._accept())

    async def close(self) -> None:
        tasks = [self._accepting, *(c.task for c in self._connections if c.task is not None)]
        self._listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop, failing = asyncio.get_running_loop(), False
        while True:
            try:
                connected, address = await loop.sock_accept(self._listening)
            except OSError as error:
                if not failing:
                    log.warning("no connection to the pages can be accepted: %s; tried again every second", error)
                failing = True
                await asyncio.sleep(ACCEPT_AGAIN)
                continue
            failing = False
            connected.setblocking(False)
            self._admit(connected, _client(address))
            await asyncio.sleep(0)  # one in a round of the loop: a flood of them is no work for the engine to wait for

    def _admit(self, connected: socket.socket, client: str) -> None:
        if not self._make_room(client):
            try:
                connected.send(_TURNED_AWAY)
            except OSError:
                pass  # it has gone by itself
            connected.close()
            return
        connection = _Connection(client)
        self._connections[connection] = None
        connection.task = asyncio.create_task(self._serve(connection, connected))

    def _make_room(self, client: str) -> bool:
        """True if there is room for one more connection of this client. The oldest idle connection may be closed for
        it."""
        of_client = Counter(c.client for c in self._connections)
        if of_client[client] >= MAX_OF_A_CLIENT:
            return self._end_oldest(client)
        if len(self._connections) >= MAX_CONNECTIONS:
            return self._end_oldest(of_client.most_common(1)[0][0])
        return True

    def _end_oldest(self, client: str) -> bool:
        for connection in self._connections:
            if connection.idle and connection.client == client and connection.task is not None:
                connection.task.cancel()
                del self._connections[connection]
                return True
        return False

    async def _serve(self, connection: _Connection, connected: socket.socket) -> None:
        try:
            with connected:
                async with asyncio.timeout(HEAD_WITHIN):
                    request = await _read(connected)
                connection.idle = False
                response = await self._answer(request)
                connection.idle = True
                bare = isinstance(request, Request) and request.method == "HEAD"
                async with asyncio.timeout(TAKEN_WITHIN):
                    await _send(connected, head_of(response), b"" if bare else response.body)
                await _until_closed(connected)
        except (OSError, EOFError):  # and TimeoutError: the client has gone, or does not go on
            pass
        finally:
            self._connections.pop(connection, None)


async def _read(connected: socket.socket) -> Request | BadRequestError:
    """Raises EOFError where the client closes without having said anything."""
    loop, data = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in data:
        if len(data) > MAX_HEAD:
            return BadRequestError(f"the header is longer than {MAX_HEAD} bytes")
        more = await loop.sock_recv(connected, MAX_HEAD)
        if not more:
            if not data:
                raise EOFError
            return BadRequestError("the header has no end")
        data += more
    try:
        return parse(data.partition(b"\r\n\r\n")[0])
    except BadRequestError as error:
        return error


async def _send(connected: socket.socket, head: bytes, body: bytes) -> None:
    loop, view = asyncio.get_running_loop(), memoryview(body)
    await loop.sock_sendall(connected, head + view[:SEND_AT_ONCE])
    for start in range(SEND_AT_ONCE, len(body), SEND_AT_ONCE):
        await asyncio.sleep(0)  # a reader that keeps up would never let go of the loop
        await loop.sock_sendall(connected, view[start : start + SEND_AT_ONCE])


async def _until_closed(connected: socket.socket) -> None:
    """Unread bytes would make the kernel reset the connection, and the answer would be lost."""
    connected.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(LINGER):
        while await asyncio.get_running_loop().sock_recv(connected, MAX_HEAD):  # noqa: ASYNC110
            await asyncio.sleep(0)  # a flood lets the others go on, too


def _client(address: tuple[str, int]) -> str:
    """The key under which clients are counted: an IPv4 address, an IPv6 /64, or this node for all loopback
    addresses."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback:
        return "this node"
    return str(ip) if isinstance(ip, ipaddress.IPv4Address) else str(ipaddress.ip_network((ip, 64), strict=False))
