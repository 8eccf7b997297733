"""exec: a program's exit code, in the meaning that Nagios plugins have given it. Never a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anycast_agent.checks.base import Finding, Params, Target, clean
from anycast_agent.core.model import Outcome

OUTPUT_MOST = 4096


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
    warning: Literal["ok", "fail"] = Field("ok", description="What exit code 1 (WARNING) counts as.")


async def probe(params: ExecParams, target: Target) -> Finding:
    """Run it in a session of its own; at the deadline all of its process group is killed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *params.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=_environment(target),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        return Finding(Outcome.NOT_RUN, f"{params.command[0]}: {(error.strerror or str(error)).lower()}")
    try:
        output = await _read(process)
        code = await process.wait()
    finally:
        await _end(process)
    return judge(params, code, clean(output.decode("utf-8", "replace").partition("\n")[0]))


def _environment(target: Target) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "ANYCAST_SERVICE": target.service,
        "ANYCAST_CHECK": target.check,
        "ANYCAST_PREFIX": target.prefix,
        "ANYCAST_ADDRESS": target.address or "",
    }


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """The first of its output; the rest is read and dropped, so that it can go on."""
    kept = b""
    if process.stdout is not None:
        while data := await process.stdout.read(1 << 16):
            kept += data[: OUTPUT_MOST - len(kept)]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # the group: what it has started goes with it
    await process.wait()


def judge(params: ExecParams, code: int, output: str) -> Finding:
    """0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; a signal and everything else is a failure."""
    if code == 0:
        return Finding(Outcome.OK, output)
    if code == 1 and params.warning == "ok":
        return Finding(Outcome.OK, f"warning: {output}"[:200])
    if code == 3:
        return Finding(Outcome.OVERLOADED, f"unknown: {output}"[:200])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return Finding(Outcome.EXIT_STATUS, f"{how}: {output}"[:200] if output else how)
