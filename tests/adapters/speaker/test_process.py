"""ExaBGP's process: as whom it runs, with what, and which one it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_agent import holding
from anycast_agent.core.model import Config
from anycast_agent.speaker.exabgp import Paths
from anycast_agent.speaker.process import Process, command, environment
from tests.support.agent import is_alive
from tests.support.netns import needs_root
from tests.support.until import until

NAMELESS = """
import os
from exabgp.environment import parsing
from anycast_agent.core.model import Config
from anycast_agent.speaker.process import environment
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
parsing.user(environment(Config("edge1", "", {}, {}))["exabgp_daemon_user"])
"""

HOLDS = """
import sys, time
from pathlib import Path
from anycast_agent import holding
lock = holding.open_file(Path(sys.argv[1]), make=True)
print(holding.take(lock), flush=True)
time.sleep(60)
"""

HELPED = (
    """
import subprocess, sys
sleeps = "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); print(os.getpid(), flush=True); signal.pause()"
helper = subprocess.Popen([sys.executable, "-c", sleeps], stdout=subprocess.PIPE, text=True, process_group=0)
print(helper.stdout.readline().strip(), flush=True)
"""
    + HOLDS
)
"""It has a helper of its own, which no hang-up ends (and ``HOLDS`` is its main program)."""

REUSED = """
import asyncio, os, subprocess, sys
from pathlib import Path
from anycast_agent.speaker.process import Process
def holds():
    child = subprocess.Popen([sys.executable, "-c", HOLDS, "exabgp.lock"], stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    return child
first = holds()
exabgp = Process(Path.cwd())
assert exabgp.attach() and exabgp.alive
first.kill()
first.wait()
assert not exabgp.alive
Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
other = subprocess.Popen(["sleep", "60"], start_new_session=True)
assert other.pid == first.pid
assert not exabgp.alive
assert not Process(Path.cwd()).attach()
asyncio.run(exabgp.END())
assert other.poll() is None, "it was ended"
other.kill()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run directory, as ExaBGP does."""
    words = [sys.executable, "-c", HOLDS, str(tmp_path / "exabgp.lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        try:
            yield child
        finally:
            child.kill()


@needs_root
def test_a_user_without_a_name_can_run_exabgp() -> None:
    """Containers run programs as numbers that /etc/passwd does not know; ExaBGP takes what it is told to run as."""
    done = subprocess.run([sys.executable, "-c", NAMELESS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- which one it is ---


async def test_who_holds_the_run_directory_is_found_and_ended(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """A later agent finds it without a word from an earlier one."""
    exabgp = Process(tmp_path)
    assert exabgp.attach() and exabgp.alive
    await exabgp.stop()
    assert held.wait(10) == -signal.SIGTERM
    assert not Process(tmp_path).attach()


def test_there_is_never_a_second_one(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """Also where two agents start one at the same moment, and neither has seen the other's: the second ends itself."""
    lock = holding.open_file(tmp_path / "exabgp.lock", make=True)
    words = command(Paths(tmp_path), lock)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, pass_fds=[lock])
    os.close(lock)
    assert done.returncode == 1
    assert f"ExaBGP runs for this run directory already: process {held.pid}" in done.stderr


def test_a_number_in_a_file_is_believed_by_nobody(tmp_path: Path) -> None:
    """What earlier versions wrote, or what somebody else did, names no process of ours."""
    innocent = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        for name in ("exabgp.pid", "exabgp.lock"):
            (tmp_path / name).write_text(f"{innocent.pid} 1")
            (tmp_path / name).chmod(0o600)
        assert not Process(tmp_path).attach()
    finally:
        innocent.kill()


