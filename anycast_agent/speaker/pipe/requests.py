"""The agent's requests. Each is checked here before any part of it reaches ExaBGP. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.flow import Announced
from anycast_agent.speaker.pipe.ledger import KEEP

MAX_EXTEND = 3600.0
"""Longest time without an agent that a hand-over may ask for. Seconds."""

MAX_PREFIXES_A_LINE = 64


class RefusedError(Exception):
    """The request is not passed on. The text names the reason."""


def check_put(put: wire.Put, allow: frozenset[str]) -> None:
    """Raises RefusedError."""
    if not codec.is_address(put.neighbor):
        raise RefusedError(f"not a neighbor's address: {put.neighbor[:50]!r}")
    if codec.parse_head(put.head) is None:
        raise RefusedError(f"not a head that a route may have: {put.head[:80]!r}")
    if put.will not in ("withdraw", KEEP):
        raise RefusedError(f"not a will: {put.will[:20]!r}")
    for prefix in put.prefixes:
        if not codec.is_announceable(prefix) or prefix not in allow:
            raise RefusedError(f"{prefix[:50]} is not on the list of prefixes")


def check_extend(extend: wire.Extend) -> None:
    """Raises RefusedError."""
    if not 0 <= extend.seconds <= MAX_EXTEND:
        raise RefusedError("an hour at the most")


def chunks(routes: Iterable[Announced]) -> list[list[Announced]]:
    """Group routes into few commands: one family, one neighbor and one head each, with a bounded number of prefixes."""
    groups: dict[tuple[str, str, bool], list[Announced]] = {}
    for route in routes:
        groups.setdefault((route[0], route[2], ":" in route[1]), []).append(route)
    most = MAX_PREFIXES_A_LINE
    return [group[at : at + most] for group in groups.values() for at in range(0, len(group), most)]


def command_line(verb: str, chunk: list[Announced]) -> str:
    """One command for a chunk."""
    return codec.command(verb, chunk[0][0], chunk[0][2], tuple(prefix for _, prefix, _ in chunk))
