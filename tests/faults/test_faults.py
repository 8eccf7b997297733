"""Faults, each against the real parts: what the router sees, and that it is right again without a person.

Those that a promise is about stand with it, in ``tests/promises``: the agent killed, frozen, in a crash loop, stopped,
handed over; ExaBGP and the pipe killed and frozen; the router restarted; the address deleted; a broken file.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.agent import V4, V6, Scene, configuration, play
from tests.support.netns import needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(180)]


# --- the node -----------------------------------------------------------------------------------------------


def test_descriptors_used_up_do_not_crash_it(tmp_path: Path) -> None:
    """Probes cannot be made: that says nothing of the service, until the verdict is stale; then all is well again."""

    async def story(s: Scene) -> None:
        await s.announced()
        assert s.agent.process is not None
        pid = s.agent.process.pid
        limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - 2, limit[1]))
        await s.withdrawn(30)
        assert s.agent.process.poll() is None
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        await s.announced(30)
        assert "health_stale" in s.agent.log()

    play(tmp_path, story)


def test_disk_full_changes_nothing_and_says_so(tmp_path: Path) -> None:
    """ExaBGP's configuration cannot be written: the reload says so, the routes stay, withdrawals still work."""
    run = tmp_path / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "tmpfs", run], check=True)

    async def story(s: Scene) -> None:
        await s.announced()
        full = os.open(run / "full", os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(full, b"x" * 4096):
                pass
        os.close(full)
        values = configuration(tmp_path)
        values["bgp"]["neighbors"]["other"] = {**values["bgp"]["neighbors"]["leaf"], "address": "127.0.0.3"}
        s.agent.write(values)
        answer = await s.agent.ask(verb="reload")
        assert not answer["ok"]
        assert "No space left" in answer["lines"][0]
        assert set(s.peer.table) == {V4, V6}
        await s.service.become("failing")
        await s.withdrawn()
        (run / "full").unlink()

    try:
        play(tmp_path, story)
    finally:
        subprocess.run(["umount", "-l", run], check=True)


@pytest.mark.parametrize("days", [1, -1])
def test_the_wall_clock_set_by_a_day_changes_no_decision(tmp_path: Path, days: int) -> None:
    """The agent goes by the monotonic clock alone: nothing is withdrawn, nothing expires, checks go on."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        pytest.skip("needs libfaketime (package faketime)")

    async def story(s: Scene) -> None:
        await s.announced()
        before = (await s.agent.status())["services"]["web"]["checks"][0]["probes"]["ok"]
        told = len(s.agent.log())
        clock.write_text(f"{days * 86400:+d}\n")
        await s.agent.until(lambda status: status["services"]["web"]["checks"][0]["probes"]["ok"] > before + 20)
        await s.announced(40)
        assert "do not announce" not in s.agent.log()[told:]

    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }

    async def with_clock(s: Scene) -> None:
        s.agent.kill(signal.SIGTERM)
        await s.agent.ends()
        s.agent.environment = environment
        s.agent.start()
        await story(s)

    play(tmp_path, with_clock)


# --- the service --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "outcome"),
    [
        ("gone", "refused"),
        ("failing", "bad_status"),
        ("hanging", "timeout"),
        ("dripping", "timeout"),
        ("garbage", "protocol"),
        ("huge", "bad_body"),
    ],
)
def test_a_service_that_fails_is_withdrawn_and_comes_back(tmp_path: Path, how: str, outcome: str) -> None:
    """Killed, answering 500, hanging, dripping, garbage, 10 MB: withdrawn for that reason, and announced when well."""

    async def story(s: Scene) -> None:
        await s.announced()
        await s.service.become(how)
        await s.withdrawn()
        why = await s.agent.why(V4)
        assert (why["reason"], why["checks"][0]["outcome"]) == ("health_down", outcome)
        await s.service.become("well")
        await s.announced()

    play(tmp_path, story)


# --- configuration ------------------------------------------------------------------------------------------


def test_five_hundred_services_at_once(tmp_path: Path) -> None:
    """All announced; all fail and are withdrawn; all come back. That one alone touches no other is promise 9."""
    values = configuration(tmp_path)
    web = values["services"]["web"]
    prefixes = [f"198.18.{n // 250}.{n % 250 + 1}/32" for n in range(500)]
    values["services"] = {
        f"s{n}": {**web, "prefixes": [prefix], "checks": {"page": {**web["checks"]["page"], "interval": "1s"}}}
        for n, prefix in enumerate(prefixes)
    }

    async def story(s: Scene) -> None:
        await s.peer.has(*prefixes, deadline=60)
        await s.service.become("failing")
        await s.withdrawn(60)
        await s.service.become("well")
        await s.peer.has(*prefixes, deadline=60)

    play(tmp_path, story, values, deadline=170)


# --- asking -------------------------------------------------------------------------------------------------