def test_a_file_that_another_could_hold_is_not_asked(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """Whoever can open it can name himself as ExaBGP, or keep ours from starting."""
    (tmp_path / "exabgp.lock").chmod(0o666)
    with pytest.raises(PermissionError, match="remove it"):
        Process(tmp_path).attach()
    (tmp_path / "exabgp.lock").rename(tmp_path / "elsewhere")
    (tmp_path / "exabgp.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        Process(tmp_path).attach()


@needs_root
def test_one_in_another_process_namespace_is_said_and_not_doubled(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """A run directory that two containers share: it cannot be signalled from here, and must not get a rival."""
    program = "import sys; from pathlib import Path; from anycast_agent.speaker.process import Process\n"
    program += "from anycast_agent.speaker.exabgp import SpeakerError\n"
    program += "try: Process(Path(sys.argv[1])).attach()\nexcept SpeakerError as e: print(e)"
    words = ["unshare", "--pid", "--fork", sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert "another process namespace" in done.stdout, done


@needs_root
def test_on_a_disk_that_is_full_or_read_only_it_is_found_all_the_same(tmp_path: Path) -> None:
    """Nothing has to be written for it."""
    run, closed = tmp_path / "run", tmp_path / "closed"
    run.mkdir()
    closed.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", str(run)], check=True)
    try:
        words = [sys.executable, "-c", HOLDS, str(run / "exabgp.lock")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(OSError, match="No space"):
                (run / "fill").write_bytes(b"x" * 100_000)
            assert Process(run).attach()
            subprocess.run(["mount", "--bind", str(run), str(closed)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(closed)], check=True)
            assert Process(closed).attach()
            child.kill()
        assert not Process(closed).attach()
    finally:
        subprocess.run(["umount", "-l", str(closed)], check=False)
        subprocess.run(["umount", "-l", str(run)], check=True)


@needs_root
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_number_that_is_another_process_by_now_is_left_alone(tmp_path: Path, end: str) -> None:
    """ExaBGP was found, not started, and nobody tells when it ends: its number may be anybody's a moment later."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    program = REUSED.replace("END", end).replace("HOLDS", repr(HOLDS))
    words = [*alone, sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_frozen_one_is_ended_too(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """SIGSTOP keeps nobody from being killed."""
    import asyncio

    os.kill(held.pid, signal.SIGSTOP)
    exabgp = Process(tmp_path)
    assert exabgp.attach()
    asyncio.run(exabgp.kill())
    assert held.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("how", ["stop", "kill", "it dies"])
async def test_a_helper_that_is_frozen_is_ended_with_it(tmp_path: Path, how: str) -> None:
    """It does not see that ExaBGP has gone. Where ExaBGP died by itself, the helper goes when the next one is started."""
    words = [sys.executable, "-c", HELPED, str(tmp_path / "exabgp.lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        helper = int(child.stdout.readline())
        assert child.stdout.readline() == "True\n"
        exabgp = Process(tmp_path)
        assert exabgp.attach()
        exabgp.note_helpers()
        os.kill(helper, signal.SIGSTOP)
        if how == "it dies":
            child.kill()
            child.wait(10)
            exabgp.start(Paths(tmp_path), Config("edge1", "", {}, {}), None)
        await (exabgp.stop() if how == "stop" else exabgp.kill())
    await until(lambda: not is_alive(helper), f"{helper} lives", 10.0)


# --- with what ---


def test_its_environment_is_built_and_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    """ExaBGP takes every one of its settings from there, and its helper would report to the agent's systemd."""
    for name in (
        "exabgp_bgp_passive",
        "exabgp.tcp.delay",
        "EXABGP_ENVFILE",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "SECRET",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONPATH", "/opt/packages")
    config = Config("edge1", "", {}, {})
    beside, unit = environment(config), environment(config, unit=True)
    assert beside["PYTHONPATH"] == "/opt/packages"
    assert {n for n in beside if n.startswith("exabgp")} == {
        "exabgp_daemon_user",
        "exabgp_daemon_daemonize",
        "exabgp_log_level",
        "exabgp_log_destination",
        "exabgp_api_ack",
        "exabgp_api_cli",
        "exabgp_api_respawn",
        "exabgp_reactor_speed",
        "exabgp_bgp_openwait",
        "exabgp_tcp_bind",
    }
    assert not {"exabgp.tcp.delay", "EXABGP_ENVFILE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "SECRET"} & beside.keys()
    assert set(unit) - set(beside) == {"NOTIFY_SOCKET", "WATCHDOG_USEC"}


def test_nothing_is_imported_from_where_the_agent_was_started(tmp_path: Path) -> None:
    """In a folder that anybody may write to, a file with the name of a module would be run as root."""
    (tmp_path / "socket.py").write_text("raise SystemExit('planted')")
    lock = holding.open_file(tmp_path / "exabgp.lock", make=True)
    words = command(Paths(tmp_path), lock)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, pass_fds=[lock])
    os.close(lock)
    assert "is not an exabgp config file" in done.stderr, done.stderr


def test_a_file_that_was_removed_is_not_held(tmp_path: Path, held: subprocess.Popen[str]) -> None:
    """Where the name is another file's by now, two could each hold "it"; and nobody removes one that is held."""
    path = tmp_path / "exabgp.lock"
    holding.remove(path)
    assert path.exists()
    held.kill()
    held.wait()
    lock = holding.open_file(path, make=True)
    holding.remove(path)
    assert not path.exists()
    assert not holding.take(lock)
    os.close(lock)
