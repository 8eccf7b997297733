"""http checks: what is sent, what an answer means, certificates, and servers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.http import HttpAsker, HttpParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.sessions import MAX_HEADER, MAX_HEADERS
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.urls import as_written
from tests.adapters.checks.servers import Handler, closed_port, drip, garbage, hang, http_server, reset, tcp_server
from tests.support.certificates import Files, certificate
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth
from tests.support.probes import descriptors, prober


@contextlib.asynccontextmanager
async def recorder(*heads: bytes, **options: Any) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers with these heads in turn, then with 200; its port and the requests."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        head = heads[len(asked) - 1] if len(asked) <= len(heads) else b"HTTP/1.1 200 OK\r\n"
        writer.write(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async with tcp_server(serve, **options) as port:
        yield port, asked


def target_of(request: bytes) -> str:
    return request.split(b" ")[1].decode()


def headers_of(request: bytes, name: str) -> list[str]:
    lines = request.decode().split("\r\n")[1:]
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]


SENT = [
    ("/h?y=%2F&u=http%3A%2F%2Fx", "/h?y=%2F&u=http%3A%2F%2Fx"),
    ("/a%2fb/%41?q=%7e", "/a%2fb/%41?q=%7e"),
    ("/p?a=b+c&d=e%20f%2B", "/p?a=b+c&d=e%20f%2B"),
    ("/p?", "/p?"),
    ("?q", "/?q"),
    ("", "/"),
    ("/p#part", "/p"),
    ("/p?a#b", "/p?a"),
    ("/a/../b//c/./d", "/a/../b//c/./d"),
    ("/100%", "/100%"),
    ("/ä b?ö=é|{x}", "/%C3%A4%20b?%C3%B6=%C3%A9|{x}"),
    ("/p;v=1,2?x[]=1&y='\"", "/p;v=1,2?x[]=1&y='\""),
]


@pytest.mark.parametrize(("written", "sent"), SENT)
async def test_what_is_written_is_what_is_sent(written: str, sent: str) -> None:
    """In a URL and in a path; only what a request line cannot hold is encoded, and a fragment is never sent."""
    async with recorder() as (port, asked), prober() as ask:
        params = [HttpParams(url=f"http://127.0.0.1:{port}{written}")]
        if written.startswith("/") and "#" not in written:
            params.append(HttpParams(port=port, path=written))
        for number, one in enumerate(params):
            end = await ask(one, prefix="127.0.0.1/32" if one.url is None else "")
            assert end.outcome.code == "ok", end
            assert target_of(asked[number]) == sent


async def test_a_redirect_is_followed_as_it_is_written() -> None:
    """A signed address keeps its signature."""
    where = b"/signed?u=http%3A%2F%2Fx&s=a%2Bb"
    async with recorder(b"HTTP/1.1 302 Found\r\nLocation: " + where + b"\r\n") as (port, asked), prober() as ask:
        end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/", follow_redirects=1))
        assert end.outcome.code == "ok", end
        assert target_of(asked[1]).encode() == where


async def test_user_and_password_in_a_url_become_a_header() -> None:
    """Decoded; the request line and the Host header do not name them."""
    async with recorder() as (port, asked), prober() as ask:
        end = await ask(HttpParams(url=f"http://me%40x:p%2Fw@127.0.0.1:{port}/a"))
        assert end.outcome.code == "ok", end
        assert headers_of(asked[0], "Authorization") == ["Basic " + base64.b64encode(b"me@x:p/w").decode()]
        assert headers_of(asked[0], "Host") == [f"127.0.0.1:{port}"]


async def test_names_are_sent_as_dns_and_http_carry_them() -> None:
    """A Host beyond ASCII, with its port; one that is among the headers, in whatever case, counts alone."""
    async with recorder() as (port, asked), prober() as ask:
        base: dict[str, Any] = {"url": f"http://127.0.0.1:{port}/"}
        for params in (
            HttpParams(**base, host="bücher.example:8080"),
            HttpParams(**base, host="www.example.org", headers=(("host", "other.example.org"),)),
        ):
            assert (await ask(params)).outcome.code == "ok"
        assert [headers_of(request, "Host") for request in asked] == [
            ["xn--bcher-kva.example:8080"],
            ["other.example.org"],
        ]
    assert as_written("https://Bücher.example/").raw_host == "xn--bcher-kva.example"
    assert HttpParams(host="bücher.example:443").sni == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"url": "ftp://example.org/"}, "write http"),
        ({"url": "http:///path"}, "with a host"),
        ({"url": "http://example.org:99999/"}, "port|0-65535"),
        ({"url": "http://[fe80::1/"}, "Invalid|host"),
        ({"url": "http://example.org/a\nb"}, "line break"),
        ({"path": "/a\r\nX: y"}, "line break"),
        ({"path": "/a#b"}, "write %23"),
    ],
)
def test_a_url_that_is_none_is_refused_when_it_is_written(params: dict[str, Any], words: str) -> None:
    """And not by a check that fails for ever."""
    with pytest.raises(ValidationError, match=words):
        HttpParams(**params)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("zone", ["%25up1", "%up1"])
def test_a_link_local_address_is_asked_over_its_interface(zone: str) -> None:
    """With its zone as RFC 6874 has it, or as everybody writes it; the zone is not sent."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up1", leaf, "down1")
        ip("-n", node, "addr", "add", "fe80::53/64", "dev", "up1", "nodad")

        async def work() -> None:
            asked: list[bytes] = []

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                writer.close()

            server = await asyncio.start_server(serve, "::", 8080, family=socket.AF_INET6)
            async with prober() as ask:
                end = await ask(HttpParams(url=f"http://[fe80::53{zone}]:8080/a"))
            server.close()
            assert end.outcome.code == "ok", end
            assert headers_of(asked[0], "Host") == ["[fe80::53]:8080"]

        run_inside(node, work)


