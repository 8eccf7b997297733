"""ExaBGP 5's commands and answers, as text. Pure, and only the standard library: the pipe reads it too.

A route's command is a *head*, which holds the attributes, and the prefixes that follow it. ``neighbor A `` goes in
front. Communities are always numbers: ExaBGP finds some of its words (``shutdown``, ``reset``) anywhere in a line.
"""

from __future__ import annotations

import ipaddress
import json
import re
import struct
from dataclasses import dataclass, replace

from anycast_agent.core.model import Attributes

_HEAD = re.compile(
    r"attributes next-hop (?P<hop>[0-9a-f.:]+|self)"
    r"(?: med (?P<med>\d+))?"
    r"(?: local-preference (?P<pref>\d+))?"
    r"(?: as-path \[ (?P<path>[0-9 ]+) \])?"
    r"(?: community \[ (?P<std>[0-9: ]+) \])?"
    r"(?: large-community \[ (?P<large>[0-9: ]+) \])?"
    r"(?: extended-community \[ (?P<ext>(?:(?:(?:target|origin|bandwidth):[0-9.:]+|0x[0-9A-Fa-f]{16}) )+)\])?"
    r" nlri",
    re.ASCII,
)
LENGTH_LEAST = {4: 24, 6: 48}
"""By IP version: no last resort is shorter."""

_SUMMARY = re.compile(r"(?P<peer>[0-9a-fA-F.:]+)\s+\d+\s+(?P<age>\S.*)\s+(?P<state>[a-z]+)\s+(?P<sent>\d+)\s+\d+")
"""The age has blanks from the second day on: ``1 day, 0:00:05``."""
_AGE = re.compile(r"(?:(?P<days>-?\d+) days?, )?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)")
_REVISION = re.compile(r'\s*description "(?P<revision>[^"]*)"')


def head(attributes: Attributes) -> str:
    """``attributes next-hop self med 50 … nlri``: the part between the verb and the prefixes."""
    a = attributes
    parts = ["attributes", "next-hop", a.next_hop]
    if a.med is not None:
        parts += ["med", str(a.med)]
    if a.local_preference is not None:
        parts += ["local-preference", str(a.local_preference)]
    lists = (
        ("as-path", tuple(str(asn) for asn in a.as_path)),
        ("community", a.communities),
        ("large-community", a.large_communities),
        ("extended-community", a.extended_communities),
    )
    for word, values in lists:
        if values:
            parts += [word, "[", *values, "]"]
    return " ".join([*parts, "nlri"])


def parse_head(text: str) -> Attributes | None:
    """The attributes of a head; None where ``head`` could not have written it."""
    match = _HEAD.fullmatch(text)
    if match is None:
        return None
    return Attributes(
        next_hop=match["hop"],
        med=None if match["med"] is None else int(match["med"]),
        local_preference=None if match["pref"] is None else int(match["pref"]),
        as_path=tuple(int(asn) for asn in (match["path"] or "").split()),
        communities=tuple((match["std"] or "").split()),
        large_communities=tuple((match["large"] or "").split()),
        extended_communities=tuple((match["ext"] or "").split()),
    )


