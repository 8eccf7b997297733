"""Names to addresses, in threads of their own: a resolver that hangs keeps nobody else waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from anycast_agent.checks.slots import Slots

MAX_LOOKUPS = 32
"""Look-ups that are open at once, beside one for each service: one that the C library hangs in cannot be ended."""
KEPT_FOR = 10.0

asks_for: ContextVar[str] = ContextVar("asks_for", default="")
"""The service of the running probe: aiohttp resolves a redirect deep inside, without our arguments."""

_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Address:
    """One of a name."""

    host: str
    """With its zone, where it has one."""
    family: socket.AddressFamily
    protocol: int


_Found = list[Address] | OSError


class Names:
    """asyncio's own look-ups share a few threads with all else that blocks, such as the addresses on the loopback;
    a name server that does not answer would soon hold them all."""

    def __init__(self) -> None:
        self._slots = Slots(MAX_LOOKUPS)
        self._open: dict[_Key, asyncio.Future[_Found]] = {}
        self._kept: dict[_Key, tuple[float, list[Address]]] = {}

    async def resolve(self, host: str, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
        """Raises OSError where there is none, or too many look-ups hang already."""
        key = (host, family)
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[0]:
            found: _Found = kept[1]
        else:
            found = await asyncio.shield(self._open.get(key) or self._begin(key))
        if isinstance(found, OSError):
            raise found
        return found

    def _begin(self, key: _Key) -> asyncio.Future[_Found]:
        service = asks_for.get()
        if not self._slots.try_take(service):
            hang = f"{self._slots.held(service)} look-ups of this service hang already"
            raise socket.gaierror(socket.EAI_AGAIN, hang)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Found] = loop.create_future()

        def look_up() -> None:
            found = _look_up(*key)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._end, key, service, found)

        try:
            threading.Thread(target=look_up, name="look-up", daemon=True).start()
        except RuntimeError as error:
            self._slots.give_back(service)
            raise socket.gaierror(socket.EAI_AGAIN, str(error)) from error
        self._open[key] = future
        return future

    def _end(self, key: _Key, service: str, found: _Found) -> None:
        self._slots.give_back(service)
        now = time.monotonic()
        self._kept = {k: kept for k, kept in self._kept.items() if now < kept[0]}
        if not isinstance(found, OSError):
            self._kept[key] = (now + KEPT_FOR, found)
        self._open.pop(key).set_result(found)


def _look_up(host: str, family: int) -> _Found:
    try:
        infos = socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        return error
    except UnicodeError as error:  # no name at all
        return socket.gaierror(socket.EAI_NONAME, str(error))
    return [Address(_text(address), found, proto) for found, _, proto, _, address in infos]


def _text(address: tuple[Any, ...]) -> str:
    """With its zone, where it has one: the link-local ones do."""
    zone = address[3] if len(address) == 4 else 0
    return f"{address[0]}%{zone}" if zone else str(address[0])
