"""Exec checks: what an exit code means, what a program is given, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.checks import spawner
from anycast_agent.checks.exec import ExecAsker, ExecParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.shared import Shared
from tests.support.agent import is_alive
from tests.support.probes import descriptors, prober
from tests.support.until import until

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def shell(script: str, **params: Any) -> ExecParams:
    return ExecParams(command=("/bin/sh", "-c", script), **params)


def named_in(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def children_of_ours() -> set[int]:
    return set(spawner.descendants_of(os.getpid()))


def running(program: str) -> int:
    """How many of our descendants are this program."""
    count = 0
    for pid in children_of_ours():
        with contextlib.suppress(OSError):  # it has just ended
            count += Path(f"/proc/{pid}/cmdline").read_bytes().startswith(program.encode() + b"\0")
    return count


@pytest.mark.parametrize(
    ("script", "params", "outcome", "detail"),
    [
        ("echo fine", {}, "ok", "fine"),
        ("echo hm; exit 1", {}, "exit_status", "exit code 1: hm"),
        ("echo hm; exit 1", {"warning": "fail"}, "exit_status", "exit code 1: hm"),
        ("echo hm; exit 1", {"warning": "ok"}, "ok", "warning: hm"),
        ("echo hm; exit 2", {"warning": "ok"}, "exit_status", "exit code 2: hm"),
        ("exec grep -q no-such-string /etc/hostname", {}, "exit_status", "exit code 1"),
        ("exec pgrep -x no-such-daemon", {}, "exit_status", "exit code 1"),
        ("exec python3 -c 'import no_such_module'", {}, "exit_status", "exit code 1: Traceback"),
        ("set -e; false; echo never", {}, "exit_status", "exit code 1"),
        ("echo bad >&2; exit 2", {}, "exit_status", "exit code 2: bad"),
        ("exit 3", {}, "overloaded", "exit code 3"),
        ("exit 77", {}, "exit_status", "exit code 77"),
        ("kill -9 $$", {}, "exit_status", "signal 9"),
        ("exec >&- 2>&-; sleep 0.1; exit 4", {}, "exit_status", "exit code 4"),
        ("head -c 3000000 /dev/zero | tr '\\0' x", {}, "ok", "xxx"),
    ],
)
async def test_outcomes(script: str, params: dict[str, Any], outcome: str, detail: str) -> None:
    """Only 0 is ok, and 1 where WARNING is asked for by name; what is shown of the output is bounded."""
    async with prober() as ask:
        end = await ask(shell(script, **params), timeout=10.0)
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        assert len(end.outcome.detail) <= 200


@pytest.mark.parametrize(
    ("command", "detail"),
    [
        (("/nowhere/check",), "/nowhere/check: no such file or directory"),
        (("/etc/passwd",), "/etc/passwd: permission denied"),
        (("/bin/echo", "x" * 140_000), "the command is longer than 131072 bytes"),
    ],
)
async def test_a_program_that_cannot_be_started_says_nothing_of_the_service(
    command: tuple[str, ...], detail: str
) -> None:
    """The reason names the file."""
    async with prober() as ask:
        end = await ask(ExecParams(command=command))
        assert (end.outcome.code, end.outcome.detail) == ("not_run", detail)


# --- what a program is given --------------------------------------------------------------------------------

LOOKS = """
import json, os, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = {
    "environment": dict(os.environ),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")),
    "stdin": os.readlink("/proc/self/fd/0"),
    "cwd": os.getcwd(),
    "umask": status["Umask"].strip(),
    "ignored": status["SigIgn"].strip(),
    "blocked": status["SigBlk"].strip(),
    "ambient": status["CapAmb"].strip(),
    "session": os.getsid(0) == os.getpid(),
}
json.dump(found, open(sys.argv[1], "w"))
"""

STARTS = """
import asyncio, os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
for number in range(20):
    os.set_inheritable(os.open("/etc/passwd", os.O_RDONLY), True)
from anycast_agent.checks.exec import ExecAsker, ExecParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.shared import Shared
async def main():
    prober = ExecAsker(Shared(1))
    # -I: Python itself adds nothing to its environment
    command = ("/usr/bin/python3", "-I", "-c", sys.argv[1], sys.argv[2])
    target = Target("web", "looks", "192.0.2.80/32", "192.0.2.80", 20.0)
    print(await prober.probe(ExecParams(command=command), target))
    await prober.close()
