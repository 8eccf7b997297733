"""The agent's connection to the pipe: requests out, each answered once, also when the connection breaks under it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from anycast_agent.speaker import wire

MAX_LINE = 8 << 20
MAX_UNREAD = 8 << 20
"""Limit of unread bytes at which a frozen pipe is disconnected."""

NOT_CONNECTED = "the speaker is not connected"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Ended = Callable[[wire.Done], None]


class Connection:
    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, Ended] = {}
        self._asked = 0
        self.agreed = asyncio.Event()
        """The pipe has welcomed us."""

    def begin(self, writer: asyncio.StreamWriter, hello: wire.Hello) -> None:
        """A connection was made: say hello on it."""
        self._writer = writer
        self.send(hello)

    def send(self, message: wire.FromAgent) -> bool:
        """Returns whether there was anybody to send to."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(wire.write(message))
        if self._writer.transport.get_write_buffer_size() > MAX_UNREAD:
            self._writer.transport.abort()  # who reads sees the end of it
        return True

    def ask(self, make: Callable[[int], wire.Request], ended: Ended) -> None:
        """Send the request that ``make`` makes by its number; ``ended`` is called once, with the answer or an error."""
        self._asked += 1
        number = self._asked
        self._waiting[number] = ended
        if not self.agreed.is_set() or not self.send(make(number)):
            self._waiting.pop(number)(wire.Done(number, NOT_CONNECTED))

    async def answer(self, make: Callable[[int], wire.Request]) -> wire.Done:
        """The same, to be waited for."""
        future: asyncio.Future[wire.Done] = asyncio.get_running_loop().create_future()
        self.ask(make, lambda done: None if future.done() else future.set_result(done))
        return await future

    async def messages(self, reader: asyncio.StreamReader) -> AsyncIterator[wire.ToAgent | wire.Unknown]:
        """The pipe's messages until the connection ends, except the answers that a caller waits for.

        Raises MalformedError.
        """
        while line := await reader.readline():
            message = wire.read_to_agent(line)
            if isinstance(message, wire.Welcome):
                self.agreed.set()
            ended = self._waiting.pop(message.id or 0, None) if isinstance(message, wire.Done) else None
            if ended is not None and isinstance(message, wire.Done):
                ended(message)
            else:
                yield message

    def end(self, why: str) -> bool:
        """Answer every waiting request with ``why``. Returns True if the pipe had welcomed us."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        was, waiting, self._waiting = self.agreed.is_set(), self._waiting, {}
        self.agreed.clear()
        for number, ended in waiting.items():
            ended(wire.Done(number, why))
        return was

    async def drain(self) -> None:
        """Send what is buffered, for a bounded time."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await asyncio.wait_for(self._writer.drain(), 1.0)
