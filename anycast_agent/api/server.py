"""Read-only HTTP: pages, JSON and metrics. What it shows is the engine's snapshot at the moment of the question."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import cast

from aiohttp import web

from anycast_agent.api import render
from anycast_agent.api.page import page
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.metrics import CONTENT_TYPE, Metrics, Shell

log = logging.getLogger(__name__)
_unheard = logging.Logger("aiohttp", logging.CRITICAL + 1)
"""aiohttp writes twenty lines for each malformed request: anybody who can connect could fill the journal."""

CONNECTIONS_MOST = 100
"""Each is a file descriptor that a probe might need."""

CACHED_FOR = 0.1
"""A question within so long after another gets the same answer: however often it is asked, the engine has its turn."""

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages elsewhere do not learn even what there is
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_STATIC = {"page.css": "text/css", "page.js": "text/javascript"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    def __init__(
        self,
        host: str,
        port: int,
        snapshot: Callable[[], Snapshot],
        shell: Callable[[], Shell] = Shell,
        allowed_hosts: tuple[str, ...] = (),
        descriptor: int | None = None,
    ) -> None:
        """``descriptor``: a listening socket that is handed to us, in place of host and port."""
        self._descriptor = descriptor
        self._host = host
        self._port = port
        self._snapshot = snapshot
        self._shell = shell
        self._allowed = frozenset({"localhost", *(name.lower() for name in allowed_hosts)})
        self._metrics = Metrics(snapshot, shell)
        self._cache: dict[str, tuple[float, bytes]] = {}
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self.port = port
        self.requests = 0
        """Answered so far."""
        self._static = {name: files("anycast_agent.api").joinpath("static", name).read_bytes() for name in _STATIC}

    async def start(self) -> None:
        """Raises OSError, with the port and the setting, where it is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._show_metrics),
                web.get("/api/v1/status", self._status),
                web.get("/api/v1/services/{name}", self._service),
                web.get("/static/{name}", self._file),
            ]
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_unheard,
            shutdown_timeout=0.2,
            keepalive_timeout=15,
            lingering_time=0.1,
            max_line_size=4096,
        )
        await self._runner.setup()
        try:
            self._listener = await self._listen(self._runner)
        except OSError as error:
            await self.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(f"{self._host}:{self._port} is in use by another process; set agent.api.listen") from None
        self.port = self._listener.sockets[0].getsockname()[1]

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        server = cast(web.Server, runner.server)  # there once it is set up

        def connection() -> asyncio.Protocol:
            _make_room(server)
            return server()

        loop = asyncio.get_running_loop()
        if self._descriptor is not None:
            return await loop.create_server(connection, sock=socket.socket(fileno=self._descriptor))
        return await loop.create_server(connection, self._host, self._port, backlog=64)

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # --- every request ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            if self._host_allowed(request.headers.get("Host")):
                response = await handler(request)
            else:
                response = _problem(403, "Forbidden", "this name is not one of agent.api.allowed_hosts")
        except web.HTTPException as error:
            response = _problem(error.status, error.reason, f"{request.method} {request.path[:100]}")
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except Exception:
            log.exception("the answer to %s %r could not be made", request.method, request.path[:100])
            response = _problem(500, "Internal Server Error", "see the agent's log")
        response.headers.update(_HEADERS)
        self.requests += 1
        return response

    def _host_allowed(self, host: str | None) -> bool:
        """A page elsewhere must not reach us under a name of its own that resolves to this node (DNS rebinding).

        No browser leaves the name out; what HTTP/1.0 has in its place would be looked up in the DNS, and wait for it.
        """
        if host is None:
            return True
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return self._name_allowed(name.lower())
        return True

    def _name_allowed(self, name: str) -> bool:
        """Itself, or, as ``*.example.org``, the domain that it is in."""
        parts = name.split(".")
        domains = {".".join(("*", *parts[i:])) for i in range(1, len(parts))}
        return name in self._allowed or not domains.isdisjoint(self._allowed)

    def _cached(self, key: str, make: Callable[[], bytes]) -> bytes:
        now = time.monotonic()
        at, body = self._cache.get(key, (float("-inf"), b""))
        if now - at > CACHED_FOR:
            body = make()
            self._cache[key] = (now, body)
        return body

    # --- what is shown ---

    async def _page(self, _: web.Request) -> web.Response:
        body = self._cached("page", lambda: page(render.status(self._snapshot())).encode())
        return web.Response(body=body, content_type="text/html", charset="utf-8")

    async def _status(self, _: web.Request) -> web.Response:
        body = self._cached("status", lambda: json.dumps(render.status(self._snapshot())).encode() + b"\n")
        return web.Response(body=body, content_type="application/json")

    async def _service(self, request: web.Request) -> web.Response:
        name, snapshot = request.match_info["name"], self._snapshot()
        found = snapshot.services.get(name)
        if found is None:
            return _problem(404, "No such service", f"there are {', '.join(list(snapshot.services)[:20])}")
        return web.json_response(render.service(snapshot, found))

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._cached("metrics", self._metrics.text), headers={"Content-Type": CONTENT_TYPE})

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"alive": True, "turn_age": round(self._shell().turn_age, 3)})

    async def _readyz(self, _: web.Request) -> web.Response:
        snapshot = self._snapshot()
        if snapshot.ready:
            return web.json_response({"ready": True})
        waits = ", ".join(snapshot.not_ready) or snapshot.life
        return _problem(503, "Not ready", f"waits for: {waits}")

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _STATIC:
            raise web.HTTPNotFound
        return web.Response(body=self._static[name], content_type=_STATIC[name], charset="utf-8")


def _make_room(server: web.Server) -> None:
    """The oldest give way: who opens many, sends slowly or reads nothing keeps nobody else out."""
    connections = server.connections
    for old in connections[: max(0, len(connections) - CONNECTIONS_MOST + 1)]:
        if isinstance(old.transport, asyncio.Transport):
            old.transport.abort()


def _problem(status: int, title: str, detail: str) -> web.Response:
    """RFC 9457."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return web.Response(status=status, text=body, content_type="application/problem+json")