asyncio.run(main())
"""


def test_a_program_gets_what_is_documented_and_nothing_else(tmp_path: Path) -> None:
    """No secret, socket or descriptor of the agent's, and none of its ignored or blocked signals."""
    found = tmp_path / "found.json"
    secrets = {"SECRET": "hunter2", "NOTIFY_SOCKET": "/run/systemd/notify", "LISTEN_FDS": "1", "WATCHDOG_USEC": "1",
               "LD_PRELOAD": "", "PYTHONPATH": os.getcwd(), "exabgp_tcp_bind": "x"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STARTS, LOOKS, str(found)],
        env={**os.environ, **secrets}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "'ok'" in done.stdout, done
    import json

    seen = json.loads(found.read_text())
    environment = seen.pop("environment")
    environment.pop("LC_CTYPE", None)  # Python's own
    assert environment == {
        "PATH": PATH, "LANG": "C.UTF-8", "ANYCAST_SERVICE": "web", "ANYCAST_CHECK": "looks",
        "ANYCAST_PREFIX": "192.0.2.80/32", "ANYCAST_ADDRESS": "192.0.2.80",
    }  # fmt: skip
    ignored = int(seen.pop("ignored"), 16)
    python = {signal.SIGPIPE, signal.SIGXFSZ}  # its own to ignore
    assert {number for number in signal.valid_signals() if ignored >> (number - 1) & 1} == python
    assert seen == {
        "descriptors": [0, 1, 2], "stdin": "/dev/null", "cwd": "/", "umask": "0077", "blocked": "0" * 16,
        "ambient": "0" * 16, "session": True,
    }  # fmt: skip


# --- slots --------------------------------------------------------------------------------------------------


async def test_programs_of_one_service_take_no_slot_that_another_needs() -> None:
    """Twenty that hang for one service; another's is run at once. Those that got no slot say so, and blame nobody."""
    async with prober(exec_slots=4) as ask:
        hang = ExecParams(command=("/bin/sleep", "60"))
        hanging = [asyncio.create_task(ask(hang, timeout=2.0, service="bad", check=f"c{n}")) for n in range(20)]
        await until(lambda: running("/bin/sleep") == 3, lambda: f"{running('/bin/sleep')} run")
        for _ in range(5):
            end = await ask(ExecParams(command=("/bin/true",)), timeout=1.5, service="good")
            assert end.outcome.code == "ok", end
        ends = [await task for task in hanging]
        assert "timeout" in {end.outcome.code for end in ends}
        starved = [end.outcome.detail for end in ends if end.outcome.code == "not_run"]
        assert len(starved) >= 17, "three run: one in its own slot, and two in half of the shared ones"
        assert all(detail.endswith("3 programs of this service run, 3 in all") for detail in starved), starved
        assert (await ask(ExecParams(command=("/bin/true",)), service="bad")).outcome.code == "ok"


async def test_a_program_that_began_late_is_not_blamed() -> None:
    """One that had only a part of its time, because others ran, says nothing when that was too short."""
    async with prober(exec_slots=0) as ask:
        sleep = ExecParams(command=("/bin/sleep", "1"))
        first = asyncio.create_task(ask(sleep, 2.5))
        second = asyncio.create_task(ask(ExecParams(command=("/bin/sleep", "3")), 2.5, check="other"))
        assert (await first).outcome.code == "ok"
        end = await second
        assert (end.outcome.code, "the program began late" in end.outcome.detail) == ("not_run", True), end


async def test_what_cannot_be_ended_holds_no_slot_and_is_not_heaped_up(tmp_path: Path) -> None:
    """A program that its supervisor cannot kill (it stands still itself here): the slot is free at the deadline, the
    same check starts no second one, and goes on once the first is gone."""
    pids = tmp_path / "pids"
    async with prober(exec_slots=0) as ask:
        stuck = shell(f"sleep 0.2; echo $$ $PPID >> {pids}; exec sleep 60")
        await ask(ExecParams(command=("/bin/true",)))
        first = asyncio.create_task(ask(stuck, timeout=4.0, check="stuck"))
        await until(lambda: len(named_in(pids)) == 2, "it runs")
        program, supervisor = named_in(pids)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            assert (await first).outcome.code == "timeout"
            assert (await ask(ExecParams(command=("/bin/true",)), check="other")).outcome.code == "ok"
            assert (await ask(stuck, timeout=0.5, check="stuck")).outcome.code == "timeout"
            assert len(named_in(pids)) == 2, "no second one"
            assert is_alive(program)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        await until(lambda: not is_alive(program), "it is gone")
        assert (await ask(stuck, timeout=4.0, check="stuck")).outcome.code == "timeout"
        assert len(named_in(pids)) == 4


# --- nothing is left ----------------------------------------------------------------------------------------

