"""dns: a name server answers a question, and answers it right."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Annotated, Any, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from pydantic import AfterValidator, Field

from anycast_agent.checks.base import Finding, Params, Target, clean, family_of, from_error, open_socket
from anycast_agent.checks.tcp import IpText, Port
from anycast_agent.core.model import Outcome

_TC = 0x02
"""Of the third byte: the answer was cut off."""


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
    transport: Literal["udp", "tcp"] = "udp"
    port: Port = 53
    server: IpText | None = Field(None, description="Ask this address instead of the service's own.")
    source: IpText | None = Field(None, description="Ask from this address.")
    rcode: Annotated[str, AfterValidator(_an_rcode)] = "NOERROR"
    contains: tuple[str, ...] = Field((), description="Answers that must be there, among others.")
    exactly: tuple[str, ...] | None = Field(None, description="The answers that must be there, and no others.")
    at_least: int = Field(0, ge=0, le=1000, description="How many answers there must be.")
    flags: tuple[Literal["AA", "AD", "RA", "CD"], ...] = Field((), description="Flags that the answer must carry.")
    recursion_desired: bool = True
    retry_truncated: bool = Field(False, description="Ask again over TCP where the answer was cut off.")


async def probe(params: DnsParams, target: Target) -> Finding:
    """Ask once; judge the answer. A closed port fails at once: the socket is connected."""
    query = dns.message.make_query(params.name, params.record)
    if not params.recursion_desired:
        query.flags &= ~dns.flags.RD
    try:
        answer = await (_over_udp if params.transport == "udp" else _over_tcp)(params, target, query)
        if isinstance(answer, dns.message.Message) and answer.flags & dns.flags.TC and params.retry_truncated:
            answer = await _over_tcp(params, target, query)
    except OSError as error:
        return from_error(error)
    return answer if isinstance(answer, Finding) else judge(params, answer)


async def _connected(params: DnsParams, target: Target, kind: int) -> socket.socket:
    address = params.server or target.address or ""
    sock = open_socket(target, params.source, family_of(address), kind)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address, params.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _over_udp(params: DnsParams, target: Target, query: Any) -> Any:
    loop = asyncio.get_running_loop()
    with await _connected(params, target, socket.SOCK_DGRAM) as sock:
        await loop.sock_sendall(sock, query.to_wire())
        while True:
            answer = _parse(query, await loop.sock_recv(sock, 65535))
            if answer is not None:
                return answer
            await asyncio.sleep(0)  # a flood of forged ones is at hand at once, and would not let go of the loop


async def _over_tcp(params: DnsParams, target: Target, query: Any) -> Any:
    loop = asyncio.get_running_loop()
    wire = query.to_wire()
    with await _connected(params, target, socket.SOCK_STREAM) as sock:
        await loop.sock_sendall(sock, struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await _exactly(sock, 2))
        answer = _parse(query, await _exactly(sock, length))
        return answer or Finding(Outcome.BAD_ANSWER, "an answer to another question")


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not more:
            raise ConnectionResetError(104, "closed before the whole answer")
        data += more
    return data


def _parse(query: Any, wire: bytes) -> Any:
    """The answer; a Finding where it is no DNS; None where it answers something else, as a forged one would."""
    if len(wire) < 2 or int.from_bytes(wire[:2], "big") != query.id:
        return None
    # Cut off in the middle of a record it is an answer still, and one to ask again for over TCP.
    cut = len(wire) > 2 and bool(wire[2] & _TC)
    try:
        answer = dns.message.from_wire(wire, ignore_trailing=True, continue_on_error=cut)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error) as error:
        return Finding(Outcome.PROTOCOL, f"not a DNS message: {clean(str(error)) or type(error).__name__}")
    return answer if query.is_response(answer) else None


def judge(params: DnsParams, answer: Any) -> Finding:
    """Whether an answer is what was asked for. A SERVFAIL nobody expects is doubtful: a resolver that is overloaded,
    or waits for others, says it too."""
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode != params.rcode:
        doubtful = answer.rcode() == dns.rcode.SERVFAIL
        return Finding(Outcome.OVERLOADED if doubtful else Outcome.BAD_ANSWER, f"rcode {rcode}, not {params.rcode}")
    missing = [flag for flag in params.flags if not answer.flags & dns.flags.from_text(flag)]
    if missing:
        return Finding(Outcome.BAD_ANSWER, f"without the flag {', '.join(missing)}")
    wanted = dns.rdatatype.from_text(params.record)
    found = sorted(str(rdata) for rrset in answer.answer if rrset.rdtype == wanted for rdata in rrset)
    finding = _judge_answers(params, found)
    if finding.outcome is not Outcome.OK and answer.flags & dns.flags.TC:
        return Finding(finding.outcome, f"cut off (retry_truncated asks again over TCP): {finding.detail}")
    return finding


def _judge_answers(params: DnsParams, found: list[str]) -> Finding:
    said = clean(", ".join(found[:5])) or "none"
    lacking = [value for value in params.contains if value not in found]
    if lacking:
        return Finding(Outcome.BAD_ANSWER, f"answers {said}; without {', '.join(lacking[:3])}")
    if params.exactly is not None and sorted(params.exactly) != found:
        return Finding(Outcome.BAD_ANSWER, f"answers {said}; not exactly {', '.join(params.exactly[:5]) or 'none'}")
    if len(found) < params.at_least:
        return Finding(Outcome.BAD_ANSWER, f"{len(found)} answers, {params.at_least} wanted")
    return Finding(Outcome.OK, f"{rcode_text(params)} {said}")


def rcode_text(params: DnsParams) -> str:
    return params.rcode.lower()
