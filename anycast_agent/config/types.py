"""Single values of the configuration: durations, names, prefixes, communities. A refusal shows a value that is
right."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from anycast_agent.checks.durations import SPAN, duration, shown
from anycast_agent.checks.fields import Form

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
_WELL_KNOWN = {
    "graceful-shutdown": "65535:0", "no-export": "65535:65281", "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283", "blackhole": "65535:666", "no-peer": "65535:65284",
}  # fmt: skip
_EXTENDED = re.compile(r"(target|origin):(\d+|\d+\.\d+\.\d+\.\d+):\d+|bandwidth:\d+:\d+|0x[0-9A-Fa-f]{16}")
MAX_ASN = 2**32 - 1
COVER_LENGTHS = {4: (24, 31), 6: (48, 127)}
"""By IP version: how short and how long the prefix of a last resort may be."""


def hold_time(value: Any) -> int:
    """Whole seconds, as BGP has them on the wire (RFC 4271, 4.2): 9, or 9s."""
    if isinstance(value, int) and not isinstance(value, bool):
        seconds: float = value
    elif isinstance(value, str):
        seconds = int(value) if re.fullmatch("0|[1-9][0-9]{0,5}", value.strip()) else duration(value)
    else:
        raise ValueError(f"a hold time is a whole number of seconds, 9 or 9s, not {shown(value)}")
    if seconds != int(seconds) or not 0 <= seconds <= 65535:
        raise ValueError(f"a hold time is a whole number of seconds up to 65535, not {shown(value)}")
    if seconds in (1, 2):
        raise ValueError("a hold time is 0 or at least 3 (RFC 4271, 4.2)")
    return int(seconds)


def name(value: Any) -> str:
    """A name that is safe in logs, labels and commands."""
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
        raise ValueError(f"not a prefix: {shown(value)}; write 192.0.2.53/32 or 2001:db8:53::53/128") from None
    network, most = interface.network, interface.max_prefixlen
    if "/" not in text or network.prefixlen != most:
        raise ValueError(f"only host routes are announced: write {interface.ip}/{most}")
    ip = interface.ip
    _refuse_zone(text)
    if ip.is_loopback or ip.is_link_local or (reason := _not_routed(ip)):
        why = "it never leaves the node or the link" if ip.is_loopback or ip.is_link_local else f"it is {reason}"
        raise ValueError(f"{ip} cannot be an anycast address: {why}")
    return str(network)


def last_resort(value: Any) -> bool | Literal["never"] | tuple[str, ...]:
    """Whether there is one, ``never``, or its prefixes."""
    if isinstance(value, bool):
        return value
    if value == "never":
        return "never"
    if isinstance(value, list | tuple) and value:
        return tuple(dict.fromkeys(cover(prefix) for prefix in value))
    raise ValueError(f"a last resort is true, false, never or a list of prefixes, not {shown(value)}")


def cover(value: Any) -> str:
    """The prefix of a last resort in canonical text."""
    text = str(value).strip()
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"not a prefix: {shown(value)}; write 192.0.2.52/31 or 2001:db8:53::52/127") from None
    _refuse_zone(text)
    least, most = COVER_LENGTHS[network.version]
    if "/" not in text or network.prefixlen > most:
        raise ValueError(f"{text} is no last resort: it is shorter than the prefix inside, /{least} to /{most}")
    if network.prefixlen < least:
        text = f"{network} is too short for a last resort, /{least} to /{most}"
        raise ValueError(f"{text}: it would draw what is sent to networks that are not this service's")
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"{text} names an address, not a network: write {network}")
    return str(network)


def _refuse_zone(text: str) -> None:
    """Any text may follow the %, and it would reach ExaBGP's configuration and commands unchanged."""
    if "%" in text:
        raise ValueError("an address is written without its zone (%…)")


