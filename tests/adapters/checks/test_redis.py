"""redis checks: a real server, its replica, and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.redis import RedisParams
from tests.adapters.checks.servers import Handler, closed_port, drip, garbage, hang, reset, tcp_server
from tests.support.probes import descriptors, prober
from tests.support.until import until

SERVER = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(SERVER is None, reason="needs redis-server: apt-get install redis-server")


async def command(port: int, *words: str) -> bytes:
    """What a server answers, as far as it comes at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write((" ".join(words) + "\r\n").encode())
        return await asyncio.wait_for(reader.read(4096), 20)
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def redis(folder: Path, *options: str) -> AsyncIterator[int]:
    """A server of its own on loopback, without files; it answers."""
    assert SERVER is not None
    port = await closed_port()
    words = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "no",
        *options,
    ]
    process = await asyncio.create_subprocess_exec(
        SERVER, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )

    async def answers() -> bool:
        with contextlib.suppress(OSError):
            return bool(await command(port, "PING"))
        return False

    try:
        await until(answers, lambda: "redis-server does not answer")
        yield port
    finally:
        process.kill()
        await process.wait()


def at(port: int, **more: Any) -> RedisParams:
    return RedisParams(**{"target": "127.0.0.1", "port": port, **more})


@needs_redis
async def test_a_primary_and_its_replica(tmp_path: Path) -> None:
    """Each is what it is; a replica tells since when it has heard from its primary, and loses its link with it."""
    before = descriptors()
    async with (
        prober() as ask,
        redis(tmp_path) as primary,
        redis(tmp_path, "--replicaof", "127.0.0.1", str(primary)) as replica,
    ):

        async def linked() -> bool:
            return b"master_link_status:up" in await command(replica, "INFO", "replication")

        await until(linked, lambda: "the replica is not linked")
        table = [
            (primary, {}, "ok", "PONG"),
            (primary, {"role": "primary"}, "ok", "role primary"),
            (primary, {"role": "replica"}, "role", "role primary, not replica"),
            (primary, {"lag_most": 5}, "ok", "role primary"),
            (replica, {}, "ok", "PONG"),
            (replica, {"role": "replica", "lag_most": 60}, "ok", "role replica, link up"),
            (replica, {"role": "primary"}, "role", "role replica, not primary"),
        ]
        for port, params, outcome, detail in table:
            end = await ask(at(port, **params))
            assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        (lag,) = (await ask(at(replica, role="replica"))).outcome.numbers
        assert (lag.measure.name, lag.measure.unit, 0 <= lag.value <= 60) == ("lag", "seconds", True)

        # The replica has the primary's address; with nobody behind it, its link is down.
        await command(replica, "REPLICAOF", "127.0.0.1", str(await closed_port()))
        end = await ask(at(replica, role="replica"))
        assert (end.outcome.code, "link down" in end.outcome.detail) == ("link_down", True), end
        assert (await ask(at(replica))).outcome.code == "ok"
    assert descriptors() <= before + 1


@needs_redis
async def test_a_server_that_asks_for_a_password(tmp_path: Path) -> None:
    """It is read from its file for each probe. A file that cannot be read is not the server's fault."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    async with redis(tmp_path, "--requirepass", "hunter2") as port, prober() as ask:
        params = at(port, password_file=str(secret))
        assert (await ask(params)).outcome.code == "ok"
        assert (await ask(at(port, username="default", password_file=str(secret)))).outcome.code == "ok"
        without = await ask(at(port))
        assert (without.outcome.code, without.outcome.detail[:6]) == ("denied", "NOAUTH")
        secret.write_text("wrong")
        wrong = await ask(params)
        assert (wrong.outcome.code, "wrong" in wrong.outcome.detail) == ("denied", False)
        secret.unlink()
        assert (await ask(params)).outcome.code == "not_run"


@needs_redis
async def test_a_server_that_is_kept_by_a_script_is_doubtful(tmp_path: Path) -> None:
    """BUSY, as soon as it says so; good again once the script is killed."""
    async with redis(tmp_path, "--busy-reply-threshold", "50") as port, prober() as ask:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'EVAL "while true do end" 0\r\n')
        await writer.drain()

        async def says(code: str) -> bool:
            return (await ask(at(port))).outcome.code == code

        await until(lambda: says("busy"), "it is not busy")
        await command(port, "SCRIPT", "KILL")  # the script ends at its next look, not at once
        await until(lambda: says("ok"), "it is still busy")
        writer.close()


def says(*replies: bytes) -> Handler:
    """A server that answers with these in turn, whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            await reader.read(4096)
            writer.write(reply)
            await writer.drain()
        await reader.read()

    return serve


@pytest.mark.parametrize(
    ("handler", "outcome", "detail"),
    [
        (hang, "timeout", ""),
        (drip, "protocol", "not a reply of Redis"),
        (garbage, "protocol", "not a reply of Redis"),
        (reset, "reset", ""),
        (says(b"-LOADING Redis is loading the dataset in memory\r\n"), "loading", "LOADING"),
        (says(b"-ERR boo\x1b[31m\r\n"), "error", "ERR boo"),
        (says(b"+WHAT\r\n"), "protocol", "PING: WHAT, not PONG"),
        (says(b"$4\r\nPO"), "timeout", ""),
        (says(b"$999999999\r\n"), "protocol", "not a reply of Redis"),
        (says(b"x" * 200_000), "protocol", ""),
        (says(b"+PONG\r\n", b"$4\r\nrole\r\n"), "protocol", "no role"),
        (says(b"+PONG\r\n", b"$10\r\nrole:slave\r\n"), "link_down", "link unknown"),
        (
            says(b"+PONG\r\n", b"$33\r\nrole:slave\r\nmaster_link_status:up\r\n"),
            "lag",
            "unknown ago",
        ),
    ],
)
async def test_servers_that_misbehave(handler: Handler, outcome: str, detail: str) -> None:
    """One probe, and no more: silence, another protocol, half a reply, a large one, an error that paints terminals."""
    async with tcp_server(handler) as port, prober() as ask:
        end = await ask(at(port, role=None, lag_most=5), timeout=0.5)
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        assert end.outcome.detail.isprintable()


async def test_a_closed_port() -> None:
    """Refused, at once."""
    async with prober() as ask:
        assert (await ask(at(await closed_port()))).outcome.code == "refused"


@pytest.mark.parametrize(
    "values", [{"username": "u"}, {"password_file": "secret"}, {"role": "primary", "lag_most": 1}, {"role": "master"}]
)
def test_parameters_are_checked_when_they_are_read(values: dict[str, Any]) -> None:
    """A password stands in a file; a primary has no lag."""
    with pytest.raises(ValidationError):
        RedisParams(**values)
