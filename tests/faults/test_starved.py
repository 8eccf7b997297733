"""A whole agent without enough processor time, in a control group of its own."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import HTTP_PORT, Scene, configuration, scene
from tests.support.cgroups import Limited, limited, needs_cpu_control
from tests.support.netns import namespaces, needs_root, run_inside

pytestmark = [needs_root, needs_cpu_control, pytest.mark.root, pytest.mark.timeout(240)]

ATTRIBUTES = {"next_hop": "198.51.100.1"}
MORTAL, MORTAL_PORT = "192.0.2.99/32", 8081


def services(count: int) -> dict[str, Any]:
    """So many, each with an http check as most have it."""
    check = {"type": "http", "port": HTTP_PORT, "interval": "1s", "timeout": "500ms"}
    return {
        f"s{n}": {"prefixes": [f"10.53.{n >> 8}.{n & 255}/32"], "checks": {"page": check}, "attributes": ATTRIBUTES}
        for n in range(count)
    }


def well(status: dict[str, Any], name: str) -> int:
    return int(status["services"][name]["checks"][0]["probes"].get("ok", 0))


def withdrawals(s: Scene, since: int) -> list[str]:
    return [prefix for update in s.peer.updates[since:] for prefix in update.withdrawn]


def play(tmp_path: Path, share: float, values: dict[str, Any], story: Any) -> None:
    async def inside(namespace: str, group: Limited) -> None:
        async with scene(tmp_path, namespace, values) as s:
            try:
                await story(s, group)
            finally:
                group.free()  # its clean stop is none of this

    with namespaces("node") as (namespace,), limited(share) as group:
        run_inside(namespace, lambda: inside(namespace, group), 200)


def test_a_start_without_enough_processor_time_comes_up(tmp_path: Path) -> None:
    """Agent, ExaBGP and pipe share 0.3 of a processor, for 300 services: every one is announced in the end, as none of
    their probes outlasts its own timeout for want of a turn."""

    async def story(s: Scene, group: Limited) -> None:
        s.agent.start()
        assert s.agent.process is not None
        group.take(s.agent.process.pid)
        await s.peer.until(lambda peer: len(peer.table) == 300, 150)
        status = await s.agent.status()
        ends: dict[str, int] = {}
        for service in status["services"].values():
            for outcome, count in service["checks"][0]["probes"].items():
                ends[outcome] = ends.get(outcome, 0) + count
        assert ends["ok"] > 0.9 * sum(ends.values()), ends

    values = configuration(tmp_path, services=services(300), agent={"dead_man": "5s", "stop_within": "20s"})
    play(tmp_path, 0.3, values, story)


def test_a_starved_agent_withdraws_the_dead_and_nobody_else(tmp_path: Path) -> None:
    """The agent alone has 0.08 of a processor, half of what 200 services need: it says so, all that is well stays
    announced, what refuses is withdrawn, and with the processor back nothing is withdrawn either."""

    async def story(s: Scene, group: Limited) -> None:
        mortal = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", MORTAL_PORT)
        s.agent.start()
        await s.peer.until(lambda peer: len(peer.table) == 201, 60)
        assert s.agent.process is not None
        since = len(s.peer.updates)
        group.take(s.agent.process.pid)
        status = await s.agent.until(lambda status: (status["probing"]["starved_age"] or 0.0) > 10.0, 60)
        assert "too little processor time" in status["warnings"]["starved"]
        assert withdrawals(s, since) == []
        mortal.close()
        await s.peer.until(lambda peer: MORTAL not in peer.table, 60)
        group.free()
        before = await s.agent.status()
        await s.agent.until(
            lambda status: all(well(status, name) >= well(before, name) + 3 for name in services(200)), 60
        )
        assert withdrawals(s, since) == [MORTAL]
        assert len(s.peer.table) == 200

    check = {"type": "tcp", "port": MORTAL_PORT, "interval": "1s", "timeout": "500ms"}
    mortal = {"prefixes": [MORTAL], "checks": {"port": check}, "attributes": ATTRIBUTES}
    values = configuration(tmp_path, services={**services(200), "mortal": mortal}, agent={"dead_man": "5s"})
    play(tmp_path, 0.08, values, story)


def test_a_restart_that_takes_longer_than_the_dead_man_changes_nothing_on_the_wire(tmp_path: Path) -> None:
    """The next agent has 0.1 of a processor, and needs many seconds to come up: the one before had told the pipe that
    its departure was planned."""

    async def story(s: Scene, group: Limited) -> None:
        await s.announced()
        since, opened = len(s.peer.updates), len(s.peer.opened_at)
        s.agent.kill(signal.SIGUSR2)
        assert await s.agent.ends() == 0
        left = time.monotonic()
        s.agent.start()
        assert s.agent.process is not None
        group.take(s.agent.process.pid)
        await s.agent.until(lambda status: status["ready"], 60)
        assert time.monotonic() - left > 2.0, "it was no longer than dead_man: nothing was tried"
        assert (s.peer.updates[since:], len(s.peer.opened_at)) == ([], opened)

    async def started(s: Scene, group: Limited) -> None:
        s.agent.start()
        await story(s, group)

    play(tmp_path, 0.1, configuration(tmp_path, agent={"dead_man": "2s", "adopt_for": "60s"}), started)
