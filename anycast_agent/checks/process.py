"""process: a process runs, by its pid file, by its name, or by both."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from anycast_agent.checks.aside import Aside
from anycast_agent.checks.kind import Kind, Params, Target
from anycast_agent.checks.outcomes import OK_CODE, CannotProbeError, Code, Finding, clean
from anycast_agent.checks.shared import Shared
from anycast_agent.core.outcome import Evidence, Measure

COMM_MOST = 15
"""The kernel keeps so much of a process's name. Bytes."""
_PID = re.compile(rb"\s*([1-9][0-9]{0,8})\s")
_STAT = re.compile(rb"\d+ \((.*)\) (\w) ", re.DOTALL)
_ENDED = frozenset("ZXx")
_STOPPED = frozenset("Tt")

NO_PID_FILE = Code("no_pid_file", Evidence.DEFINITE, "The pid file is not there.")
NO_PID = Code("no_pid", Evidence.DOUBTFUL, "The pid file holds no number: it may be written just now.")
GONE = Code("gone", Evidence.DEFINITE, "No such process runs; one that has ended, and is not waited for, does not run.")
OTHER = Code("other", Evidence.DEFINITE, "The process of the pid file has another name.")
STOPPED = Code("stopped", Evidence.DEFINITE, "The process is stopped, as by SIGSTOP or a debugger.")
FEW = Code("few", Evidence.DEFINITE, "Fewer processes of this name run than at_least.")
COUNT = Measure("count", "processes", "Processes of this name that run, counted up to at_least; without pid_file.")


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("write the absolute path of a file")
    return path


class ProcessParams(Params):
    """Parameters of a process check.

    That a process runs does not say that it works: it belongs beside a check that asks the service. Under the agent's
    unit other users' names are hidden from it: where a name is asked for, the unit needs ProtectProc=default.
    """

    pid_file: Annotated[str, AfterValidator(_absolute)] | None = Field(
        None, max_length=4000, description="The absolute path of the file that holds the number of the process."
    )
    name: str | None = Field(
        None, min_length=1, max_length=255, pattern=r"^[^\x00]+$",
        description="Its name as `ps -o comm` shows it, of which the kernel keeps 15 bytes; with pid_file, the name "
        "of that process.",
    )  # fmt: skip
    at_least: int = Field(1, ge=1, le=10_000, description="So many processes of this name run.")

    @model_validator(mode="after")
    def _whole(self) -> ProcessParams:
        if self.pid_file is None and self.name is None:
            raise ValueError("write pid_file, name, or both")
        if self.pid_file is not None and self.at_least != 1:
            raise ValueError("at_least goes with name, without pid_file")
        return self

    @property
    def comm(self) -> bytes | None:
        return None if self.name is None else self.name.encode()[:COMM_MOST]


class ProcessAsker:
    """A pid file may be on a file system that hangs, and a node has many processes: a thread looks."""

    def __init__(self, shared: Shared) -> None:
        self._aside: Aside = shared.aside

    async def probe(self, params: ProcessParams, target: Target) -> Finding:
        return await self._aside.run(target.service, lambda: look(params))

    async def close(self) -> None:
        """Nothing is kept open."""


@dataclass(frozen=True, slots=True)
class _Process:
    comm: bytes
    state: str


def look(params: ProcessParams) -> Finding:
    """Raises CannotProbeError."""
    if params.pid_file is not None:
        return _by_pid_file(params, params.pid_file)
    running = stopped = 0
    for process in _all():
        if process.comm == params.comm and process.state not in _ENDED:
            stopped += process.state in _STOPPED
            running += process.state not in _STOPPED
            if running >= params.at_least:
                break
    said = f"{running} of {params.name} run" + (f", {stopped} are stopped" if stopped else "")
    if running >= params.at_least:
        return Finding(OK_CODE, said, (COUNT.of(running),))
    code = STOPPED if stopped else FEW if running else GONE
    return Finding(code, f"{said}, not {params.at_least}", (COUNT.of(running),))


def _by_pid_file(params: ProcessParams, path: str) -> Finding:
    try:
        text = _read(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Finding(NO_PID_FILE, f"{path} is not there")
        raise CannotProbeError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    match = _PID.match(text + b"\n")
    if match is None:
        return Finding(NO_PID, f"{path} holds no number: {clean(text[:30].decode('utf-8', 'replace')) or 'nothing'}")
    pid = int(match[1])
    who = f"process {pid} of {path}"
    if not _runs(pid):
        return Finding(GONE, f"{who} does not run")
    process = _process(pid)
    if process is None:  # it has ended since, or is hidden from this user
        if not _runs(pid):
            return Finding(GONE, f"{who} does not run")
        if params.comm is not None:
            raise CannotProbeError(_HIDDEN)
        return Finding(OK_CODE, f"{who} runs")
    if params.comm is not None and process.comm != params.comm:
        return Finding(OTHER, f"{who} is {clean(process.comm.decode('utf-8', 'replace'))}, not {params.name}")
    if process.state in _STOPPED:
        return Finding(STOPPED, f"{who} is stopped")
    return Finding(OK_CODE, f"{who} runs")


_HIDDEN = "/proc hides other users' processes from the agent: its unit needs ProtectProc=default"


def _read(path: str) -> bytes:
    """Raises OSError. A named pipe, which would wait for a writer, is not read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        return file.read(64)


def _runs(pid: int) -> bool:
    """Of any user's process, also where /proc hides it. Raises CannotProbeError."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # the number of a thread is no process
            return False
        raise CannotProbeError(f"process {pid} cannot be looked at: {(error.strerror or '').lower()}") from error
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        return not ended.poll(0)
    finally:
        os.close(descriptor)


def _process(pid: int | str) -> _Process | None:
    """None where it is gone, or hidden."""
    with suppress(OSError):
        match = _STAT.match(Path(f"/proc/{pid}/stat").read_bytes())
        if match is not None:
            return _Process(match[1], match[2].decode())
    return None


def _all() -> Iterator[_Process]:
    """Raises CannotProbeError where this user does not see all."""
    if _process(1) is None:
        raise CannotProbeError(_HIDDEN)
    try:
        entries = [entry for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
    except OSError as error:
        raise CannotProbeError(f"/proc cannot be read: {(error.strerror or '').lower()}") from error
    return (process for entry in entries if (process := _process(entry)) is not None)


KIND = Kind(
    name="process",
    params=ProcessParams,
    own_target=lambda params: True,
    outcomes=(NO_PID_FILE, NO_PID, GONE, OTHER, STOPPED, FEW),
    numbers=(COUNT,),
    open=ProcessAsker,
    aliases=("pid", "pidfile", "proc", "procname", "checkprocess", "trackprocess"),
)
