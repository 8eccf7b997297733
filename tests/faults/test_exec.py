"""Programs of exec checks, as their authors write them and as they go wrong, against a whole agent."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import V4, Scene, configuration, play
from tests.support.netns import needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(180)]

FAILING = {
    "false": ["/bin/false"],
    "traceback": ["/usr/bin/python3", "-c", "import no_such_module"],
    "grep": ["/bin/grep", "-q", "no such string", "/etc/hostname"],
    "pgrep": ["/usr/bin/pgrep", "-x", "no-such-daemon"],
}


def service(prefix: str, command: list[str], **check: Any) -> dict[str, Any]:
    """A service with one exec check."""
    return {
        "prefixes": [prefix],
        "attributes": {"next_hop": "198.51.100.1"},
        "hold_down": {"initial": "100ms"},
        "checks": {"program": {"type": "exec", "command": command, "interval": "500ms", "rise": 2, **check}},
    }


def test_a_program_that_exits_with_1_is_not_announced(tmp_path: Path) -> None:
    """grep, pgrep, false and a traceback say with it that they failed; a plugin's WARNING is asked for by name."""
    services = {name: service(f"192.0.2.{n}/32", command) for n, (name, command) in enumerate(FAILING.items(), 1)}
    services["plugin"] = service(V4, ["/bin/sh", "-c", "echo half full; exit 1"], warning="ok")

    async def story(s: Scene) -> None:
        await s.peer.has(V4)
        status = await s.agent.until(
            lambda status: all(status["services"][name]["health"] == "down" for name in FAILING)
        )
        assert status["services"]["plugin"]["checks"][0]["detail"] == "warning: half full"
        assert set(s.peer.table) == {V4}

    play(tmp_path, story, configuration(tmp_path, services=services))


HOSTILE = {
    "gigabyte": "head -c 1000000000 /dev/zero",
    "deaf": "trap '' TERM INT HUP; sleep 9876",
    "closes its output": "exec >&- 2>&-; sleep 9876",
    "daemon": "setsid sleep 9876 > /dev/null 2>&1 & exit 0",
    "daemon that holds the output": "setsid sleep 9876 & exit 0",
    "daemon without environment": "env -i setsid sleep 9876 & exit 0",
    "forks": "for i in 1 2 3 4 5 6 7 8; do sleep 9876 & done; wait",
    "binary": r"head -c 3000 /dev/urandom; printf '\033[2J\n\0'; exit 2",
    "kills who watches it": "setsid sleep 9876 & kill -9 $PPID; sleep 9876",
}


def sleepers(namespace: str) -> list[int]:
    """What the hostile programs have left in a namespace."""
    pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True).stdout.split()
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if b"9876" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(int(pid))
    return found


def test_hostile_programs_harm_nobody_and_leave_nothing(tmp_path: Path) -> None:
    """Daemons, floods, the deaf, and one that kills its own supervisor: the others keep their routes; what they start
    does not heap up, and after a clean stop nothing of it is left."""
    services = {
        name: service(f"192.0.2.{n}/32", ["/bin/sh", "-c", script], timeout="400ms")
        for n, (name, script) in enumerate(((key.replace(" ", "-"), script) for key, script in HOSTILE.items()), 1)
    }
    services["true"] = service(V4, ["/bin/true"])
    values = configuration(tmp_path, services=services)
    left: list[int] = []

    async def story(s: Scene) -> None:
        await s.peer.until(lambda peer: V4 in peer.table, 30)
        updates = len(s.peer.updates)
        rounds = 12
        await s.agent.until(
            lambda status: all(
                sum(status["services"][name]["checks"][0]["probes"].values()) >= rounds for name in services
            ),
            60,
        )
        # Each check has one program at a time; of "forks" there are eight.
        assert len(sleepers(s.namespace)) <= len(HOSTILE) + 8
        assert not any(V4 in u.withdrawn for u in s.peer.updates[updates:])
        s.agent.kill(signal.SIGTERM)
        await s.agent.ends()
        end = time.monotonic() + 10
        while left_now := sleepers(s.namespace):
            if time.monotonic() > end:
                left.extend(left_now)
                break
            await asyncio.sleep(0.05)

    play(tmp_path, story, values)
    assert left == []
