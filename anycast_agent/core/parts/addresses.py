"""Addresses: those of the configuration on the node, those that are ours and no longer configured off it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, AddAddresses, RemoveAddresses, Resync, WatchKernel
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told, first_of
from anycast_agent.core.model import (
    Address,
    AddressMode,
    AddressState,
    address_of,
    prefix_of,
)
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.parts.address_book import KEEP_UNKNOWN, REPAIR_WITHIN, AddressBook, AddressRecord
from anycast_agent.core.timers import Timers

BATCH = 64
"""So many addresses are added, or removed, by one action; the others wait for their turn."""

DUE = 2.0
"""An action on addresses that has not ended by then is overdue. Seconds."""

NO_ANSWER = "no answer from the kernel adapter"

STABLE = 10.0
"""An address that was put back and stays for so long is no longer fought over. Seconds."""

QUICK_LOSSES = 3
"""So many losses in a row, each of an address that was not stable yet, are a fight: adding it again waits."""

ASK_EVERY = 5.0
"""A full report of the kernel that was asked for has so long; then it is asked for again. Seconds."""

Removable = Callable[[Address, float], float | None]
"""From when on an address may be removed (monotonic); None: not yet, and something will happen before it may."""

AddressAction = AddAddresses | RemoveAddresses

Step = tuple[type[AddAddresses] | type[RemoveAddresses], str]
"""What to do with an address, and on which interface."""


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


class Addresses(AddressBook, Part):
    """The desired addresses, the kernel's reports, and the actions between the two."""

    def __init__(self, board: Board, timers: Timers, opened: OpenActions, removable: Removable) -> None:
        super().__init__()
        self._board = board
        self._timers = timers
        self._opened = opened
        self._removable = removable
        self._open: int | None = None
        """The one action on addresses that is open."""
        self._dirty: dict[Address, None] = {}
        self._frozen = False
        """The agent hands over: nothing is touched any more."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(Ending, self._agent_ends),
            on(ev.KernelSeen, self._kernel_seen),
            on(ev.AddressSeen, self._address_seen),
            on(ev.LinkSeen, self._link_seen),
            on(ev.AddressesAdded, self._ended_by),
            on(ev.AddressesRemoved, self._ended_by),
            on(ev.AdapterFailed, self._adapter_failed),
            on(ev.Lost, self._events_lost),
            on(AddressTurn, self._turn),
            on(RepairOver, self._repair_over),
            on(KernelForgotten, self._forgotten),
            on(KernelDue, self._due),
        )

    # --- desired ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        before, self._config = self._config, news.config.kernel
        self._desire(self._config.addresses if self.mode is AddressMode.MANAGE else frozenset())
        if before != self._config:
            self._board.act(WatchKernel(self._config))
            self._expect_report(now)

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._frozen = not news.stop
        if news.stop:
            self._desire(frozenset())

    def _desire(self, desired: frozenset[Address]) -> None:
        self._desired = desired
        self._dirty.update(dict.fromkeys([*desired, *self.records]))

    def look(self, touched: Touched, now: float) -> None:
        if touched.everything:
            self._dirty.update(dict.fromkeys(self.records))
        else:
            self._dirty.update((a, None) for p in touched.prefixes if (a := address_of(p)) in self.records)

    def _turn(self, timer: AddressTurn, now: float) -> None:
        self._dirty[timer.address] = None

    def _repair_over(self, timer: RepairOver, now: float) -> None:
        self._board.touch(prefix_of(timer.address))

    # --- observed: the kernel's reports ---

    def _kernel_seen(self, event: ev.KernelSeen, now: float) -> None:
        """A full report: what is not in it is not there."""
        before = (self.links, True)
        self.links = dict(event.links)
        if before != (self.links, self.known):
            self._board.touch_all()
        for address in dict.fromkeys([*event.addresses, *self.records]):
            self._see_and_tell(address, event.addresses.get(address), now)
        self.known, self.seen_at = True, now
        self._board.show_all()
        self._timers.cancel(KernelForgotten())
        self._timers.cancel(KernelDue())

    def _address_seen(self, event: ev.AddressSeen, now: float) -> None:
        self._see_and_tell(event.address, event.state, now)
        self._board.show(prefix_of(event.address))

    def _see_and_tell(self, address: Address, state: AddressState | None, now: float) -> None:
        if not self._see(address, state, now):
            return
        self._board.touch(prefix_of(address))
        if self._config is not None and address in self._config.addresses:
            text = "is on the node" if state is not None else "is not on the node"
            self._board.tell(Told(address, text, Level.INFO if state is not None else Level.WARNING))

    def _link_seen(self, event: ev.LinkSeen, now: float) -> None:
        if self.links.get(event.interface) is not event.up:
            self.links[event.interface] = event.up
            text, level = ("is up", Level.INFO) if event.up else ("is down", Level.WARNING)
            self._board.tell(Told(event.interface, text, level))
            self._board.touch_all()

    def _see(self, address: Address, state: AddressState | None, now: float) -> bool:
        record = self._record(address)
        was, record.state, record.seen_at = record.state, state, now
        self._dirty[address] = None
        if state is not None:
            record.error = ""
            if was is None:
                record.came_at = now
        elif was is not None and was.ours and address in self._desired:
            record.repairs += 1
            record.lost_at = now
            self._timers.set(RepairOver(address), now + REPAIR_WITHIN)
            record.quick_losses = record.quick_losses + 1 if now - record.came_at < STABLE else 0
            if record.quick_losses == 0:
                record.backoff.reset()
            elif record.quick_losses >= QUICK_LOSSES:
                # Somebody takes away what we add: a route that comes and goes with it helps nobody.
                record.error = f"removed again {now - record.came_at:.1f} s after it came up"
                record.backoff.failed(now)
        return was != state

    # --- observed: not known any more ---

    def _adapter_failed(self, event: ev.AdapterFailed, now: float) -> None:
        if event.name == ev.Source.KERNEL:
            self._lost(now)
            self._expect_report(now)  # the adapter reports by itself once it is started again

    def _events_lost(self, event: ev.Lost, now: float) -> None:
        if event.source is ev.Source.KERNEL:
            self._lost(now)
            self._ask(event.why, now)

    def _lost(self, now: float) -> None:
        """What the kernel has is no longer known; for a while, what it last had still counts."""
        if self.known:
            self.known, self.unknown_since = False, now
            self._timers.set(KernelForgotten(), now + KEEP_UNKNOWN)
        self._board.touch_all()

    def _forgotten(self, timer: KernelForgotten, now: float) -> None:
        self._board.touch_all()

    def _due(self, timer: KernelDue, now: float) -> None:
        self._lost(now)
        self._ask("no full report came", now)

    def _ask(self, why: str, now: float) -> None:
        self._expect_report(now)
        self._board.act(Resync(ev.Source.KERNEL, why))

    def _expect_report(self, now: float) -> None:
        """Look later whether it has come. Asking again does not put that off."""
        if self._timers.get(KernelDue()) is None:
            self._timers.set(KernelDue(), now + ASK_EVERY)

    # --- ends of actions ---

    def _ended_by(self, event: ev.AddressesAdded | ev.AddressesRemoved, now: float) -> None:
        action = self._opened.end(event.action, AddAddresses, RemoveAddresses)
        if action is not None:
            self._ended(action, event.errors, now)

    def _give_up(self, action: AddressAction, now: float) -> None:
        self._ended(action, dict.fromkeys(action.addresses, NO_ANSWER), now)
        self._ask("an action on addresses did not end", now)

    def _ended(self, action: AddressAction, errors: Mapping[Address, str], now: float) -> None:
        if self._open == action.id:
            self._open = None
        for address in action.addresses:
            record = self.records.get(address)
            if record is not None and record.open == action.id:
                record.ended(isinstance(action, AddAddresses), errors.get(address), now)
        self._board.touch(*(prefix_of(address) for address in action.addresses))
        verb = "adding it to" if isinstance(action, AddAddresses) else "removing it from"
        for error in dict.fromkeys(errors.values()):
            failed = [address for address, said in errors.items() if said == error]
            text = f"{verb} {action.interface} failed: {error}"
            self._board.tell(Told(first_of(failed), text, Level.ERROR))

    # --- the plan ---

    def plan(self, now: float) -> Iterable[Action]:
        """One action at a time: the kernel adapter does one after the other, and each deadline runs from its start."""
        if not self.known or self._frozen or self._open is not None:
            return
        kind: Step | None = None
        batch: list[AddressRecord] = []
        for address in list(self._dirty):
            record = self._record(address)
            step = self._step(record, now)
            if step is not None and kind not in (None, step):
                continue  # it stays dirty, and has its turn later
            del self._dirty[address]
            if step is not None:
                kind = step
                batch.append(record)
                if len(batch) == BATCH:
                    break
        if kind is not None:
            yield self._begin(kind, batch, now)

    def _begin(self, step: Step, batch: list[AddressRecord], now: float) -> AddressAction:
        kind, interface = step
        action = kind(self._opened.new_id(), tuple(record.address for record in batch), interface)
        for record in batch:
            record.open = action.id
        self._open = action.id
        return self._opened.begin(action, now + DUE, self._give_up)

    def _step(self, record: AddressRecord, now: float) -> Step | None:
        """What is to be done with an address now; a timer is set where that is for later."""
        if record.address in self._desired:
            due = record.state is None and self._config is not None and not self._waits(record, now)
            return (AddAddresses, self._config.interface) if due and self._config is not None else None
        if record.state is None or not record.state.ours or self.mode is not AddressMode.MANAGE:
            if record.state is None:
                self.records.pop(record.address, None)
            return None
        at = self._removable(record.address, now)
        if at is None or at > now:
            if at is not None:
                self._timers.set(AddressTurn(record.address), at)
            return None
        return None if self._waits(record, now) else (RemoveAddresses, record.state.interface)

    def _waits(self, record: AddressRecord, now: float) -> bool:
        until = record.backoff.until()
        if now < until:
            self._timers.set(AddressTurn(record.address), until)
            return True
        return False
