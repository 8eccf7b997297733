"""Faults, each against the real parts: what the router sees, and that it is right again without a person."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import V4, V6, Scene, configuration, play
from tests.support.netns import ip, needs_root

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(180)]
DEAD_MAN, ADOPT_FOR = 2.0, 4.0
SLACK = 1.5
"""Beyond what is promised, on a machine that does other things too. Seconds."""


# --- the agent ----------------------------------------------------------------------------------------------


def test_agent_killed_its_routes_go_by_the_dead_mans_switch(tmp_path: Path) -> None:
    """kill -9, and nobody comes: withdrawn after dead_man; then ExaBGP does not outlive it for ever."""

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill()
        died = time.monotonic()
        gone = await s.withdrawn()
        assert DEAD_MAN - 1.0 < gone - died < DEAD_MAN + 1.0 + SLACK
        speaker = s.agent.exabgp()
        async with asyncio.timeout(30):
            while _alive(speaker):
                await asyncio.sleep(0.1)

    play(tmp_path, story)


def test_agent_killed_and_restarted_nothing_changes_on_the_wire(tmp_path: Path) -> None:
    """kill -9, and a new one within the dead-man's time: not one UPDATE, and it stands behind what it found."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        s.agent.kill()
        s.agent.start()
        await s.agent.until(lambda status: all(_reason(status, p) == "healthy" for p in (V4, V6)))
        await s.agent.until(lambda status: not any(r["adopted"] for r in _routes(status)))
        await asyncio.sleep(0)
        end = time.monotonic() + ADOPT_FOR + 1
        while time.monotonic() < end:  # beyond the adoption clock
            assert len(s.peer.updates) == updates
            await asyncio.sleep(0.1)

    play(tmp_path, story)


def test_agent_frozen_and_thawed(tmp_path: Path) -> None:
    """SIGSTOP: withdrawn after dead_man, the session stays; SIGCONT: announced again."""

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill(signal.SIGSTOP)
        frozen = time.monotonic()
        gone = await s.withdrawn()
        assert gone - frozen < DEAD_MAN + 1.0 + SLACK
        s.agent.kill(signal.SIGCONT)
        await s.announced()
        assert len(s.peer.opened_at) == 1

    play(tmp_path, story)


def test_agent_in_a_crash_loop_does_not_keep_its_routes(tmp_path: Path) -> None:
    """Killed again and again before it has a verdict: gone after adopt_for, although each one beats."""
    slow = configuration(tmp_path, check={"interval": "5s", "fast_interval": "5s", "rise": 3})

    async def story(s: Scene) -> None:
        await s.announced()
        s.agent.kill()
        s.agent.write(slow)
        died = time.monotonic()
        while s.peer.table:
            assert time.monotonic() - died < ADOPT_FOR + 2 * SLACK + 1
            s.agent.start()
            await asyncio.sleep(1.2)
            s.agent.kill()
        assert len(s.peer.opened_at) == 1  # the routes went, not the session

    play(tmp_path, story)


