"""The probes against real servers: a table a protocol, the deadline, and what must never happen."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from aiohttp import web
from pydantic import ValidationError

from anycast_agent.checks import http as http_check
from anycast_agent.checks.dns import DnsParams
from anycast_agent.checks.exec import ExecParams
from anycast_agent.checks.http import HttpAsker, HttpParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.shared import Shared
from anycast_agent.checks.tcp import TcpParams
from tests.adapters.checks.servers import Dns, Handler, tcp_server
from tests.support.certificates import Files, certificate
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth
from tests.support.probes import descriptors, prober


@contextlib.asynccontextmanager
async def http_server(**options: Any) -> AsyncIterator[int]:
    async def status(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["code"]), text="as asked")

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "load": 1.0, "nodes": [{"up": True}], "host": request.host})

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("/health")

    async def big(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(160):
            await response.write(b"x" * 65536)
        return response

    app = web.Application()
    app.add_routes([web.get("/status/{code}", status), web.get("/health", health), web.get("/away", away),
                    web.get("/big", big)])  # fmt: skip
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, **options)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX: "):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff\x13\x37 this is no protocol\r\n\r\n")
    await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(1, 13, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closed_port() -> int:
    async with tcp_server(hang) as port:
        return port


# --- http ---------------------------------------------------------------------------------------------------

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
        assert end.duration < 1.0


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


# --- tcp ----------------------------------------------------------------------------------------------------


async def test_tcp_outcomes() -> None:
    """Accepted, refused, the right answer, the wrong one, none."""

    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx ready\r\n")
        await writer.drain()
        if await reader.readline() == b"NOOP\r\n":
            writer.write(b"250 ok\r\n")
        await writer.drain()

    async with tcp_server(banner) as port, tcp_server(hang) as mute, prober() as ask:
        base: dict[str, Any] = {"target": "127.0.0.1", "port": port}
        assert (await ask(TcpParams(**base))).outcome.code == "ok"
        assert (await ask(TcpParams(**base, send="NOOP\r\n", expect="^250 "))).outcome.code == "bad_answer"
        assert (await ask(TcpParams(**base, send="NOOP\r\n", expect="250 ok"))).outcome.code == "ok"
        assert (await ask(TcpParams(target="127.0.0.1", port=mute, expect="x"), timeout=0.2)).outcome.code == "timeout"
        closed = await ask(TcpParams(target="127.0.0.1", port=await closed_port()))
        assert (closed.outcome.code, closed.outcome.detail) == ("refused", "connection refused")


# --- dns ----------------------------------------------------------------------------------------------------


def well(query: Any) -> Any:
    answer = dns.message.make_response(query)
    answer.flags |= dns.flags.AA
    answer.answer.append(dns.rrset.from_text("example.org.", 60, "IN", "A", "192.0.2.1", "192.0.2.2"))
    return answer


def failing(rcode: int) -> Callable[[Any], bytes]:
    def answer(query: Any) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        return bytes(response.to_wire())

    return answer


def forged_first(query: Any) -> bytes:
    query.id = (query.id + 1) % 65536
    return bytes(well(query).to_wire())


DNS: list[tuple[Callable[[Any], bytes | None], dict[str, Any], str, str]] = [
    (lambda q: well(q).to_wire(), {}, "ok", "192.0.2.1"),
    (lambda q: well(q).to_wire(), {"contains": ("192.0.2.2",)}, "ok", ""),
    (lambda q: well(q).to_wire(), {"contains": ("192.0.2.9",)}, "bad_answer", "without 192.0.2.9"),
    (lambda q: well(q).to_wire(), {"exactly": ("192.0.2.2", "192.0.2.1")}, "ok", ""),
    (lambda q: well(q).to_wire(), {"exactly": ("192.0.2.1",)}, "bad_answer", "not exactly 192.0.2.1"),
    (lambda q: well(q).to_wire(), {"at_least": 3}, "bad_answer", "2 answers, 3 wanted"),
    (lambda q: well(q).to_wire(), {"flags": ("AA",)}, "ok", ""),
    (lambda q: well(q).to_wire(), {"flags": ("AD",)}, "bad_answer", "without the flag AD"),
    (failing(dns.rcode.NXDOMAIN), {}, "bad_answer", "rcode NXDOMAIN, not NOERROR"),
    (failing(dns.rcode.NXDOMAIN), {"rcode": "NXDOMAIN"}, "ok", ""),
    (failing(dns.rcode.SERVFAIL), {}, "overloaded", "rcode SERVFAIL"),
    (lambda q: q.id.to_bytes(2, "big") + b"nonsense", {}, "protocol", "not a DNS message"),
    (forged_first, {}, "timeout", ""),
    (lambda q: None, {}, "timeout", "no answer within 300 ms"),
]


@pytest.mark.parametrize(("answer", "params", "outcome", "detail"), DNS)
async def test_dns_outcomes(
    answer: Callable[[Any], bytes | None], params: dict[str, Any], outcome: str, detail: str
) -> None:
    """Each answer is judged as the table says; one to another question is not taken for an answer."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Dns(answer), local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    try:
        async with prober() as ask:
            end = await ask(DnsParams(server="127.0.0.1", port=port, name="example.org", **params), timeout=0.3)
            assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
    finally:
        transport.close()


