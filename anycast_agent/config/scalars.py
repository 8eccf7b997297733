"""The words of the configuration: durations, names, prefixes, communities, addresses.

Each parser takes what YAML gave, returns the canonical value, and raises ValueError with what is wrong and what to
write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from anycast_agent.config.problems import shown

# --- durations ----------------------------------------------------------------------------------------------

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"}, {"type": "number", "minimum": 0}]
}


def seconds(value: Any) -> float:
    """``500ms``, ``2s``, ``5m``, ``1h``, or a plain number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and value >= 0:
            return float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return round(float(match[1]) * _UNITS[match[2]], 9)
    raise ValueError(f"{shown(value)} is no duration: write 500ms, 2s, 5m, 1h, or a number of seconds")


def duration(value: float) -> str:
    """A duration as a person writes it: ``50ms``, ``1.5s``, ``5m``."""
    if 0 < value < 1:
        return f"{value * 1000:.6g}ms"
    for unit in ("h", "m"):
        if value and value % _UNITS[unit] == 0:
            return f"{value / _UNITS[unit]:.6g}{unit}"
    return f"{value:.6g}s"


def _within(low: float, high: float) -> Callable[[float], float]:
    def check(value: float) -> float:
        if value < low:
            raise ValueError(f"{duration(value)} is too short: at least {duration(low)}")
        if value > high:
            raise ValueError(f"{duration(value)} is too long: at most {duration(high)}")
        return value

    return check


_SECONDS, _SCHEMA = BeforeValidator(seconds), WithJsonSchema(_DURATION_SCHEMA)
Duration = Annotated[float, _SECONDS, AfterValidator(_within(0, 86400)), _SCHEMA]
Interval = Annotated[float, _SECONDS, AfterValidator(_within(0.05, 3600)), _SCHEMA]
Timeout = Annotated[float, _SECONDS, AfterValidator(_within(0.01, 3600)), _SCHEMA]
HoldDownTime = Annotated[float, _SECONDS, AfterValidator(_within(0, 3600)), _SCHEMA]
HalfLife = Annotated[float, _SECONDS, AfterValidator(_within(1, 86400)), _SCHEMA]
Linger = Annotated[float, _SECONDS, AfterValidator(_within(0, 60)), _SCHEMA]
DeadMan = Annotated[float, _SECONDS, AfterValidator(_within(0.5, 600)), _SCHEMA]
AdoptFor = Annotated[float, _SECONDS, AfterValidator(_within(0.5, 3600)), _SCHEMA]
StopWithin = Annotated[float, _SECONDS, AfterValidator(_within(1, 600)), _SCHEMA]

# --- names and numbers --------------------------------------------------------------------------------------

NAME_PATTERN = r"[a-z0-9][a-z0-9_.-]{0,62}"
_NAME = re.compile(NAME_PATTERN)
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]{1,15}")
_ASDOT = re.compile(r"(\d{1,5})\.(\d{1,5})")
_TOP = 0xFFFFFFFF


