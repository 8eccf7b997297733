"""The words of the configuration: durations, names, prefixes, communities. Each refuses with what to write instead."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_WELL_KNOWN = {
    "graceful-shutdown": "65535:0", "no-export": "65535:65281", "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283", "blackhole": "65535:666", "no-peer": "65535:65284",
}  # fmt: skip
_EXTENDED = re.compile(r"(target|origin):(\d+|\d+\.\d+\.\d+\.\d+):\d+|bandwidth:\d+:\d+|0x[0-9A-Fa-f]{16}")
ASN_MOST = 2**32 - 1


def duration(value: Any) -> float:
    """Seconds, of ``500ms``, ``2s``, ``5m``, ``1h``, ``1d`` or a plain number of seconds."""
    if isinstance(value, bool):
        raise ValueError("a duration reads 500ms, 2s or 5m")
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            raise ValueError(f"a duration reads 500ms, 2s or 5m, not {value!r}")
        seconds = float(match[1]) * _UNITS[match[2]]
    if not 0 <= seconds <= 86400 * 7:
        raise ValueError("a duration is 0 to 7 days")
    return seconds


def name(value: Any) -> str:
    """A name that goes into logs, labels and commands as it is."""
    text = str(value)
    if not _NAME.fullmatch(text):
        raise ValueError("a name has letters, digits, '-', '_' and '.', begins with a letter or digit, 63 at most")
    return text


def prefix(value: Any) -> str:
    """A host route in canonical text."""
    text = str(value).strip()
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"not a prefix: {text!r}; write 192.0.2.53/32 or 2001:db8:53::53/128") from None
    network, most = interface.network, interface.max_prefixlen
    if "/" not in text or network.prefixlen != most:
        raise ValueError(f"only host routes are announced: write {interface.ip}/{most}")
    address = interface.ip
    if address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified:
        raise ValueError(f"{address} cannot be an anycast address: it never leaves the node or the link")
    return str(network)


def address(value: Any) -> str:
    try:
        return str(ipaddress.ip_address(str(value).strip()))
    except ValueError:
        raise ValueError(f"not an IP address: {value!r}") from None


def router_id(value: Any) -> str:
    try:
        return str(ipaddress.IPv4Address(str(value).strip()))
    except ValueError:
        raise ValueError(f"a router id is written like an IPv4 address, not {value!r}") from None


def community(value: Any) -> str:
    """RFC 1997, as two numbers."""
    text = str(value).strip()
    if text.lower() in _WELL_KNOWN:
        raise ValueError(f"write the number, {_WELL_KNOWN[text.lower()]}: words are not safe in ExaBGP's commands")
    return _numbers(text, 2, 65535, "65000:1")


def large_community(value: Any) -> str:
    """RFC 8092, as three numbers."""
    return _numbers(str(value).strip(), 3, ASN_MOST, "65000:1:2")


def _numbers(text: str, count: int, most: int, example: str) -> str:
    parts = text.split(":")
    if len(parts) != count or not all(p.isdigit() and p.isascii() and int(p) <= most for p in parts):
        raise ValueError(f"write {count} numbers up to {most}, like {example}")
    return ":".join(str(int(p)) for p in parts)


def extended_community(value: Any) -> str:
    text = str(value).strip()
    if not _EXTENDED.fullmatch(text):
        raise ValueError("write target:65000:1, origin:65000:1, bandwidth:65000:1250000 or 0x and 16 hex digits")
    return text


_TEXT = WithJsonSchema({"type": "string"})
Duration = Annotated[
    float,
    BeforeValidator(duration),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^\d+(\.\d+)?(ms|s|m|h|d)$"}]}),
]
Name = Annotated[str, BeforeValidator(name), _TEXT]
PrefixText = Annotated[str, BeforeValidator(prefix), _TEXT]
AddressText = Annotated[str, BeforeValidator(address), _TEXT]
RouterId = Annotated[str, BeforeValidator(router_id), _TEXT]
Community = Annotated[str, BeforeValidator(community), _TEXT]
LargeCommunity = Annotated[str, BeforeValidator(large_community), _TEXT]
ExtendedCommunity = Annotated[str, BeforeValidator(extended_community), _TEXT]
Asn = Annotated[int, Field(ge=1, le=ASN_MOST)]
