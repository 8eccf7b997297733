"""dns checks: what counts as an answer, and how data is compared, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rrset
import pytest
from pydantic import ValidationError

from anycast_agent.checks.dns import DnsParams
from tests.adapters.checks.servers import Dns, closed_port, garbage, tcp_server
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth
from tests.support.probes import prober

Reply = Callable[[dns.message.Message], dns.message.Message]


@contextlib.asynccontextmanager
async def name_server(reply: Reply, address: str = "127.0.0.1") -> AsyncIterator[tuple[int, list[dns.message.Message]]]:
    """Its port, and the questions that it was asked."""
    asked: list[dns.message.Message] = []

    def answer(query: dns.message.Message) -> bytes:
        asked.append(query)
        return reply(query).to_wire()

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Dns(answer), local_addr=(address, 0))
    try:
        yield transport.get_extra_info("sockname")[1], asked
    finally:
        transport.close()


def with_records(*records: tuple[str, str, str], klass: str = "IN") -> Reply:
    """A server that answers with (name, type, data), whatever it is asked."""

    def reply(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        for name, kind, data in records:
            answer.answer.append(dns.rrset.from_text(name, 60, klass, kind, data))
        return answer

    return reply


def with_rcode(rcode: dns.rcode.Rcode, *, flags: int = 0) -> Reply:
    def reply(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.set_rcode(rcode)
        answer.flags |= flags
        return answer

    return reply


A1, A2 = ("example.org.", "A", "192.0.2.1"), ("example.org.", "A", "192.0.2.2")
ALIAS = [("example.org.", "CNAME", "WWW.example.net."), ("www.example.net.", "A", "192.0.2.7")]
TXT = ("example.org.", "TXT", '"v=spf1 -all" " part two"')
SIX = ("example.org.", "AAAA", "2001:db8::1")
MX = ("example.org.", "MX", "10 Mail.Example.org.")
LOOP = [("example.org.", "CNAME", "a.example.org."), ("a.example.org.", "CNAME", "example.org.")]

ANSWERS: list[tuple[Reply, dict[str, Any], str, str]] = [
    (with_records(A1), {}, "ok", "noerror 192.0.2.1"),
    (with_records(), {}, "bad_answer", "no A record in the answer, 1 wanted"),
    (with_rcode(dns.rcode.NOERROR, flags=dns.flags.TC), {}, "bad_answer", "cut off"),
    (with_records(("example.org.", "CNAME", "www.example.net.")), {}, "bad_answer", "no A record"),
    (with_records(("other.example.org.", "A", "192.0.2.1")), {}, "bad_answer", "no A record"),
    (with_records(), {"at_least": 0}, "ok", "noerror none"),
    (with_records(), {"exactly": ()}, "ok", "noerror none"),
    (with_records(A1), {"exactly": ()}, "bad_answer", "not exactly none"),
    (with_rcode(dns.rcode.NXDOMAIN), {"rcode": "NXDOMAIN"}, "ok", "nxdomain none"),
    (with_rcode(dns.rcode.NXDOMAIN), {"rcode": "NXDOMAIN", "at_least": 1}, "bad_answer", "no A record"),
    (with_records(*ALIAS), {"contains": ("192.0.2.7",)}, "ok", ""),
    (with_records(*LOOP), {}, "bad_answer", "no A record"),
    (with_records(ALIAS[0]), {"record": "CNAME", "contains": ("www.EXAMPLE.net",)}, "ok", ""),
    (with_records(A1, A2, A1), {"exactly": ("192.0.2.2", "192.0.2.1")}, "ok", ""),
    (with_records(A1, A2), {"at_least": 3}, "bad_answer", "2 answers, 3 wanted"),
    (with_records(SIX), {"record": "AAAA", "exactly": ("2001:0DB8:0:0:0:0:0:1",)}, "ok", ""),
    (with_records(MX), {"record": "MX", "exactly": ("10 mail.example.org",)}, "ok", ""),
    (with_records(MX), {"record": "MX", "exactly": ("20 mail.example.org.",)}, "bad_answer", "not exactly"),
    (with_records(TXT), {"record": "TXT", "contains": ("v=spf1 -all part two",)}, "ok", ""),
    (with_records(TXT), {"record": "TXT", "contains": ('"v=spf1 -all" " part two"',)}, "ok", ""),
    (with_records(TXT), {"record": "TXT", "contains": ('"v=spf1 -all part two"',)}, "ok", ""),
    (with_records(TXT), {"record": "TXT", "contains": ("V=SPF1 -ALL part two",)}, "bad_answer", "without"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "params", "outcome", "detail"), ANSWERS)
async def test_answers_are_judged_as_data(reply: Reply, params: dict[str, Any], outcome: str, detail: str) -> None:
    """A record of the type must be there, through aliases; case, notation, quoting and order are no difference."""
    async with name_server(reply) as (port, _), prober() as ask:
        end = await ask(DnsParams(server="127.0.0.1", port=port, name="Example.org", **params), timeout=1.0)
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end


@pytest.mark.parametrize(
    ("record", "text"),
    [("A", "192.0.2.300"), ("AAAA", "192.0.2.1"), ("MX", "mail.example.org"), ("TXT", '"open'), ("ANY", "192.0.2.1")],
)
def test_data_that_is_none_is_refused_when_it_is_written(record: str, text: str) -> None:
    """Not by a check that can never succeed."""
    with pytest.raises(ValidationError, match=r"not the data of|cannot be compared"):
        DnsParams(name="example.org", record=record, contains=(text,))


@pytest.mark.parametrize("flag", ["AD", "CD"])
async def test_a_flag_that_must_be_asked_for_is_asked_for(flag: str) -> None:
    """A resolver sets AD only for who understands it (RFC 6840, 5.7), and copies CD; else the check could never pass."""
    bit = dns.flags.from_text(flag)

    def reply(query: dns.message.Message) -> dns.message.Message:
        answer = with_records(A1)(query)
        answer.flags |= query.flags & bit
        return answer

    async with name_server(reply) as (port, asked), prober() as ask:
        base: dict[str, Any] = {"server": "127.0.0.1", "port": port, "name": "example.org"}
        assert (await ask(DnsParams(**base, flags=(flag,)))).outcome.code == "ok"
        assert (await ask(DnsParams(**base))).outcome.code == "ok"
        assert [bool(query.flags & bit) for query in asked] == [True, False]


async def test_edns_offers_a_size_and_asks_for_the_servers_name() -> None:
    """The name is shown, whether the answer is good or not, and in hexadecimal where it is no text."""
    names = [b"ams1.ns2", b"ams1.ns2", b"\x00\x1b"]

    def reply(query: dns.message.Message) -> dns.message.Message:
        answer = with_records(A1)(query)
        answer.use_edns(0, payload=1232, options=[dns.edns.GenericOption(dns.edns.NSID, names[len(asked) - 1])])
        return answer

    async with name_server(reply) as (port, asked), prober() as ask:
        base: dict[str, Any] = {"server": "127.0.0.1", "port": port, "name": "example.org"}
        assert (await ask(DnsParams(**base))).outcome.detail == "noerror 192.0.2.1; nsid ams1.ns2"
        bad = await ask(DnsParams(**base, contains=("192.0.2.9",)))
        assert bad.outcome.detail == "answers 192.0.2.1; without 192.0.2.9; nsid ams1.ns2"
        assert (await ask(DnsParams(**base, edns_size=4096))).outcome.detail == "noerror 192.0.2.1; nsid 001b"
        assert [(query.edns, query.payload) for query in asked] == [(0, 1232), (0, 1232), (0, 4096)]
        assert all(option.otype == dns.edns.NSID for query in asked for option in query.options)


@pytest.mark.parametrize("rcode", [dns.rcode.FORMERR, dns.rcode.NOTIMP])
async def test_a_server_that_does_not_know_edns_is_asked_without(rcode: dns.rcode.Rcode) -> None:
    """Once, and in the same probe (RFC 6891, 7); nobody is asked with EDNS where its size is 0."""

    def reply(query: dns.message.Message) -> dns.message.Message:
        if query.edns < 0:
            return with_records(A1)(query)
        old = dns.message.Message(query.id)
        old.flags |= dns.flags.QR
        old.set_rcode(rcode)
        return old

    async with name_server(reply) as (port, asked), prober() as ask:
        base: dict[str, Any] = {"server": "127.0.0.1", "port": port, "name": "example.org"}
        assert (await ask(DnsParams(**base))).outcome.code == "ok"
        assert (await ask(DnsParams(**base, edns_size=0))).outcome.code == "ok"
        assert [query.edns for query in asked] == [0, -1, -1]


async def test_a_server_is_asked_what_it_is_called() -> None:
    """Class CH: id.server and version.bind, without recursion."""

    async with name_server(with_records(("id.server.", "TXT", '"ams1"'), klass="CH")) as (port, asked), prober() as ask:
        params = DnsParams.model_validate(
            {"server": "127.0.0.1", "port": port, "name": "id.server", "record": "TXT", "class": "CH",
             "contains": ["ams1"], "recursion_desired": False}
        )  # fmt: skip
        assert (await ask(params)).outcome.code == "ok"
        assert asked[0].question[0].rdclass == dns.rdataclass.CH


# --- from which address ---

ANYCAST = {
    socket.AF_INET: ("192.0.2.53", "198.51.100.1", "0.0.0.0"),
    socket.AF_INET6: ("2001:db8:53::53", "2001:db8:1::1", "::"),
}


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("family", list(ANYCAST))
@pytest.mark.parametrize(
    ("bound", "src", "outcome"),
    [(True, False, "ok"), (False, False, "bad_answer"), (False, True, "ok")],
)
def test_a_server_that_answers_from_another_address_is_found_out(
    family: socket.AddressFamily, bound: bool, src: bool, outcome: str
) -> None:
    """Bound to no address, it answers clients outside from the uplink's; unless the node's routes say which to take."""
    anycast, uplink, everywhere = ANYCAST[family]
    bits = 128 if ":" in anycast else 32
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up1", leaf, "down1")
        ip("-n", node, "addr", "add", f"{anycast}/{bits}", "dev", "lo")
        ip("-n", node, "addr", "add", f"{uplink}/{bits - 2}", "dev", "up1")
        preferred = ("src", anycast) if src else ()
        ip("-n", node, "-6" if bits == 128 else "-4", "route", "add", "default", "dev", "up1", *preferred)

        async def work() -> None:
            address = anycast if bound else everywhere
            async with name_server(with_records(A1), address) as (port, _), prober() as ask:
                end = await ask(DnsParams(port=port, name="example.org"), prefix=f"{anycast}/{bits}")
                assert end.outcome.code == outcome, end
                if outcome != "ok":
                    assert f"asked at {anycast} it answers from" in end.outcome.detail

        run_inside(node, work)


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
