"""The aiohttp sessions of http checks: one for each way of connecting, as to make one for each probe costs more than
the probe."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from anycast_agent.checks.certificates import Stamp, context, stamp
from anycast_agent.checks.names import Names
from anycast_agent.checks.sockets import bind

MAX_SESSIONS = 2000

MAX_HEADER, MAX_HEADERS = 32 * 1024, 512
"""Limits of an answer's head: bytes of a line, and number of lines. Real applications exceed aiohttp's own limits
(8,190 and 128), with a content security policy for instance."""

# aiohttp before 3.14 does not count the lines.
_COUNTED = {"max_headers": MAX_HEADERS} if "max_headers" in signature(aiohttp.ClientSession).parameters else {}
_HEADERS = {
    "User-Agent": "anycast-agent",
    "Accept": "*/*",
    "Accept-Encoding": "identity",  # text is looked for in the bodies
}


@dataclass(frozen=True, slots=True)
class Way:
    """A way of connecting."""

    pinned: str | None
    source: str | None
    tls: bool
    verify: bool
    ca_file: str | None
    cert_file: str | None
    key_file: str | None


class _Resolver(AbstractResolver):
    """Our own look-ups, as aiohttp asks for them."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        found = await self._names.resolve(host, family)
        flags = socket.AI_NUMERICHOST
        return [
            ResolveResult(hostname=host, host=a.host, port=port, family=a.family, proto=a.protocol, flags=flags)
            for a in found
        ]

    async def close(self) -> None:
        """A look-up cannot be ended; its thread does not keep the process."""


@dataclass(slots=True)
class _Kept:
    session: aiohttp.ClientSession
    stamps: tuple[Stamp, ...]
    users: int = 0


class Sessions:
    """Idle sessions are bounded: a session is never closed under a probe."""

    def __init__(self, names: Names, most: int) -> None:
        self._names = names
        self._most = most
        self._kept: dict[Way, _Kept] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def use(self, way: Way) -> Iterator[aiohttp.ClientSession]:
        """Raises OSError where the certificates cannot be read."""
        kept = self._session(way)
        kept.users += 1
        try:
            yield kept.session
        finally:
            kept.users -= 1
            if not kept.users and self._kept.get(way) is not kept:
                self._close(kept)

    def _session(self, way: Way) -> _Kept:
        # Certificates are renewed where they lie, and short-lived ones often: the new one is used at once.
        stamps = tuple(stamp(path) for path in (way.ca_file, way.cert_file, way.key_file))
        kept = self._kept.get(way)
        if kept is None or kept.stamps != stamps:
            new = _Kept(self._open(way, stamps), stamps)
            self._drop(way)
            kept = new
            self._make_room()
        self._kept.pop(way, None)
        self._kept[way] = kept  # the one used last stands last
        return kept

    def _make_room(self) -> None:
        if len(self._kept) >= self._most:
            idle = next((way for way, kept in self._kept.items() if not kept.users), None)
            if idle is not None:
                self._drop(idle)

    def _drop(self, way: Way) -> None:
        """Closed now, or by the last probe that uses it."""
        kept = self._kept.pop(way, None)
        if kept is not None and not kept.users:
            self._close(kept)

    def _close(self, kept: _Kept) -> None:
        task = asyncio.ensure_future(kept.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _open(self, way: Way, stamps: tuple[Stamp, ...]) -> aiohttp.ClientSession:
        certificates = (way.verify, way.ca_file, way.cert_file, way.key_file)
        tls = context(*certificates, stamps, ("http/1.1",)) if way.tls else True

        def make_socket(info: tuple[Any, ...]) -> socket.socket:
            sock = socket.socket(info[0], info[1] | socket.SOCK_CLOEXEC, info[2])
            try:
                bind(sock, way.pinned, way.source)
            except OSError:
                sock.close()
                raise
            return sock

        connector = aiohttp.TCPConnector(
            force_close=True,
            limit=0,
            ssl=tls,
            resolver=_Resolver(self._names),
            use_dns_cache=False,  # the resolver caches its results
            socket_factory=make_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),  # the prober's deadline is over everything
            headers=_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # it would unfold a small body to gigabytes
            trust_env=False,
            read_bufsize=16384,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            requote_redirect_url=False,  # a signed address is asked for as the service has written it
            **_COUNTED,  # type: ignore[arg-type]
        )

    async def close(self) -> None:
        for way in list(self._kept):
            self._drop(way)
        await asyncio.gather(*self._closing)
