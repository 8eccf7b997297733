"""Settings of the node that break anycast: looked at, never changed."""

from __future__ import annotations

from pathlib import Path

_CONF = Path("/proc/sys/net/ipv4/conf")

_SHOWN = 8
"""A warning names no more interfaces than this."""


def _value(interface: str, name: str) -> int:
    """The kernel takes the greater of ``all`` and the interface's own, for these settings."""
    values = []
    for where in ("all", interface):
        try:
            values.append(int((_CONF / where / name).read_text()))
        except (OSError, ValueError):
            values.append(0)  # the interface has gone meanwhile: nothing to warn of
    return max(values)


def _lines(interfaces: list[str], *settings: str) -> str:
    """The command to type. sysctl(8) takes a slash for a dot in an interface's name."""
    return " ".join(
        f"net.ipv4.conf.{n.replace('.', '/')}.{setting}" for n in interfaces[:_SHOWN] for setting in settings
    )


def _names(interfaces: list[str]) -> str:
    more = len(interfaces) - _SHOWN
    return ", ".join(interfaces[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def strict_rp_filter(interfaces: list[str]) -> str:
    """The remedy for strict reverse path filtering; empty if it is off.

    A node with two uplinks gets packets on one that it would answer over the other: strict filtering (RFC 3704)
    drops them.
    """
    strict = [name for name in interfaces if _value(name, "rp_filter") == 1]
    if not strict:
        return ""
    lines = _lines(strict, "rp_filter=2")
    return f"rp_filter is strict on {_names(strict)}: replies by another way are dropped; sysctl -w {lines}"


def talkative_arp(shared: list[str]) -> str:
    """The remedy if the node would answer ARP for its anycast addresses on a shared segment; empty if it would not."""
    loud = [n for n in shared if _value(n, "arp_ignore") < 1 or _value(n, "arp_announce") < 2]
    if not loud:
        return ""
    lines = _lines(loud, "arp_ignore=1", "arp_announce=2")
    return f"{_names(loud)} would speak ARP for anycast addresses on a shared segment; sysctl -w {lines}"
