"""dns: a name server answers a question, and answers it right."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from typing import Annotated, Literal

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from pydantic import AfterValidator, Field, model_validator

from anycast_agent.checks import dns_data
from anycast_agent.checks.dns_source import SecondQuestion
from anycast_agent.checks.fields import IpText, Port
from anycast_agent.checks.kind import Kind, Params, Target, stateless
from anycast_agent.checks.outcomes import BAD_ANSWER, CONNECTING, OK_CODE, PROTOCOL, Code, Finding, clean
from anycast_agent.checks.sockets import family_of, from_error, open_socket
from anycast_agent.core.outcome import Evidence

OVERLOADED = Code("overloaded", Evidence.DOUBTFUL, "SERVFAIL: a resolver that is overloaded, or waits, says it too.")

_TC = 0x02
"""Of the third byte: the answer was cut off."""

_WITHOUT_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP)
"""How a server that does not know EDNS refuses it, in an answer without EDNS (RFC 6891, 7)."""

Answer = dns.message.Message | Finding


def _a_name(text: str) -> str:
    try:
        return dns.name.from_text(text).to_text()
    except dns.exception.DNSException as error:
        raise ValueError(f"not a domain name: {error}") from error


def _a_type(text: str) -> str:
    try:
        return dns.rdatatype.to_text(dns.rdatatype.from_text(text))
    except dns.exception.DNSException as error:
        raise ValueError(f"not a record type: {text}") from error


def _an_rcode(text: str) -> str:
    try:
        return dns.rcode.to_text(dns.rcode.from_text(text))
    except dns.exception.DNSException as error:
        raise ValueError(f"not an rcode: {text}") from error


class DnsParams(Params):
    """Parameters of a dns check."""

    name: Annotated[str, AfterValidator(_a_name)]
    record: Annotated[str, AfterValidator(_a_type)] = Field("A", description="The record type that is asked for.")
    klass: Literal["IN", "CH"] = Field("IN", alias="class", description="CH: what the server says of itself.")
    transport: Literal["udp", "tcp"] = "udp"
    port: Port = 53
    server: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    rcode: Annotated[str, AfterValidator(_an_rcode)] = "NOERROR"
    contains: tuple[str, ...] = Field(
        (), description="Answers that must be there, among others. Compared as data: names in any case, TXT unquoted."
    )
    exactly: tuple[str, ...] | None = Field(None, description="The answers that must be there, and no others.")
    at_least: int | None = Field(
        None, ge=0, le=1000, description="How many answers there must be: 1 with NOERROR, unless exactly says it."
    )
    flags: tuple[Literal["AA", "AD", "RA", "CD"], ...] = Field(
        (), description="Flags that the answer must carry. AD and CD are set in the question, too."
    )
    recursion_desired: bool = True
    edns_size: int = Field(
        1232, ge=0, le=65535, description="The size of a UDP answer that EDNS offers, and NSID asked for; 0: no EDNS."
    )
    retry_truncated: bool = Field(False, description="Ask again over TCP where the answer was cut off.")

    @model_validator(mode="after")
    def _data(self) -> DnsParams:
        for text in (*self.contains, *(self.exactly or ())):
            dns_data.written(self.record, self.klass, text)
        return self

    @property
    def needed(self) -> int:
        """An answer without a record resolves nothing: that has to be asked for."""
        if self.at_least is not None:
            return self.at_least
        return 1 if self.rcode == "NOERROR" and self.exactly is None else 0


async def probe(params: DnsParams, target: Target) -> Finding:
    """Ask once; judge the answer. A closed port fails at once: the socket is connected."""
    query = _query(params, edns=params.edns_size > 0)
    second = SecondQuestion(target, params.port)
    try:
        if params.transport == "udp" and params.server is None and params.source is None:
            second.ask(query.to_wire())
        answer = await _exchange(params, target, query)
        if _refuses_edns(params, query, answer):
            answer = await _exchange(params, target, _query(params, edns=False))
        finding = answer if isinstance(answer, Finding) else judge(params, answer)
        fault = await second.fault(query.id) if finding.code is OK_CODE else None
        return fault or finding
    except OSError as error:
        return from_error(error)
    finally:
        second.close()


def _query(params: DnsParams, *, edns: bool) -> dns.message.QueryMessage:
    query = dns.message.make_query(params.name, params.record, params.klass)
    if not params.recursion_desired:
        query.flags &= ~dns.flags.RD
    for flag in (
        "AD",
        "CD",
    ):  # a server answers with them where it was asked with them (RFC 6840, 5.7; RFC 4035, 3.2.2)
        if flag in params.flags:
            query.flags |= dns.flags.from_text(flag)
    if edns:
        query.use_edns(0, payload=max(512, params.edns_size), options=[dns.edns.GenericOption(dns.edns.NSID, b"")])
    return query


def _refuses_edns(params: DnsParams, query: dns.message.Message, answer: Answer) -> bool:
    return (
        isinstance(answer, dns.message.Message)
        and query.edns >= 0 > answer.edns
        and answer.rcode() in _WITHOUT_EDNS
        and dns.rcode.to_text(answer.rcode()) != params.rcode
    )


async def _exchange(params: DnsParams, target: Target, query: dns.message.Message) -> Answer:
    if params.transport == "tcp":
        return await _over_tcp(params, target, query)
    answer = await _over_udp(params, target, query)
    if isinstance(answer, dns.message.Message) and answer.flags & dns.flags.TC and params.retry_truncated:
        return await _over_tcp(params, target, query)
    return answer


async def _connected(params: DnsParams, target: Target, kind: int) -> socket.socket:
    address = params.server or target.address or ""
    sock = open_socket(target, params.source, family_of(address), kind)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _over_udp(params: DnsParams, target: Target, query: dns.message.Message) -> Answer:
    loop = asyncio.get_running_loop()
    with await _connected(params, target, socket.SOCK_DGRAM) as sock:
        await loop.sock_sendall(sock, query.to_wire())
        while True:
            answer = _parse(query, await loop.sock_recv(sock, 65535))
            if answer is not None:
                return answer
            await asyncio.sleep(0)  # a flood of forged ones is at hand at once, and would not let go of the loop


async def _over_tcp(params: DnsParams, target: Target, query: dns.message.Message) -> Answer:
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    with await _connected(params, target, socket.SOCK_STREAM) as sock:
        await loop.sock_sendall(sock, struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await _exactly(sock, 2))
        answer = _parse(query, await _exactly(sock, length))
        return answer or Finding(BAD_ANSWER, "an answer to another question")


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not more:
            raise ConnectionResetError(errno.ECONNRESET, "closed before the whole answer")
        data += more
    return data


def _parse(query: dns.message.Message, wire: bytes) -> Answer | None:
    """The answer; a Finding where it is no DNS; None where it answers something else, as a forged one would."""
    if len(wire) < 2 or int.from_bytes(wire[:2], "big") != query.id:
        return None
    # Cut off in the middle of a record it is an answer still, and one to ask again for over TCP.
    cut = len(wire) > 2 and bool(wire[2] & _TC)
    try:
        answer = dns.message.from_wire(wire, ignore_trailing=True, continue_on_error=cut)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error) as error:
        return Finding(PROTOCOL, f"not a DNS message: {clean(str(error)) or type(error).__name__}")
    return answer if query.is_response(answer) else None


def judge(params: DnsParams, answer: dns.message.Message) -> Finding:
    """Whether an answer is what was asked for; the detail names the server that gave it, where it tells its name."""
    finding = _judge(params, answer)
    who = dns_data.nsid(answer)
    return Finding(finding.code, clean(f"{finding.detail}; nsid {who[:60]}")) if who else finding


def _judge(params: DnsParams, answer: dns.message.Message) -> Finding:
    """A SERVFAIL nobody expects is doubtful: a resolver that is overloaded, or waits for others, says it too."""
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode != params.rcode:
        doubtful = answer.rcode() == dns.rcode.SERVFAIL
        return Finding(OVERLOADED if doubtful else BAD_ANSWER, f"rcode {rcode}, not {params.rcode}")
    missing = [flag for flag in params.flags if not answer.flags & dns.flags.from_text(flag)]
    if missing:
        return Finding(BAD_ANSWER, f"without the flag {', '.join(missing)}")
    finding = _judge_answers(params, dns_data.answers(answer) if answer.question else {})
    if finding.code is not OK_CODE and answer.flags & dns.flags.TC:
        return Finding(finding.code, f"cut off (retry_truncated asks again over TCP): {finding.detail}")
    return finding


def _judge_answers(params: DnsParams, found: dict[bytes, str]) -> Finding:
    said = clean(", ".join(sorted(found.values())[:5])) or "none"

    def written(texts: tuple[str, ...]) -> dict[bytes, str]:
        return {dns_data.written(params.record, params.klass, text): text for text in texts}

    lacking = [text for value, text in written(params.contains).items() if value not in found]
    if lacking:
        return Finding(BAD_ANSWER, f"answers {said}; without {', '.join(lacking[:3])}")
    if params.exactly is not None and written(params.exactly).keys() != found.keys():
        return Finding(BAD_ANSWER, f"answers {said}; not exactly {', '.join(params.exactly[:5]) or 'none'}")
    if len(found) < params.needed:
        none = f"no {params.record} record in the answer" if not found else f"{len(found)} answers"
        return Finding(BAD_ANSWER, f"{none}, {params.needed} wanted")
    return Finding(OK_CODE, f"{params.rcode.lower()} {said}")


KIND = Kind(
    name="dns",
    params=DnsParams,
    own_target=lambda params: params.server is not None,
    outcomes=(*CONNECTING, PROTOCOL, BAD_ANSWER, OVERLOADED),
    open=stateless(probe),
    aliases=("dnscheck", "resolver"),
)
