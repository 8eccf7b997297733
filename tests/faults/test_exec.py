"""Programs of exec checks, as their authors write them and as they go wrong, against a whole agent."""

from __future__ import annotations

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
