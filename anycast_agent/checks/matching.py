"""Regular expressions and large JSON on a service's answer, in processes that can be killed.

Some patterns never end on some texts, and ten megabytes of JSON take half a second. Neither can be interrupted, and a
blocked loop withdraws every service of the node.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from typing import Any

from anycast_agent.checks import worker
from anycast_agent.checks.outcomes import CannotProbeError
from anycast_agent.checks.slots import Slots
from anycast_agent.checks.waiting import waiting

MAX_MATCHERS = 4
"""Beside one for each service; and so many are kept when nobody needs them."""
_SLOW = frozenset("*+?{|(")
"""A pattern without any of these takes time in proportion to the text: it needs no process."""
MAX_ANSWER = 2 * worker.MAX_VALUE

JSON_AT_ONCE = 65_536
"""A text of so many bytes is read as JSON before anybody notices; a longer one would keep the loop."""


class CannotMatchError(CannotProbeError):
    """It says nothing of the service."""


class Matcher:
    """Processes that match, made when they are needed and kept; few, and each for one probe at a time."""

    def __init__(self) -> None:
        self._slots = Slots(MAX_MATCHERS)
        self._idle: list[_Worker] = []
        self._killed: list[_Worker] = []

    async def found(self, pattern: str, said: bytes, service: str, *, as_text: bool) -> bool:
        """True if the pattern matches the bytes, or the text in them. Raises CannotMatchError."""
        if not _SLOW & set(pattern):
            text = said.decode("utf-8", "replace")
            return bool(re.search(pattern, text) if as_text else re.search(pattern.encode(), said))
        operation = worker.MATCH_TEXT if as_text else worker.MATCH_BYTES
        return bool(await self._worked(operation, pattern, said, service, "the pattern takes too long to match"))

    async def json_at(self, pointer: str, said: bytes, service: str) -> dict[str, Any]:
        """The result of ``worker.json_at`` for a JSON pointer. Raises CannotMatchError."""
        if len(said) <= JSON_AT_ONCE:
            return worker.json_at(pointer, said.decode("utf-8", "replace"))
        answer = await self._worked(worker.JSON_AT, pointer, said, service, "the JSON takes too long to read")
        return answer if isinstance(answer, dict) else {}

    async def _worked(self, operation: bytes, asked: str, said: bytes, service: str, slow: str) -> object:
        with waiting(f"{self._slots.held(service)} answers of this service take too long to look through already"):
            async with self._slots.one(service):
                with waiting(slow):
                    return await self._ask(operation, asked.encode(), said)

    async def _ask(self, operation: bytes, asked: bytes, said: bytes) -> object:
        self._sweep()
        try:
            process = self._idle.pop() if self._idle else _Worker()
        except OSError as error:
            raise CannotMatchError(f"no process to match in: {error.strerror}") from error
        try:
            answer = await process.ask(operation, asked, said)
        except BaseException:  # cancelled, too: it may never end
            process.kill()
            self._killed.append(process)
            raise
        self._keep(process)
        return answer

    def _keep(self, process: _Worker) -> None:
        if len(self._idle) < MAX_MATCHERS:
            self._idle.append(process)
        else:
            process.kill()
            self._killed.append(process)

    def _sweep(self) -> None:
        self._killed = [process for process in self._killed if not process.gone()]

    async def close(self) -> None:
        for process in self._idle:
            process.kill()
        self._killed += self._idle
        self._idle = []
        until = time.monotonic() + 1.0
        while self._killed and time.monotonic() < until:
            self._sweep()
            await asyncio.sleep(0.005)


class _Worker:
    def __init__(self) -> None:
        """Raises OSError."""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", worker.__file__],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                self._socket.close()
                raise

    async def ask(self, operation: bytes, asked: bytes, said: bytes) -> object:
        loop = asyncio.get_running_loop()
        try:
            head = worker.HEAD.pack(operation, len(asked), len(said))
            await loop.sock_sendall(self._socket, head + asked + said)
            (length,) = worker.LENGTH.unpack(await self._read(worker.LENGTH.size))
            return json.loads(await self._read(min(length, MAX_ANSWER)))
        except OSError as error:
            raise CannotMatchError(f"the process that matches: {error.strerror}") from error
        except ValueError:
            raise CannotMatchError("the process that matches answered nonsense") from None

    async def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await asyncio.get_running_loop().sock_recv(self._socket, size - len(data))
            if not more:
                raise CannotMatchError("the process that matches has ended")
            data += more
        return data

    def kill(self) -> None:
        self._socket.close()
        self._process.kill()

    def gone(self) -> bool:
        return self._process.poll() is not None
