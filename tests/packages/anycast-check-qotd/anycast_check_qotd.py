"""qotd: a server of the Quote of the Day protocol (RFC 865) sends a quote to whoever connects, and closes."""

from __future__ import annotations

import asyncio
import socket

from pydantic import Field

from anycast_agent.checks.fields import IpText, Port
from anycast_agent.checks.kind import Kind, Params, Target, stateless
from anycast_agent.checks.outcomes import BAD_ANSWER, CONNECTING, OK_CODE, Code, Finding, clean
from anycast_agent.checks.sockets import family_of, from_error, open_socket
from anycast_agent.core.outcome import Evidence, Measure

MAX_QUOTE = 512
"""RFC 865: a quote is shorter. So much is read, however much comes."""

SILENT = Code("silent", Evidence.DOUBTFUL, "The connection was closed without a quote.")
CHARACTERS = Measure("characters", "", "The length of the quote.")


class QotdParams(Params):
    """Parameters of a qotd check."""

    port: Port = 17
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    contains: str = Field("", max_length=MAX_QUOTE, description="Text that the quote must hold.")


async def probe(params: QotdParams, target: Target) -> Finding:
    address = params.target or target.address or ""
    try:
        with open_socket(target, None, family_of(address), socket.SOCK_STREAM) as sock:
            await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
            quote = (await _read(sock)).decode("ascii", "replace")
    except OSError as error:
        return from_error(error)
    if not quote:
        return Finding(SILENT, "no quote")
    if params.contains not in quote:
        return Finding(BAD_ANSWER, f"quote {clean(quote[:60])}; without {params.contains}")
    return Finding(OK_CODE, clean(quote[:60]), (CHARACTERS.of(len(quote)),))


async def _read(sock: socket.socket) -> bytes:
    said = b""
    while len(said) < MAX_QUOTE:
        data = await asyncio.get_running_loop().sock_recv(sock, MAX_QUOTE - len(said))
        if not data:
            break
        said += data
    return said


KIND = Kind(
    name="qotd",
    params=QotdParams,
    own_target=lambda params: params.target is not None,
    outcomes=(*CONNECTING, BAD_ANSWER, SILENT),
    numbers=(CHARACTERS,),
    open=stateless(probe),
    aliases=("quote", "quoteoftheday"),
)
