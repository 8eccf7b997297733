"""ExaBGP's process: as whom it runs, and which one it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


@needs_root
def test_a_user_without_a_name_can_run_exabgp() -> None:
    """Containers run programs as numbers that /etc/passwd does not know; ExaBGP takes what it is told to run as."""
    done = subprocess.run([sys.executable, "-c", NAMELESS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_imported_from_where_the_agent_was_started(tmp_path: Path) -> None:
    """In a folder that anybody may write to, a file with the name of a module would be run as root."""
    (tmp_path / "socket.py").write_text("raise SystemExit('planted')")
    words = command(Paths(tmp_path))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "is not an exabgp config file" in done.stderr, done.stderr
