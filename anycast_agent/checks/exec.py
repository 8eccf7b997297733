"""exec: a program's exit code: 0 is ok, and nothing else unless it is asked for. Never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anycast_agent.checks.base import Finding, Params, Target, clean
from anycast_agent.core.model import Outcome

OUTPUT_MOST = 4096
LATE = 0.1
"""The share of the timeout that a program may wait for its slot."""


def _an_absolute_path(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0].startswith("/"):
        raise ValueError("the first word is the program, by its absolute path")
    if any("\0" in word for word in command):
        raise ValueError("a word holds a NUL")
    return command


class ExecParams(Params):
    """Parameters of an exec check."""

    command: Annotated[tuple[str, ...], AfterValidator(_an_absolute_path)] = Field(
        max_length=64, description="The program and its arguments, a list; it is never given to a shell."
    )
    warning: Literal["ok", "fail"] = Field(
        "fail",
        description="What exit code 1 counts as. `ok` is for Nagios plugins, whose 1 is WARNING; `grep -q`, `pgrep`, "
        "`test`, `nc -z` and a script that dies of an exception say with it that they failed.",
    )


class ExecProber:
    """Runs programs, few at once. A slot is free again when its program is gone, not when nobody waits for it any
    more: one that cannot be killed, asleep in the kernel or another user's, still counts."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots = asyncio.Semaphore(most)
        self._running: set[Program] = set()

    async def probe(self, params: ExecParams, target: Target, timeout: float) -> Finding:
        """Run it in a session of its own; at the deadline all of its process group is killed."""
        began = time.monotonic()
        target.wait.reason = f"{self._most} programs run already: no slot in time"
        await self._slots.acquire()
        waited = time.monotonic() - began
        # That a program which had less than its time was not done in time says nothing.
        short = waited > LATE * timeout
        target.wait.reason = (
            f"{self._most} programs ran already: {waited * 1000:.0f} ms without a slot" if short else ""
        )
        try:
            program = Program(params, target)
        except OSError as error:
            self._slots.release()
            return Finding(Outcome.NOT_RUN, f"{params.command[0]}: {(error.strerror or str(error)).lower()}")
        except BaseException:
            self._slots.release()
            raise
        self._running.add(program)
        program.ended.add_done_callback(lambda _: self._gone(program))
        try:
            code = await asyncio.shield(program.ended)
        finally:
            program.kill()
        return judge(params, code, clean(program.output.decode("utf-8", "replace").partition("\n")[0]))

    def _gone(self, program: Program) -> None:
        self._running.discard(program)
        self._slots.release()

    async def close(self) -> None:
        """Once nobody waits any more: see the killed ones gone, where they can be."""
        if self._running:
            await asyncio.wait([program.ended for program in self._running], timeout=1.0)


class Program:
    """A program that runs. It ends when its process does: what that has started may hold the pipe open for ever."""

    def __init__(self, params: ExecParams, target: Target) -> None:
        """Raises OSError."""
        self.output = b""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        with contextlib.ExitStack() as undo:
            self._pipe, theirs = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self._pipe)
            os.set_blocking(self._pipe, False)
            try:
                self._process = _start(params, target, theirs)
            finally:
                os.close(theirs)
            undo.callback(self._process.wait)
            undo.callback(self.kill)
            self._pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()
        self._loop.add_reader(self._pipe, self._read)
        self._loop.add_reader(self._pidfd, self._reap)

    def kill(self) -> None:
        """The group: what it has started goes with it. Its number is its own until it is reaped."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read(self) -> bool:
        """The first of its output is kept; the rest is read and dropped, so that it can go on."""
        try:
            data = os.read(self._pipe, 1 << 16)
        except BlockingIOError:
            return False
        self.output += data[: OUTPUT_MOST - len(self.output)]
        if not data:
            self._loop.remove_reader(self._pipe)
        return bool(data)

    def _reap(self) -> None:
        self.kill()
        code = self._process.wait()  # it has ended
        while len(self.output) < OUTPUT_MOST and self._read():
            pass
        for fd in (self._pipe, self._pidfd):
            self._loop.remove_reader(fd)
            os.close(fd)
        self.ended.set_result(code)


def _start(params: ExecParams, target: Target, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        params.command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=_environment(target),
        cwd="/",
        start_new_session=True,
    )


def _environment(target: Target) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "ANYCAST_SERVICE": target.service,
        "ANYCAST_CHECK": target.check,
        "ANYCAST_PREFIX": target.prefix,
        "ANYCAST_ADDRESS": target.address or "",
    }


def judge(params: ExecParams, code: int, output: str) -> Finding:
    """0 is ok. 3 (UNKNOWN of Nagios plugins) is a failure that must last. A signal and everything else is a failure."""
    if code == 0:
        return Finding(Outcome.OK, output)
    if code == 1 and params.warning == "ok":
        return Finding(Outcome.OK, f"warning: {output}"[:200])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    outcome = Outcome.OVERLOADED if code == 3 else Outcome.EXIT_STATUS
    return Finding(outcome, f"{how}: {output}"[:200] if output else how)
