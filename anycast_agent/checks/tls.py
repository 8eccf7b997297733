"""tls: a handshake succeeds, and the certificate is for the right name, by a known authority, and good for days."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from anycast_agent.checks import certificates
from anycast_agent.checks.fields import IpText, Port
from anycast_agent.checks.kind import File, Kind, Params, Target, stateless
from anycast_agent.checks.outcomes import (
    BAD_ANSWER,
    CONNECTING,
    OK_CODE,
    PROTOCOL,
    TLS,
    CannotProbeError,
    Code,
    Finding,
    clean,
)
from anycast_agent.checks.sockets import family_of, from_error, open_socket
from anycast_agent.core.outcome import Evidence, Measure

DAY = 86_400
MAX_TALK = 16_384
"""Bound on the bytes that a server sends before TLS begins."""

EXPIRES = Code("expires", Evidence.DEFINITE, "The certificate is good for fewer days than days_left.")
DAYS = Measure("days_left", "days", "How long the certificate of the server is still good.")


class TlsParams(Params):
    """Parameters of a tls check."""

    server_name: str = Field(
        min_length=1, max_length=253, description="The name that is asked for (SNI), and must be in the certificate."
    )
    port: Port = 443
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    starttls: Literal["smtp", "imap", "postgres"] | None = Field(
        None, description="The protocol that TLS begins in. The default is TLS from the first byte."
    )
    days_left: Annotated[float, Field(ge=0, le=3650)] = Field(
        0.0, description="The certificate must be good for so many days."
    )
    alpn: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = Field(
        (), max_length=16, description="The protocols that are offered (ALPN), as h2. The server must take one of them."
    )
    ca_file: str | None = Field(None, description="The authorities that are believed. The default is the system's.")


async def probe(params: TlsParams, target: Target) -> Finding:
    context = _context(params)
    address = params.target or target.address or ""
    try:
        sock = open_socket(target, params.source, family_of(address), socket.SOCK_STREAM)
    except OSError as error:
        return from_error(error)
    with sock:
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
            refusal = await _ask_for_tls(params, sock)
            return refusal or await _handshake(params, sock, context)
        except ssl.SSLCertVerificationError as error:
            return Finding(TLS, clean(f"{params.server_name}: {error.verify_message}").rstrip("."))
        except OSError as error:
            return from_error(error)


def _context(params: TlsParams) -> ssl.SSLContext:
    try:
        stamps = (certificates.stamp(params.ca_file),)
        return certificates.context(True, params.ca_file, None, None, stamps, params.alpn)
    except OSError as error:  # of a file of ours
        raise CannotProbeError(f"{params.ca_file} cannot be read: {from_error(error).detail}") from error


async def _handshake(params: TlsParams, sock: socket.socket, context: ssl.SSLContext) -> Finding:
    _, writer = await asyncio.open_connection(
        sock=sock.dup(), ssl=context, server_hostname=params.server_name, limit=MAX_TALK
    )
    try:
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return judge(params, tls.getpeercert() or {}, tls.selected_alpn_protocol(), tls.version() or "", time.time())
    finally:
        writer.transport.abort()


def judge(params: TlsParams, certificate: Mapping[str, object], alpn: str | None, version: str, now: float) -> Finding:
    """``now``: by the clock of the node, as the certificate has it."""
    days = (ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now) / DAY
    said = f"{params.server_name}: {version}, {days:.1f} days left"
    if params.alpn and alpn not in params.alpn:
        return Finding(BAD_ANSWER, f"{said}; ALPN {alpn or 'none'}, not {' or '.join(params.alpn)}", (DAYS.of(days),))
    if days < params.days_left:
        return Finding(EXPIRES, f"{said}, not {params.days_left:g}", (DAYS.of(days),))
    return Finding(OK_CODE, said + (f", ALPN {alpn}" if alpn else ""), (DAYS.of(days),))


# --- STARTTLS -------------------------------------------------------------------------------------------------

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""PostgreSQL's frontend/backend protocol: SSLRequest."""


@dataclass(frozen=True, slots=True)
class _Step:
    asked: bytes
    """Empty: the server begins."""
    expected: bytes
    """The beginning of the last line of the reply."""
    more: bytes
    """The beginning of a line that another one follows; both are regular expressions."""


_STEPS = {
    "smtp": (
        _Step(b"", rb"220 ", rb"\d{3}-"),
        _Step(b"EHLO anycast-agent\r\n", rb"250 ", rb"\d{3}-"),
        _Step(b"STARTTLS\r\n", rb"220 ", rb"\d{3}-"),
    ),
    "imap": (_Step(b"", rb"\* (OK|PREAUTH) ", rb"$."), _Step(b"a STARTTLS\r\n", rb"a OK ", rb"\* ")),
}


async def _ask_for_tls(params: TlsParams, sock: socket.socket) -> Finding | None:
    """The server's answer if it does not agree."""
    loop = asyncio.get_running_loop()
    if params.starttls == "postgres":
        await loop.sock_sendall(sock, _SSL_REQUEST)
        said = await loop.sock_recv(sock, 1)
        return None if said == b"S" else Finding(PROTOCOL, f"SSLRequest: {_shown(said)}, not S")
    for step in _STEPS.get(params.starttls or "", ()):
        await loop.sock_sendall(sock, step.asked)
        line = await _last_line(sock, step.more)
        if re.match(step.expected, line) is None:
            asked = _shown(step.asked) if step.asked else "greeting"
            return Finding(PROTOCOL, f"{asked}: {_shown(line)}, not {step.expected.decode()}")
    return None


async def _last_line(sock: socket.socket, more: bytes) -> bytes:
    """The last line of a reply; or what there is, where it is cut off or too long."""
    said = b""
    while len(said) < MAX_TALK:
        data = await asyncio.get_running_loop().sock_recv(sock, 1024)
        said += data
        *lines, rest = said.split(b"\n")
        if lines and not rest and re.match(more, lines[-1]) is None:
            return lines[-1]
        if not data:
            break
    return said


def _shown(said: bytes) -> str:
    return clean(said[:100].decode("ascii", "replace")) or "nothing"


KIND = Kind(
    name="tls",
    params=TlsParams,
    own_target=lambda params: params.target is not None,
    outcomes=(*CONNECTING, TLS, PROTOCOL, BAD_ANSWER, EXPIRES),
    numbers=(DAYS,),
    open=stateless(probe),
    files=lambda params: () if params.ca_file is None else (File("ca_file", params.ca_file),),
    aliases=("ssl", "certificate", "cert", "starttls", "sslcert"),
)
