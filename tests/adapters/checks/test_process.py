"""process checks: real processes, in every state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.process import ProcessParams
from tests.support.netns import needs_root
from tests.support.probes import prober
from tests.support.until import until

RUNS, LONG, STOPS, ENDED = "aa-runs", "aa-has-a-long-name", "aa-stops", "aa-ended"
BODY = "import pathlib, sys\npathlib.Path('/proc/self/comm').write_text(sys.argv[1])\nprint(flush=True)\n"


@pytest.fixture(scope="module")
def pids() -> Iterator[dict[str, int]]:
    """Two that run, one that is stopped, one that has ended and is not waited for."""
    started = {}
    for name in (RUNS, LONG, STOPS, ENDED):
        body = BODY if name == ENDED else BODY + "input()"
        started[name] = subprocess.Popen(
            [sys.executable, "-S", "-c", body, name[:15]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    try:
        for process in started.values():
            assert process.stdout is not None
            process.stdout.readline()
        os.kill(started[STOPS].pid, signal.SIGSTOP)
        os.waitid(os.P_PID, started[ENDED].pid, os.WEXITED | os.WNOWAIT)
        yield {name: process.pid for name, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
            process.communicate()


@pytest.fixture
def files(pids: dict[str, int], tmp_path: Path) -> Path:
    """Pid files, good and bad."""
    for name, pid in pids.items():
        (tmp_path / name).write_text(f"{pid}\n")
    gone = subprocess.Popen(["true"])
    gone.wait()
    texts = {"bare": f" {pids[RUNS]}", "gone": f"{gone.pid}\n", "empty": "", "word": "nginx\x1b[31m\n", "minus": "-1\n",
             "zero": "0\n", "large": "9" * 30, "more": f"{pids[RUNS]}\nstarted just now\n"}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("file", "name", "outcome", "detail"),
    [
        (RUNS, None, "ok", f"{RUNS} runs"),
        (RUNS, RUNS, "ok", ""),
        (LONG, LONG, "ok", ""),
        ("bare", None, "ok", ""),
        ("more", None, "ok", ""),
        (RUNS, "other", "other", f"is {RUNS}, not other"),
        (STOPS, None, "stopped", "is stopped"),
        (ENDED, None, "gone", "does not run"),
        ("gone", None, "gone", "does not run"),
        ("missing", None, "no_pid_file", "missing is not there"),
        ("bare/below", None, "no_pid_file", "is not there"),
        ("empty", None, "no_pid", "holds no number: nothing"),
        ("word", None, "no_pid", "holds no number: nginx"),
        ("minus", None, "no_pid", "-1"),
        ("zero", None, "no_pid", "holds no number: 0"),
        ("large", None, "no_pid", "999"),
        ("pipe", None, "not_run", "pipe cannot be read: it is not a file"),
    ],
)
async def test_pid_files(files: Path, file: str, name: str | None, outcome: str, detail: str) -> None:
    """A process runs, or does not, definitely; a file that may be written just now is doubtful."""
    async with prober() as ask:
        end = await ask(ProcessParams(pid_file=str(files / file), name=name))
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        assert end.outcome.detail.isprintable()
        evidence = {"ok": "success", "not_run": "none", "no_pid": "doubtful"}.get(outcome, "definite")
        assert end.outcome.evidence == evidence


@pytest.mark.parametrize(
    ("name", "at_least", "outcome", "detail"),
    [
        (RUNS, 1, "ok", f"1 of {RUNS} run"),
        (LONG, 1, "ok", ""),
        (RUNS, 2, "few", f"1 of {RUNS} run, not 2"),
        (STOPS, 1, "stopped", "0 of aa-stops run, 1 are stopped, not 1"),
        (ENDED, 1, "gone", "0 of aa-ended run, not 1"),
        ("aa-nobody", 1, "gone", ""),
        ("aa-run", 1, "gone", ""),
    ],
)
async def test_names(pids: dict[str, int], name: str, at_least: int, outcome: str, detail: str) -> None:
    """The whole name counts, as far as the kernel keeps it; one that has ended or is stopped is not one that runs."""
    async with prober() as ask:
        end = await ask(ProcessParams(name=name, at_least=at_least))
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        (count,) = end.outcome.numbers
        assert (count.measure.name, count.value) == ("count", 1.0 if name in (RUNS, LONG) else 0.0)


@needs_root
@pytest.mark.root
async def test_processes_that_are_hidden(pids: dict[str, int], files: Path) -> None:
    """As under ProtectProc=invisible: a number is still followed, a name is not known, which says nothing."""
    code = """
import asyncio, os, sys
from anycast_agent.checks.process import ProcessParams, look
from anycast_agent.checks.outcomes import CannotProbeError
os.setgid(65534); os.setgroups([]); os.setuid(65534)
def end(**params):
    try:
        return look(ProcessParams(**params)).code.word
    except CannotProbeError as error:
        return "not_run" if "ProtectProc=default" in str(error) else str(error)
folder, runs = sys.argv[1:]
print(*[end(pid_file=f"{folder}/{name}") for name in (runs, "gone", "aa-ended")],
      end(pid_file=f"{folder}/{runs}", name=runs), end(name=runs))
"""
    files.chmod(0o755)
    for folder in list(files.parents)[:3]:
        folder.chmod(folder.stat().st_mode | 0o011)
    words = ["unshare", "--mount", "sh", "-ec", 'mount -o remount,hidepid=2 /proc; exec "$@"', "sh"]
    done = subprocess.run(
        [*words, sys.executable, "-c", code, str(files), RUNS], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ok gone gone not_run not_run\n", done.stderr


async def test_a_process_that_ends_is_seen(tmp_path: Path) -> None:
    """At the next probe."""
    process = subprocess.Popen(["sleep", "1000"])
    (tmp_path / "pid").write_text(str(process.pid))
    params = ProcessParams(pid_file=str(tmp_path / "pid"), name="sleep")
    async with prober() as ask:

        async def runs() -> bool:
            return bool((await ask(params)).outcome.code == "ok")

        await until(runs, lambda: "sleep does not run")
        process.kill()
        process.wait()
        assert (await ask(params)).outcome.code == "gone"


@pytest.mark.parametrize(
    "values",
    [{}, {"pid_file": "run/x.pid"}, {"pid_file": "/a\0"}, {"name": "a\0"}, {"name": ""}, {"name": "a", "at_least": 0},
     {"pid_file": "/a", "at_least": 2}],
)  # fmt: skip
def test_parameters_are_checked_when_they_are_read(values: dict[str, Any]) -> None:
    """A process has a pid file, a name, or both."""
    with pytest.raises(ValidationError):
        ProcessParams(**values)
