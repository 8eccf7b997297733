"""The service of the benchmark, as a process of its own: answers every request with 200."""

from __future__ import annotations

import asyncio


class Http(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")  # type: ignore[attr-defined]
        self._transport.close()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Http, "0.0.0.0", 8080, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
