"""ExaBGP's process: as whom it runs, and which one it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anycast_agent.speaker.exabgp import Paths, command
from tests.support.netns import needs_root

NAMELESS = """
import os
from exabgp.environment import parsing
from anycast_agent.core.model import Config
from anycast_agent.speaker.exabgp import environment
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
parsing.user(environment(Config("edge1", "", {}, {}))["exabgp_daemon_user"])
"""

REUSED = """
import asyncio, subprocess, time
from pathlib import Path
from anycast_agent.speaker.exabgp import Paths, Process, _started
first = subprocess.Popen(["sleep", "60"], start_new_session=True)
paths = Paths(Path.cwd())
paths.pid.write_text(f"{first.pid} {_started(first.pid)}")
exabgp = Process(paths)
assert exabgp.attach() and exabgp.alive
first.kill()
first.wait()
assert not exabgp.alive
time.sleep(0.05)  # the kernel counts starts in hundredths
Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
other = subprocess.Popen(["sleep", "60"], start_new_session=True)
assert other.pid == first.pid
assert not exabgp.alive
asyncio.run(exabgp.END())
time.sleep(0.1)
assert other.poll() is None, "it was ended"
assert not paths.pid.exists()
other.kill()
"""


@needs_root
def test_a_user_without_a_name_can_run_exabgp() -> None:
    """Containers run programs as numbers that /etc/passwd does not know; ExaBGP takes what it is told to run as."""
    done = subprocess.run([sys.executable, "-c", NAMELESS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@needs_root
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_number_that_is_another_process_by_now_is_left_alone(tmp_path: Path, end: str) -> None:
    """ExaBGP was found, not started, and nobody tells when it ends: its number may be anybody's a moment later."""
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    words = [*alone, sys.executable, "-c", REUSED.replace("END", end)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_nothing_is_imported_from_where_the_agent_was_started(tmp_path: Path) -> None:
    """In a folder that anybody may write to, a file with the name of a module would be run as root."""
    (tmp_path / "socket.py").write_text("raise SystemExit('planted')")
    words = command(Paths(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "is not an exabgp config file" in done.stderr, done.stderr
