"""Pages and verbs as tests ask them, and a picture to show."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from anycast_agent.api.server import Server
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.metrics import Shell
from tests.support.world import LEAF1, LEAF2, V4, V6, World, config


def well() -> World:
    world = World()
    world.start(config())
    world.until(lambda w: w.announced(V4) == w.announced(V6) == {LEAF1, LEAF2}, 5)
    return world


def picture(world: World) -> Snapshot:
    assert world.engine is not None
    return world.engine.snapshot(world.now)


@contextlib.asynccontextmanager
async def serving(world: World, **options: Any) -> AsyncIterator[tuple[aiohttp.ClientSession, Server]]:
    server = Server("127.0.0.1", 0, lambda: picture(world), lambda: Shell(7, 0.5, 0.01, 0), **options)
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
            yield client, server
    finally:
        await server.close()


async def said(server: Server, request: bytes) -> bytes:
    """All that is answered to what is no client's request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def run(*words: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "anycast_agent.cli.main", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
