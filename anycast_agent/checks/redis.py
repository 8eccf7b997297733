"""redis: a Redis or Valkey server answers, has its data, and is the primary or the replica that it must be."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from anycast_agent.checks.aside import Aside
from anycast_agent.checks.fields import IpText, Port
from anycast_agent.checks.kind import File, Kind, Params, Target, Use
from anycast_agent.checks.outcomes import (
    CONNECTING,
    NOT_RUN,
    OK_CODE,
    PROTOCOL,
    RESET,
    Code,
    Finding,
    clean,
)
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.sockets import family_of, from_error, open_socket
from anycast_agent.checks.waiting import waiting
from anycast_agent.core.outcome import Evidence, Measure

MAX_REPLY = 65_536
"""So much of a reply is read. Bytes."""
MAX_PASSWORD = 512

LOADING = Code("loading", Evidence.DOUBTFUL, "LOADING: the server reads its data from disk.")
BUSY = Code("busy", Evidence.DOUBTFUL, "BUSY: a script keeps the server.")
DENIED = Code("denied", Evidence.DEFINITE, "NOAUTH, WRONGPASS or NOPERM: the server refuses this user.")
ERROR = Code("error", Evidence.DEFINITE, "The server answers with another error.")
ROLE = Code("role", Evidence.DEFINITE, "The server has another role than it must.")
LINK_DOWN = Code("link_down", Evidence.DEFINITE, "The replica is not connected to its primary.")
LAG_HIGH = Code("lag", Evidence.DEFINITE, "The replica has not heard from its primary for longer than lag_most.")
LAG = Measure("lag", "seconds", "Since the replica heard from its primary; of a replica only.")
_ERRORS = {"LOADING": LOADING, "BUSY": BUSY, "NOAUTH": DENIED, "WRONGPASS": DENIED, "NOPERM": DENIED}


class ErrorReplyError(RuntimeError):
    """The server says no."""


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("write the absolute path of a file that holds the secret")
    return path


class RedisParams(Params):
    """Parameters of a redis check, for Redis and Valkey.

    It sends PING, and INFO replication where role or lag_most asks for it; each probe on a connection of its own.
    """

    port: Port = 6379
    target: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    username: str | None = Field(
        None, min_length=1, max_length=200, description="The user of AUTH, with password_file."
    )
    password_file: Annotated[str, AfterValidator(_absolute)] | None = Field(
        None, description="A file that holds the password; it is read for each probe."
    )
    role: Literal["primary", "replica"] | None = Field(
        None, description="The role that the server must have; a replica must also be connected to its primary."
    )
    lag_most: float | None = Field(
        None, ge=0, le=86_400, description="A replica must have heard from its primary in so many seconds; whole ones."
    )

    @model_validator(mode="after")
    def _whole(self) -> RedisParams:
        if self.username is not None and self.password_file is None:
            raise ValueError("username needs password_file")
        if self.lag_most is not None and self.role == "primary":
            raise ValueError("lag_most is of a replica: a primary has none")
        return self


class RedisAsker:
    def __init__(self, shared: Shared) -> None:
        self._aside: Aside = shared.aside

    async def probe(self, params: RedisParams, target: Target) -> Finding:
        try:
            login = await self._login(params, target.service)
        except OSError as error:
            return Finding(NOT_RUN, f"{params.password_file} cannot be read: {(error.strerror or str(error)).lower()}")
        address = params.target or target.address or ""
        try:
            with open_socket(target, params.source, family_of(address), socket.SOCK_STREAM) as sock:
                await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
                return await _ask(params, sock.dup(), login)
        except ErrorReplyError as error:
            word = str(error).partition(" ")[0]
            return Finding(_ERRORS.get(word, ERROR), clean(str(error)))
        except (asyncio.LimitOverrunError, ValueError) as error:
            return Finding(PROTOCOL, clean(str(error)))
        except EOFError:
            return Finding(RESET, "closed before the whole answer")
        except OSError as error:
            return from_error(error)

    async def _login(self, params: RedisParams, service: str) -> tuple[str, ...]:
        """AUTH, where there is a password. Raises OSError."""
        path = params.password_file
        if path is None:
            return ()
        with waiting(f"{path} was not read in time"):
            secret = await self._aside.run(service, lambda: _first_line(path))
        return ("AUTH", *((params.username,) if params.username else ()), secret)

    async def close(self) -> None:
        """Nothing is kept open."""


def _first_line(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(MAX_PASSWORD).partition(b"\n")[0].rstrip(b"\r").decode("utf-8", "surrogateescape")


async def _ask(params: RedisParams, sock: socket.socket, login: tuple[str, ...]) -> Finding:
    reader, writer = await asyncio.open_connection(sock=sock, limit=MAX_REPLY)
    try:
        if login:
            writer.write(_command(*login))
            await _reply(reader)
        writer.write(_command("PING"))
        if (said := await _reply(reader)) != "PONG":
            return Finding(PROTOCOL, f"PING: {clean(said[:60])}, not PONG")
        if params.role is None and params.lag_most is None:
            return Finding(OK_CODE, "PONG")
        writer.write(_command("INFO", "replication"))
        return judge(params, dict(_fields(await _reply(reader))))
    finally:
        writer.transport.abort()


def _command(*words: str) -> bytes:
    """RESP: an array of bulk strings."""
    encoded = [word.encode("utf-8", "surrogateescape") for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


async def _reply(reader: asyncio.StreamReader) -> str:
    """A simple string or a bulk string. Raises ErrorReplyError, ValueError, EOFError, OSError."""
    line = (await reader.readuntil(b"\r\n"))[:-2].decode("utf-8", "replace")
    kind, rest = line[:1], line[1:]
    if kind == "+":
        return rest
    if kind == "-":
        raise ErrorReplyError(rest)
    if kind != "$" or not rest.isascii() or not rest.isdigit() or len(rest) > 9 or int(rest) > MAX_REPLY:
        raise ValueError(f"not a reply of Redis: {clean(line[:60])}")
    return (await reader.readexactly(int(rest) + 2))[:-2].decode("utf-8", "replace")


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name, value.strip()


def judge(params: RedisParams, found: dict[str, str]) -> Finding:
    """By INFO replication: the role, the link of a replica, and since when it has heard nothing."""
    role = {"master": "primary", "slave": "replica"}.get(found.get("role", ""))
    if role is None:
        return Finding(PROTOCOL, "INFO replication: no role")
    if params.role is not None and role != params.role:
        return Finding(ROLE, f"role {role}, not {params.role}")
    if role == "primary":
        return Finding(OK_CODE, "role primary")
    heard = found.get("master_last_io_seconds_ago", "")
    lag = float(heard) if heard.isascii() and heard.isdigit() and len(heard) < 12 else None
    numbers = () if lag is None else (LAG.of(lag),)
    link = clean(found.get("master_link_status", "unknown")[:20])
    if link != "up":
        return Finding(LINK_DOWN, f"role replica, link {link}", numbers)
    if params.lag_most is not None and (lag is None or lag > params.lag_most):
        said = "unknown" if lag is None else f"{lag:.0f} s"
        return Finding(LAG_HIGH, f"role replica, heard from its primary {said} ago, not {params.lag_most:g} s", numbers)
    return Finding(OK_CODE, "role replica, link up" + ("" if lag is None else f", heard {lag:.0f} s ago"), numbers)


def _files(params: RedisParams) -> Iterator[File]:
    if params.password_file is not None:
        yield File("password_file", params.password_file, Use.SECRET)


KIND = Kind(
    name="redis",
    params=RedisParams,
    own_target=lambda params: params.target is not None,
    outcomes=(*CONNECTING, PROTOCOL, LOADING, BUSY, DENIED, ERROR, ROLE, LINK_DOWN, LAG_HIGH),
    numbers=(LAG,),
    open=RedisAsker,
    files=_files,
    aliases=("valkey", "redischeck", "keydb"),
)
