"""Readers without mercy: whatever they do, the engine has its turn, and nothing grows."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anycast_agent.api.http import MAX_HEAD, MAX_OF_A_CLIENT, BadRequestError, Listener, Request, Response, parse
from anycast_agent.api.http import _client as client_of
from anycast_agent.api.turnstile import BURST, MAX_MAKING, SHARE, SLICE, BusyError, Prepared, Turnstile
from tests.api.surfaces import said, serving, well
from tests.support.agent import HTTP_PORT, Scene, configuration, play
from tests.support.netns import namespaces, needs_root, run_inside

# --- the turnstile ----------------------------------------------------------------------------------------------


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


class Page:
    """Something that takes its time to be made; remembers how often it was, and how far."""

    def __init__(self, pieces: int = 10, each: float = 0.0) -> None:
        self._pieces, self._each = pieces, each
        self.made = self.steps = 0

    def make(self) -> Iterator[str]:
        self.made += 1
        for number in range(self._pieces):
            busy(self._each)
            self.steps += 1
            yield f"{number} "


async def test_a_page_is_made_once_for_all_who_wait() -> None:
    """Fifty ask at the same moment: one rendering, fifty times the same answer."""
    page, prepared = Page(each=0.001), Prepared(Turnstile())
    answers = await asyncio.gather(*(prepared.get("p", page.make, 0.1) for _ in range(50)))
    assert page.made == 1
    assert set(answers) == {b"0 1 2 3 4 5 6 7 8 9 "}


async def test_an_answer_that_took_long_to_make_is_kept_like_any_other() -> None:
    """It is as old as its end, not as its beginning: what is dear would never be given twice."""
    page, prepared = Page(pieces=3, each=0.07), Prepared(Turnstile())
    await prepared.get("p", page.make, 0.5)  # with its share of the time it takes longer than it is kept for
    await prepared.get("p", page.make, 0.5)
    assert page.made == 1


async def test_who_has_just_changed_something_sees_it() -> None:
    """The control socket's answer is begun after the question; one that is under way is not good enough."""
    page, prepared = Page(pieces=5, each=0.005), Prepared(Turnstile())
    first = asyncio.create_task(prepared.get("p", page.make, None))
    while page.steps == 0:
        await asyncio.sleep(0)
    await prepared.get("p", page.make, None)
    await first
    assert page.made == 2


async def test_a_rendering_goes_on_in_slices() -> None:
    """Others run between the slices; a slice is over with the first piece that goes past its time."""
    page, prepared, between, seen = Page(pieces=60, each=SLICE / 2), Prepared(Turnstile()), [], 0
    making = asyncio.create_task(prepared.get("p", page.make, 0.1))
    while not making.done():
        between.append(page.steps - seen)
        seen = page.steps
        await asyncio.sleep(0)
    assert page.steps == 60
    assert max(between) <= 3


async def test_the_engine_goes_first() -> None:
    """While its turn is due no piece is made; it has it, and then the piece is."""
    due, page = True, Page(pieces=1)
    prepared = Prepared(Turnstile(lambda: due))
    making = asyncio.create_task(prepared.get("p", page.make, 0.1))
    for _ in range(5):
        await asyncio.sleep(0)
    assert page.steps == 0
    due = False
    await making


async def test_an_engine_that_is_always_due_does_not_shut_out_the_readers() -> None:
    """Under a flood of events a page is late, and not away."""
    page, prepared = Page(pieces=1), Prepared(Turnstile(lambda: True))
    assert await asyncio.wait_for(prepared.get("p", page.make, 0.1), 10)


async def test_all_readers_together_have_a_share_of_the_time() -> None:
    """However many ask for however many pages, what they cost is spread over so much time that the share holds."""
    turnstile, began = Turnstile(), time.monotonic()
    prepared, cost = Prepared(turnstile), 0.0
    for number in range(20):
        before = time.thread_time()
        await prepared.get(f"p{number}", Page(pieces=4, each=0.004).make, 0.1)
        cost += time.thread_time() - before
    assert cost > 0.3
    assert time.monotonic() - began > 20 * 4 * 0.004 / SHARE - BURST - SLICE / SHARE


