"""The demo from outside: whatever ends it, nothing of it is left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import exabgp_of
from tests.support.until import wait_until

WITHIN = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name: a Unix socket's path has no room for pytest's."""
    with tempfile.TemporaryDirectory(prefix="d-") as made:
        yield Path(made)


def of_the_demo(folder: Path) -> list[str]:
    """The command lines that name the folder, or what is in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if f"{folder}/anycast-demo-" in words:
            found.append(words)
    return found


def started(folder: Path, *, isolated: bool) -> subprocess.Popen[str]:
    environment = {**os.environ, "TMPDIR": str(folder)}
    if not isolated:
        (folder / "bin").mkdir()
        environment["PATH"] = str(folder / "bin")  # no unshare
    return subprocess.Popen(
        [sys.executable, "-m", "anycast_agent.cli.main", "demo", "--listen", "127.0.0.1:0"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def told(demo: subprocess.Popen[str], last: str) -> str:
    """What it has printed, up to a line that begins so."""
    lines: list[str] = []
    assert demo.stdout is not None
    for line in demo.stdout:
        lines.append(line)
        if line.startswith(last):
            break
    return "".join(lines)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_the_demo_nothing_of_it_is_left(folder: Path, number: signal.Signals, isolated: bool) -> None:
    """Ctrl-C, a terminal that closes, and a kill that cannot be heard of: no process and no file stays."""
    with started(folder, isolated=isolated) as demo:
        try:
            wait_until(lambda: any("speaker.pipe" in words for words in of_the_demo(folder)), "ExaBGP did not start")
        finally:
            demo.send_signal(number)
        code = demo.wait(WITHIN)
    # On a busy machine its two seconds may be over; on loopback it has ten, as nothing takes along what it leaves.
    ends = {0, 128 + signal.SIGKILL} if isolated else {0}
    assert code in ({-signal.SIGKILL} if number == signal.SIGKILL else ends)
    wait_until(lambda: not of_the_demo(folder), f"still there: {of_the_demo(folder)}")
    wait_until(lambda: not list(folder.glob("anycast-demo-*")), "the folder is still there")


def test_a_frozen_exabgp_does_not_outlive_the_demo(folder: Path) -> None:
    """On loopback no namespace takes it along: the agent gets the time to end it."""
    with started(folder, isolated=False) as demo:
        try:
            told(demo, "Ctrl-C")
            (run_dir,) = folder.glob("anycast-demo-*/run")
            os.kill(exabgp_of(run_dir), signal.SIGSTOP)
        finally:
            demo.send_signal(signal.SIGINT)
    assert not of_the_demo(folder)


@pytest.mark.parametrize("when", [None, "anycast-demo-", "cli.main run", "speaker.launch", "speaker.pipe"])
def test_ctrl_c_is_good_at_any_time(folder: Path, when: str | None) -> None:
    """At once, and when its folder, its agent, its ExaBGP, the pipe are just there: no complaint, and nothing left."""
    with started(folder, isolated=True) as demo:
        if when is not None:
            wait_until(lambda: any(when in words for words in of_the_demo(folder)), f"no {when}")
        demo.send_signal(signal.SIGINT)
        assert demo.stdout is not None
        told_after = demo.stdout.read()
    if when is None:  # it is still Python that starts, and ends in the way of Python
        assert demo.returncode in (1, 130, -signal.SIGINT)
        assert "Errno" not in told_after
    else:
        assert not re.search("Errno|Traceback", told_after), told_after
        assert demo.returncode in (0, 128 + signal.SIGKILL)
    wait_until(lambda: not of_the_demo(folder), "a process is still there")
    wait_until(lambda: not list(folder.glob("anycast-demo-*")), "the folder is still there")


def test_without_namespaces_the_demo_runs_on_loopback_and_says_why(folder: Path) -> None:
    """It goes through to the end, and names the page and how to ask; what it names works."""
    with started(folder, isolated=False) as demo:
        try:
            said = told(demo, "Ctrl-C")
            assert said.startswith("No network namespace can be made here (there is no unshare, or no ip): ")
            assert "announced again, both families" in said
            words = re.search(r"^In words: (.*)$", said, re.MULTILINE)
            assert words is not None, said
            asked = subprocess.run(words[1].split(), capture_output=True, text=True, check=False, timeout=WITHIN)
            assert asked.stdout.startswith("192.0.2.53/32 of demo: announced\n"), asked
        finally:
            demo.send_signal(signal.SIGINT)


def test_a_port_that_is_taken_is_said_in_a_line() -> None:
    """And what would be done about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        words = [sys.executable, "-m", "anycast_agent.cli.main", "demo", "--once", "--listen", where]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=WITHIN)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"demo: {where}: Address already in use; --listen names another port\n"
