"""dns checks: what counts as an answer, and how data is compared, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
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
from tests.adapters.checks.servers import Dns
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