async def test_pages_that_are_being_made_are_bounded() -> None:
    """Past the bound one is told to ask again; what is being made is finished."""
    prepared, page = Prepared(Turnstile()), Page(pieces=1)
    asked = [prepared.get(f"p{n}", page.make, 0.1) for n in range(MAX_MAKING + 3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(f, BusyError) for f in found) == 3
    assert page.made == MAX_MAKING


async def test_an_error_is_told_to_everybody_who_waits_and_the_next_is_made_anew() -> None:
    """And a rendering nobody waits for any more ends by itself."""

    def broken() -> Iterator[str]:
        yield "x"
        raise ZeroDivisionError

    prepared = Prepared(Turnstile())
    found = await asyncio.gather(*(prepared.get("p", broken, 0.1) for _ in range(3)), return_exceptions=True)
    assert [type(f) for f in found] == [ZeroDivisionError] * 3
    page = Page(each=0.002)
    gone = asyncio.create_task(prepared.get("p", page.make, 0.1))
    while page.steps == 0:
        await asyncio.sleep(0)
    gone.cancel()
    assert await prepared.get("p", page.make, 5.0)
    assert page.made == 1


# --- requests, as they come ---------------------------------------------------------------------------------------


def test_a_request_is_read_by_the_letter() -> None:
    """RFC 9112: a request line, fields, exactly one Host; the path decoded, the query left out."""
    head = b"GET /api/v1/services/a%20b?x=1 HTTP/1.1\r\nHost: edge1:9179\r\nAccept: */*"
    assert parse(head) == Request("GET", "/api/v1/services/a b", "edge1:9179")
    assert parse(b"HEAD / HTTP/1.0") == Request("HEAD", "/", None)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET / HTTP/1.1",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost: a\x00b",
        b"GET / HTTP/1.1\nHost: a",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/2.0\r\nHost: a",
        b"PRI * HTTP/2.0",
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: localhost",
        b"get / HTTP/1.1\r\nHost: a",
        b"GET /\xff HTTP/1.1\r\nHost: a",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\nHost: a" + b"\r\nX: 1" * 100,
    ],
)
def test_what_is_no_request_is_refused(head: bytes) -> None:
    """Nothing is guessed: what two readers could understand in two ways is understood in none."""
    with pytest.raises(BadRequestError):
        parse(head)