def name(value: Any) -> str:
    """What a service, a check, a neighbor, a node or a site may be called."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is no name")  # noqa: TRY004  # pydantic takes no TypeError
    if _NAME.fullmatch(value):
        return value
    if not value.isascii():
        why = "it is not ASCII"
    elif any(ord(c) < 32 for c in value):
        why = "it holds a line break or a control character"
    elif len(value) > 63:
        why = "it is longer than 63 characters"
    else:
        why = "a name is a-z, 0-9, '.', '_' and '-', and begins with a letter or a digit"
    better = re.sub(r"[^a-z0-9_.-]+", "-", value.lower()).strip("-._")[:63]
    hint = f"; write {better}" if value.isascii() and better and _NAME.fullmatch(better) else ""
    raise ValueError(f"{shown(value)} cannot be a name: {why}{hint}")


def interface(value: str) -> str:
    if not _INTERFACE.fullmatch(value):
        raise ValueError(f"{shown(value)} is no interface name: 1 to 15 of A-Z, a-z, 0-9, '.', '_' and '-'")
    return value


def as_number(value: Any) -> int:
    """An AS number, 1 to 4294967295 (RFC 6793), in plain notation."""
    if isinstance(value, (str, float)) and (match := _ASDOT.fullmatch(str(value))):
        number = int(match[1]) * 65536 + int(match[2])
        # YAML reads 65000.10 as 65000.1: the number is only told where it cannot be another.
        hint = f": {number}" if isinstance(value, str) else ""
        raise ValueError(f"{shown(value)}: write the AS as one plain number{hint} (RFC 5396, asplain)")
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{shown(value)} is no AS number: write a plain number from 1 to {_TOP}")  # noqa: TRY004
    if not 1 <= value <= _TOP:
        raise ValueError(f"{value} is no AS number: they go from 1 to {_TOP}")
    return value


def hold_time(value: int) -> int:
    if value in (1, 2) or not 0 <= value <= 65535:
        raise ValueError(f"{value} is no hold time: 0 (never), or 3 to 65535 seconds (RFC 4271)")
    return value


def whole_seconds(value: Any) -> int:
    """A duration that BGP carries as whole seconds."""
    number = seconds(value)
    if number != int(number):
        raise ValueError(f"{shown(value)}: BGP knows whole seconds only")
    return int(number)


def absolute_path(value: str) -> str:
    if not value.startswith("/") or "\0" in value or not value.isprintable():
        raise ValueError("must be an absolute path, beginning with /")
    return value


def secret_path(value: str) -> str:
    """Not quoted in the message: it may be the secret itself."""
    if not value.startswith("/") or not value.isprintable():
        raise ValueError("must be the absolute path of a file that holds the password, not the password")
    return value


Name = Annotated[str, BeforeValidator(name), WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"})]
Interface = Annotated[str, AfterValidator(interface)]
AsNumber = Annotated[
    int, BeforeValidator(as_number), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": _TOP})
]
HoldTime = Annotated[int, BeforeValidator(whole_seconds), AfterValidator(hold_time), _SCHEMA]
AbsolutePath = Annotated[str, AfterValidator(absolute_path)]
SecretPath = Annotated[str, AfterValidator(secret_path)]
Number32 = Annotated[int, Field(ge=0, le=_TOP)]

# --- addresses and prefixes ---------------------------------------------------------------------------------


def _parsed(value: Any) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(value if isinstance(value, str) else str(value))
    except ValueError:
        raise ValueError(f"{shown(value)} is no IP address") from None
    if "%" in str(address):
        raise ValueError(f"{shown(value)}: an address without its zone (%…) is wanted")
    return address


def address(value: Any) -> str:
    """A unicast address, in canonical text."""
    parsed = _parsed(value)
    reason = _not_unicast(parsed)
    if reason and reason != "loopback":
        raise ValueError(f"{parsed} is {_article(reason)} address")
    return str(parsed)


def router_id(value: Any) -> str:
    """A router ID: four octets, written as an IPv4 address, not zero (RFC 6286)."""
    try:
        parsed = IPv4Address(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is no router ID: write it as an IPv4 address, 192.0.2.1") from None
    if parsed == IPv4Address(0):
        raise ValueError("a router ID must not be 0.0.0.0 (RFC 6286)")
    return str(parsed)


def _not_unicast(parsed: IPv4Address | IPv6Address) -> str:
    """Why nothing can be reached under an address; empty where it can."""
    if parsed.is_unspecified or (parsed.version == 4 and int(parsed) >> 24 == 0):
        return "unspecified"
    if parsed.is_loopback:
        return "loopback"
    if parsed.is_multicast:
        return "multicast"
    if parsed.is_link_local:
        return "link-local"
    if isinstance(parsed, IPv4Address) and int(parsed) >= 0xF0000000:
        return "broadcast" if int(parsed) == _TOP else "reserved"
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return "IPv4-mapped"
    return ""


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "uI" else f"a {word}"


def host_route(value: Any) -> str:
    """An anycast prefix: an IPv4 /32 or an IPv6 /128, in canonical text."""
    text = value.strip() if isinstance(value, str) else str(value)
    host, slash, length = text.partition("/")
    try:
        parsed = _parsed(host)
    except ValueError:
        raise ValueError(f"{shown(value)} is no prefix: write 192.0.2.53/32 or 2001:db8:53::53/128") from None
    full = parsed.max_prefixlen
    if not slash:
        raise ValueError(f"{host} has no length: write {parsed}/{full}")
    if not (length.isascii() and length.isdigit()) or int(length[:4]) > full or len(length) > 3:
        raise ValueError(f"{shown(value)} has no length from 0 to {full}: write {parsed}/{full}")
    if int(length) != full:
        raise ValueError(_not_a_host_route(parsed, int(length)))
    if reason := _not_unicast(parsed):
        raise ValueError(f"{parsed}/{full} is {_article(reason)} address: it cannot be announced")
    return f"{parsed}/{full}"


def _not_a_host_route(parsed: IPv4Address | IPv6Address, length: int) -> str:
    full = parsed.max_prefixlen
    host_bits = int(parsed) & ((1 << (full - length)) - 1)
    if host_bits:
        return f"{parsed}/{length} has host bits set, and is no host route: write {parsed}/{full}"
    return (
        f"{parsed}/{length} is no host route: the agent puts one address on the node and announces that alone; "
        f"write the address that the service answers on, with /{full}"
    )


Address = Annotated[str, BeforeValidator(address), WithJsonSchema({"type": "string", "description": "IP address"})]
RouterId = Annotated[str, BeforeValidator(router_id), WithJsonSchema({"type": "string", "format": "ipv4"})]
HostRoute = Annotated[
    str, BeforeValidator(host_route), WithJsonSchema({"type": "string", "pattern": r"^[0-9a-fA-F.:]+/(32|128)$"})
]

# --- communities --------------------------------------------------------------------------------------------

WELL_KNOWN = {
    "graceful-shutdown": "65535:0",
    "accept-own": "65535:1",
    "llgr-stale": "65535:6",
    "no-llgr": "65535:7",
    "blackhole": "65535:666",
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "local-as": "65535:65283",
    "no-peer": "65535:65284",
    "nopeer": "65535:65284",
}
"""IANA, BGP Well-known Communities."""

_RAW_EXTENDED = re.compile(r"0x[0-9a-fA-F]{16}")


def _numbers(text: str, tops: tuple[int, ...]) -> tuple[int, ...] | None:
    parts = text.split(":")
    if len(parts) != len(tops) or not all(p.isascii() and p.isdigit() and len(p) <= 10 for p in parts):
        return None
    numbers = tuple(int(part) for part in parts)
    return numbers if all(number <= top for number, top in zip(numbers, tops, strict=True)) else None


def community(value: Any) -> str:
    """A standard community (RFC 1997) as two numbers: ``65000:1``."""
    text = str(value).strip()
    number = WELL_KNOWN.get(text.lower().replace("_", "-"))
    if number:
        raise ValueError(f"{shown(value)}: write the number, {number}")
    numbers = _numbers(text, (0xFFFF, 0xFFFF))
    if numbers is None:
        hint = ""
        if len(text.split(":")) == 3:
            hint = "; three numbers belong under large_communities"
        elif text.partition(":")[0] in ("target", "origin", "bandwidth", "rt", "soo"):
            hint = "; this belongs under extended_communities"
        elif _numbers(text, (_TOP, _TOP)):
            hint = "; an AS above 65535 needs a large community (RFC 8092)"
        raise ValueError(f"{shown(value)} is no community: write 65000:1, each number from 0 to 65535{hint}")
    return ":".join(map(str, numbers))


def large_community(value: Any) -> str:
    """A large community (RFC 8092) as three numbers: ``65000:1:2``."""
    numbers = _numbers(str(value).strip(), (_TOP, _TOP, _TOP))
    if numbers is None:
        raise ValueError(f"{shown(value)} is no large community: write 65000:1:2, each number from 0 to {_TOP}")
    return ":".join(map(str, numbers))


def extended_community(value: Any) -> str:
    """An extended community in a form that ExaBGP takes."""
    text = str(value).strip()
    kind, _, rest = text.partition(":")
    if _RAW_EXTENDED.fullmatch(text):
        return text.lower()
    if kind in ("target", "origin"):
        if _two_parts(rest):
            return f"{kind}:{rest}"
        raise ValueError(
            f"{shown(value)}: write {kind}:65000:1, {kind}:4200000000:1 or {kind}:192.0.2.1:1; of the two numbers "
            "one at most may be above 65535"
        )
    if kind == "bandwidth":
        if _numbers(rest, (0xFFFF, _TOP)):
            return f"bandwidth:{':'.join(str(int(part)) for part in rest.split(':'))}"
        raise ValueError(
            f"{shown(value)}: write bandwidth:65000:1250000, the AS (23456 where yours is above 65535) "
            f"and whole bytes per second up to {_TOP}"
        )
    raise ValueError(
        f"{shown(value)} is no extended community that ExaBGP takes: write target:65000:1, origin:65000:1, "
        "bandwidth:65000:1250000, or 0x and 16 hexadecimal digits"
    )


def _two_parts(rest: str) -> bool:
    if _numbers(rest, (0xFFFF, _TOP)) or _numbers(rest, (_TOP, 0xFFFF)):
        return True
    head, _, tail = rest.partition(":")
    try:
        IPv4Address(head)
    except ValueError:
        return False
    return _numbers(tail, (0xFFFF,)) is not None


_PAIR = {"type": "string", "pattern": "^[0-9]{1,5}:[0-9]{1,5}$"}
_TRIPLE = {"type": "string", "pattern": "^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$"}
Community = Annotated[str, BeforeValidator(community), WithJsonSchema(_PAIR)]
LargeCommunity = Annotated[str, BeforeValidator(large_community), WithJsonSchema(_TRIPLE)]
ExtendedCommunity = Annotated[str, BeforeValidator(extended_community), WithJsonSchema({"type": "string"})]