def head_of(lines: int, size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * size) for n in range(lines))


@pytest.mark.parametrize(
    ("head", "outcome"),
    [
        (head_of(1, MAX_HEADER - 100), "ok"),
        (head_of(MAX_HEADERS - 10, 100), "ok"),
        (head_of(1, MAX_HEADER + 100), "protocol"),
        (head_of(MAX_HEADERS + 10, 10), "protocol"),
    ],
)
async def test_a_great_head_is_read_and_its_bounds_are_stated(head: bytes, outcome: str) -> None:
    """A long policy, or some hundred cookies, are no fault of the service; what has no end is."""
    async with recorder(head) as (port, _), prober() as ask:
        end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/"))
        assert end.outcome.code == outcome, end
        assert len(end.outcome.detail) <= 200


HTTP = [
    ("/status/200", {}, "ok", ""),
    ("/status/204", {"status": "200,204"}, "ok", ""),
    ("/status/500", {}, "bad_status", "status 500"),
    ("/status/404", {"status": "404"}, "ok", ""),
    ("/status/503", {}, "overloaded", "status 503"),
    ("/status/429", {}, "overloaded", "status 429"),
    ("/status/503", {"status": "500-599"}, "ok", ""),
    ("/away", {}, "bad_status", "status 302"),
    ("/away", {"follow_redirects": 1}, "ok", ""),
    ("/health", {"contains": '"ok"'}, "ok", ""),
    ("/health", {"contains": "down"}, "bad_body", "without 'down'"),
    ("/health", {"regex": r'"status":\s*"ok"'}, "ok", ""),
    ("/health", {"regex": "^never"}, "bad_body", "does not match '^never'"),
    ("/health", {"json": {"pointer": "/status", "equals": "ok"}}, "ok", ""),
    ("/health", {"json": {"pointer": "/nodes/0/up", "equals": True}}, "ok", ""),
    ("/health", {"json": {"pointer": "/nodes/0/up", "equals": 1}}, "bad_body", "/nodes/0/up is True, not 1"),
    ("/health", {"json": {"pointer": "/nodes/7", "equals": 1}}, "bad_body", "nothing at /nodes/7"),
    ("/health", {"json": {"pointer": "/nodes/00/up", "equals": True}}, "bad_body", "nothing at /nodes/00"),
    ("/health", {"json": {"pointer": "/nodes/²", "equals": 1}}, "bad_body", "nothing at /nodes/²"),
    ("/health", {"json": {"pointer": "/load", "equals": 1}}, "ok", ""),
    ("/status/200", {"json": {"pointer": "/a", "equals": 1}}, "bad_body", "not JSON"),
    ("/health", {"host": "www.example.org", "contains": "www.example.org"}, "ok", ""),
    ("/big", {}, "ok", ""),
    ("/big", {"contains": "y", "body_limit": 1000}, "bad_body", "in its first 1000 bytes"),
]


@pytest.mark.parametrize(("path", "params", "outcome", "detail"), HTTP)
async def test_http_outcomes(path: str, params: dict[str, Any], outcome: str, detail: str) -> None:
    """Each answer is judged as the table says, in words that say what was wrong."""
    async with http_server() as port, prober() as ask:
        end = await ask(HttpParams(url=f"http://127.0.0.1:{port}{path}", **params))
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [(hang, "timeout"), (drip, "timeout"), (garbage, "protocol"), (reset, "reset")],
)
async def test_http_servers_that_misbehave(handler: Handler, outcome: str) -> None:
    """Hanging, dripping a byte at a time, garbage, reset: each ends within the deadline, as what it is."""
    async with tcp_server(handler) as port, prober() as ask:
        end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/"), timeout=0.3)
        assert end.outcome.code == outcome, end


