"""The read-only surfaces over HTTP: page, JSON, metrics, liveness. They show the engine's snapshot."""

from __future__ import annotations

import errno
import ipaddress
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files

from anycast_agent.api import render
from anycast_agent.api.http import BadRequestError, Listener, Request, Response
from anycast_agent.api.page import page
from anycast_agent.api.turnstile import BusyError, Prepared, Turnstile
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.journal import Entry
from anycast_agent.metrics import CONTENT_TYPE, Metrics, Shell

log = logging.getLogger(__name__)

KEPT_FOR = 0.1
"""Age up to which an answer is given again. Seconds."""

MAX_NAMED = 20
MAX_NAME = 253
"""Octets of a name in the DNS (RFC 1035, as text)."""

BACKLOG = 128

_FIELDS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages elsewhere do not even learn which paths exist
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_SERVICE, _FILE = "/api/v1/services/", "/static/"
_JSON, _HTML, _PROBLEM = "application/json", "text/html; charset=utf-8", "application/problem+json"


@dataclass(frozen=True, slots=True)
class _Page:
    """An answer that takes a while to make."""

    name: str
    make: Callable[[], Iterator[str]]
    content_type: str


class Server:
    def __init__(
        self,
        host: str,
        port: int,
        snapshot: Callable[[], Snapshot],
        shell: Callable[[], Shell] = Shell,
        allowed_hosts: tuple[str, ...] = (),
        descriptor: int | None = None,
        prepared: Prepared | None = None,
        journal: Callable[[], tuple[Entry, ...]] = tuple,
    ) -> None:
        """``descriptor``: a listening socket that is handed to us, in place of host and port."""
        self._descriptor = descriptor
        self._host = host
        self._snapshot = snapshot
        self._shell = shell
        self._journal = journal
        self._allowed = frozenset({"localhost", *(name.lower() for name in allowed_hosts)})
        self._metrics = Metrics(snapshot, shell)
        self._prepared = prepared or Prepared(Turnstile())
        self._listener: Listener | None = None
        self.port = port
        self.requests = 0
        """Answered so far."""
        self._static = {name: files("anycast_agent.api").joinpath("static", name).read_bytes() for name in _STATIC}

    async def start(self) -> None:
        """Raises OSError, with the port and the setting, where it is taken."""
        listening = self._listen()
        self.port = listening.getsockname()[1]
        self._listener = Listener(listening, self._answer)

    def _listen(self) -> socket.socket:
        if self._descriptor is not None:
            return socket.socket(fileno=self._descriptor)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family is socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((self._host, self.port))
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise OSError(f"{self._host}:{self.port} is in use by another process; set agent.api.listen") from None
        return listening

    async def close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.close()

    # --- every request ---

    async def _answer(self, request: Request | BadRequestError) -> Response:
        response = await self._answer_to(request)
        self.requests += 1
        return Response(response.status, response.body, response.content_type, {**_FIELDS, **response.fields})

    async def _answer_to(self, request: Request | BadRequestError) -> Response:
        if isinstance(request, BadRequestError):
            return _problem(400, "Bad Request", str(request))
        try:
            async with self._prepared.turnstile:
                found = self._show(request)
            if isinstance(found, _Page):
                body = await self._prepared.get(found.name, found.make, KEPT_FOR)
                return Response(200, body, found.content_type)
            return found
        except BusyError:
            return _problem(503, "Service Unavailable", "busy with other pages", {"Retry-After": "1"})
        except Exception:
            log.exception("the answer to %s %r could not be made", request.method, request.path[:100])
            return _problem(500, "Internal Server Error", "see the agent's log")

    def _host_allowed(self, host: str | None) -> bool:
        """A page elsewhere must not reach us under a name of its own that resolves to this node (DNS rebinding).

        No browser leaves the name out.
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
        if len(name) > MAX_NAME:
            return False
        parts = name.split(".")
        domains = {".".join(("*", *parts[i:])) for i in range(1, len(parts))}
        return name in self._allowed or not domains.isdisjoint(self._allowed)

    # --- the answers ---

    def _show(self, request: Request) -> Response | _Page:
        """A small answer is made at once. A large one, or one of many, is made in slices."""
        if not self._host_allowed(request.host):
            return _problem(403, "Forbidden", "this name is not one of agent.api.allowed_hosts")
        if request.method not in ("GET", "HEAD"):
            return _problem(405, "Method Not Allowed", "all of this is read only", {"Allow": "GET,HEAD"})
        match request.path:
            case "/":
                return _Page("page", lambda: page(self._snapshot()), _HTML)
            case "/metrics":
                return _Page("metrics", self._metrics.pieces, CONTENT_TYPE)
            case "/api/v1/status":
                return _Page("status", lambda: render.status_json(self._snapshot()), _JSON)
            case "/api/v1/changes":
                return _Page("changes", lambda: render.changes_json(self._journal(), self._snapshot().at), _JSON)
            case "/livez":
                return _json({"alive": True, "turn_age": round(self._shell().turn_age, 3)})
            case "/readyz":
                return self._ready()
        if request.path.startswith(_SERVICE):
            return self._service(request.path.removeprefix(_SERVICE))
        name = request.path.removeprefix(_FILE)
        if request.path.startswith(_FILE) and name in _STATIC:
            return Response(200, self._static[name], _STATIC[name])
        return _problem(404, "Not Found", f"there is nothing at {request.path[:100]}")

    def _ready(self) -> Response:
        snapshot = self._snapshot()
        if snapshot.ready:
            return _json({"ready": True})
        return _problem(503, "Not ready", f"waits for: {', '.join(snapshot.not_ready) or snapshot.life}")

    def _service(self, name: str) -> Response | _Page:
        snapshot = self._snapshot()
        found = snapshot.services.get(name)
        if found is not None:
            return _Page(_SERVICE + name, lambda: render.service_json(snapshot, found), _JSON)
        services = snapshot.services
        some = f" (the first {MAX_NAMED} of {len(services)})" if len(services) > MAX_NAMED else ""
        return _problem(404, "No such service", f"there are {', '.join(list(services)[:MAX_NAMED]) or 'none'}{some}")


def _json(value: dict[str, object]) -> Response:
    return Response(200, json.dumps(value).encode() + b"\n", _JSON)


def _problem(status: int, title: str, detail: str, fields: dict[str, str] | None = None) -> Response:
    """RFC 9457."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})
    return Response(status, body.encode(), _PROBLEM, fields or {})
