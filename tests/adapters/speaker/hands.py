"""What tests of the speaker reach for: its processes, and a connection to the pipe that says what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes
from anycast_agent.speaker.pipe import codec
from tests.adapters.speaker.harness import Agent
from tests.support.agent import exabgp_of

HEAD = codec.head(Attributes())


class Raw:
    """A connection to the pipe that says what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, **fields: Any) -> None:
        self.line(json.dumps(fields).encode())

    def line(self, line: bytes) -> None:
        self.writer.write(line + b"\n")

    async def answer(self, op: str = "done") -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                line = await self.reader.readline()
                assert line, "the pipe has disconnected us"
                message = json.loads(line)
                if message["op"] == op:
                    return dict(message)

    async def refused(self, **fields: Any) -> str:
        self.send(id=7, **fields)
        answer = await self.answer()
        assert answer["error"], answer
        return str(answer["error"])


@contextlib.asynccontextmanager
async def raw(run_dir: Path, hello: bool = True) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_unix_connection(str(run_dir / "speaker.sock"), limit=16 << 20)
    connection = Raw(reader, writer)
    if hello:
        connection.send(op="hello", versions=[1], agent="raw")
        await connection.answer("synced")
    try:
        yield connection
    finally:
        writer.transport.abort()


def exabgp(agent: Agent) -> int:
    return exabgp_of(agent.run_dir)


def pipe(agent: Agent) -> int:
    connected = [e for e in agent.posted if isinstance(e, ev.SpeakerConnected)]
    return int(connected[-1].pipe.split()[1].rstrip(","))


async def clocks_pass(run_dir: Path, seconds: float) -> None:
    """So much time, and then the pipe has looked at its clocks: what has not happened by now will not."""
    await asyncio.sleep(seconds)
    async with raw(run_dir, hello=False) as stranger:
        for _ in range(2):  # a whole turn of its loop lies between two answers
            await stranger.refused(op="nothing")