def same_route(one: str, other: str) -> bool:
    """True if two heads have equal attributes: ExaBGP sends nothing if it has announced the same already."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(route_head: str) -> Attributes | None:
    a = parse_head(route_head)
    if a is None:
        return None
    numbers = [tuple(sorted(tuple(map(int, c.split(":"))) for c in cs)) for cs in (a.communities, a.large_communities)]
    shown = [tuple(":".join(map(str, c)) for c in cs) for cs in numbers]
    extended = tuple(sorted(_extended(c) for c in a.extended_communities))
    return replace(a, communities=shown[0], large_communities=shown[1], extended_communities=extended)


def with_next_hop(route_head: str, address: str) -> str:
    """The head with an address in place of ``self``, where it has that."""
    return route_head.replace("next-hop self ", f"next-hop {address} ", 1)


def command(verb: str, neighbor: str, route_head: str, prefixes: tuple[str, ...]) -> str:
    """``neighbor 10.0.9.0 announce attributes … nlri P1 P2``. All prefixes are of one family (ExaBGP mixes them up)."""
    return f"neighbor {neighbor} {verb} {route_head} {' '.join(prefixes)}"


def parse_rib_line(line: str) -> tuple[str, str, str] | None:
    """A line of ``show adj-rib out extensive`` as (neighbor, prefix, head); None where it is no route of ours.

    ExaBGP shows some communities in another form: the head says the same route, but not always in the words in which
    it was announced.
    """
    words = line.split()
    if len(words) < 10 or words[0] != "neighbor" or "next-hop" not in words:
        return None
    at = words.index("next-hop")
    neighbor, prefix, values = words[1], words[at - 1], _values(words[at:])
    attributes = Attributes(
        next_hop=values.get("next-hop", [""])[0],
        med=_number(values.get("med")),
        local_preference=_number(values.get("local-preference")),
        as_path=tuple(int(v) for v in values.get("as-path", []) if v.isdigit()),
        communities=tuple(_WELL_KNOWN.get(c, c) for c in values.get("community", ())),
        large_communities=tuple(values.get("large-community", ())),
        extended_communities=tuple(_extended(c) for c in values.get("extended-community", ())),
    )
    return neighbor, prefix, head(attributes)


_WELL_KNOWN = {
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "no-export-subconfed": "65535:65283",
    "no-peer": "65535:65284",
    "blackhole": "65535:666",
}
"""ExaBGP shows these as words (RFC 1997, 3765, 7999)."""


def _extended(text: str) -> str:
    """An extended community as people write it: ExaBGP shows some numbers as addresses, and a bandwidth as octets."""
    words = text.lower().split(":")
    if len(words) == 1 and len(text) == 18 and text.lower().startswith("0x4004"):
        asn, value = struct.unpack("!Hf", bytes.fromhex(text[6:]))
        return f"bandwidth:{asn}:{value:.0f}"
    if len(words) == 3 and words[1].isdigit() and words[2].count(".") == 3:
        words[2] = str(int(ipaddress.IPv4Address(words[2])))
    return ":".join(words)


def parse_path_line(line: str) -> ReceivedPath | None:
    """A line of ``show adj-rib in extensive``; None where it is no path."""
    words = line.split()
    if len(words) < 10 or words[0] != "neighbor" or "next-hop" not in words:
        return None
    at = words.index("next-hop")
    before, values = words[:at], _values(words[at:])
    named = "path-information" in before
    path_id = before[before.index("path-information") + 1] if named else ""
    prefix = before[before.index("path-information") - 1] if named else before[-1]
    path = tuple(int(v) for v in values.get("as-path", []) if v.isdigit())
    return ReceivedPath(words[1], prefix, path_id, path[-MAX_PATH:], tuple(values.get("large-community", ()))[:32])


MAX_PATH = 64
"""Length to which a received AS path is cut. Its end is kept, where the origin is."""

_KEYWORDS = frozenset(
    {"next-hop", "med", "local-preference", "as-path", "community", "large-community", "extended-community", "origin"}
)


def _values(words: list[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    key = ""
    for word in words:
        if word in _KEYWORDS:
            key = word
            values[key] = []
        elif word not in ("[", "]", "(", ")"):
            values.setdefault(key, []).append(word)
    return values


def _number(values: list[str] | None) -> int | None:
    return int(values[0]) if values and values[0].isdigit() else None


@dataclass(frozen=True, slots=True)
class Shown:
    """A neighbor in ``show neighbor summary``."""

    neighbor: str
    up: bool
    sent: int
    """UPDATEs that ExaBGP sent on this session."""
    age: int
    """Of the session, by the clock on the wall. Seconds."""


def parse_summary_line(line: str) -> Shown | None:
    """A line of ``show neighbor summary``; None where it is no neighbor."""
    match = _SUMMARY.fullmatch(line.strip())
    if match is None:
        return None
    return Shown(match["peer"], match["state"] == "established", int(match["sent"]), _age(match["age"]))


def _age(text: str) -> int:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return 0  # "down", which ExaBGP also writes in a session's first second
    days, hours, minutes, seconds = (int(found or 0) for found in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def is_heading(line: str) -> bool:
    """True for a line of the summary that is about no neighbor."""
    return not line.strip() or line.startswith("Peer ")


def parse_revision_line(line: str) -> str | None:
    """The revision that our configuration has as each neighbor's description: ``show neighbor configuration``."""
    match = _REVISION.match(line)
    return None if match is None else match["revision"]


# --- events -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionEvent:
    neighbor: str
    state: str
    """``connected``, ``up`` or ``down``."""
    why: str = ""
    own_address: str = ""
    """Ours, where ExaBGP knows it; it is right only where the session is up."""


@dataclass(frozen=True, slots=True)
class SentEvent:
    """ExaBGP wrote an UPDATE to the session; one event for each."""

    neighbor: str
    announced: tuple[str, ...]
    withdrawn: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceivedPath:
    """A router announced (``as_path`` given) or withdrew (None) a path."""

    neighbor: str
    prefix: str
    path_id: str
    as_path: tuple[int, ...] | None
    large_communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotificationEvent:
    neighbor: str
    direction: str
    """``receive`` or ``send``."""
    code: int
    subcode: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class EndOfRibEvent:
    """ExaBGP has sent, for one family, all that waited for the session (RFC 4724, 2.)."""

    neighbor: str


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """A router's OPEN: which families it takes (RFC 4760)."""

    neighbor: str
    families: tuple[str, ...]
    """``ipv4``, ``ipv6``: their unicast routes."""
    capabilities: int
    """The number of capabilities that the router sent (RFC 5492)."""


SpeakerEvent = OpenEvent | SessionEvent | SentEvent | EndOfRibEvent | ReceivedPath | NotificationEvent


