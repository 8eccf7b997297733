"""NOTIFICATIONs (RFC 4271, 6.) in words: who ended a session, why, and what to do. Pure.

ExaBGP tells of one that it received by an event, and of one that it sent only in the reason of the session's end.
"""

from __future__ import annotations

import re

Code = tuple[int, int]

_CODES = {
    1: "a message's header is wrong",
    2: "the OPEN is not accepted",
    3: "an UPDATE is not accepted",
    4: "hold timer expired",
    5: "a message that does not belong there",
    6: "ended",
    7: "a route refresh is not accepted",
    8: "send hold timer expired",
}
_WORDS: dict[Code, str] = {
    (1, 1): "connection not synchronized",
    (1, 2): "bad message length",
    (1, 3): "bad message type",
    (2, 1): "unsupported version number",
    (2, 2): "bad peer AS",
    (2, 3): "bad BGP identifier",
    (2, 4): "unsupported optional parameter",
    (2, 6): "unacceptable hold time",
    (2, 7): "unsupported capability",
    (2, 8): "roles do not match",
    (3, 1): "malformed attribute list",
    (3, 2): "unrecognized well-known attribute",
    (3, 3): "missing well-known attribute",
    (3, 4): "attribute flags error",
    (3, 5): "attribute length error",
    (3, 6): "invalid ORIGIN",
    (3, 8): "invalid NEXT_HOP",
    (3, 9): "optional attribute error",
    (3, 10): "invalid network field",
    (3, 11): "malformed AS_PATH",
    (6, 1): "maximum number of prefixes reached",
    (6, 2): "administratively shut down",
    (6, 3): "peer de-configured",
    (6, 4): "administrative reset",
    (6, 5): "connection rejected",
    (6, 6): "other configuration change",
    (6, 7): "connection collision",
    (6, 8): "out of resources",
    (6, 9): "hard reset",
    (6, 10): "BFD down",
}
"""RFC 4271, 4486, 5492, 8538, 9234, 9384."""

_STAYS = "it may stay down until someone clears it"
_REMEDIES: dict[Code, str] = {
    (2, 2): "remote_as here and the neighbor's AS there must be the router's and ours",
    (2, 3): "router_id must be an address that no other speaker has",
    (2, 6): "hold_time must not be below what the router accepts",
    (2, 7): "activate the families of this session on the router, or leave them out of families",
    (6, 1): _STAYS,
    (6, 2): _STAYS,
    (6, 5): "the router must know this address as a neighbor, and not be limited",
    (6, 3): "the router no longer has this neighbor",
}
"""Ends by the router that do not pass by themselves."""
_REMEDIES_HERE = {code: _REMEDIES[code] for code in ((2, 2), (2, 3))}
"""Ends by ExaBGP that do not."""
_WORDS_HERE: dict[Code, str] = {(6, 3): "its configuration was changed here"}
"""ExaBGP says with it that it has another configuration for this neighbor, or none."""

_IN_A_REASON = re.compile(r"notification (sent|received) \((\d+),(\d+)\)")
_TEXT = re.compile(r'Shutdown Communication: "(?P<text>.*)"', re.DOTALL)
_LONG_TEXT = re.compile(r"invalid Shutdown Communication \(too large\) length : (\d+) \[(?:0x)?([0-9A-Fa-f ]+)\]")
_MAX_TEXT = 255


def words(code: Code, *, here: bool = False) -> str:
    """``unacceptable hold time (2/6)``. ``here``: ExaBGP said it, and not the router."""
    said = (here and _WORDS_HERE.get(code)) or _WORDS.get(code) or _CODES.get(code[0], "for a reason that has no name")
    return f"{said} ({code[0]}/{code[1]})"


def remedy(direction: str, code: Code) -> str:
    """The remedy for an end that does not pass by itself; empty if it does."""
    return (_REMEDIES if _by_router(direction) else _REMEDIES_HERE).get(code, "")


def _by_router(direction: str) -> bool:
    return direction in ("receive", "received")


def in_reason(reason: str) -> tuple[str, Code] | None:
    """(``sent`` or ``received``, the code) where ExaBGP names a NOTIFICATION as the reason of a session's end."""
    match = _IN_A_REASON.search(reason)
    return None if match is None else (match[1], (int(match[2]), int(match[3])))


def ended(direction: str, code: Code, text: str = "") -> str:
    """The side that ended the session, and the reason, in words. ``text``: ExaBGP's rendering of the NOTIFICATION's
    data."""
    who = "the router" if _by_router(direction) else "ExaBGP"
    said = shutdown_text(text)
    return f"{who} ended the session: {words(code, here=not _by_router(direction))}" + (f': "{said}"' if said else "")


def shutdown_text(data: str) -> str:
    """The shutdown communication of a router's operator (RFC 9003), printable and on one line; empty for none.

    ExaBGP takes one of more than 128 octets for an error, which RFC 8203 said, and shows its octets.
    """
    if match := _TEXT.search(data):
        said = match["text"]
    elif match := _LONG_TEXT.search(data):
        said = bytes.fromhex(match[2])[: int(match[1])].decode("utf-8", "replace")
    else:
        return ""
    return "".join(c if c.isprintable() else " " for c in said)[:_MAX_TEXT].strip()
