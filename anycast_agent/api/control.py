"""The control socket: whatever changes state, by file permission and peer credentials. One JSON object a line."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anycast_agent.api import render
from anycast_agent.api.shapes import InForce, to_json
from anycast_agent.api.turnstile import BusyError, Prepared, Turnstile
from anycast_agent.core.requests import REQUESTS, RefusedError, Request
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.journal import Entry

MAX_REQUEST = 64 * 1024
MAX_CONNECTIONS = 16
REQUEST_WITHIN = 10.0
"""How long a request may take to come, and its answer to be taken. Seconds."""

SENT_AT_ONCE = 1 << 18

_SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it


@dataclass(frozen=True, slots=True)
class Answer:
    ok: bool
    lines: tuple[str, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)

    def encoded(self, data: bytes | None = None) -> bytes:
        """The line that is sent; ``data``: in place of our own, already JSON."""
        data = to_json(dict(self.data)).encode() if data is None else data
        ok, lines = to_json(self.ok).encode(), to_json(self.lines).encode()
        return b'{"ok": %s, "lines": %s, "data": %s}\n' % (ok, lines, data)


class Controls(Protocol):
    """The agent, for those who ask it."""

    def snapshot(self) -> Snapshot: ...
    def configuration(self) -> InForce: ...
    def journal(self) -> tuple[Entry, ...]: ...
    async def ask(self, request: Request, who: str) -> Answer: ...


class Control:
    def __init__(
        self,
        path: Path,
        controls: Controls,
        within: float = REQUEST_WITHIN,
        prepared: Prepared | None = None,
    ) -> None:
        self._path = path
        self._controls = controls
        self._within = within
        self._prepared = prepared or Prepared(Turnstile())
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Raises OSError where the socket cannot be made, or belongs to an agent that is alive."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            await self._replace()
        old = os.umask(0o117)  # the group may ask; nobody else
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_REQUEST)
        finally:
            os.umask(old)

    async def _replace(self) -> None:
        if not self._path.is_socket():
            raise OSError(f"{self._path} is there and no socket; remove it, or set agent.control_socket")
        try:
            _, writer = await asyncio.open_unix_connection(str(self._path))
        except OSError:
            self._path.unlink(missing_ok=True)  # left by a process that has ended
            return
        writer.close()
        raise OSError(f"another agent listens on {self._path}; stop it, or set agent.control_socket")

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        if self._connections:  # an answer that is on its way leaves
            await asyncio.wait(self._connections, timeout=0.2)
        for task in list(self._connections):
            task.cancel()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS or not self._may(writer):
            writer.close()
            return
        self._connections.add(task)
        writer.transport.set_write_buffer_limits(high=0)  # drained is then: all of it has left
        try:
            async with asyncio.timeout(self._within):
                line = await reader.readline()
            answer = memoryview(await self._answer_to(line, _who(writer)))
            async with asyncio.timeout(self._within):
                for start in range(0, len(answer), SENT_AT_ONCE):
                    writer.write(answer[start : start + SENT_AT_ONCE])
                    await writer.drain()
        except OSError:  # and TimeoutError: who asked has gone, or does not go on
            writer.transport.abort()
        except ValueError:  # a line without end
            writer.write(b'{"ok": false, "lines": ["not a request: too long"], "data": {}}\n')
        finally:
            self._connections.discard(task)
            writer.close()

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        """Root, our own user, or a member of the socket's group: as the kernel noted when the peer connected."""
        peer: socket.socket = writer.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, gid = struct.unpack("3i", credentials)
        if uid in (0, os.geteuid()):
            return True
        try:
            return self._path.stat().st_gid in {gid, *_groups_of(peer)}
        except OSError:  # a socket that is gone has no group, and a peer in over 256 groups is in none
            return False

    async def _answer_to(self, line: bytes, who: str) -> bytes:
        try:
            return await self._answer(line, who)
        except LookupError as error:
            return Answer(False, (str(error.args[0]),)).encoded()
        except RefusedError as error:
            return Answer(False, (str(error),)).encoded()
        except BusyError:
            return Answer(False, ("busy with other pages; ask again",)).encoded()
        except (ValueError, TypeError, RecursionError) as error:
            return Answer(False, (f"not a request: {error}"[:200],)).encoded()

    async def _answer(self, line: bytes, who: str) -> bytes:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ValueError("not an object")
        verb, snapshot = str(request.get("verb")), self._controls.snapshot
        if (read := REQUESTS.get(verb)) is not None:
            return (await self._controls.ask(read(request), who)).encoded()
        if verb == "status":
            return await self._made("status", lambda: render.status_json(snapshot()))
        if verb == "why":
            word = str(request.get("prefix", ""))
            return await self._made(f"why {word}", lambda: render.why_json(snapshot(), word))
        if verb == "names":
            return await self._made("names", lambda: render.names_json(snapshot()))
        if verb == "changes":
            entries = self._controls.journal
            return await self._made("changes", lambda: render.changes_json(entries(), snapshot().at))
        if verb == "configuration":
            return await self._made("configuration", lambda: render.in_force_json(self._controls.configuration()))
        verbs = ", ".join(["status", "why", "changes", "names", "configuration", *REQUESTS])
        return Answer(False, (f"no verb {verb[:40]!r}; there are {verbs}",)).encoded()

    async def _made(self, name: str, make: Callable[[], Iterator[str]]) -> bytes:
        """Made after it was asked for: whoever has just changed something sees that it has changed."""
        return Answer(True).encoded(await self._prepared.get(name, make, None))


def _groups_of(peer: socket.socket) -> tuple[int, ...]:
    """/proc/PID/status has them too, but ProtectProc= hides it, and the process may be another one by now."""
    found = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    return struct.unpack(f"{len(found) // 4}I", found)


def _who(writer: asyncio.StreamWriter) -> str:
    """The user who asks, as the kernel noted when the peer connected."""
    peer: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        return f"asked for by {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"asked for by user {uid}"
