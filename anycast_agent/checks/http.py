"""http: a request is answered with the status, and where that is asked for the body, that a user would get."""

from __future__ import annotations

import re
import string
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Annotated, Any, Literal

import aiohttp
from multidict import CIMultiDict
from pydantic import AfterValidator, Field, WithJsonSchema, model_validator
from yarl import URL

from anycast_agent.checks.fields import Form, IpText, Port, Regex
from anycast_agent.checks.kind import File, Kind, Params, Target, Use
from anycast_agent.checks.outcomes import CONNECTING, NOT_RUN, OK, PROTOCOL, RESET, TLS, Code, Finding, clean
from anycast_agent.checks.sessions import MAX_SESSIONS, Sessions, Way
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.sockets import from_error
from anycast_agent.checks.urls import as_written, ascii_name, host_header
from anycast_agent.checks.waiting import waiting
from anycast_agent.core.outcome import Evidence

BAD_STATUS = Code("bad_status", Evidence.DEFINITE, "The status is none of those that are accepted.")
BAD_BODY = Code("bad_body", Evidence.DEFINITE, "The body is not as it is asked for.")
OVERLOADED = Code("overloaded", Evidence.DOUBTFUL, "Status 429 or 503: the service says that it cannot just now.")
_OVERLOADED = frozenset({429, 503})


