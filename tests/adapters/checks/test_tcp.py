"""tcp checks: a connection, and the bytes that must come back."""

from __future__ import annotations

import asyncio
from typing import Any

from anycast_agent.checks.tcp import TcpParams
from tests.adapters.checks.servers import closed_port, hang, tcp_server
from tests.support.probes import prober


async def test_tcp_outcomes() -> None:
    """Accepted, refused, the right answer, the wrong one, none."""

    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx ready\r\n")
        await writer.drain()
        if await reader.readline() == b"NOOP\r\n":
            writer.write(b"250 ok\r\n")
        await writer.drain()

    async with tcp_server(banner) as port, tcp_server(hang) as mute, prober() as ask:
        base: dict[str, Any] = {"target": "127.0.0.1", "port": port}
        assert (await ask(TcpParams(**base))).outcome.code == "ok"
        assert (await ask(TcpParams(**base, send="NOOP\r\n", expect="^250 "))).outcome.code == "bad_answer"
        assert (await ask(TcpParams(**base, send="NOOP\r\n", expect="250 ok"))).outcome.code == "ok"
        assert (await ask(TcpParams(target="127.0.0.1", port=mute, expect="x"), timeout=0.2)).outcome.code == "timeout"
        closed = await ask(TcpParams(target="127.0.0.1", port=await closed_port()))
        assert (closed.outcome.code, closed.outcome.detail) == ("refused", "connection refused")