@pytest.mark.parametrize(("retry", "outcome", "detail"), [(True, "ok", ""), (False, "bad_answer", "cut off")])
async def test_dns_answers_that_are_cut_off(retry: bool, outcome: str, detail: str) -> None:
    """In the middle of a record, too: asked again over TCP where that is wanted, and named for what it is else."""

    def cut(query: Any) -> bytes:
        wire = bytearray(well(query).to_wire()[:-14])  # without the OPT record, and in the midst of the last answer
        wire[2] |= 0x02
        return bytes(wire)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        wire = well(dns.message.from_wire(await reader.readexactly(size))).to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        await writer.drain()

    async with tcp_server(serve) as port, prober() as ask:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Dns(cut), local_addr=("127.0.0.1", port))
        try:
            base: dict[str, Any] = {"server": "127.0.0.1", "port": port, "name": "example.org"}
            end = await ask(DnsParams(**base, at_least=2, retry_truncated=retry))
            assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
        finally:
            transport.close()


async def test_dns_runts_are_not_answers() -> None:
    """A datagram too short to carry a number answers nothing: whoever guesses the port could else fail a probe."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Dns(lambda query: transport.sendto(b"", server.asker) or well(query).to_wire()),
        local_addr=("127.0.0.1", 0),
    )
    try:
        async with prober() as ask:
            params = DnsParams(server="127.0.0.1", port=transport.get_extra_info("sockname")[1], name="example.org")
            assert (await ask(params)).outcome.code == "ok"
    finally:
        transport.close()


async def test_dns_closed_port_fails_at_once() -> None:
    """The socket is connected: the kernel tells of the closed port, and nobody waits for the timeout."""
    async with prober() as ask:
        end = await ask(DnsParams(server="127.0.0.1", port=await closed_port(), name="example.org"), timeout=5.0)
        assert end.outcome.code == "refused"
        assert end.duration < 1.0


async def test_dns_over_tcp() -> None:
    """Length first, in pieces, and a connection that closes in the middle."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
        wire = well(dns.message.from_wire(await reader.readexactly(size))).to_wire()
        for piece in (struct.pack("!H", len(wire)), wire[:5], wire[5:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)

    async with tcp_server(serve) as port, tcp_server(garbage) as wrong, prober() as ask:
        base: dict[str, Any] = {"server": "127.0.0.1", "name": "example.org", "transport": "tcp"}
        assert (await ask(DnsParams(**base, port=port, contains=("192.0.2.1",)))).outcome.code == "ok"
        assert (await ask(DnsParams(**base, port=wrong))).outcome.code in ("reset", "bad_answer")


# --- all ----------------------------------------------------------------------------------------------------


async def test_a_pattern_that_never_ends_delays_no_other() -> None:
    """It is killed at its deadline and says nothing of its service; others are matched while it runs, which takes the
    loop's turns; nothing is left of it."""

    async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).startswith(b"GET"):
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.write(b"a" * 60)
        await writer.drain()

    before = descriptors()
    async with tcp_server(said) as port, prober() as ask:
        evil = "(a+)+b"
        probes: list[Any] = [
            HttpParams(url=f"http://127.0.0.1:{port}/", regex=evil),
            TcpParams(target="127.0.0.1", port=port, send="x\n", expect=evil),
        ]
        open_ends = [asyncio.create_task(ask(params, timeout=2.0)) for params in probes]
        matched_meanwhile = 0
        while not any(task.done() for task in open_ends):
            end = await ask(HttpParams(url=f"http://127.0.0.1:{port}/", regex="^a+$"))
            assert end.outcome.code == "ok", end
            matched_meanwhile += not any(task.done() for task in open_ends)
        assert matched_meanwhile > 0
        for task in open_ends:
            end = await task
            assert (end.outcome.code, end.outcome.detail) == ("not_run", "the pattern takes too long to match"), end
    async with asyncio.timeout(5):
        while descriptors() > before:
            await asyncio.sleep(0.01)