_CONTROL = frozenset(map(chr, (*range(32), 127))) - {"\t"}
_TOKEN = frozenset("!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits)
_PORT = re.compile(r":[0-9]*$")


def _a_url(text: str) -> str:
    """Refuse values for which the probe would blame the service. Raises ValueError."""
    host = as_written(text).raw_host or ""
    if ":" not in host:
        _a_server_name(host)
    return text


def _a_path(text: str) -> str:
    if "#" in text:
        raise ValueError("path: a # begins a fragment, which is never sent; write %23")
    as_written(f"http://192.0.2.1{text}")
    return text


def _a_server_name(name: str) -> None:
    """Raises ValueError."""
    try:
        name.rstrip(".").encode("idna")
    except UnicodeError as error:
        raise ValueError(f"not a name of a host: {name[:60]}") from error


def _statuses(text: str) -> str:
    """``200-299,301``: raises ValueError where it is none."""
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if not low.isdigit() or not (high or low).isdigit() or not 100 <= int(low) <= int(high or low) <= 599:
            raise ValueError("statuses read 200, 200-299, or several of these with commas")
    return text


def _a_pointer(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError("a JSON pointer (RFC 6901) begins with /")
    return text


class JsonExpectation(Params):
    """The expected value in the JSON body."""

    pointer: Annotated[str, AfterValidator(_a_pointer)] = Field(description="JSON pointer (RFC 6901).")
    equals: Annotated[
        str | int | float | bool | None, Form("equals: text, a number, true, false or null belongs here", below=True)
    ] = None


class HttpParams(Params):
    """Parameters of an http check. With ``url`` it asks there; without, the service's own address."""

    url: Annotated[str, AfterValidator(_a_url)] | None = Field(
        None, description="A whole URL to ask, instead of the service's own address. It is sent as it is written."
    )
    scheme: Literal["http", "https"] = "http"
    port: Port | None = Field(None, description="80 or 443 by the scheme where none is given.")
    path: Annotated[str, AfterValidator(_a_path), Form("path begins with /, and has at most 2000 characters")] = Field(
        "/", pattern=r"^/", max_length=2000, description="With its query. It is sent as it is written."
    )
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    headers: Annotated[
        tuple[tuple[str, str], ...],
        Form("headers: names belong here, each with its value: {Accept: text/html}", below=True),
        WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
    ] = ()
    body: str | None = Field(None, max_length=65536)
    host: str | None = Field(None, description="The Host header, and the name in TLS where server_name is not given.")
    server_name: str | None = Field(
        None, description="The name asked for in TLS (SNI) and looked for in the certificate."
    )
    status: Annotated[str, AfterValidator(_statuses)] = Field("200-299", description="Accepted: 200, 200-299,301, …")
    contains: str | None = Field(None, max_length=1000, description="Text that the body must hold.")
    regex: Regex | None = Field(None, description="A regular expression that the body must match.")
    json_body: JsonExpectation | None = Field(None, alias="json")
    body_limit: int = Field(65536, ge=1, le=10_000_000, description="How much of the body is read, in bytes.")
    follow_redirects: int = Field(0, ge=0, le=10)
    verify: bool = Field(True, description="Whether the certificate must be good.")
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    source: IpText | None = Field(None, description="Ask from this address.")

    @model_validator(mode="before")
    @classmethod
    def _headers_as_pairs(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("headers"), dict):
            pairs = tuple((str(k), str(v)) for k, v in values["headers"].items())
            return {**values, "headers": pairs}
        return values

    @model_validator(mode="after")
    def _whole(self) -> HttpParams:
        if self.url is not None and (self.port is not None or self.path != "/"):
            raise ValueError("url says port and path already")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file")
        if any(_CONTROL & set(text) for pair in self.headers for text in pair):
            raise ValueError("headers: a line break or another control character is not allowed")
        if not all(name and set(name) <= _TOKEN for name, _ in self.headers):
            raise ValueError("headers: a name has letters, digits and dashes only")
        if self.host is not None and (not self.host or (_CONTROL | {" ", "/"}) & set(self.host)):
            raise ValueError("host: write a name, with :port where it has one")
        if self.sni is not None:
            _a_server_name(self.sni)
        return self

    @property
    def may_use_tls(self) -> bool:
        """The answer to the request, or to the last redirect."""
        scheme = self.scheme if self.url is None else as_written(self.url).scheme
        return scheme == "https" or self.follow_redirects > 0

    @property
    def sni(self) -> str | None:
        """The name in TLS: a port belongs to the Host header alone."""
        if self.server_name is not None:
            return ascii_name(self.server_name)
        return None if self.host is None else ascii_name(_PORT.sub("", self.host).strip("[]"))

    @property
    def host_header(self) -> str | None:
        if self.host is None or self.host.isascii():
            return self.host
        name = _PORT.sub("", self.host)
        return ascii_name(name) + self.host[len(name) :]

    def accepts(self, status: int) -> bool:
        for part in self.status.split(","):
            low, _, high = part.strip().partition("-")
            if int(low) <= status <= int(high or low):
                return True
        return False


class HttpAsker:
    def __init__(self, shared: Shared, *, sessions_most: int = MAX_SESSIONS) -> None:
        self._matcher = shared.matcher
        self._names = shared.names
        self._sessions = Sessions(self._names, sessions_most)

    async def probe(self, params: HttpParams, target: Target) -> Finding:
        """One request on a new connection: the check also asks whether the server accepts one."""
        try:
            await self._look_up(params)
        except OSError as error:
            return from_error(error)
        certificates = (params.ca_file, params.cert_file, params.key_file)
        way = Way(target.address, params.source, params.may_use_tls, params.verify, *certificates)
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self._sessions.use(way))
            except OSError as error:  # of a file of ours: ssl.SSLError is one, too
                return Finding(NOT_RUN, f"the certificates cannot be read: {from_error(error).detail}")
            return await self._answer(session, params, target)

    async def _look_up(self, params: HttpParams) -> None:
        """Find the address of a URL's host, which the probe then finds at hand. Raises OSError."""
        host = as_written(params.url).raw_host if params.url is not None else None
        if host is not None and not _is_address(host):
            with waiting("the name was not resolved in time"):
                await self._names.resolve(host)

    async def _answer(self, session: aiohttp.ClientSession, params: HttpParams, target: Target) -> Finding:
        try:
            return await self._ask(session, params, target)
        except aiohttp.ClientError as error:
            return _from_client_error(error)
        except (ValueError, TypeError) as error:
            return Finding(PROTOCOL, clean(str(error)))
        except OSError as error:
            return from_error(error)

    async def _ask(self, session: aiohttp.ClientSession, params: HttpParams, target: Target) -> Finding:
        url, headers = _url(params, target), CIMultiDict(params.headers)
        if (host := params.host_header or host_header(url)) is not None:
            headers.setdefault("Host", host)
        async with session.request(
            params.method,
            url,
            headers=headers,
            data=params.body,
            allow_redirects=params.follow_redirects > 0,
            max_redirects=params.follow_redirects + 1,
            server_hostname=params.sni,
        ) as response:
            if not params.accepts(response.status):
                overloaded = response.status in _OVERLOADED
                return Finding(OVERLOADED if overloaded else BAD_STATUS, f"status {response.status}")
            if params.contains is None and params.regex is None and params.json_body is None:
                return OK
            body = await _read(response, params.body_limit)
            coding = response.headers.get("Content-Encoding", "")
            try:
                body = _plain(body, coding.strip().lower(), params.body_limit)
            except zlib.error as error:
                return Finding(BAD_BODY, f"said to be {clean(coding)}: {clean(str(error))}")
        return await self._judge_body(params, body, target)

    async def _judge_body(self, params: HttpParams, body: bytes, target: Target) -> Finding:
        """Check the part of the body that is read."""
        cut = _cut(len(body) > params.body_limit, params)
        body = body[: params.body_limit]
        text = body.decode("utf-8", "replace")
        if params.contains is not None and params.contains not in text:
            return Finding(BAD_BODY, f"without {params.contains[:60]!r}" + cut)
        regex = params.regex
        if regex is not None and not await self._matcher.found(regex, body, target.service, as_text=True):
            return Finding(BAD_BODY, f"does not match {regex[:60]!r}" + cut)
        if params.json_body is not None:
            return _judge_json(
                params.json_body, await self._matcher.json_at(params.json_body.pointer, body, target.service), cut
            )
        return OK

    async def close(self) -> None:
        await self._sessions.close()


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _url(params: HttpParams, target: Target) -> URL:
    if params.url is not None:
        return as_written(params.url)
    address = target.address or ""
    port = params.port or (443 if params.scheme == "https" else 80)
    return as_written(f"{params.scheme}://{f'[{address}]' if ':' in address else address}:{port}{params.path}")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = b""
    async for chunk in response.content.iter_any():
        body += chunk[: limit + 1 - len(body)]
        if len(body) > limit:
            break
    return body


def _plain(body: bytes, coding: str, limit: int) -> bytes:
    """The body before a server compressed it that does so unasked; little more than the limit. Raises zlib.error."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        return body
    # "deflate" is zlib by the RFC, and bare with some servers.
    bare = coding == "deflate" and (len(body) < 2 or body[0] & 0x0F != 8 or int.from_bytes(body[:2], "big") % 31)
    return zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32).decompress(body, limit + 1)


def _cut(cut: bool, params: HttpParams) -> str:
    return f" in its first {params.body_limit} bytes" if cut else ""


def _judge_json(expected: JsonExpectation, found: dict[str, Any], cut: str) -> Finding:
    if "error" in found:
        return Finding(BAD_BODY, f"not JSON{cut}: {clean(str(found['error']))}")
    if "nothing" in found:
        return Finding(BAD_BODY, f"nothing at {expected.pointer}")
    if "value" in found and _equal(found["value"], expected.equals):
        return OK
    value = found["large"] if "large" in found else found.get("value")
    return Finding(BAD_BODY, f"{expected.pointer} is {clean(str(value))[:60]}, not {expected.equals}")


def _equal(value: Any, wanted: Any) -> bool:
    """Equality of JSON values: 1 and 1.0 are one number; true is not a number."""
    if type(value) in (int, float) and type(wanted) in (int, float):
        return bool(value == wanted)
    return type(value) is type(wanted) and value == wanted


def _from_client_error(error: aiohttp.ClientError) -> Finding:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Finding(TLS, clean(str(error.certificate_error)))
    if isinstance(error, aiohttp.ClientSSLError):
        return Finding(TLS, clean(str(error)))
    if isinstance(error, aiohttp.TooManyRedirects):
        return Finding(BAD_STATUS, "too many redirects")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Finding(RESET, "closed without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Finding(RESET, "closed before the whole body")
    if isinstance(error, aiohttp.ClientOSError):
        inner = error.__cause__ if isinstance(error.__cause__, OSError) else error
        return from_error(getattr(error, "os_error", inner))
    said = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return Finding(PROTOCOL, clean(said.partition("\n")[0]).rstrip(":") or type(error).__name__)


def _files(params: HttpParams) -> Iterator[File]:
    for key, path, use in (
        ("ca_file", params.ca_file, Use.READ),
        ("cert_file", params.cert_file, Use.READ),
        ("key_file", params.key_file, Use.SECRET),
    ):
        if path is not None:
            yield File(key, path, use)


KIND = Kind(
    name="http",
    params=HttpParams,
    own_target=lambda params: params.url is not None,
    outcomes=(*CONNECTING, TLS, PROTOCOL, BAD_STATUS, BAD_BODY, OVERLOADED),
    open=HttpAsker,
    files=_files,
    aliases=("httpget", "sslget", "httpcheck", "httpchk", "https", "url"),
)