TREES = {
    "child": "sleep 60 & echo $! >> PIDS",
    "daemon": "setsid sleep 60 > /dev/null 2>&1 & echo $! >> PIDS",
    "daemon that holds the output": "setsid sleep 60 & echo $! >> PIDS",
    "orphan": "(sleep 60 & echo $! >> PIDS) & wait",
    "double fork": "(setsid sh -c 'sleep 60 & echo $! >> PIDS; wait' > /dev/null 2>&1 &)",
    "no environment": "env -i setsid sh -c 'echo $$ >> PIDS; exec sleep 60' &",
    "deaf": "trap '' TERM HUP INT; sh -c 'trap \"\" TERM HUP INT; echo $$ >> PIDS; while :; do sleep 1; done' &",
    "deep": 'sh -c \'sh -c "sh -c \\"echo \\$\\$ >> PIDS; sleep 60; true\\"; true"; true\' &',
    "stopped": "sh -c 'echo $$ >> PIDS; kill -STOP $$; sleep 60' &",
}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("ends", ["by itself", "at its deadline"])
async def test_all_that_a_program_has_started_ends_with_it(tree: str, ends: str, tmp_path: Path) -> None:
    """In its session or out of it, orphaned, deaf to signals, or stopped; and nothing waits for who holds its output."""
    before, pids = descriptors(), [tmp_path / str(run) for run in range(2)]
    async with prober() as ask:
        for file in pids:
            await ask(ExecParams(command=("/bin/true",)))
            script = (
                TREES[tree].replace("PIDS", str(file)) + f"\nwhile ! test -s {file}; do sleep 0.01; done; echo fine"
            )
            if ends == "by itself":
                end = await ask(shell(script), timeout=10.0)
                assert (end.outcome.code, end.outcome.detail) == ("ok", "fine")
            else:
                assert (await ask(shell(f"{script}; sleep 60"), timeout=1.0)).outcome.code != "ok"
            (pid,) = named_in(file)
            await until(lambda pid=pid: not is_alive(pid), f"{tree}: {pid} is gone")  # type: ignore[misc]
    await until(lambda: descriptors() <= before, "no descriptor is left")


async def test_a_supervisor_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """By its own program, or by who runs out of memory: that says nothing of the service, and the tree goes all the
    same."""
    pids = tmp_path / "pids"
    async with prober() as ask:
        end = await ask(shell(f"setsid sleep 60 & echo $! $$ > {pids}; kill -9 $PPID; sleep 60"))
        assert (end.outcome.code, "who watches it was killed" in end.outcome.detail) == ("not_run", True), end
        for pid in named_in(pids):
            await until(lambda pid=pid: not is_alive(pid), f"{pid} is gone")  # type: ignore[misc]
        assert (await ask(ExecParams(command=("/bin/true",)))).outcome.code == "ok"


async def test_a_spawner_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """What runs meanwhile is not disturbed."""
    pids, before = tmp_path / "pids", children_of_ours()
    async with prober() as ask:
        first = asyncio.create_task(ask(shell(f"echo $PPID > {pids}; sleep 0.5; echo fine")))
        await until(lambda: bool(named_in(pids)), "it runs")
        (spawner_,) = {pid for pid in children_of_ours() - before if pid not in named_in(pids)} & set(
            spawner.children_of(os.getpid())
        )
        os.kill(spawner_, signal.SIGKILL)
        ends = [await ask(ExecParams(command=("/bin/true",)), check="other") for _ in range(2)]
        assert ends[0].outcome.code in ("ok", "not_run"), "it may have been given to the one that died"
        assert ends[1].outcome.code == "ok"
        assert (await first).outcome.detail == "fine"


def test_programs_end_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the agent: nobody is told, and its programs go with it."""
    pids = tmp_path / "pids"
    code = f"""
import asyncio
from anycast_agent.checks.exec import ExecAsker, ExecParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.shared import Shared
async def main():
    script = "setsid sleep 60 & echo $! $$ $PPID > {pids}; sleep 60"
    await ExecAsker(Shared(1)).probe(ExecParams(command=("/bin/sh", "-c", script)), Target("s", "c", timeout=60.0))
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        asyncio.run(until(lambda: len(named_in(pids)) == 3, "it runs"))
        process.kill()
        process.wait()
        for pid in named_in(pids):
            asyncio.run(until(lambda pid=pid: not is_alive(pid), f"{pid} is gone"))  # type: ignore[misc]
    finally:
        process.kill()
        process.wait()


async def test_nothing_runs_once_it_is_closed(tmp_path: Path) -> None:
    """Neither the spawner nor a program that would not end; and no zombie, and no descriptor."""
    pids, before, open_before = tmp_path / "pids", children_of_ours(), descriptors()
    running = ExecAsker(Shared(4))
    script = f"echo $$ >> {pids}; trap '' TERM HUP; while :; do sleep 1; done"
    task = asyncio.create_task(running.probe(shell(script), Target("s", "c", timeout=60.0)))
    await until(lambda: bool(named_in(pids)), "it runs")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await running.close()
    assert children_of_ours() == before
    await until(lambda: not any(is_alive(pid) for pid in named_in(pids)), "the program is gone")
    assert descriptors() == open_before


def test_the_spawner_imports_the_standard_library_alone() -> None:
    """It runs by its path, isolated: a package that is not there would end every exec check."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", spawner.__file__], stdin=subprocess.DEVNULL, capture_output=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert b"ImportError" not in done.stderr
    assert b"ModuleNotFoundError" not in done.stderr