async def test_a_probe_that_hangs_delays_no_other() -> None:
    """Fifty hang; one that answers is answered meanwhile."""
    async with tcp_server(hang) as port, http_server() as well_port, prober() as ask:
        hanging = [
            asyncio.create_task(ask(HttpParams(url=f"http://127.0.0.1:{port}/"), timeout=2.0)) for _ in range(50)
        ]
        end = await ask(HttpParams(url=f"http://127.0.0.1:{well_port}/health"), timeout=2.0)
        assert end.outcome.code == "ok"
        assert not any(task.done() for task in hanging)
        assert {(await task).outcome.code for task in hanging} == {"timeout"}


def test_without_file_descriptors_nothing_is_said_of_the_service() -> None:
    """In a process whose descriptors are used up: not_run; and well again once there are some."""
    code = """
import asyncio, os, resource, sys
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.model import Check
from anycast_agent.checks.prober import Prober
from anycast_agent.checks.tcp import TcpParams
from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.exec import ExecParams
async def main():
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ends = []
    prober = Prober(ends.append)
    async def ask(kind, params):
        prober.execute(RunProbe(len(ends), CheckKey("s", "c"), Check("c", kind, params, 1.0, 1.0, 0.1)))
        wanted = len(ends) + 1
        while len(ends) < wanted: await asyncio.sleep(0.01)
        return str(ends[-1].outcome.code)
    tcp, http = TcpParams(target="127.0.0.1", port=port), HttpParams(url=f"http://127.0.0.1:{port}/")
    await ask("tcp", tcp)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    held = []
    try:
        while True: held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError: pass
    out = [await ask("tcp", tcp), await ask("http", http),
           await ask("exec", ExecParams(command=("/bin/true",)))]
    for fd in held: os.close(fd)
    out.append(await ask("tcp", tcp))
    print(*out)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["not_run", "not_run", "not_run", "ok"], done.stderr


@needs_root
@pytest.mark.root
def test_names_that_hang_hold_up_nobody_and_are_nobodys_fault(tmp_path: Path) -> None:
    """With a name server that is silent, probes by name say nothing of their services; all else that needs a thread
    has one, and the process ends when it is told to. Those of one service leave look-ups to another."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    code = """
import asyncio, socket, subprocess, sys, threading
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.model import Check
from anycast_agent.checks.prober import Prober
from anycast_agent.checks.http import HttpParams
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
async def main():
    ends = []
    prober = Prober(ends.append)
    for i in range(40):
        params = HttpParams(url=f"http://host{i}.example/")
        prober.execute(RunProbe(i, CheckKey("s" if i < 39 else "other", str(i)), Check("c", "http", params, 1.0, 0.5, 0.1)))
    while sum(thread.name == "look-up" for thread in threading.enumerate()) < 18: await asyncio.sleep(0.01)
    async with asyncio.timeout(30):  # a look-up takes 150 s
        await asyncio.to_thread(lambda: None)
    while len(ends) < 40: await asyncio.sleep(0.01)
    print(*sorted({(end.outcome.code, end.outcome.detail) for end in ends}), sep="\\n")
    print(next(end.outcome.detail for end in ends if end.action == 39))
    await prober.close()
