"""Before the agent runs: one agent has a run directory, and one that gives it up leaves it to the next."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from anycast_agent.config import ProcessSettings
from anycast_agent.starting import Claim

TRIES = 400


def settings(folder: Path) -> ProcessSettings:
    return ProcessSettings("127.0.0.1", 9179, (), folder / "control.sock", folder / "run", folder / "state", 32)


def refusal(folder: Path) -> str:
    """Claim the run directory, and give it up; the reason where another agent has it."""
    try:
        Claim(settings(folder)).give_up()
    except OSError as error:
        return str(error)
    return ""


def test_an_agent_that_gives_up_the_run_directory_is_not_taken_for_one_that_has_it(tmp_path: Path) -> None:
    """An agent starts while another ends: it gets the directory, or is told which process has it."""
    other = os.fork()
    if not other:
        while True:
            refusal(tmp_path)
    try:
        refused = {refusal(tmp_path) for _ in range(TRIES)}
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert refused <= {"", f"another agent has {tmp_path}/run: process {other}; stop it, or set agent.run_dir"}
    assert refusal(tmp_path) == ""
