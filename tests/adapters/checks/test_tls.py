"""tls checks: real handshakes, with OpenSSL's own server and with servers that begin in another protocol."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.tls import TlsParams
from tests.adapters.checks.servers import Handler, closed_port, drip, garbage, hang, reset, tcp_server
from tests.support.certificates import Files, certificate
from tests.support.probes import descriptors, prober
from tests.support.until import until

NAME = "www.example.org"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """A certificate that is good for one day."""
    return certificate(tmp_path_factory.mktemp("tls"), NAME)


@contextlib.asynccontextmanager
async def openssl(files: Files, *options: str) -> AsyncIterator[int]:
    """``openssl s_server`` on a free port."""
    port = await closed_port()
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(files.certificate), "-key", str(files.key),
        "-quiet", *options, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    async def listens() -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        return False

    try:
        await until(listens, lambda: "openssl s_server does not listen")
        yield port
    finally:
        process.kill()
        await process.wait()


def asked(files: Files, port: int, **more: Any) -> TlsParams:
    return TlsParams(
        **{"target": "127.0.0.1", "port": port, "server_name": NAME, "ca_file": str(files.authority), **more}
    )


@pytest.mark.parametrize(
    ("params", "outcome", "detail"),
    [
        ({}, "ok", "www.example.org: TLSv1.3, 1.0 days left"),
        ({"alpn": ("h2", "http/1.1")}, "ok", ", ALPN h2"),
        ({"alpn": ("dot",)}, "tls", "tlsv1 alert no application protocol"),
        ({"days_left": 0.5}, "ok", ""),
        ({"days_left": 14}, "expires", "1.0 days left, not 14"),
        ({"server_name": "other.example.org"}, "tls", "Hostname mismatch"),
        ({"ca_file": None}, "tls", "unable to get local issuer certificate"),
        ({"ca_file": "/nowhere.pem"}, "not_run", "/nowhere.pem cannot be read"),
    ],
)
async def test_outcomes(files: Files, params: dict[str, Any], outcome: str, detail: str) -> None:
    """What the certificate is worth to a client that looks at it; a file of ours is not the server's fault."""
    before = descriptors()
    async with openssl(files, "-alpn", "h2") as port, prober() as ask:
        for _ in range(2):
            end = await ask(asked(files, port, **params))
            assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end
    assert descriptors() <= before + 1


async def test_a_server_that_takes_none_of_the_protocols_is_found_out(files: Files) -> None:
    """One that knows no ALPN goes on without; a client of that protocol would not."""
    async with openssl(files) as port, prober() as ask:
        end = await ask(asked(files, port, alpn=("h2", "dot")))
        assert (end.outcome.code, "ALPN none, not h2 or dot" in end.outcome.detail) == ("bad_answer", True), end


async def test_the_days_are_measured(files: Files) -> None:
    """In days, also where they are too few; and a certificate that has run out is told as such."""
    async with openssl(files) as port, prober() as ask:
        for params in ({}, {"days_left": 30}):
            (number,) = (await ask(asked(files, port, **params))).outcome.numbers
            assert (number.measure.unit, 0.9 < number.value <= 1.0) == ("days", True)


async def test_an_old_protocol_is_refused(files: Files) -> None:
    """As today's clients refuse it."""
    async with openssl(files, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0") as port, prober() as ask:
        assert (await ask(asked(files, port))).outcome.code in ("tls", "reset")


async def alerts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Warnings of TLS, without end."""
    while True:
        writer.write(b"\x15\x03\x03\x00\x02\x01\x5a" * 1000)
        await writer.drain()


@pytest.mark.parametrize(
    ("handler", "outcomes"),
    [
        (hang, {"timeout"}),
        (garbage, {"tls"}),
        (reset, {"reset"}),
        (drip, {"tls", "timeout"}),
        (alerts, {"tls", "timeout"}),
    ],
)
@pytest.mark.parametrize("starttls", [None, "smtp", "imap", "postgres"])
async def test_servers_that_misbehave(files: Files, handler: Handler, outcomes: set[str], starttls: str | None) -> None:
    """One probe, and no more: silence, another protocol, a byte now and then, alerts in floods."""
    async with tcp_server(handler) as port, prober() as ask:
        end = await ask(asked(files, port, starttls=starttls), timeout=0.5)
        assert end.outcome.code in (outcomes if starttls is None else outcomes | {"protocol", "reset", "timeout"}), end


async def test_a_closed_port(files: Files) -> None:
    """Refused, at once."""
    async with prober() as ask:
        assert (await ask(asked(files, await closed_port()))).outcome.code == "refused"


def speaking(files: Files, protocol: str) -> Handler:
    """A server that begins in a protocol, line by line, and goes on in TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)

    async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"220-mx.example.org\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"220 ready\r\n")
        assert (await reader.readline()).startswith(b"EHLO ")
        writer.write(b"250-mx.example.org\r\n250-PIPELINING\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"250 STARTTLS\r\n")
        assert await reader.readline() == b"STARTTLS\r\n"
        writer.write(b"220 go ahead\r\n" if protocol == "smtp" else b"454 not now\r\n")
        return protocol == "smtp"

    async def imap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"* OK ready\r\n")
        assert await reader.readline() == b"a STARTTLS\r\n"
        writer.write(b"* CAPABILITY IMAP4rev1\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"a OK begin\r\n")
        return True

    async def postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        assert await reader.readexactly(8) == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
        writer.write(b"S" if protocol == "postgres" else b"N")
        return protocol == "postgres"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begins = {"smtp": smtp, "imap": imap, "postgres": postgres}[protocol.split()[0]]
        if await begins(reader, writer):
            await writer.drain()
            await writer.start_tls(context)
        await reader.read()

    return serve


@pytest.mark.parametrize(
    ("protocol", "outcome", "detail"),
    [
        ("smtp", "ok", "days left"),
        ("imap", "ok", "days left"),
        ("postgres", "ok", "days left"),
        ("smtp refuses", "protocol", "STARTTLS: 454 not now, not 220"),
        ("postgres refuses", "protocol", "SSLRequest: N, not S"),
    ],
)
async def test_tls_that_begins_in_another_protocol(files: Files, protocol: str, outcome: str, detail: str) -> None:
    """STARTTLS, with replies in several lines and in pieces; what says no is named with its own words."""
    async with tcp_server(speaking(files, protocol)) as port, prober() as ask:
        end = await ask(asked(files, port, starttls=protocol.split()[0]))
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end


@pytest.mark.parametrize("values", [{}, {"server_name": ""}, {"server_name": "a", "days_left": -1},
                                    {"server_name": "a", "alpn": [""]}, {"server_name": "a", "starttls": "ftp"}])  # fmt: skip
def test_parameters_are_checked_when_they_are_read(values: dict[str, Any]) -> None:
    """Whose certificate it is must be said: the address alone is in none."""
    with pytest.raises(ValidationError):
        TlsParams(**values)
