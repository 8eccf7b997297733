"""exec: a program's exit code: 0 is ok, and nothing else unless it is asked for. Never a shell."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from anycast_agent.checks.fields import Form
from anycast_agent.checks.kind import File, Kind, Params, Target, Use
from anycast_agent.checks.outcomes import NOT_RUN, OK_CODE, Code, Finding, clean
from anycast_agent.checks.programs import CannotStartError, Program, Programs
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.slots import Slots
from anycast_agent.checks.waiting import waiting
from anycast_agent.core.outcome import Evidence

LATE = 0.25
"""The share of the timeout after which a program has begun late."""


EXIT_STATUS = Code("exit_status", Evidence.DEFINITE, "The program ended with another code than 0, or by a signal.")
OVERLOADED = Code("overloaded", Evidence.DOUBTFUL, "The program ended with code 3, UNKNOWN of Nagios plugins.")


def _an_absolute_path(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command or not command[0].startswith("/"):
        raise ValueError("the first word is the program, by its absolute path")
    if any("\0" in word for word in command):
        raise ValueError("a word holds a NUL")
    return command


class ExecParams(Params):
    """Parameters of an exec check.

    The program runs as the agent's user, without its CAP_NET_ADMIN. It gets these variables and no others: `PATH`
    (`/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`), `LANG=C.UTF-8`, `ANYCAST_SERVICE`,
    `ANYCAST_CHECK`, `ANYCAST_PREFIX` and `ANYCAST_ADDRESS` (the last two empty for an exec check, which has a target
    of its own). It gets no descriptor but 0 (`/dev/null`), 1 and 2 (both are read, the first line is shown), no signal
    ignored or blocked, the working directory `/`, the umask 077, and a session of its own. `anycast-agent probe`
    runs it in the same way: as root, it takes on the user who owns `agent.state_dir`.

    When it has ended, and at its timeout, all that it has started is killed, daemons included: a check starts nothing
    that is to stay. A check runs one program at a time. One that got no slot, or began late, says nothing of the
    service.
    """

    command: Annotated[
        tuple[str, ...],
        AfterValidator(_an_absolute_path),
        Form("command is a list, [program, argument, …]: it is never given to a shell"),
    ] = Field(max_length=64, description="The program and its arguments, a list; it is never given to a shell.")
    warning: Literal["ok", "fail"] = Field(
        "fail",
        description="What exit code 1 counts as. `ok` is for Nagios plugins, whose 1 is WARNING; `grep -q`, `pgrep`, "
        "`test`, `nc -z` and a script that dies of an exception say with it that they failed.",
    )


@dataclass(frozen=True, slots=True)
class _Left:
    """The last program of a check that is not gone yet."""

    program: Program
    hung: bool


class ExecAsker:
    """Runs programs: within its service's slots, and one for each check at a time."""

    def __init__(self, shared: Shared) -> None:
        self._slots = Slots(shared.exec_slots)
        self._programs = Programs()
        self._left: dict[tuple[str, str, str], _Left] = {}

    async def probe(self, params: ExecParams, target: Target) -> Finding:
        """Run it. At the deadline all that it has started is killed, and its slot is free, gone or not."""
        began = time.monotonic()
        await self._see_the_last_gone(target)
        with waiting(self._starved(target, "no slot in time")):
            async with self._slots.one(target.service):
                with waiting(self._starved(target, "the program was not started in time")):
                    program = await self._programs.start(params.command, _environment(target))
                    return await self._end_of(program, params, target, began + LATE * target.timeout)

    async def _end_of(self, program: Program, params: ExecParams, target: Target, start_by: float) -> Finding:
        try:
            await asyncio.shield(program.started)
            # A program that had less than its full time and did not end proves nothing.
            late = time.monotonic() > start_by
            with waiting(self._starved(target, "the program began late") if late else ""):
                code = await asyncio.shield(program.answered)
        except CannotStartError as error:
            return Finding(NOT_RUN, f"{params.command[0]}: {error}")
        finally:
            program.end()
            self._leave(target, program)
        return judge(params, code, clean(program.output.decode("utf-8", "replace").partition("\n")[0]))

    def _leave(self, target: Target, program: Program) -> None:
        """At most one program of each check is left that cannot be killed: asleep in the kernel, or another user's."""
        key = (target.service, target.check, target.prefix)
        if not program.gone.done():
            self._left[key] = _Left(program, hung=not program.answered.done())
            program.gone.add_done_callback(lambda _: self._left.pop(key, None))

    async def _see_the_last_gone(self, target: Target) -> None:
        left = self._left.get((target.service, target.check, target.prefix))
        if left is not None:
            # A program that hangs is an answer to the probe. Children of one that has answered are not.
            with waiting("" if left.hung else "what the last run left behind cannot be ended"):
                await asyncio.shield(left.program.gone)

    def _starved(self, target: Target, what: str) -> str:
        return f"{what}: {self._slots.held(target.service)} programs of this service run, {self._slots.total} in all"

    async def close(self) -> None:
        """Once nobody waits any more: see the killed ones gone, where they can be."""
        await self._programs.close()


def _environment(target: Target) -> dict[str, str]:
    """All of it. Nothing of the agent's own goes to a program: no secrets, and no sockets such as systemd's."""
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
        return Finding(OK_CODE, output)
    if code == 1 and params.warning == "ok":
        return Finding(OK_CODE, f"warning: {output}"[:200])
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    outcome = OVERLOADED if code == 3 else EXIT_STATUS
    return Finding(outcome, f"{how}: {output}"[:200] if output else how)


KIND = Kind(
    name="exec",
    params=ExecParams,
    own_target=lambda params: True,
    outcomes=(EXIT_STATUS, OVERLOADED),
    open=ExecAsker,
    files=lambda params: (File("command", params.command[0], Use.PROGRAM),),
    aliases=("misccheck", "script", "command", "cmd", "shell", "nagios", "program"),
)
