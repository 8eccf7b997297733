"""Addresses: those of the configuration on the node, those that are ours and no longer configured off it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anycast_agent.core.actions import AddAddresses, RemoveAddresses
from anycast_agent.core.events import KernelSeen
from anycast_agent.core.ladder.case import AddressFact, ReturnRouteFact
from anycast_agent.core.model import (
    Address,
    AddressMode,
    AddressState,
    Config,
    Prefix,
    ReturnRoute,
    address_of,
)
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.timers import Timers

BATCH = 64
"""So many addresses are added, or removed, by one action; the others wait for their turn."""

DUE = 2.0
"""An action on addresses that has not ended by then is overdue. Seconds."""

REPAIR_WITHIN = 4.0
"""A route stays for so long, and no longer, while its lost address waits to be put back. Seconds."""

KEEP_UNKNOWN = 10.0
"""How long what the kernel last had counts, once it is no longer known. Seconds."""

RETRY_FIRST, RETRY_MOST = 0.5, 30.0

STABLE = 10.0
"""An address that was put back and stays for so long is no longer fought over. Seconds."""

QUICK_LOSSES = 3
"""So many losses in a row, each of an address that was not stable yet, are a fight: adding it again waits."""

ASK_EVERY = 5.0
"""A full report of the kernel that was asked for has so long; then it is asked for again. Seconds."""

_Step = tuple[type[AddAddresses] | type[RemoveAddresses], str]
"""What to do with an address, and on which interface."""

Removable = Callable[[Address], float | None]
"""From when on an address may be removed (monotonic); None: not yet, and something will happen before it may."""


@dataclass(frozen=True, slots=True)
class AddressTurn:
    """Timer key: look at this address again."""

    address: Address


@dataclass(frozen=True, slots=True)
class RepairOver:
    """Timer key: an address that was lost should be back by now."""

    address: Address


@dataclass(frozen=True, slots=True)
class KernelForgotten:
    """Timer key: what the kernel last had no longer counts."""


@dataclass(frozen=True, slots=True)
class KernelDue:
    """Timer key: the kernel's full report should have come by now."""


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
    retry_at: float = 0.0
    retry_in: float = RETRY_FIRST

    def repairing(self, now: float) -> bool:
        """It is being put back, and that has not failed yet."""
        return self.state is None and not self.error and now < self.lost_at + REPAIR_WITHIN


