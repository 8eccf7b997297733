"""Servers of DNS and HTTP that answer as their address says. Standard library only; run by path in a namespace.

All of 127.0.0.0/8 is this host: 127.0.0.N is the way to answer of the Nth in ``WAYS``; ``::1`` answers well.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import Any

WAYS = (
    "well", "silent", "late", "closed", "slow", "wrong", "empty", "garbage", "short", "reset", "endless", "nobody",
)  # fmt: skip
LATE = 4.0
SLOW = 0.4


def address(way: str) -> str:
    return f"127.0.0.{WAYS.index(way) + 1}"


def txt(query: bytes, *, code: int = 0, name: str = "a", answers: int = 1) -> bytes:
    head = query[:2] + struct.pack("!HHHHH", 0x8400 | code, 1, answers, 0, 0)
    text = bytes([len(name)]) + name.encode()
    return head + query[12:] + (b"\xc0\x0c" + struct.pack("!HHIH", 16, 1, 0, len(text)) + text) * answers


class Dns(asyncio.DatagramProtocol):
    def __init__(self, way: str) -> None:
        self.way = way

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, query: bytes, client: tuple[str, int]) -> None:
        answer = {
            "wrong": txt(query, code=3, answers=0), "empty": txt(query, answers=0), "nobody": txt(query, name=""),
            "garbage": b"\xff" * 7, "short": txt(query)[:-2][: 12 + len(query) - 10], "silent": b"", "reset": b"",
            "endless": b"",
        }.get(self.way, txt(query))  # fmt: skip
        if answer:
            wait = {"late": LATE, "slow": SLOW}.get(self.way, 0.0)
            asyncio.get_running_loop().call_later(wait, self.transport.sendto, answer, client)


async def http(way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\na\n"
    try:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep({"silent": 60.0, "late": LATE, "slow": SLOW}.get(way, 0.0))
        if way == "reset":
            writer.write(good[:-1])
            await writer.drain()
            linger = struct.pack("ii", 1, 0)  # close says RST
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return
        writer.write(
            {
                "wrong": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\na\n",
                "empty": b"",
                "garbage": b"\xff\x00" * 50,
                "short": good.replace(b"Length: 2", b"Length: 200"),
                "nobody": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                "endless": b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * (1 << 20),
            }.get(way, good)
        )
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass  # the client has gone
    finally:
        writer.close()


async def main(ways: list[str]) -> None:
    loop = asyncio.get_running_loop()
    places = [(address(way), way) for way in ways if way != "closed"] + [("::1", "well")]
    for host, way in places:
        await loop.create_datagram_endpoint(lambda way=way: Dns(way), (host, 53))  # type: ignore[misc]
        await asyncio.start_server(lambda r, w, way=way: http(way, r, w), host, 80)  # type: ignore[misc]
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or list(WAYS)))
