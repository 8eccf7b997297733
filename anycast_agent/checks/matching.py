"""Regular expressions over what a service has said, in processes that can be killed.

Some patterns take longer than the universe has on some texts, Python's matcher cannot be interrupted, and whatever
blocks the loop withdraws every service of the node.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import subprocess
import sys
import time

from anycast_agent.checks.base import Target
from anycast_agent.checks.slots import Slots

MATCHERS_MOST = 4
"""Beside one for each service; and so many are kept when nobody needs them."""
_SLOW = frozenset("*+?{|(")
"""A pattern without any of these takes time in proportion to the text: it needs no process."""
_HEAD = struct.Struct("!?II")
_WORKER = """
import re, signal, struct, sys
head = struct.Struct("!?II")
read, write = sys.stdin.buffer.read, sys.stdout.buffer
while len(first := read(head.size)) == head.size:
    as_text, *sizes = head.unpack(first)
    pattern, said = map(read, sizes)
    if as_text:
        pattern, said = pattern.decode(), said.decode("utf-8", "replace")
    signal.alarm(60)  # whoever asked may be gone
    found = re.search(pattern, said)
    signal.alarm(0)
    write.write(b"1" if found else b"0")
    write.flush()
"""


class CannotMatchError(RuntimeError):
    """It says nothing of the service."""


class Matcher:
    """Processes that match, made when they are needed and kept; few, and each for one probe at a time."""

    def __init__(self) -> None:
        self._slots = Slots(MATCHERS_MOST)
        self._idle: list[_Worker] = []
        self._killed: list[_Worker] = []

    async def found(self, pattern: str, said: bytes, target: Target, *, as_text: bool) -> bool:
        """Whether the pattern is found in the bytes, or in the text that they are. Raises CannotMatchError."""
        if not _SLOW & set(pattern):
            text = said.decode("utf-8", "replace")
            return bool(re.search(pattern, text) if as_text else re.search(pattern.encode(), said))
        wait, service = target.wait, target.service
        wait.reason = f"{self._slots.held(service)} patterns of this service take too long to match already"
        async with self._slots.one(service):
            wait.reason = "the pattern takes too long to match"
            self._sweep()
            try:
                worker = self._idle.pop() if self._idle else _Worker()
            except OSError as error:
                raise CannotMatchError(f"no process to match in: {error.strerror}") from error
            try:
                found = await worker.ask(pattern.encode(), said, as_text=as_text)
            except BaseException:  # cancelled, too: it may never end
                worker.kill()
                self._killed.append(worker)
                raise
            self._keep(worker)
        wait.reason = ""
        return found

    def _keep(self, worker: _Worker) -> None:
        if len(self._idle) < MATCHERS_MOST:
            self._idle.append(worker)
        else:
            worker.kill()
            self._killed.append(worker)

    def _sweep(self) -> None:
        self._killed = [worker for worker in self._killed if not worker.gone()]

    async def close(self) -> None:
        for worker in self._idle:
            worker.kill()
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
                    [sys.executable, "-I", "-S", "-c", _WORKER],
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

    async def ask(self, pattern: bytes, said: bytes, *, as_text: bool) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, _HEAD.pack(as_text, len(pattern), len(said)) + pattern + said)
            answer = await loop.sock_recv(self._socket, 1)
        except OSError as error:
            raise CannotMatchError(f"the process that matches: {error.strerror}") from error
        if not answer:
            raise CannotMatchError("the process that matches has ended")
        return answer == b"1"

    def kill(self) -> None:
        self._socket.close()
        self._process.kill()

    def gone(self) -> bool:
        return self._process.poll() is not None
