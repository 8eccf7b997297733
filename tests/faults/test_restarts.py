"""Restarts in a bad hour: the speaker is found again, there is one of it, and no route is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import DEAD_MAN, V4, V6, Scene, configuration, play, reason_in
from tests.support.netns import needs_root
from tests.support.until import until

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """The run directory on a file system of its own."""
    run = tmp_path / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", run], check=True)
    yield run
    subprocess.run(["umount", "-l", run], check=True)


def fill(folder: Path) -> Path:
    """Until not a byte more goes in."""
    path = folder / "fill"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    for size in (4096, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, b"x" * size)
    os.close(descriptor)
    return path


def speakers(s: Scene) -> set[int]:
    """Every ExaBGP in the node's namespace, found or not."""
    pids = subprocess.run(["ip", "netns", "pids", s.namespace], capture_output=True, text=True, check=True).stdout
    found = set()
    for pid in pids.split():
        with contextlib.suppress(OSError):
            if b"speaker.launch" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(int(pid))
    return found


async def restarted(s: Scene, how: signal.Signals) -> None:
    """The next agent runs, and stands behind what it found."""
    s.agent.kill(how)
    await s.agent.ends()
    s.agent.start()
    await s.agent.until(lambda status: {reason_in(status, V4), reason_in(status, V6)} == {"healthy"}, 40)


@pytest.mark.parametrize("how", [signal.SIGUSR2, signal.SIGKILL])
@pytest.mark.parametrize("full_at_restart", [False, True])
def test_a_disk_that_was_full_when_exabgp_started(
    tmp_path: Path, small_disk: Path, how: signal.Signals, full_at_restart: bool
) -> None:
    """The next agent finds that ExaBGP: no second one, no UPDATE, no session lost; whether there is room again or not."""

    async def story(s: Scene) -> None:
        await s.announced()
        opened = len(s.peer.opened_at)
        filling = fill(small_disk)
        os.kill(s.agent.exabgp(), signal.SIGKILL)
        await s.peer.until(lambda p: len(p.opened_at) > opened, 20)
        await s.announced()
        if not full_at_restart:
            filling.unlink()
        before, opened, updates = speakers(s), len(s.peer.opened_at), len(s.peer.updates)
        await restarted(s, how)
        assert speakers(s) == before
        assert (len(s.peer.opened_at), len(s.peer.updates)) == (opened, updates), s.agent.log()[-3000:]
        filling.unlink(missing_ok=True)

    play(tmp_path, story, configuration(tmp_path, agent={"dead_man": "30s", "adopt_for": "30s"}))


def test_the_speaker_takes_nothing_from_the_agents_environment(tmp_path: Path) -> None:
    """Exported settings of ExaBGP change nothing; and a frozen agent's watchdog is fed by nobody, while its speaker works
    on, fires the dead man's switch and withdraws."""

    async def story(s: Scene) -> None:
        s.agent.kill()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.setblocking(False)
            s.agent.environment = {
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "3000000",
                "exabgp_bgp_passive": "true",
                "exabgp_tcp_delay": "30",
            }
            s.agent.start()
            await s.announced()
            assert b"WATCHDOG=1" in said_to(systemd)
            s.agent.kill(signal.SIGSTOP)
            said_to(systemd)
            await s.withdrawn()
            assert said_to(systemd) == b""

    play(tmp_path, story)


def said_to(systemd: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += systemd.recv(4096) + b"\n"
    return said


def test_a_planned_restart_has_more_time_than_a_crash(tmp_path: Path) -> None:
    """SIGUSR2, as systemctl restart sends it: on a busy node the next agent comes later than dead_man, and not an UPDATE
    is sent; that agent's own crash is then answered after dead_man again."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates, opened = len(s.peer.updates), len(s.peer.opened_at)
        s.agent.kill(signal.SIGUSR2)
        assert await s.agent.ends() == 0
        late = time.monotonic() + 2 * DEAD_MAN
        await s.peer.until(lambda _: time.monotonic() > late, 20)
        s.agent.start()
        await s.agent.until(lambda status: {reason_in(status, V4), reason_in(status, V6)} == {"healthy"}, 40)
        assert (len(s.peer.updates), len(s.peer.opened_at)) == (updates, opened)
        s.agent.kill()
        await s.withdrawn(DEAD_MAN + 10)

    play(tmp_path, story, configuration(tmp_path, agent={"adopt_for": "30s"}))


def test_a_second_agent_does_not_start(tmp_path: Path) -> None:
    """In the same run directory, with files of its own otherwise: it says who has it, and touches nothing."""

    async def story(s: Scene) -> None:
        await s.announced()
        values = configuration(tmp_path, agent={"control_socket": str(tmp_path / "second.sock")})
        values["agent"]["api"] = {"listen": "127.0.0.1:9180"}
        second = type(s.agent)(tmp_path / "second")
        second.folder.mkdir()
        second.write(values)
        updates = len(s.peer.updates)
        second.start()
        assert await second.ends() == 1
        assert f"another agent has {tmp_path}/run: process {s.agent.process.pid}" in second.log()  # type: ignore[union-attr]
        assert len(s.peer.updates) == updates
        assert len(speakers(s)) == 1

    play(tmp_path, story)


def test_two_agents_that_start_at_once_start_one_exabgp(tmp_path: Path) -> None:
    """One of them gets the run directory; the other ends."""

    async def story(s: Scene) -> None:
        assert s.agent.process is not None
        words = [sys.executable, "-m", "anycast_agent.cli.main", "run", "--config", str(s.agent.config)]
        other = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        await s.announced()
        ended = await until(lambda: [p for p in (s.agent.process, other) if p is not None and p.poll() is not None])
        assert [p.returncode for p in ended] == [1]
        assert len(speakers(s)) == 1
        if other.poll() is None:  # it is ours to end then
            other.terminate()
            other.wait(20)
        other.communicate()

    play(tmp_path, story)