def test_agent_stopped_withdraws_first_and_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM: UPDATE, linger while the service answers, addresses off, exit 0, ExaBGP last."""

    async def story(s: Scene) -> None:
        await s.announced()
        speaker = s.agent.exabgp()
        s.agent.kill(signal.SIGTERM)
        gone = await s.withdrawn()
        assert s.peer.established
        assert await s.agent.ends() == 0
        assert time.monotonic() - gone >= 0.2
        assert not _alive(speaker)
        assert V4.partition("/")[0] not in _addresses(s)

    play(tmp_path, story)


def test_agent_handed_over_on_sigusr2(tmp_path: Path) -> None:
    """The process ends, everything stays; the next one finds ExaBGP by its own file, and can end it."""

    async def story(s: Scene) -> None:
        await s.announced()
        speaker, updates = s.agent.exabgp(), len(s.peer.updates)
        s.agent.kill(signal.SIGUSR2)
        assert await s.agent.ends() == 0
        assert V4.partition("/")[0] in _addresses(s)
        s.agent.start()
        await s.agent.until(lambda status: status["ready"])
        assert s.agent.exabgp() == speaker
        assert len(s.peer.updates) == updates
        s.agent.kill(signal.SIGTERM)
        await s.withdrawn()
        assert await s.agent.ends() == 0
        assert not _alive(speaker)

    play(tmp_path, story)


def test_agent_handed_over_for_longer(tmp_path: Path) -> None:
    """handover --for: the pipe waits beyond dead_man, and no longer than asked."""

    async def story(s: Scene) -> None:
        await s.announced()
        assert (await s.agent.ask(verb="handover", **{"for": 4.0}))["ok"]
        ended = time.monotonic()
        assert await s.agent.ends() == 0
        gone = await s.withdrawn()
        assert 3.0 < gone - ended < 4.0 + 1.0 + SLACK

    play(tmp_path, story)


# --- the speaker --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_exabgp_ended_is_started_again(tmp_path: Path, how: signal.Signals) -> None:
    """The session drops with it; another one has the routes again."""

    async def story(s: Scene) -> None:
        await s.announced()
        os.kill(s.agent.exabgp(), how)
        await s.peer.until(lambda p: len(p.opened_at) == 2, 30)
        await s.announced(30)

    play(tmp_path, story)


@pytest.mark.parametrize("which", ["exabgp", "pipe"])
def test_a_frozen_speaker_is_noticed_shown_and_ended(tmp_path: Path, which: str) -> None:
    """SIGSTOP of ExaBGP, or of the pipe: wedged, restarted, announced again."""

    async def story(s: Scene) -> None:
        await s.announced()
        os.kill(getattr(s.agent, which)(), signal.SIGSTOP)
        await s.agent.until(lambda status: status["speaker"]["restarts"] == 1)
        await s.peer.until(lambda p: len(p.opened_at) == 2, 30)
        await s.announced(30)
        assert "wedged" in s.agent.log()

    play(tmp_path, story)


def test_the_pipe_killed_forgets_nothing(tmp_path: Path) -> None:
    """kill -9 of the pipe, when nothing is on its way: respawned, and nothing changes on the wire."""

    async def story(s: Scene) -> None:
        await s.announced()
        await s.agent.until(lambda status: all(r["sent"] for r in _routes(status)))
        routes = set(s.peer.table)
        os.kill(s.agent.pipe(), signal.SIGKILL)
        await s.agent.until(lambda status: "connection to the pipe broke" in s.agent.log())
        await s.agent.until(lambda status: status["speaker"]["state"] == "synced")
        await s.agent.until(lambda status: not any(r["adopted"] for r in _routes(status)))
        await s.peer.has(*routes)
        assert not any(u.withdrawn for u in s.peer.updates)

    play(tmp_path, story)


def test_router_restarted_has_the_routes_again(tmp_path: Path) -> None:
    """Session down is shown, and never as sent; then both are back."""

    async def story(s: Scene) -> None:
        await s.announced()
        await s.peer.close()
        status = await s.agent.until(lambda status: status["neighbors"][0]["session"] == "down")
        assert {r["sent"] for r in _routes(status)} == {False}
        await s.peer.listen()
        await s.announced(30)
        await s.agent.until(lambda status: {r["sent"] for r in _routes(status)} == {True})

    play(tmp_path, story)


# --- the node -----------------------------------------------------------------------------------------------


def test_an_address_deleted_by_hand_is_put_back(tmp_path: Path) -> None:
    """At once, counted, and nothing is withdrawn."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "del", V6, "dev", "lo")
        await s.agent.until(lambda status: _prefix(status, V6)["address"]["repairs"] == 1)
        await s.agent.until(lambda status: _prefix(status, V6)["address"]["there"])
        assert len(s.peer.updates) == updates

    play(tmp_path, story)


