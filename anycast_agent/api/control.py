"""The control socket: whatever changes state, by file permission and peer credentials. One JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
import json
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


@dataclass(frozen=True, slots=True)
class Answer:
    ok: bool
    lines: tuple[str, ...] = ()
    data: Mapping[str, object] = field(default_factory=dict)


class Controls(Protocol):
    """What may be asked."""

    def snapshot(self) -> Snapshot: ...
    async def reload(self, force: bool) -> Answer: ...
    async def hand_over(self, extend: float | None) -> Answer: ...


class Control:
    def __init__(self, path: Path, controls: Controls) -> None:
        self._path = path
        self._controls = controls
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
        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_WITHIN)
            answer = await self._answer(line)
        except TimeoutError:
            answer = Answer(False, ("no request came",))
        except ValueError as error:
            answer = Answer(False, (f"not a request: {error}",))
        finally:
            self._connections.discard(task)
        said = {"ok": answer.ok, "lines": list(answer.lines), "data": dict(answer.data)}
        with contextlib.suppress(OSError):  # who asked has gone: there is nobody left to tell
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
        writer.close()

    def _may(self, writer: asyncio.StreamWriter) -> bool:
        """Root, our own user, or a member of the socket's group."""
        peer = writer.get_extra_info("socket")
        pid, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        group = self._path.stat().st_gid
        return uid in (0, os.geteuid()) or gid == group or group in _groups_of(pid)

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
        if verb == "reload":
            return await self._controls.reload(bool(request.get("force")))
        if verb == "handover":
            seconds = request.get("for")
            return await self._controls.hand_over(None if seconds is None else float(seconds))
        return Answer(False, (f"no verb {str(verb)[:40]!r}; there are status, why, reload, handover",))


def _groups_of(pid: int) -> set[int]:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("Groups:"):
                return {int(word) for word in line.split()[1:]}
    except (OSError, ValueError):
        pass  # a peer that has gone is in no group
    return set()
