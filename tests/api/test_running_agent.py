"""What is asked of an agent as its users run it: a process of its own, with its ExaBGP, and no router."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.surfaces import run
from tests.support.agent import V4, V6, Agent, configuration, fill

pytestmark = pytest.mark.timeout(90)


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    """Nothing of it touches the machine: no address is added, and nobody listens where the neighbor is."""
    leaf = {"address": "127.0.0.2", "local_address": "127.0.0.1", "remote_as": 65011, "families": ["ipv4", "ipv6"]}
    found = configuration(
        folder,
        node={"addresses": "unmanaged"},
        agent={"api": {"listen": "127.0.0.1:0"}, "stop_within": "1s"},
        neighbors={"leaf": {**leaf, "port": 1}},
        check={"port": 1},
    )
    found["services"]["web"].update(changes)
    return found


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    running = Agent(tmp_path)
    running.write(values(tmp_path))
    running.start()
    try:
        await running.until(lambda s: s["ready"], 30)
        yield running
    finally:
        await running.close()


async def test_plan_knows_what_is_in_force(agent: Agent) -> None:
    """The file may be edited, broken, or refused: what the agent has is what it last took. Nothing is withdrawn by
    taking away what is not announced."""
    where = ("--socket", str(agent.folder / "control.sock"))
    plan = ("plan", str(agent.config), *where)
    assert (await run(*plan))[:2] == (0, "nothing changes\n")
    agent.write(values(agent.folder, prefixes=[V4]))
    code, out, err = await run(*plan)
    assert (code, err) == (0, "compared with the running agent\n")
    assert f"route {V6} at leaf: no longer configured" in out
    agent.config.write_text("services: nonsense\n")
    assert (await run("reload", *where))[0] == 1
    agent.write(values(agent.folder, prefixes=[V4]))
    assert f"route {V6} at leaf: no longer configured" in (await run(*plan))[1]
    assert (await run("reload", *where))[0] == 0
    assert (await run(*plan))[:2] == (0, "nothing changes\n")
    agent.write(values(agent.folder))
    _, out, _ = await run(*plan, "--output", "json")
    assert {"service", "route"} <= {change["what"] for change in json.loads(out)["changes"]}


async def test_systemd_is_told_where_it_stands(tmp_path: Path) -> None:
    """The line of ``systemctl status`` is that of now: what it waits for, then that it runs, then what was refused."""
    running = Agent(tmp_path, environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    running.write(values(tmp_path))
    told: list[str] = []

    async def until(*lines: str) -> None:
        async with asyncio.timeout(30):
            while not all(any(line in said for said in told) for line in lines):
                told.append((await asyncio.get_running_loop().sock_recv(server, 4096)).decode())

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as server:
        server.bind(str(tmp_path / "notify"))
        running.start()
        try:
            await until("STATUS=starting; waits for ", "READY=1", "STATUS=running")
            assert told[-1].endswith("STATUS=running")
            running.config.write_text("services: nonsense\n")
            running.kill(signal.SIGHUP)
            await until("STATUS=running; the last reload was refused: ")
            running.write(values(tmp_path))
            told.clear()
            running.kill(signal.SIGHUP)
            await until("STATUS=running")
            assert told == ["STATUS=running"]
            running.kill(signal.SIGTERM)
            await until("STOPPING=1")
        finally:
            await running.close()


@pytest.mark.parametrize("gone", [True, False])
async def test_a_systemd_that_does_not_listen_ends_nobody(tmp_path: Path, gone: bool) -> None:
    """Nothing is where it should listen, or nothing is read: the agent says so and works; later, it is told all."""
    where = tmp_path / "notify"
    running = Agent(tmp_path, environment={"NOTIFY_SOCKET": str(where)})
    running.write(values(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as server:
        if not gone:
            server.bind(str(where))
            _fill(where)
        running.start()
        try:
            await running.until(lambda s: s["ready"], 30)
            assert running.log().count("systemd cannot be told (") == 1
            if gone:
                server.bind(str(where))
            async with asyncio.timeout(30):
                while b"READY=1" not in await asyncio.get_running_loop().sock_recv(server, 4096):
                    await asyncio.sleep(0)
            running.kill(signal.SIGTERM)
            assert await running.ends() == 0
        finally:
            await running.close()


def _fill(where: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as client,
        contextlib.suppress(BlockingIOError),
    ):
        while True:
            client.sendto(b"X=1", str(where))


async def test_a_hand_over_for_too_long_is_refused_before_anything_is_done(agent: Agent) -> None:
    """The speaker would not wait that long: the agent would have ended, and its routes with it."""
    code, out, err = await run("handover", "--for", "2h", "--socket", str(agent.folder / "control.sock"))
    assert (code, out) == (1, "")
    assert err == "the speaker keeps the routes for 3600 s at the most, not for 7200 s; nothing was done\n"
    assert (await agent.status())["life"] == "running"


async def test_without_standard_error_it_works(tmp_path: Path) -> None:
    """Closed by who started it."""
    values_file = tmp_path / "agent.yaml"
    values_file.write_text(json.dumps(values(tmp_path)))
    words = [sys.executable, "-m", "anycast_agent.cli.main", "run", "--config", str(values_file)]
    running = Agent(tmp_path)
    running.process = subprocess.Popen(["sh", "-c", 'exec "$@" 2>&-', "sh", *words], stdin=subprocess.DEVNULL)
    try:
        await running.until(lambda s: s["life"] != "starting" or s["warnings"], 30)
        assert (await running.ask(verb="reload"))["data"] == {}
        assert running.process.poll() is None
    finally:
        await running.close()


async def test_who_reads_the_log_and_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    """A terminal after Ctrl-S, or a logger that hangs: the agent works on, and says later that messages were lost."""
    reader, writer = os.pipe()
    running = Agent(tmp_path, stderr=writer)
    running.write(values(tmp_path))
    running.start()
    try:
        await running.until(lambda s: s["ready"], 30)
        fill(writer)
        assert (await running.ask(verb="reload"))["ok"]
        assert (await running.status())["configuration"]["reloads_ok"] == 1
        with open(reader, "rb", buffering=0) as log:
            os.set_blocking(reader, False)
            while log.read(1 << 16):
                pass
            assert (await running.ask(verb="reload"))["ok"]
            said = log.read(1 << 16).decode()
            assert " messages before this one were lost: nobody read them\n" in said
            assert "configuration: reloaded" in said
    finally:
        os.close(writer)
        await running.close()


async def test_a_port_that_is_taken_keeps_the_pages_away_and_nothing_else(tmp_path: Path) -> None:
    """The agent runs, says so, and serves the pages once the port is free."""
    stranger = socket.create_server(("127.0.0.1", 0))
    port = stranger.getsockname()[1]
    running = Agent(tmp_path)
    found = values(tmp_path)
    found["agent"]["api"] = {"listen": f"127.0.0.1:{port}"}
    running.write(found)
    running.start()
    try:
        await running.until(lambda s: s["ready"] and "in use by another" in str(s["warnings"]), 30)
        stranger.close()
        await running.until(lambda s: "in use by another" not in str(s["warnings"]), 30)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
    finally:
        stranger.close()
        await running.close()