async def test_head_is_answered_with_the_head_alone() -> None:
    """The length is that of what GET would have said."""
    async with serving(well()) as (_, server):
        answer = await said(server, b"HEAD /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        whole = await said(server, b"GET /static/page.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert body == b""
    assert b"Content-Length: %d\r\n" % len(whole.partition(b"\r\n\r\n")[2]) in head + b"\r\n"


async def test_of_a_thousand_pipelined_requests_one_is_answered() -> None:
    """One answer, whole, and the connection is closed: nobody has work queued up for us."""
    async with serving(well()) as (_, server):
        answer = await said(server, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert answer.endswith(b"}\n")
        assert server.requests == 1


async def test_who_has_said_all_is_answered_and_who_says_nothing_costs_a_place_for_a_moment() -> None:
    """A half-closed connection is answered; so is one that drips, if it is in time; one without an end is refused."""
    async with serving(well()) as (client, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        writer.write_eof()
        assert b" 200 OK" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n":
            writer.write(bytes([byte]))
            await writer.drain()
        assert b" 200 OK" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert b" 400 " in await said(server, b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_HEAD)
        async with client.get("/livez") as response:
            assert response.status == 200


async def test_a_reader_that_does_not_read_keeps_nobody_waiting() -> None:
    """It holds a place and the answer that all share; another is answered meanwhile, whole."""
    body = b"x" * (8 << 20)

    async def answer(request: Request | BadRequestError) -> Response:
        return Response(200, body, "text/plain")

    listening = socket.create_server(("127.0.0.1", 0))
    listener = Listener(listening, answer)
    port = listening.getsockname()[1]
    try:
        ways = [await asyncio.open_connection("127.0.0.1", port, limit=1024) for _ in range(20)]
        for _, writer in ways:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert len((await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")[2]) == len(body)
        for _, other in [*ways, (reader, writer)]:
            other.transport.abort()
    finally:
        await listener.close()


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("127.0.0.1", "this node"),
        ("127.9.9.9", "this node"),
        ("::1", "this node"),
        ("::ffff:127.0.0.1", "this node"),
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_who_counts_as_one_client(address: str, client: str) -> None:
    """As many addresses as one may take without asking anybody are one client."""
    assert client_of((address, 1)) == client


@needs_root
@pytest.mark.root
def test_one_client_leaves_places_for_the_others() -> None:
    """It has its bound; at the bound of all, a place is made by the client that has the most."""

    async def story() -> None:
        async def answer(request: Request | BadRequestError) -> Response:
            return Response(200, b"ok", "text/plain")

        listener = Listener(socket.create_server(("198.51.100.9", 9179)), answer)
        held: list[asyncio.StreamWriter] = []
        ended: list[tuple[str, asyncio.Task[bytes]]] = []

        async def hold(source: str, count: int) -> None:
            for _ in range(count):
                way = asyncio.open_connection("198.51.100.9", 9179, local_addr=(source, 0))
                reader, writer = await way
                held.append(writer)
                ended.append((source, asyncio.create_task(reader.read(1))))

        try:
            await hold("198.51.100.1", 1)
            await hold("198.51.100.2", 3 * MAX_OF_A_CLIENT)
            async with asyncio.timeout(10):
                while sum(t.done() for _, t in ended) < 2 * MAX_OF_A_CLIENT:
                    await asyncio.sleep(0.02)
            await hold("198.51.100.3", MAX_OF_A_CLIENT)
            await hold("198.51.100.1", 1)
            async with asyncio.timeout(10):
                while sum(t.done() for _, t in ended) < 2 * MAX_OF_A_CLIENT + 2:
                    await asyncio.sleep(0.02)
            assert not any(t.done() for s, t in ended if s == "198.51.100.1")
            for _, task in ended:
                task.cancel()
            await asyncio.gather(*(t for _, t in ended), return_exceptions=True)
        finally:
            for writer in held:
                writer.close()
            await listener.close()

    with namespaces("node") as (namespace,):
        for number in (1, 2, 3, 9):
            words = ["ip", "-n", namespace, "addr", "add", f"198.51.100.{number}/32", "dev", "lo"]
            subprocess.run(words, check=True)
        run_inside(namespace, story, 60)


# --- a whole agent ------------------------------------------------------------------------------------------------

SERVICES, CONNECTIONS = 200, 200
READERS = r"""
import random, socket, sys, threading, time
end, count = time.time() + float(sys.argv[1]), int(sys.argv[2])
paths = ["/", "/metrics", "/api/v1/status", "/readyz", "/nothing"] + ["/api/v1/services/s%d" % n for n in range(20)]
def one(number):
    chance = random.Random(number)
    while time.time() < end:
        try:
            with socket.create_connection(("127.0.0.1", 9179), 3) as s:
                s.settimeout(3)
                how = number % 5
                method = "HEAD" if how == 0 else "GET"
                request = "%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (method, chance.choice(paths))
                s.sendall(request.encode() * (100 if how == 1 else 1) if how != 2 else request.encode()[:-1])
                if how == 3:
                    time.sleep(0.5)  # reads nothing
                while how != 3 and s.recv(1 << 16):
                    pass
        except OSError:
            pass
threads = [threading.Thread(target=one, args=(n,), daemon=True) for n in range(count)]
for t in threads: t.start()
for t in threads: t.join(max(0, end - time.time()) + 5)
"""


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_really_two_hundred_readers_withdraw_nothing(tmp_path: Path) -> None:
    """All pages, HEAD, pipelined, unread and half-open, from another user: the engine beats on, no UPDATE is sent, and
    whoever asks over the control socket is answered well before the dead man's time."""

    async def story(s: Scene) -> None:
        await s.peer.until(lambda p: len(p.table) == SERVICES, 60)
        began, updates = time.monotonic(), len(s.peer.updates)
        words = ["ip", "netns", "exec", s.namespace, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        readers = subprocess.Popen([*words, "/usr/bin/python3", "-c", READERS, "6", str(CONNECTIONS)])
        slowest = 0.0
        try:
            while readers.poll() is None and time.monotonic() < began + 30:
                asked = time.monotonic()
                assert (await s.agent.status())["ready"]
                slowest = max(slowest, time.monotonic() - asked)
        finally:
            readers.kill()
            readers.wait()
        assert time.monotonic() - began > 5
        assert len(s.peer.updates) == updates
        assert slowest < 5.0, "the dead man's switch would have fired"

    check = {"type": "tcp", "port": HTTP_PORT, "target": "127.0.0.1", "interval": "5s", "timeout": "2s", "rise": 1}
    services = {
        f"s{n}": {
            "prefixes": [f"192.0.2.{n}/32"],
            "attributes": {"next_hop": "198.51.100.1"},
            "checks": {"c": check},
        }
        for n in range(1, SERVICES + 1)
    }
    values = configuration(tmp_path, services=services, agent={"dead_man": "5s", "adopt_for": "30s"})
    play(tmp_path, story, values, deadline=150.0)