def parse_event(line: str) -> list[SpeakerEvent]:
    """The events of one JSON line of ExaBGP; none if it has nothing that we use. Raises ValueError if it is not
    JSON."""
    message = json.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("neighbor"), dict):
        return []
    neighbor = message["neighbor"]
    addresses = neighbor.get("address", {})
    peer, own = str(addresses.get("peer", "")), str(addresses.get("local", ""))
    kind = message.get("type")
    if kind == "state":
        own = own if is_address(own) else ""  # after a reload it says None
        return [SessionEvent(peer, str(neighbor.get("state", "")), str(neighbor.get("reason", ""))[:200], own)]
    if kind == "notification":
        return _notification(peer, neighbor)
    if kind == "open" and neighbor.get("direction") == "receive":
        return _open(peer, neighbor)
    if kind == "update":
        sent, said = neighbor.get("direction") == "send", neighbor.get("message", {})
        if sent and "eor" in said:
            return [EndOfRibEvent(peer)]
        update = said.get("update")
        if isinstance(update, dict):
            return _sent(peer, update) if sent else _received(peer, update)
    return []


def _sent(peer: str, update: dict[str, object]) -> list[SpeakerEvent]:
    announced = tuple(prefix for prefix, _ in _announced(update))
    withdrawn = tuple(prefix for prefix, _ in _withdrawn(update))
    return [SentEvent(peer, announced, withdrawn)]


def _received(peer: str, update: dict[str, object]) -> list[SpeakerEvent]:
    attributes = update.get("attribute")
    attributes = attributes if isinstance(attributes, dict) else {}
    path: list[int] = []
    segments = attributes.get("as-path")
    for segment in segments.values() if isinstance(segments, dict) else ():
        path += [int(asn) for asn in segment.get("value", []) if isinstance(asn, int)]
    large = tuple(":".join(str(n) for n in c) for c in attributes.get("large-community", []) if isinstance(c, list))
    events: list[SpeakerEvent] = [ReceivedPath(peer, p, i, None) for p, i in _withdrawn(update)]
    events += [ReceivedPath(peer, p, i, tuple(path[-MAX_PATH:]), large[:32]) for p, i in _announced(update)]
    return events


def _announced(update: dict[str, object]) -> list[tuple[str, str]]:
    found = []
    families = update.get("announce")
    for hops in families.values() if isinstance(families, dict) else ():
        for entries in hops.values() if isinstance(hops, dict) else ():
            found += _entries(entries)
    return found


def _withdrawn(update: dict[str, object]) -> list[tuple[str, str]]:
    found = []
    families = update.get("withdraw")
    for entries in families.values() if isinstance(families, dict) else ():
        found += _entries(entries)
    return found


def _entries(entries: object) -> list[tuple[str, str]]:
    if not isinstance(entries, list):
        return []
    return [
        (str(e["nlri"]), str(e.get("path-information", ""))) for e in entries if isinstance(e, dict) and "nlri" in e
    ]


def _open(peer: str, neighbor: dict[str, object]) -> list[SpeakerEvent]:
    said = neighbor.get("open")
    capabilities = said.get("capabilities") if isinstance(said, dict) else None
    capabilities = capabilities if isinstance(capabilities, dict) else {}
    families: list[str] = []
    for capability in capabilities.values():
        if isinstance(capability, dict) and capability.get("name") == "multiprotocol":
            families += [
                str(f).removesuffix("/unicast") for f in capability.get("families", []) if "/unicast" in str(f)
            ]
    return [OpenEvent(peer, tuple(f for f in families if f in ("ipv4", "ipv6")), len(capabilities))]


def _notification(peer: str, neighbor: dict[str, object]) -> list[SpeakerEvent]:
    said = neighbor.get("notification")
    said = said if isinstance(said, dict) else {}
    code, subcode = said.get("code", 0), said.get("subcode", 0)
    direction = str(neighbor.get("direction", "receive"))
    text = str(said.get("message", ""))[:MAX_NOTIFICATION]
    return [NotificationEvent(peer, direction, int(str(code)), int(str(subcode)), text)]


MAX_NOTIFICATION = 1000
"""Length to which a NOTIFICATION's text is cut: RFC 9003 allows 255 octets, and ExaBGP may show them in hexadecimal."""


def is_address(text: str) -> bool:
    """True if a text is an IP address in canonical form, without a scope: a scope may hold anything, even a newline."""
    try:
        return "%" not in text and str(ipaddress.ip_address(text)) == text
    except ValueError:
        return False


def is_announceable(prefix: str) -> bool:
    """True if a text is a prefix in canonical form, no shorter than a last resort may be. Nothing else is ever passed
    to ExaBGP."""
    try:
        network = ipaddress.ip_network(prefix)
    except ValueError:
        return False
    return network.prefixlen >= LENGTH_LEAST[network.version] and str(network) == prefix
