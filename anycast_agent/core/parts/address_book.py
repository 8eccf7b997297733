"""The known state of the node's addresses, and the answers to other parts' questions."""

from __future__ import annotations

from dataclasses import dataclass, field

from anycast_agent.core.backoff import Backoff
from anycast_agent.core.ladder.case import AddressFact
from anycast_agent.core.model import Address, AddressMode, AddressState, KernelConfig, Prefix, address_of

REPAIR_WITHIN = 4.0
"""A route stays for so long, and no longer, while its lost address waits to be put back. Seconds."""

KEEP_UNKNOWN = 10.0
"""How long what the kernel last had counts, once it is no longer known. Seconds."""

RETRY_FIRST, MAX_RETRY = 0.5, 30.0


@dataclass(slots=True)
class AddressRecord:
    address: Address
    state: AddressState | None = None
    seen_at: float | None = None
    came_at: float = float("-inf")
    """When it was last seen to come up."""
    lost_at: float = float("-inf")
    """When it was last seen to go."""
    error: str = ""
    repairs: int = 0
    quick_losses: int = 0
    open: int | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_FIRST, MAX_RETRY))

    def repairing(self, now: float) -> bool:
        """It is being put back, and that has not failed yet."""
        return self.state is None and not self.error and now < self.lost_at + REPAIR_WITHIN

    def ended(self, added: bool, error: str | None, now: float) -> None:
        """An action on it has ended. What the action did is seen, not assumed: only the kernel's report says so."""
        self.open = None
        if error is not None:
            self.error = error
        as_meant = (self.state is not None) is added
        if not as_meant:
            # Failed, or its report is still on the way; that is believed once.
            if not self.error and self.backoff.wait and added:
                self.error = "it was added, and is not there"
            self.backoff.failed(now)


class AddressBook:
    def __init__(self) -> None:
        self.records: dict[Address, AddressRecord] = {}
        self.links: dict[str, bool] = {}
        self.known = False
        self.seen_at: float | None = None
        self.unknown_since: float = float("-inf")
        self._config: KernelConfig | None = None
        self._desired: frozenset[Address] = frozenset()

    @property
    def mode(self) -> AddressMode:
        return self._config.address_mode if self._config else AddressMode.UNMANAGED

    @property
    def watched(self) -> bool:
        """Whether anybody looks; of an address that nobody looks for it is not known whether it is there."""
        return self.mode is not AddressMode.UNMANAGED

    def counts(self, now: float) -> bool:
        """Whether what is announced may rest on what we have of the kernel."""
        return self.known or now < self.unknown_since + KEEP_UNKNOWN

    def there(self, address: Address) -> bool:
        record = self.records.get(address)
        return record is not None and record.state is not None

    def ours(self, address: Address) -> bool:
        record = self.records.get(address)
        return record is not None and record.state is not None and record.state.ours

    def fact(self, address: Address, now: float) -> AddressFact:
        """What the ladder may know of an address."""
        record = self.records.get(address)
        return AddressFact(
            mode=self.mode,
            interface=self._config.interface if self._config else "",
            known=self.counts(now),
            state=record.state if record else None,
            error=record.error if record else "",
            repairing=self.mode is AddressMode.MANAGE and record is not None and record.repairing(now),
            link_up=self.link_up(address),
        )

    def reachable(self, prefix: Prefix) -> bool:
        """Whether a probe of the prefix's address reaches this node's own service."""
        return not self.watched or self.there(address_of(prefix))

    def link_up(self, address: Address) -> bool:
        record = self.records.get(address)
        if record is None or record.state is None:
            return False
        return self.links.get(record.state.interface, False)

    def ours_left(self) -> list[Address]:
        """Addresses of ours that are there and not desired."""
        if self.mode is not AddressMode.MANAGE:
            return []
        return [a for a, r in self.records.items() if a not in self._desired and r.state is not None and r.state.ours]

    def _record(self, address: Address) -> AddressRecord:
        return self.records.setdefault(address, AddressRecord(address))
