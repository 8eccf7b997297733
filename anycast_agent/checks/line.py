"""line: a server of a line protocol says, step by step, what it must."""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from anycast_agent.checks.fields import Form, IpText, Port, Regex
from anycast_agent.checks.kind import Kind, Params, Target
from anycast_agent.checks.outcomes import BAD_ANSWER, CONNECTING, OK_CODE, PROTOCOL, RESET, Code, Finding, clean
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.sockets import family_of, from_error, open_socket
from anycast_agent.core.outcome import Evidence

LINE_MOST = 8192
"""So long may a line of the server be. Bytes."""
STEPS_MOST, LINES_MOST = 16, 100

BUSY = Code("busy", Evidence.DOUBTFUL, "The server says a line that matches busy: it cannot just now.")


def _one_line(text: str) -> str:
    if {"\r", "\n", "\0"} & set(text):
        raise ValueError("send: one line, without its end; more lines are more steps")
    return text


class Step(Params):
    """A line that is sent, and the line that must come then."""

    send: Annotated[str, AfterValidator(_one_line)] | None = Field(
        None, max_length=1000, description="The line to send, without its end."
    )
    expect: Regex | None = Field(None, description="A regular expression that a line of the answer must match.")
    lines: int = Field(1, ge=1, le=LINES_MOST, description="The line to expect is among the next so many lines.")

    @model_validator(mode="after")
    def _whole(self) -> Step:
        if self.send is None and self.expect is None:
            raise ValueError("a step sends a line, expects one, or both")
        if self.lines > 1 and self.expect is None:
            raise ValueError("lines goes with expect")
        return self


class LineParams(Params):
    """Parameters of a line check, as for SMTP, FTP, IMAP, memcached, or a protocol of your own.

    The steps are made in turn on one connection, which is closed after the last one. What is sent stands in the
    configuration: a secret does not belong there.
    """

    port: Port
    steps: Annotated[tuple[Step, ...], Form("steps: a list of steps belongs here: [{send: PING, expect: ^PONG}]")] = (
        Field(min_length=1, max_length=STEPS_MOST, description="What is sent, and what must come, in turn.")
    )
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    busy: Regex | None = Field(
        None, description="Where a line that is not the expected one matches it, as ^4 in SMTP, the probe is doubtful."
    )
    line_end: Literal["crlf", "lf"] = Field("crlf", description="How the lines end that are sent.")


class LineAsker:
    def __init__(self, shared: Shared) -> None:
        self._matcher = shared.matcher

    async def probe(self, params: LineParams, target: Target) -> Finding:
        address = params.target or target.address or ""
        try:
            with open_socket(target, params.source, family_of(address), socket.SOCK_STREAM) as sock:
                await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
                return await self._talk(params, sock.dup(), target.service)
        except ValueError:  # of readline
            return Finding(PROTOCOL, f"a line of more than {LINE_MOST} bytes")
        except OSError as error:
            return from_error(error)

    async def _talk(self, params: LineParams, sock: socket.socket, service: str) -> Finding:
        reader, writer = await asyncio.open_connection(sock=sock, limit=LINE_MOST)
        said = ""
        try:
            for number, step in enumerate(params.steps, 1):
                if step.send is not None:
                    writer.write(step.send.encode() + (b"\r\n" if params.line_end == "crlf" else b"\n"))
                    await writer.drain()
                if step.expect is not None:
                    said, fault = await self._expect(params, step, reader, service)
                    if fault is not None:
                        return Finding(fault, f"step {number}: {clean(said)[:100]}, not {step.expect[:60]!r}")
            return Finding(OK_CODE, clean(said))
        finally:
            writer.transport.abort()

    async def _expect(
        self, params: LineParams, step: Step, reader: asyncio.StreamReader, service: str
    ) -> tuple[str, Code | None]:
        """The last line that came, and what is wrong if it is not the one to expect. Raises ValueError, OSError."""
        line = b""
        for _ in range(step.lines):
            read = await reader.readline()
            if not read.endswith(b"\n"):
                return f"closed after {read.decode('utf-8', 'replace')!r}" if read else "closed", RESET
            line = read.rstrip(b"\r\n")
            if step.expect is not None and await self._matcher.found(step.expect, line, service, as_text=True):
                return line.decode("utf-8", "replace"), None
            if params.busy is not None and await self._matcher.found(params.busy, line, service, as_text=True):
                return line.decode("utf-8", "replace"), BUSY
        return line.decode("utf-8", "replace") or "an empty line", BAD_ANSWER

    async def close(self) -> None:
        """Nothing is kept open."""


KIND = Kind(
    name="line",
    params=LineParams,
    own_target=lambda params: params.target is not None,
    outcomes=(*CONNECTING, PROTOCOL, BAD_ANSWER, BUSY),
    open=LineAsker,
    aliases=("sendexpect", "chat", "banner", "tcpline", "lineprotocol"),
)