def test_with_verify_a_missing_address_withdraws_at_once(tmp_path: Path) -> None:
    """Someone else manages the addresses: one that goes takes its route with it, the other stays."""
    values = configuration(tmp_path, node={"addresses": "verify"})

    async def story(s: Scene) -> None:
        for prefix in (V4, V6):
            await asyncio.to_thread(ip, "-n", s.namespace, "addr", "add", prefix, "dev", "lo")
        await s.announced()
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "del", V4, "dev", "lo")
        await s.peer.has(V6)
        assert (await s.agent.why(V4))["reason"] == "address_missing"
        await asyncio.to_thread(ip, "-n", s.namespace, "addr", "add", V4, "dev", "lo")
        await s.announced()

    play(tmp_path, story, values)


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
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", run], check=True)

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
        clock.write_text(f"{days * 86400:+d}\n")
        await s.agent.until(lambda status: status["services"]["web"]["checks"][0]["probes"]["ok"] > before + 20)
        await s.announced(40)
        assert "do not announce" not in s.agent.log().partition("agent: running")[2]

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


def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP and reload: refused with file, line and column; shown; the good one goes on; mended, it is taken."""

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        good = s.agent.config.read_text()
        s.agent.config.write_text(good.replace("local_as", "locla_as"))
        answer = await s.agent.ask(verb="reload")
        assert not answer["ok"]
        assert any("unknown key 'locla_as' (did you mean 'local_as'?)" in line for line in answer["lines"])
        s.agent.kill(signal.SIGHUP)
        await s.agent.until(lambda status: status["configuration"]["reloads_failed"] == 2)
        assert (await s.agent.status())["configuration"]["errors"]
        s.agent.config.write_text(good)
        assert (await s.agent.ask(verb="reload"))["ok"]
        assert not (await s.agent.status())["configuration"]["errors"]
        assert len(s.peer.updates) == updates

    play(tmp_path, story)


def test_a_reload_changes_only_what_differs(tmp_path: Path) -> None:
    """A second service comes, the first one's routes, checks and session do not notice; then it goes again."""
    third = "192.0.2.81/32"

    async def story(s: Scene) -> None:
        await s.announced()
        updates = len(s.peer.updates)
        probes = (await s.agent.status())["services"]["web"]["checks"][0]["probes"]["ok"]
        values = configuration(tmp_path)
        values["services"]["two"] = {**values["services"]["web"], "prefixes": [third]}
        s.agent.write(values)
        assert (await s.agent.ask(verb="reload"))["ok"]
        await s.peer.has(V4, V6, third)
        assert [u.announced for u in s.peer.updates[updates:]] == [(third,)]
        assert (await s.agent.status())["services"]["web"]["checks"][0]["probes"]["ok"] >= probes
        s.agent.write(configuration(tmp_path))
        assert (await s.agent.ask(verb="reload"))["ok"]
        await s.peer.has(V4, V6)
        assert len(s.peer.opened_at) == 1
        await s.agent.until(lambda _: third.partition("/")[0] not in _addresses(s))

    play(tmp_path, story)


def test_five_hundred_services_at_once(tmp_path: Path) -> None:
    """All announced; all fail and are withdrawn; all come back; one that fails alone touches no other."""
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


def _prefix(status: dict[str, Any], prefix: str) -> dict[str, Any]:
    return next(p for s in status["services"].values() for p in s["prefixes"] if p["prefix"] == prefix)


def _reason(status: dict[str, Any], prefix: str) -> str:
    return str(_prefix(status, prefix)["reason"])


def _routes(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for s in status["services"].values() for p in s["prefixes"] for r in p["routes"]]


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _addresses(s: Scene) -> str:
    done = subprocess.run(["ip", "-n", s.namespace, "-o", "addr"], capture_output=True, text=True, check=True)
    return done.stdout
