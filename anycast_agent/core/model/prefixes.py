"""Prefixes and addresses, as canonical text. Values only."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address

Prefix = str
"""A host route in canonical text: ``192.0.2.53/32`` or ``2001:db8:53::53/128``."""

Address = str
"""An IP address in canonical text."""


class Family(StrEnum):
    IPV4 = "ipv4"
    IPV6 = "ipv6"


def address_of(prefix: Prefix) -> Address:
    """The one address of a host route: ``192.0.2.53`` of ``192.0.2.53/32``."""
    return prefix.partition("/")[0]


def prefix_of(address: Address) -> Prefix:
    """The host route of an address."""
    return f"{address}/128" if ":" in address else f"{address}/32"


def is_host_route(prefix: Prefix) -> bool:
    """Whether it is a /32 or a /128, and not a cover."""
    return prefix == prefix_of(address_of(prefix))


def family_of(prefix_or_address: str) -> Family:
    """The family of a prefix or an address in canonical text; IPv6 text always has a colon (RFC 5952)."""
    return Family.IPV6 if ":" in prefix_or_address else Family.IPV4


def is_link_local(address: Address) -> bool:
    """Whether it is one of fe80::/10, which every link has for itself. Those of IPv4 have routes like any other."""
    return family_of(address) is Family.IPV6 and ip_address(address).is_link_local