def _not_routed(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Why no host can have this address; empty if one can."""
    if ip.is_unspecified or (ip.version == 4 and int(ip) >> 24 == 0):
        return "unspecified"
    if ip.is_multicast:
        return "multicast"
    if isinstance(ip, ipaddress.IPv4Address) and int(ip) >= 0xF0000000:
        return "reserved (240.0.0.0/4)"
    return "IPv4-mapped" if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None else ""


def address(value: Any) -> str:
    """A unicast address in canonical text."""
    text = str(value).strip()
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"not an IP address: {shown(value)}") from None
    _refuse_zone(text)
    if reason := _not_routed(ip):
        raise ValueError(f"{ip} is {reason}: write a unicast address")
    return str(ip)


def neighbor_address(value: Any) -> str:
    """The address of a neighbor: its zone stands apart, as the interface."""
    host, percent, zone = str(value).strip().partition("%")
    if percent:
        raise ValueError(f"write the address without its zone, and the interface beside it: {_beside(host, zone)}")
    return address(value)


def _beside(host: str, zone: str) -> str:
    interface = f"interface: {zone}" if re.fullmatch(INTERFACE, zone) else "interface: …"
    return f"address: {shown(host)}, {interface}"


def next_hop(value: Any) -> tuple[str, ...] | None:
    """One address, or a list with one for each family."""
    if value is None:
        return None
    hops = tuple(address(hop) for hop in (value if isinstance(value, list | tuple) else (value,)))
    for hop in hops:
        if ipaddress.ip_address(hop).is_link_local:
            raise ValueError(f"{hop} cannot be a next hop: routers cannot send to it")
    if len({":" in hop for hop in hops}) != len(hops) or not hops:
        raise ValueError("write one next hop, or one for each family: [192.0.2.1, '2001:db8::1']")
    return hops


def asn(value: Any) -> int:
    """One plain number (RFC 5396, asplain). YAML reads the asdot 1.10 as 1.1, so that none can be read."""
    if isinstance(value, bool) or not isinstance(value, int):
        text = f"an AS is one plain number from 1 to {MAX_ASN}, not {shown(value)}"
        dotted = re.fullmatch(r"[0-9]+\.0*[1-9][0-9]*", str(value)) is not None
        raise ValueError(text + "; for asdot, HIGH.LOW, write HIGH × 65536 + LOW" if dotted else text)
    return value


def listening(text: str) -> tuple[str, int]:
    """Address and port, like ``127.0.0.1:9179``, ``0.0.0.0:9179`` or ``[::]:9179``."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    example = "write an address and a port, like 127.0.0.1:9179 or [::1]:9179"
    if not colon or not re.fullmatch("0|[1-9][0-9]{0,4}", port) or int(port) > 65535:
        raise ValueError(example)
    if not host:
        raise ValueError(f"{example}; 0.0.0.0:{port} is every IPv4 address of the node, [::]:{port} every IPv6 one")
    try:
        ip = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError(f"{example}: {host!r} is no address") from None
    _refuse_zone(bare)
    if (ip.version == 6) is not (host != bare):
        raise ValueError(f"{example}: only an IPv6 address stands in brackets, and it always does")
    return str(ip), int(port)


def host_pattern(value: str) -> str:
    """A value for the Host header: a host's name, or ``*.`` and a domain."""
    if not _HOST.fullmatch(value.lower().removeprefix("*.")) or (value.startswith("*.") and "." not in value[2:]):
        raise ValueError("write a name without a port, edge1.example.org, or *.example.org for all below it")
    return value


def router_id(value: Any) -> str:
    try:
        ip = ipaddress.IPv4Address(str(value).strip())
    except ValueError:
        raise ValueError(f"a router id is written like an IPv4 address, not {shown(value)}") from None
    if int(ip) == 0:
        raise ValueError("a router id is not 0.0.0.0 (RFC 6286)")
    return str(ip)


def community(value: Any) -> str:
    """RFC 1997, as two numbers."""
    text = str(value).strip()
    if text.lower() in _WELL_KNOWN:
        raise ValueError(f"write the number, {_WELL_KNOWN[text.lower()]}: words are not safe in ExaBGP's commands")
    return _numbers(text, 2, 65535, "65000:1")


def large_community(value: Any) -> str:
    """RFC 8092, as three numbers."""
    return _numbers(str(value).strip(), 3, MAX_ASN, "65000:1:2")


def _numbers(text: str, count: int, most: int, example: str) -> str:
    parts = text.split(":")
    if len(parts) != count or not all(p.isdigit() and p.isascii() and int(p) <= most for p in parts):
        raise ValueError(f"write {count} numbers up to {most}, like {example}")
    return ":".join(str(int(p)) for p in parts)


def extended_community(value: Any) -> str:
    text = str(value).strip()
    if not _EXTENDED.fullmatch(text) or not _fits(text):
        raise ValueError(
            "write target:65000:1, origin:65000:1, bandwidth:65000:1250000 or 0x and 16 hex digits; of the two numbers "
            "one at most is above 65535, and the AS of a bandwidth never is"
        )
    return text


def _fits(text: str) -> bool:
    """True if the numbers fit into their octets. Otherwise ExaBGP refuses the route when it is announced."""
    kind, _, rest = text.partition(":")
    if not rest:
        return True
    head, tail = rest.split(":")
    if "." in head:
        return all(int(part) <= 255 for part in head.split(".")) and int(tail) <= 65535
    first, second = int(head), int(tail)
    if first <= 65535:
        return second <= MAX_ASN
    return kind != "bandwidth" and first <= MAX_ASN and second <= 65535


_TEXT = WithJsonSchema({"type": "string"})
_SECONDS = {"type": "integer", "minimum": 0, "maximum": 65535}
HoldTime = Annotated[int, BeforeValidator(hold_time), WithJsonSchema({"anyOf": [_SECONDS, SPAN]})]
Name = Annotated[str, BeforeValidator(name), _TEXT]
PrefixText = Annotated[str, BeforeValidator(prefix), _TEXT]
_LAST_RESORT = {
    "anyOf": [
        {"type": "boolean"},
        {"const": "never"},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1000},
    ]
}
LastResort = Annotated[
    bool | Literal["never"] | tuple[str, ...], BeforeValidator(last_resort), WithJsonSchema(_LAST_RESORT)
]
AddressText = Annotated[str, BeforeValidator(address), _TEXT]
NeighborAddress = Annotated[str, BeforeValidator(neighbor_address), _TEXT]
INTERFACE = r"^[A-Za-z0-9_.:-]{1,15}$"
InterfaceName = Annotated[
    str,
    Form("interface: the name of an interface has at most 15 letters, digits and _ . : -"),
    Field(pattern=INTERFACE),
]
RouterId = Annotated[str, BeforeValidator(router_id), _TEXT]
Community = Annotated[str, BeforeValidator(community), _TEXT]
LargeCommunity = Annotated[str, BeforeValidator(large_community), _TEXT]
ExtendedCommunity = Annotated[str, BeforeValidator(extended_community), _TEXT]
_HOPS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 2}]}
NextHop = Annotated[tuple[str, ...] | None, BeforeValidator(next_hop), WithJsonSchema(_HOPS)]
Asn = Annotated[int, BeforeValidator(asn), Field(ge=1, le=MAX_ASN)]