@pytest.mark.parametrize(("coding", "wbits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_http_compressed_bodies(coding: str, wbits: int) -> None:
    """None is asked for; one that comes all the same is read, as far as the limit, however far it would unfold."""

    def packed(body: bytes) -> bytes:
        packer = zlib.compressobj(wbits=wbits)
        return packer.compress(body) + packer.flush()

    bodies = [packed(b'{"status":"ok"}'), packed(b"x" * 50_000_000), b"this is not compressed"]
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = bodies[len(requests)]
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    async with tcp_server(serve) as port, prober() as ask:
        url = f"http://127.0.0.1:{port}/"
        good = await ask(HttpParams(url=url, json={"pointer": "/status", "equals": "ok"}))
        assert good.outcome.code == "ok", good
        bomb = await ask(HttpParams(url=url, contains="y"))
        assert (bomb.outcome.code, bomb.outcome.detail) == ("bad_body", "without 'y' in its first 65536 bytes")
        false = await ask(HttpParams(url=url, contains="compressed"))
        assert (false.outcome.code, f"said to be {coding}" in false.outcome.detail) == ("bad_body", True)
        assert all(b"Accept-Encoding: identity\r\n" in request for request in requests)


async def test_http_closed_port_and_unknown_name() -> None:
    """Refused is definite; a name that does not resolve says nothing of the service."""
    async with prober() as ask:
        assert (await ask(HttpParams(url=f"http://127.0.0.1:{await closed_port()}/"))).outcome.code == "refused"
        assert (await ask(HttpParams(url="http://nowhere.invalid/"))).outcome.code in ("not_run", "timeout")


async def test_https_certificates(tmp_path: Path) -> None:
    """A good one, a wrong name, an unknown authority, and verification switched off.

    The authority writes no key identifiers, as many a private one: that is for curl, and for us, none the worse.
    """
    files = certificate(tmp_path, "www.example.org")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    async with http_server(ssl_context=context) as port, prober() as ask:
        base: dict[str, Any] = {"url": f"https://127.0.0.1:{port}/status/200"}
        trusted = {**base, "ca_file": str(files.authority)}
        assert (await ask(HttpParams(**trusted, server_name="www.example.org"))).outcome.code == "ok"
        assert (await ask(HttpParams(**trusted, host="www.example.org:8443"))).outcome.code == "ok"
        wrong = await ask(HttpParams(**trusted, server_name="other.example.org"))
        assert wrong.outcome.code == "tls"
        assert "mismatch" in wrong.outcome.detail
        assert (await ask(HttpParams(**base))).outcome.code == "tls"
        assert (await ask(HttpParams(**base, verify=False))).outcome.code == "ok"


async def test_https_certificates_of_ours(tmp_path: Path) -> None:
    """A file that is gone, or is none, says nothing of the service; one that is renewed is used at once."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = certificate(tmp_path / "old", "www.example.org"), certificate(tmp_path / "new", "www.example.org")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(new.authority))
    context.load_cert_chain(new.certificate, new.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    ours = {"ca_file": tmp_path / "ca.pem", "cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}

    def put(files: Files) -> None:
        for path, text in zip(ours.values(), (files.authority, files.certificate, files.key), strict=True):
            path.write_bytes(text.read_bytes())

    async with http_server(ssl_context=context) as port, prober() as ask:
        params = HttpParams(
            url=f"https://127.0.0.1:{port}/status/200",
            server_name="www.example.org",
            **{name: str(path) for name, path in ours.items()},  # type: ignore[arg-type]
        )
        gone = await ask(params)
        assert (gone.outcome.code, gone.outcome.detail) == (
            "not_run",
            "the certificates cannot be read: no such file or directory",
        )
        put(old)
        assert (await ask(params)).outcome.code == "tls"
        put(new)
        assert (await ask(params)).outcome.code == "ok"
        ours["key_file"].write_bytes(old.key.read_bytes())  # a renewal that is half done
        half = await ask(params)
        assert (half.outcome.code, "key values mismatch" in half.outcome.detail) == ("not_run", True), half
        put(new)
        assert (await ask(params)).outcome.code == "ok"


async def test_http_ways_of_connecting_are_bounded_and_never_closed_under_a_probe() -> None:
    """More of them in use than are kept: each probe is answered; afterwards nothing is left open."""

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.append(writer)
        if len(arrived) == 6:
            for waiting in arrived:
                waiting.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    arrived: list[asyncio.StreamWriter] = []
    async with tcp_server(slow) as port:
        before = descriptors()
        http = HttpAsker(Shared(), sessions_most=2)
        params = [HttpParams(url=f"http://127.0.0.1:{port}/", source=f"127.0.0.{i}") for i in range(2, 8)]
        async with asyncio.timeout(5):
            findings = await asyncio.gather(*(http.probe(p, Target("s", "c")) for p in params))
        assert {finding.outcome.code for finding in findings} == {"ok"}, findings
        await http.close()
        async with asyncio.timeout(5):
            while descriptors() > before:
                await asyncio.sleep(0.01)
