"""The node's interfaces and addresses as netlink last told them. It reports nothing: the adapter compares and does."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_agent.core.model import Address, AddressState
from anycast_agent.kernel.netlink import SeenAddress, SeenLink

_IFF_BROADCAST, _IFF_LOOPBACK, _IFF_NOARP, _IFF_UP = 0x2, 0x8, 0x80, 0x1

Recorded = Callable[[Address, str], bool]
"""True if the record names the address on this interface as ours."""


class View:
    def __init__(
        self, recorded: Recorded, links: Iterable[SeenLink] = (), addresses: Iterable[SeenAddress] = ()
    ) -> None:
        self._recorded = recorded
        self.links = {link.index: link for link in links}
        self._present: dict[Address, dict[tuple[int, int], SeenAddress]] = {}
        for seen in addresses:
            self.address(seen, there=True)

    def link(self, seen: SeenLink, *, there: bool) -> None:
        if there:
            self.links[seen.index] = seen
        else:
            self.links.pop(seen.index, None)

    def address(self, seen: SeenAddress, *, there: bool) -> None:
        on = self._present.setdefault(seen.address, {})
        if there:
            on[seen.index, seen.length] = seen
        else:
            on.pop((seen.index, seen.length), None)
        if not on:
            del self._present[seen.address]

    def name(self, index: int) -> str:
        link = self.links.get(index)
        return link.name if link is not None else str(index)

    def named(self, interface: str) -> SeenLink | None:
        return next((link for link in self.links.values() if link.name == interface), None)

    def up(self, interface: str) -> bool:
        link = self.named(interface)
        return link is not None and link.up

    def is_loopback(self, index: int) -> bool:
        link = self.links.get(index)
        return link is not None and bool(link.flags & _IFF_LOOPBACK)

    def state(self, address: Address) -> AddressState | None:
        """Its state on the interface that has it. If several have it, ours comes first."""
        on = self._present.get(address, {}).values()
        states = [AddressState(self.name(seen.index), self.is_ours(seen), seen.usable) for seen in on]
        return next((s for s in states if s.ours), states[0] if states else None)

    def is_ours(self, seen: SeenAddress) -> bool:
        return seen.host and (seen.marked or self._recorded(seen.address, self.name(seen.index)))

    def ours(self) -> set[Address]:
        return {a for a, on in self._present.items() if any(self.is_ours(seen) for seen in on.values())}

    def others(self, anycast: Iterable[Address]) -> set[Address]:
        """What is neither one of these nor ours: addresses of the node itself."""
        return self._present.keys() - set(anycast) - self.ours()

    def host_on(self, address: Address, interface: str) -> SeenAddress | None:
        """The address as a host route on that interface."""
        on = self._present.get(address, {}).values()
        return next((seen for seen in on if seen.host and self.name(seen.index) == interface), None)

    def uplinks(self) -> list[str]:
        """Interfaces that are up and lead somewhere."""
        found = (link for link in self.links.values() if link.flags & _IFF_UP and not link.flags & _IFF_LOOPBACK)
        return [link.name for link in found]

    def shared_segments(self) -> list[str]:
        """Interfaces with ARP and with an IPv4 network of more than two hosts."""
        wide = {
            seen.index
            for on in self._present.values()
            for seen in on.values()
            if ":" not in seen.address and seen.length < 30
        }
        found = (link for link in self.links.values() if link.index in wide and link.name in self.uplinks())
        return [link.name for link in found if link.flags & _IFF_BROADCAST and not link.flags & _IFF_NOARP]
