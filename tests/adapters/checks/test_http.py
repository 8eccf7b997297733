"""http checks: what is sent is what was written, and answers with great heads are read, against raw servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.sessions import HEADER_MOST, HEADERS_MOST
from anycast_agent.checks.urls import as_written
from tests.adapters.checks.servers import tcp_server
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth
from tests.support.probes import prober


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
        (head_of(1, HEADER_MOST - 100), "ok"),
        (head_of(HEADERS_MOST - 10, 100), "ok"),
        (head_of(1, HEADER_MOST + 100), "protocol"),
        (head_of(HEADERS_MOST + 10, 10), "protocol"),
    ],
)
async def test_a_great_head_is_read_and_its_bounds_are_stated(head: bytes, outcome: str) -> None:
    """A long policy, or some hundred cookies, are no fault of the service; what has no end is."""
    async with recorder(head) as (port, _), prober() as ask:
        end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/"))
        assert end.outcome.code == outcome, end
        assert len(end.outcome.detail) <= 200
