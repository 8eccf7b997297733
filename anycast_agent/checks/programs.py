"""Programs of exec checks, on the agent's side. ``spawner`` starts and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from anycast_agent.checks import spawner
from anycast_agent.checks.outcomes import CannotProbeError

MAX_OUTPUT = 4096
MAX_IDLE = 8
"""Supervisors that are kept when nobody needs them."""
_TRY_AGAIN = 0.005
_CLOSE_WITHIN = 1.0


class CannotStartError(CannotProbeError):
    """The program could not be started, or nobody knows how it ended: it says nothing of the service."""


class Programs:
    """Starts programs, each under a supervisor of its own. These are kept for the next ones."""

    def __init__(self) -> None:
        self._spawner: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._idle: list[_Supervisor] = []
        self._busy: set[_Supervisor] = set()

    async def start(self, command: tuple[str, ...], environment: dict[str, str]) -> Program:
        """Raises CannotStartError. The environment is all that the program gets."""
        request = json.dumps({"command": command, "environment": environment}).encode()
        if len(request) > spawner.MAX_REQUEST:
            raise CannotStartError(f"the command is longer than {spawner.MAX_REQUEST} bytes")
        try:
            while True:
                supervisor = self._idle.pop() if self._idle else await self._new_supervisor()
                self._busy.add(supervisor)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # this one was killed
                    return supervisor.start(request)
                supervisor.close()
        except OSError as error:
            raise CannotStartError(f"a program cannot be started: {error.strerror}") from error

    async def _new_supervisor(self) -> _Supervisor:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            await self._send(theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return _Supervisor(ours, self._free)

    async def _send(self, descriptor: int) -> None:
        while True:
            process, channel = self._spawner = self._spawner or _start_spawner()
            try:
                socket.send_fds(channel, [b"supervise"], [descriptor])
                return
            except BlockingIOError:
                await asyncio.sleep(_TRY_AGAIN)
            except (BrokenPipeError, ConnectionResetError):  # it was killed; its supervisors go on by themselves
                channel.close()
                process.wait()
                self._spawner = None

    def _free(self, supervisor: _Supervisor, usable: bool) -> None:
        self._busy.discard(supervisor)
        if supervisor in self._idle:
            self._idle.remove(supervisor)
        if usable and self._spawner is not None and len(self._idle) < MAX_IDLE:
            self._idle.append(supervisor)
        else:
            supervisor.close()

    async def close(self) -> None:
        """Let go of all that runs, and see it gone, where that can be."""
        running = [supervisor.program for supervisor in self._busy if supervisor.program is not None]
        for program in running:
            program.end()
        if running:
            await asyncio.wait([program.gone for program in running], timeout=_CLOSE_WITHIN)
        for supervisor in [*self._idle, *self._busy]:
            supervisor.close()
        if self._spawner is not None:
            process, channel = self._spawner
            self._spawner = None
            channel.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _CLOSE_WITHIN)


def _start_spawner() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(spawner.__file__))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


class _Supervisor:
    """The agent's end of a supervisor: it watches one program at a time."""

    def __init__(self, sock: socket.socket, free: Callable[[_Supervisor, bool], None]) -> None:
        self._socket = sock
        self._free = free
        self.program: Program | None = None
        sock.setblocking(False)
        asyncio.get_running_loop().add_reader(sock.fileno(), self._hear)

    def start(self, request: bytes) -> Program:
        """Raises OSError."""
        output, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            socket.send_fds(self._socket, [request], [theirs])
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(theirs)
        self.program = Program(output, self._end)
        return self.program

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # it has ended itself
            self._socket.send(spawner.END)

    def _hear(self) -> None:
        try:
            said = self._socket.recv(spawner.ANSWER.size)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self.close()
            self._free(self, False)
            return
        kind, value = spawner.ANSWER.unpack(said)
        if kind != spawner.GONE:
            if self.program is not None:
                self.program.hear(kind, value)
            return
        self._let_go()
        self._free(self, True)

    def _let_go(self) -> None:
        program, self.program = self.program, None
        if program is not None:
            program.is_gone()

    def close(self) -> None:
        """It ends its programs, and itself."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
        self._let_go()


class Program:
    """A requested program. ``started``: it runs; ``answered``: its exit code, as soon as it has ended; ``gone``:
    nothing is left of it, nor of its children."""

    def __init__(self, output: int, end: Callable[[], None]) -> None:
        self.output = b""
        self._loop = asyncio.get_running_loop()
        self.started: asyncio.Future[None] = self._loop.create_future()
        self.answered: asyncio.Future[int] = self._loop.create_future()
        self.answered.add_done_callback(_is_looked_at)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._ask_to_end = end
        self._output = output
        """-1 once it is closed."""
        os.set_blocking(output, False)
        self._loop.add_reader(output, self._read)

    def end(self) -> None:
        """Kill it and all that it has started, where it has not ended."""
        if not self.answered.done():
            self._ask_to_end()
        self._close_output()

    def hear(self, kind: int, value: int) -> None:
        if not self.started.done():
            self.started.set_result(None)
        if kind == spawner.STARTED or self.answered.done():
            return
        while self._output >= 0 and len(self.output) < MAX_OUTPUT and self._read():
            pass
        self._close_output()
        if kind == spawner.EXITED:
            self.answered.set_result(value)
        else:
            self.answered.set_exception(CannotStartError(os.strerror(value).lower()))

    def is_gone(self) -> None:
        self._close_output()
        if not self.answered.done():
            self.answered.set_exception(CannotStartError("who watches it was killed"))
        for future in (self.started, self.gone):
            if not future.done():
                future.set_result(None)

    def _read(self) -> bool:
        """The first of its output is kept; the rest is read and dropped, so that it can go on."""
        try:
            data = os.read(self._output, 1 << 16)
        except BlockingIOError:
            return False
        self.output += data[: MAX_OUTPUT - len(self.output)]
        if not data:
            self._close_output()
        return bool(data)

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1


def _is_looked_at(future: asyncio.Future[int]) -> None:
    """The caller may have gone: asyncio would then log an error."""
    if not future.cancelled():
        future.exception()
