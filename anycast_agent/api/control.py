"""The control socket: whatever changes state, by file permission and peer credentials. One JSON object a line."""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from anycast_agent.api import render
from anycast_agent.core.snapshot import Snapshot

REQUEST_MOST = 64 * 1024
CONNECTIONS_MOST = 16
REQUEST_WITHIN = 10.0
"""How long a request may take to come, and its answer to be taken. Seconds."""

_SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it


@dataclass(frozen=True, slots=True)
class Answer:
    ok: bool
    lines: tuple[str, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)


class Controls(Protocol):
    """What may be asked."""

    def snapshot(self) -> Snapshot: ...
    def configuration(self) -> Mapping[str, object]: ...
    async def reload(self, force: bool) -> Answer: ...
    async def hand_over(self, extend: float | None) -> Answer: ...


class Control:
    def __init__(self, path: Path, controls: Controls, within: float = REQUEST_WITHIN) -> None:
        self._path = path
        self._controls = controls
        self._within = within
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Raises OSError where the socket cannot be made, or belongs to an agent that is alive."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            await self._replace()
        old = os.umask(0o117)  # the group may ask; nobody else
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=REQUEST_MOST)
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
        if task is None or len(self._connections) >= CONNECTIONS_MOST or not self._may(writer):
            writer.close()
            return
        self._connections.add(task)
        writer.transport.set_write_buffer_limits(high=0)  # drained is then: all of it has left
        try:
            async with asyncio.timeout(self._within):
                line = await reader.readline()
            answer = await self._answer_to(line)
            said = {"ok": answer.ok, "lines": list(answer.lines), "data": dict(answer.data)}
            writer.write(json.dumps(said).encode() + b"\n")
            async with asyncio.timeout(self._within):
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

    async def _answer_to(self, line: bytes) -> Answer:
        try:
            return await self._answer(line)
        except (ValueError, TypeError, RecursionError) as error:
            return Answer(False, (f"not a request: {error}"[:200],))

    async def _answer(self, line: bytes) -> Answer:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ValueError("not an object")
        verb = request.get("verb")
        if verb == "status":
            return Answer(True, (), render.status(self._controls.snapshot()))
        if verb == "why":
            try:
                return Answer(True, (), render.explain(self._controls.snapshot(), str(request.get("prefix", ""))))
            except LookupError as error:
                return Answer(False, (str(error.args[0]),))
        if verb == "configuration":
            return Answer(True, (), self._controls.configuration())
        if verb == "reload":
            return await self._controls.reload(bool(request.get("force")))
        if verb == "handover":
            return await self._controls.hand_over(_seconds(request.get("for")))
        return Answer(False, (f"no verb {str(verb)[:40]!r}; there are status, why, configuration, reload, handover",))


def _groups_of(peer: socket.socket) -> tuple[int, ...]:
    """/proc/PID/status has them too, but ProtectProc= hides it, and the process may be another one by now."""
    found = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    return struct.unpack(f"{len(found) // 4}I", found)


def _seconds(value: Any) -> float | None:
    if value is not None and not (math.isfinite(float(value)) and float(value) >= 0):
        raise ValueError("that is no time")
    return None if value is None else float(value)