class Addresses:
    """What the kernel has, as far as it is known, and what is wanted of it."""

    def __init__(self, timers: Timers, opened: OpenActions) -> None:
        self._timers = timers
        self._opened = opened
        self.records: dict[Address, AddressRecord] = {}
        self.links: dict[str, bool] = {}
        self.return_routes: dict[Address, ReturnRoute] = {}
        self.known = False
        self.seen_at: float | None = None
        self.unknown_since: float = float("-inf")
        self._wanted: set[Address] = set()
        self._open: int | None = None
        self._dirty: dict[Address, None] = {}
        self._mode = AddressMode.UNMANAGED
        self._interface = "lo"

    @property
    def watched(self) -> bool:
        """Whether anybody looks; of an address that nobody looks for it is not known whether it is there."""
        return self._mode is not AddressMode.UNMANAGED

    # --- wanted ---

    def configure(self, config: Config) -> None:
        self._mode, self._interface = config.address_mode, config.interface
        managed = config.address_mode is AddressMode.MANAGE
        self._want([address_of(p) for s in config.services.values() for p in s.prefixes] if managed else [])

    def want_none(self) -> None:
        """The agent is stopping."""
        self._want([])

    def _want(self, wanted: list[Address]) -> None:
        self._wanted = set(wanted)
        self._dirty.update(dict.fromkeys([*wanted, *self.records]))

    def look_at(self, address: Address) -> None:
        """Something that an address waits for may have happened."""
        self._dirty[address] = None

    def look_at_all(self) -> None:
        self._dirty.update(dict.fromkeys(self.records))

    def ask(self, now: float) -> None:
        """A full report was asked for: look later whether it has come. Asking again does not put that off."""
        if self._timers.get(KernelDue()) is None:
            self._timers.set(KernelDue(), now + ASK_EVERY)

    # --- observed ---

    def report(self, event: KernelSeen, now: float) -> tuple[list[Address], bool]:
        """A full report: returns the addresses of which it has news, and whether it has news for any prefix."""
        before = (self.links, self.return_routes, True)
        self.links, self.return_routes = dict(event.links), dict(event.return_routes)
        everything = before != (self.links, self.return_routes, self.known)
        all_of_them = dict.fromkeys([*event.addresses, *self.records])
        changed = [a for a in all_of_them if self._see(a, event.addresses.get(a), now)]
        self.known, self.seen_at = True, now
        self._timers.cancel(KernelForgotten())
        self._timers.cancel(KernelDue())
        return changed, everything

    def seen(self, address: Address, state: AddressState | None, now: float) -> bool:
        """Returns whether it is news."""
        return self._see(address, state, now)

    def return_routes_seen(self, seen: Mapping[Address, ReturnRoute]) -> list[Address]:
        """Returns the addresses of which it is news."""
        before, self.return_routes = self.return_routes, dict(seen)
        return [address for address in {**before, **seen} if before.get(address) != seen.get(address)]

    def _see(self, address: Address, state: AddressState | None, now: float) -> bool:
        record = self._record(address)
        was, record.state, record.seen_at = record.state, state, now
        self._dirty[address] = None
        if state is not None:
            record.error = ""
            if was is None:
                record.came_at = now
        elif was is not None and was.ours and address in self._wanted:
            record.repairs += 1
            record.lost_at = now
            self._timers.set(RepairOver(address), now + REPAIR_WITHIN)
            record.quick_losses = record.quick_losses + 1 if now - record.came_at < STABLE else 0
            if record.quick_losses == 0:
                record.retry_in, record.retry_at = RETRY_FIRST, 0.0
            elif record.quick_losses >= QUICK_LOSSES:
                # Somebody takes away what we add: a route that comes and goes with it helps nobody.
                record.error = f"removed again {now - record.came_at:.1f} s after it came up"
                self._back_off(record, now)
        return was != state

    def _record(self, address: Address) -> AddressRecord:
        return self.records.setdefault(address, AddressRecord(address))

    def lost(self, now: float) -> None:
        """What the kernel has is no longer known; for a while, what it last had still counts."""
        if self.known:
            self.known, self.unknown_since = False, now
            self._timers.set(KernelForgotten(), now + KEEP_UNKNOWN)

    def counts(self, now: float) -> bool:
        """Whether what is announced may rest on what we have of the kernel."""
        return self.known or now < self.unknown_since + KEEP_UNKNOWN

    def there(self, address: Address) -> bool:
        record = self.records.get(address)
        return record is not None and record.state is not None

    def fact(self, address: Address, now: float) -> AddressFact:
        """What the ladder may know of an address."""
        record = self.records.get(address)
        return AddressFact(
            mode=self._mode,
            interface=self._interface,
            known=self.counts(now),
            state=record.state if record else None,
            error=record.error if record else "",
            repairing=self._mode is AddressMode.MANAGE and record is not None and record.repairing(now),
            link_up=self.link_up(address),
        )

    def return_route(self, prefix: Prefix) -> ReturnRouteFact:
        route = self.return_routes.get(address_of(prefix))
        if route is None:
            return ReturnRouteFact(self.watched, None)
        return ReturnRouteFact(self.watched, route.usable, route.evidence)

    def link_up(self, address: Address) -> bool:
        record = self.records.get(address)
        if record is None or record.state is None:
            return False
        return self.links.get(record.state.interface, False)

    def ended(self, action: AddAddresses | RemoveAddresses, errors: Mapping[Address, str], now: float) -> None:
        """An action ended. What it did is seen, not assumed: only the kernel's own report says so."""
        if self._open == action.id:
            self._open = None
        for address in action.addresses:
            record = self.records.get(address)
            if record is not None and record.open == action.id:
                self._ended(record, isinstance(action, AddAddresses), errors.get(address), now)

    def _ended(self, record: AddressRecord, added: bool, error: str | None, now: float) -> None:
        record.open = None
        self._dirty[record.address] = None
        if error is not None:
            record.error = error
        as_meant = (record.state is not None) is added
        if not as_meant:
            # Failed, or its report is still on the way; that is believed once.
            if not record.error and record.retry_in > RETRY_FIRST and added:
                record.error = "it was added, and is not there"
            self._back_off(record, now)

    @staticmethod
    def _back_off(record: AddressRecord, now: float) -> None:
        record.retry_at = now + record.retry_in
        record.retry_in = min(RETRY_MOST, 2 * record.retry_in)

    def ours_left(self) -> list[Address]:
        """Addresses of ours that are there and not wanted."""
        if self._mode is not AddressMode.MANAGE:
            return []
        return [a for a, r in self.records.items() if a not in self._wanted and r.state is not None and r.state.ours]

    # --- the plan ---

    def plan(self, now: float, removable: Removable) -> AddAddresses | RemoveAddresses | None:
        """One action at a time: the kernel adapter does one after the other, and each deadline runs from its start."""
        if not self.known or self._open is not None:
            return None
        kind: _Step | None = None
        batch: list[AddressRecord] = []
        for address in list(self._dirty):
            record = self._record(address)
            step = self._step(record, now, removable)
            if step is not None and kind not in (None, step):
                continue  # it stays dirty, and has its turn later
            del self._dirty[address]
            if step is not None:
                kind = step
                batch.append(record)
                if len(batch) == BATCH:
                    break
        return self._begin(kind, batch, now) if kind is not None else None

    def _begin(self, step: _Step, batch: list[AddressRecord], now: float) -> AddAddresses | RemoveAddresses:
        kind, interface = step
        action = kind(self._opened.new_id(), tuple(record.address for record in batch), interface)
        for record in batch:
            record.open = action.id
        self._open = action.id
        self._opened.begin(action.id, action, now + DUE)
        return action

    def _step(self, record: AddressRecord, now: float, removable: Removable) -> _Step | None:
        """What is to be done with an address now; a timer is set where that is for later."""
        if record.address in self._wanted:
            due = record.state is None and not self._wait(record, now)
            return (AddAddresses, self._interface) if due else None
        if record.state is None or not record.state.ours or self._mode is not AddressMode.MANAGE:
            if record.state is None:
                self.records.pop(record.address, None)
            return None
        at = removable(record.address)
        if at is None or at > now:
            if at is not None:
                self._timers.set(AddressTurn(record.address), at)
            return None
        return None if self._wait(record, now) else (RemoveAddresses, record.state.interface)

    def _wait(self, record: AddressRecord, now: float) -> bool:
        if now < record.retry_at:
            self._timers.set(AddressTurn(record.address), record.retry_at)
            return True
        return False
