"""Local consumers of a service: processes on this node that are its users, too. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LocalConsumers(StrEnum):
    """Where this node's own packets to a prefix go while the prefix is not announced and its address stays."""

    FOLLOW = "follow"
    """To another replica, while a router offers the very prefix from somebody else; otherwise to this node."""
    ALWAYS = "always"
    """To the routers, whatever they offer: for routers that send nothing but a default route."""
    OFF = "off"
    """To this node."""


class AsideState(StrEnum):
    """The kernel's state of one address."""

    HOME = "home"
    """This node's packets stay here."""
    ASIDE = "aside"
    """They go to the routers."""
    RETURNING = "returning"
    """New connections stay here; those that began aside go on."""
    BROKEN = "broken"
    """Rules or the route of another state are missing, or are not in order."""


@dataclass(frozen=True, slots=True)
class AsideConfig:
    """The slice of the adapter that sends local consumers aside."""

    addresses: frozenset[str] = frozenset()
    """The addresses that may go aside, in canonical text. Rules of ours for any other are leftovers."""
    anycast: frozenset[str] = frozenset()
    """Every anycast address of this node: never the source of a packet that leaves."""
    table: int = 88
    interfaces: tuple[str, ...] = ()
    """Bridges of containers whose consumers go aside, too."""
    mark: int | None = None
    """Packets with this mark stay here."""
    programs: tuple[str, ...] = ()
    """The services with exec checks, whose programs ask from an address of their own choice."""
