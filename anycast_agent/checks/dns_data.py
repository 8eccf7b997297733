"""DNS data as people write it and as servers send it: both are compared as data, never as text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import dns.edns
import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.txtbase
import dns.rrset
import dns.tokenizer

MAX_ALIASES = 16
"""So many aliases (CNAME) are followed within an answer."""

_NO_DATA = (dns.rdatatype.ANY, dns.rdatatype.AXFR, dns.rdatatype.IXFR, dns.rdatatype.OPT, dns.rdatatype.TSIG)


@lru_cache(maxsize=4096)
def written(record: str, klass: str, text: str) -> bytes:
    """An operator's text as data. A name may lack its last dot; a text may lack its quotes. Raises ValueError."""
    kind, family = dns.rdatatype.from_text(record), dns.rdataclass.from_text(klass)
    if kind in _NO_DATA:
        raise ValueError(f"answers of type {record} cannot be compared: ask for one type")
    if _is_text(kind) and not text.startswith('"'):
        return text.encode()
    try:
        return data(dns.rdata.from_text(family, kind, text, origin=dns.name.root, relativize=False))
    except (dns.exception.DNSException, ValueError, TypeError) as error:
        raise ValueError(f"not the data of a record of type {record}: {text[:60]}") from error


def data(rdata: dns.rdata.Rdata) -> bytes:
    """Equal where two records say the same: names in any case, addresses in any notation, a text in any pieces."""
    if isinstance(rdata, dns.rdtypes.txtbase.TXTBase):
        return b"".join(rdata.strings)
    return rdata.to_digestable(dns.name.root)


def _is_text(kind: dns.rdatatype.RdataType) -> bool:
    return kind in (dns.rdatatype.TXT, dns.rdatatype.SPF)


def answers(message: dns.message.Message) -> dict[bytes, str]:
    """The records that answer the question, through aliases: their data, and their text for people."""
    question = message.question[0]
    found: dict[bytes, str] = {}
    for rrset in _of_the_name(message, question):
        if question.rdtype in (rrset.rdtype, dns.rdatatype.ANY):
            found |= {data(rdata): str(rdata) for rdata in rrset}
    return found


def _of_the_name(message: dns.message.Message, question: dns.rrset.RRset) -> Iterator[dns.rrset.RRset]:
    name: dns.name.Name | None = question.name
    for _ in range(MAX_ALIASES):
        here = [rrset for rrset in message.answer if rrset.name == name and rrset.rdclass == question.rdclass]
        yield from here
        aliases = [rrset for rrset in here if rrset.rdtype == dns.rdatatype.CNAME]
        if not aliases or question.rdtype in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
            return
        name = aliases[0][0].target


def nsid(message: dns.message.Message) -> str:
    """The server's name for itself (RFC 5001), where it says it; in hexadecimal where it is not readable."""
    for option in message.options:
        if option.otype == dns.edns.NSID:
            told = option.to_wire() or b""
            return told.decode() if told.isascii() and told.decode().isprintable() else told.hex()
    return ""
