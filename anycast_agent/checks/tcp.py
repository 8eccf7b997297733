"""tcp: a connection is accepted, and, where that is asked for, the right bytes come back."""

from __future__ import annotations

import asyncio
import socket

from pydantic import Field

from anycast_agent.checks.fields import IpText, Port, RegexOfBytes
from anycast_agent.checks.kind import Kind, Params, Target
from anycast_agent.checks.outcomes import BAD_ANSWER, CONNECTING, OK, Finding, clean
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.sockets import family_of, from_error, open_socket

MAX_ANSWER = 64 * 1024


class TcpParams(Params):
    """Parameters of a tcp check."""

    port: Port
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    send: str | None = Field(
        None, max_length=4096, description="Sent once connected; \\r\\n and such as YAML has them."
    )
    expect: RegexOfBytes | None = Field(None, description="A regular expression that the answer must match.")


class TcpAsker:
    def __init__(self, shared: Shared) -> None:
        self._matcher = shared.matcher

    async def probe(self, params: TcpParams, target: Target) -> Finding:
        """Connect; send; read until the answer matches, or ends."""
        address = params.target or target.address or ""
        loop = asyncio.get_running_loop()
        try:
            with open_socket(target, params.source, family_of(address), socket.SOCK_STREAM) as sock:
                await loop.sock_connect(sock, (address, params.port))
                if params.send is not None:
                    await loop.sock_sendall(sock, params.send.encode())
                return OK if params.expect is None else await self._expect(sock, params.expect, target)
        except OSError as error:
            return from_error(error)

    async def _expect(self, sock: socket.socket, pattern: str, target: Target) -> Finding:
        loop = asyncio.get_running_loop()
        answer = b""
        while len(answer) < MAX_ANSWER:
            data = await loop.sock_recv(sock, 4096)
            answer += data
            if await self._matcher.found(pattern, answer, target.service, as_text=False):
                return OK
            if not data:
                break
        said = clean(answer[:100].decode("utf-8", "replace")) or "nothing"
        return Finding(BAD_ANSWER, f"does not match {pattern!r}: {said}")

    async def close(self) -> None:
        """Nothing is kept open."""


KIND = Kind(
    name="tcp",
    params=TcpParams,
    own_target=lambda params: params.target is not None,
    outcomes=(*CONNECTING, BAD_ANSWER),
    open=TcpAsker,
    aliases=("tcpcheck", "connect", "socket", "tcpsocket", "port"),
)