asyncio.run(main())
"""
    done = subprocess.run(
        ["unshare", "--mount", "--net", sys.executable, "-c", code, str(tmp_path / "resolv.conf")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "('not_run', 'the name does not resolve: 17 look-ups of this service hang already')",
        "('not_run', 'the name was not resolved in time')",
        "the name was not resolved in time",
    ], done.stderr


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("source", [None, "198.51.100.1"])
def test_a_probe_of_the_anycast_address_never_leaves_the_node(source: str | None) -> None:
    """With the address gone, another node that has it would answer well: the probe is not made instead."""
    with namespaces("here", "there") as (here, there):
        veth(here, "nic0", there, "nic0")
        ip("-n", here, "addr", "add", "198.51.100.1/30", "dev", "nic0")
        ip("-n", there, "addr", "add", "198.51.100.2/30", "dev", "nic0")
        ip("-n", here, "route", "add", "default", "via", "198.51.100.2")
        for node in (here, there):
            ip("-n", node, "addr", "add", "192.0.2.53/32", "dev", "lo")

        async def work() -> None:
            server = subprocess.Popen(
                ["ip", "netns", "exec", there, sys.executable, "-m", "http.server", "80", "--bind", "192.0.2.53"],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            local = await asyncio.start_server(lambda r, w: w.close(), "192.0.2.53", 80)
            try:
                async with prober() as ask:
                    tcp = TcpParams(port=80, source=source)
                    assert (await ask(tcp, prefix="192.0.2.53/32")).outcome.code == "ok"
                    local.close()
                    await asyncio.to_thread(ip, "-n", here, "addr", "del", "192.0.2.53/32", "dev", "lo")
                    free = TcpParams(port=80, target="192.0.2.53")
                    end = time.monotonic() + 10
                    while (await ask(free)).outcome.code != "ok":  # unpinned, it is the other node that answers
                        assert time.monotonic() < end
                    assert (await ask(tcp, prefix="192.0.2.53/32", timeout=0.5)).outcome.code != "ok"
                    http = HttpParams(source=source)
                    assert (await ask(http, prefix="192.0.2.53/32", timeout=0.5)).outcome.code != "ok"
            finally:
                server.kill()
                server.wait()

        run_inside(here, work)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("nonlocal_bind", ["0", "1"])
def test_a_probe_with_a_source_of_its_own_never_leaves_the_node_over_ipv6(nonlocal_bind: str) -> None:
    """Also where addresses that are not there can be bound to, as is usual beside VRRP and load balancers."""
    with namespaces("here", "there") as (here, there):
        veth(here, "nic0", there, "nic0")
        sysctl(here, "net.ipv6.ip_nonlocal_bind", nonlocal_bind)
        ip("-n", here, "addr", "add", "2001:db8:1::1/64", "dev", "nic0")
        ip("-n", there, "addr", "add", "2001:db8:1::2/64", "dev", "nic0")
        ip("-n", here, "-6", "route", "add", "default", "via", "2001:db8:1::2")
        ip("-n", there, "addr", "add", "2001:db8:53::53/128", "dev", "lo")

        async def work() -> None:
            server = subprocess.Popen(
                ["ip", "netns", "exec", there, sys.executable, "-m", "http.server", "80", "--bind", "2001:db8:53::53"],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                async with prober() as ask:
                    end = time.monotonic() + 10
                    while (await ask(TcpParams(port=80, target="2001:db8:53::53"))).outcome.code != "ok":
                        assert time.monotonic() < end
                    pinned = [TcpParams(port=80, source="2001:db8:1::1"), HttpParams(source="2001:db8:1::1")]
                    for params in pinned:
                        gone = await ask(params, prefix="2001:db8:53::53/128", timeout=0.5)
                        assert (gone.outcome.code, gone.outcome.detail) == (
                            "not_run",
                            "the address is not on this node",
                        )
                    await asyncio.to_thread(ip, "-n", here, "addr", "add", "2001:db8:53::53/128", "dev", "lo")
                    local = await asyncio.start_server(lambda r, w: w.close(), "2001:db8:53::53", 80)
                    assert (await ask(pinned[0], prefix="2001:db8:53::53/128")).outcome.code == "ok"
                    local.close()
            finally:
                server.kill()
                server.wait()

        run_inside(here, work)


def test_parameters_are_checked_when_they_are_read() -> None:
    """Wrong ones are refused with a word on what is wrong; equal ones are equal, and can be hashed."""
    wrong: list[tuple[type, dict[str, Any]]] = [
        (HttpParams, {"regex": "("}), (HttpParams, {"url": "ftp://x/"}), (HttpParams, {"status": "20x"}),
        (HttpParams, {"key_file": "/k"}), (HttpParams, {"headers": {"X": "a\r\nb"}}), (TcpParams, {"port": 0}),
        (HttpParams, {"regex": "a{99999999999}"}), (HttpParams, {"regex": "(" * 490 + ")" * 490}),
        (HttpParams, {"url": "http://192.0.2.1:99999/"}), (HttpParams, {"url": "http://x..y/"}),
        (HttpParams, {"url": f"http://{'a' * 64}.example/"}), (HttpParams, {"headers": {"X": "a\0b"}}),
        (HttpParams, {"headers": {"X Y": "a"}}), (HttpParams, {"host": "a\r\nb"}), (HttpParams, {"server_name": "a..b"}),
        (TcpParams, {"port": 1, "expect": "\\u0031"}),
        (TcpParams, {"port": 1, "unknown": 2}), (DnsParams, {"name": "a..b"}), (DnsParams, {"name": "a", "record": "Q"}),
        (ExecParams, {"command": "ls /"}), (ExecParams, {"command": ["ls"]}),
    ]  # fmt: skip
    for kind, values in wrong:
        with pytest.raises(ValidationError):
            kind(**values)
    one, other = (HttpParams(headers={"X": "1"}, json={"pointer": "/a", "equals": 1}) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert not http_check.KIND.own_target(one)
    assert http_check.KIND.own_target(HttpParams(url="http://192.0.2.1/"))
