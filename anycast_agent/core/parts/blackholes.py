"""Blackhole routes: on the node for each configured cover, those that are ours and no longer configured off it.

A cover is shorter than the prefixes that it protects. What is sent to the rest of it would go back to the router and
come again until its hops are used up; so the node discards it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, AddBlackholes, RemoveBlackholes, Resync
from anycast_agent.core.backoff import Backoff
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told, first_of
from anycast_agent.core.ladder.case import CoverFact
from anycast_agent.core.model import AddressMode, CoverState, Prefix
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.timers import Timers

BATCH = 64
"""So many routes are added, or removed, by one action; the others wait for their turn."""

DUE = 2.0
"""An action on blackhole routes that has not ended by then is overdue. Seconds."""

NO_ANSWER = "no answer from the kernel adapter"

RETRY_FIRST, MAX_RETRY = 0.5, 30.0

STABLE = 10.0
"""A route that was put back and stays for so long is no longer fought over. Seconds."""

Removable = Callable[[Prefix, float], float | None]
"""From when on a blackhole route may go (monotonic); None: not yet, and something will happen before it may."""

BlackholeAction = AddBlackholes | RemoveBlackholes
Step = type[AddBlackholes] | type[RemoveBlackholes]


@dataclass(frozen=True, slots=True)
class BlackholeTurn:
    """Timer key: look at this prefix again."""

    prefix: Prefix


@dataclass(slots=True)
class BlackholeRecord:
    prefix: Prefix
    state: CoverState | None = None
    seen_at: float | None = None
    came_at: float = float("-inf")
    """When its route was last seen to come."""
    error: str = ""
    repairs: int = 0
    """How often it was put back after someone removed it."""
    open: int | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_FIRST, MAX_RETRY))

    @property
    def there(self) -> bool:
        return self.state is not None and self.state.blackholed

    @property
    def ours(self) -> bool:
        return self.state is not None and self.state.ours


class Blackholes(Part):
    """What the kernel has, as far as it is known, and what is desired of it."""

    def __init__(
        self, board: Board, timers: Timers, opened: OpenActions, known: Callable[[], bool], removable: Removable
    ) -> None:
        """``known``: the kernel's last full report still stands."""
        self._board = board
        self._timers = timers
        self._opened = opened
        self._known = known
        self._removable = removable
        self.records: dict[Prefix, BlackholeRecord] = {}
        self._mode = AddressMode.UNMANAGED
        self._configured: frozenset[Prefix] = frozenset()
        self._desired: frozenset[Prefix] = frozenset()
        self._open: int | None = None
        """The one action on blackhole routes that is open."""
        self._dirty: dict[Prefix, None] = {}
        self._frozen = False
        """The agent hands over: nothing is touched any more."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(Ending, self._agent_ends),
            on(ev.KernelSeen, self._kernel_seen),
            on(ev.CoverSeen, self._cover_seen),
            on(ev.BlackholesAdded, self._ended_by),
            on(ev.BlackholesRemoved, self._ended_by),
            on(BlackholeTurn, self._turn),
        )

    # --- asked by others ---

    def fact(self, prefix: Prefix) -> CoverFact:
        """What the ladder may know of a cover."""
        record = self.records.get(prefix)
        managed = self._mode is AddressMode.MANAGE
        return CoverFact(prefix, record.state, managed, record.error) if record else CoverFact(prefix, None, managed)

    def ours_left(self) -> list[Prefix]:
        """Routes of ours that are there and not desired."""
        if self._mode is not AddressMode.MANAGE:
            return []
        return [p for p, r in self.records.items() if p not in self._desired and r.there and r.ours]

    # --- desired ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._mode, self._configured = news.config.address_mode, news.config.covers
        self._desire(self._configured if self._mode is AddressMode.MANAGE else frozenset())

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._frozen = not news.stop
        if news.stop:
            self._desire(frozenset())

    def _desire(self, desired: frozenset[Prefix]) -> None:
        self._desired = desired
        self._dirty.update(dict.fromkeys([*desired, *self.records]))

    def look(self, touched: Touched, now: float) -> None:
        seen = self.records if touched.everything else touched.prefixes & self.records.keys()
        self._dirty.update(dict.fromkeys(seen))

    def _turn(self, timer: BlackholeTurn, now: float) -> None:
        self._dirty[timer.prefix] = None

    # --- observed ---

    def _kernel_seen(self, event: ev.KernelSeen, now: float) -> None:
        """A full report: what is not in it is not there."""
        for prefix in dict.fromkeys([*event.covers, *self.records]):
            self._see(prefix, event.covers.get(prefix, CoverState(blackholed=False, ours=False)), now)

    def _cover_seen(self, event: ev.CoverSeen, now: float) -> None:
        self._see(event.prefix, event.state, now)

    def _see(self, prefix: Prefix, state: CoverState, now: float) -> None:
        record = self._record(prefix)
        was, record.state, record.seen_at = record.state, state, now
        self._dirty[prefix] = None
        self._board.show(prefix)
        if state.blackholed:
            record.error = ""
            if was is None or not was.blackholed:
                record.came_at = now
        elif was is not None and was.blackholed and was.ours and prefix in self._desired:
            self._lost(record, now)
        if was != state:
            self._board.touch(prefix)

    def _lost(self, record: BlackholeRecord, now: float) -> None:
        """Somebody removed what we had added: it is put back, and later each time if it does not stay."""
        record.repairs += 1
        self._board.tell(Told(record.prefix, "its blackhole route has gone, and is put back", Level.WARNING))
        if now - record.came_at < STABLE:
            record.error = f"removed again {now - record.came_at:.1f} s after it came"
            record.backoff.failed(now)
        else:
            record.backoff.reset()

    def _record(self, prefix: Prefix) -> BlackholeRecord:
        return self.records.setdefault(prefix, BlackholeRecord(prefix))

    # --- ends of actions ---

    def _ended_by(self, event: ev.BlackholesAdded | ev.BlackholesRemoved, now: float) -> None:
        action = self._opened.end(event.action, AddBlackholes, RemoveBlackholes)
        if action is not None:
            self._ended(action, event.errors, now)

    def _give_up(self, action: BlackholeAction, now: float) -> None:
        self._ended(action, dict.fromkeys(action.prefixes, NO_ANSWER), now)
        self._board.act(Resync(ev.Source.KERNEL, "an action on blackhole routes did not end"))

    def _ended(self, action: BlackholeAction, errors: Mapping[Prefix, str], now: float) -> None:
        """What an action did is seen, not assumed: only the kernel's own report says so."""
        if self._open == action.id:
            self._open = None
        added = isinstance(action, AddBlackholes)
        for prefix in action.prefixes:
            record = self.records.get(prefix)
            if record is None or record.open != action.id:
                continue
            record.open = None
            record.error = errors.get(prefix, record.error)
            if record.there is not added:
                record.backoff.failed(now)  # failed, or its report is still on the way
        self._board.touch(*action.prefixes)
        for error in dict.fromkeys(errors.values()):
            failed = first_of([prefix for prefix, said in errors.items() if said == error])
            verb = "adding" if added else "removing"
            self._board.tell(Told(failed, f"{verb} its blackhole route failed: {error}", Level.ERROR))

    # --- the plan ---

    def plan(self, now: float) -> Iterable[Action]:
        """One action at a time, of one kind; what does not fit stays dirty and has its turn later."""
        if not self._known() or self._frozen or self._open is not None:
            return
        kind: Step | None = None
        batch: list[BlackholeRecord] = []
        for prefix in list(self._dirty):
            record = self._record(prefix)
            step = self._step(record, now)
            if step is not None and kind not in (None, step):
                continue
            del self._dirty[prefix]
            if step is not None:
                kind = step
                batch.append(record)
                if len(batch) == BATCH:
                    break
        if kind is not None:
            yield self._begin(kind, batch, now)

    def _begin(self, kind: Step, batch: list[BlackholeRecord], now: float) -> BlackholeAction:
        action = kind(self._opened.new_id(), tuple(record.prefix for record in batch))
        for record in batch:
            record.open = action.id
        self._open = action.id
        return self._opened.begin(action, now + DUE, self._give_up)

    def _step(self, record: BlackholeRecord, now: float) -> Step | None:
        """What is to be done about a prefix now; a timer is set where that is for later."""
        if record.prefix in self._desired:
            return AddBlackholes if not record.there and not self._waits(record, now) else None
        if self._mode is not AddressMode.MANAGE or not record.there or not record.ours:
            if not record.there and record.prefix not in self._configured:
                self.records.pop(record.prefix, None)
            return None
        at = self._removable(record.prefix, now)
        if at is None or at > now:
            if at is not None:
                self._timers.set(BlackholeTurn(record.prefix), at)
            return None
        return None if self._waits(record, now) else RemoveBlackholes

    def _waits(self, record: BlackholeRecord, now: float) -> bool:
        until = record.backoff.until()
        if now < until:
            self._timers.set(BlackholeTurn(record.prefix), until)
            return True
        return False
