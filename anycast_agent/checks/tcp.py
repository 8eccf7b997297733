"""tcp: a connection is accepted, and, where that is asked for, the right bytes come back."""

from __future__ import annotations

import asyncio
import re
import socket
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field

from anycast_agent.checks.base import Params, Target, clean, family_of, from_error, open_socket
from anycast_agent.checks.matching import Matcher
from anycast_agent.checks.outcomes import BAD_ANSWER, CONNECTING, OK, Finding

OUTCOMES = (*CONNECTING, BAD_ANSWER)
ANSWER_MOST = 64 * 1024


def an_address(text: str) -> str:
    """Canonical text of an IP address. Raises ValueError."""
    return str(ip_address(text))


def a_regex(text: str) -> str:
    """Raises ValueError where it does not compile."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def a_regex_of_bytes(text: str) -> str:
    """Some that are good for text are not for bytes, \\u0031 for one."""
    try:
        re.compile(a_regex(text).encode())
    except re.error as error:
        raise ValueError(f"not a regular expression over bytes: {error}") from error
    return text


IpText = Annotated[str, AfterValidator(an_address)]
Regex = Annotated[str, AfterValidator(a_regex), Field(max_length=1000)]
RegexOfBytes = Annotated[str, AfterValidator(a_regex_of_bytes), Field(max_length=1000)]
Port = Annotated[int, Field(ge=1, le=65535)]


class TcpParams(Params):
    """Parameters of a tcp check."""

    port: Port
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    send: str | None = Field(
        None, max_length=4096, description="Sent once connected; \\r\\n and such as YAML has them."
    )
    expect: RegexOfBytes | None = Field(None, description="A regular expression that the answer must match.")


async def probe(matcher: Matcher, params: TcpParams, target: Target) -> Finding:
    """Connect; send; read until the answer matches, or ends."""
    address = params.target or target.address or ""
    loop = asyncio.get_running_loop()
    try:
        sock = open_socket(target, params.source, family_of(address), socket.SOCK_STREAM)
    except OSError as error:
        return from_error(error)
    with sock:
        try:
            await loop.sock_connect(sock, (address, params.port))
            if params.send is not None:
                await loop.sock_sendall(sock, params.send.encode())
            return OK if params.expect is None else await _expect(matcher, sock, params.expect, target)
        except OSError as error:
            return from_error(error)


async def _expect(matcher: Matcher, sock: socket.socket, pattern: str, target: Target) -> Finding:
    loop = asyncio.get_running_loop()
    answer = b""
    while len(answer) < ANSWER_MOST:
        data = await loop.sock_recv(sock, 4096)
        answer += data
        if await matcher.found(pattern, answer, target, as_text=False):
            return OK
        if not data:
            break
    said = clean(answer[:100].decode("utf-8", "replace")) or "nothing"
    return Finding(BAD_ANSWER, f"does not match {pattern!r}: {said}")
