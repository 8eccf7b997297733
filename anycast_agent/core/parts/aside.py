"""Local consumers: this node's own packets to a prefix that it does not announce, sent to another replica.

Theory
- A prefix goes aside only after its route was withdrawn, and only while somebody else is in sight (``desire``).
- The moment nobody else is in sight, it comes home at once: a refusal here beats a packet that nobody takes.
- When the prefix is to be announced again, it returns first, and gently: new connections stay here from then on, and
  those that began aside have ``LINGER`` to end. Only then is the route put.
- A return that fails delays the announcement by ``RETURN_WITHIN`` at most: users elsewhere are not to wait for it.
- The kernel's own report says what is in force. An address that is not configured any more is a leftover, and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, SetAside, WatchAside
from anycast_agent.core.backoff import Backoff
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.consumers import AsideConfig, AsideState, LocalConsumers
from anycast_agent.core.model import Address, Prefix, address_of, prefix_of
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.timers import Timers

DUE = 5.0
"""An action that has not ended by then is overdue. Seconds."""

LINGER = 30.0
"""Time that connections which began aside have to end once the address returns. Seconds."""

RETURN_WITHIN = 2.0
"""A put waits no longer than this for the return. Seconds."""

RETRY_FIRST, MAX_RETRY = 0.5, 30.0

ADAPTER = "local consumers"
"""The adapter's name."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts about one prefix that decide where local consumers go. Instants are monotonic seconds."""

    rule: LocalConsumers
    there: bool | None
    """The address is on the node; None: unknown."""
    announce: bool
    """The ladder's decision."""
    decided: bool
    """False: the ladder does not know enough of the prefix yet."""
    withdrawn_at: float | None
    """Since when no router can have the route from us; None: one still may."""
    offered: tuple[Address, ...] = ()
    """The routers that offer the prefix from somebody else."""
    routers: tuple[Address, ...] = ()
    """The routers whose session is up, of the prefix's family."""
    leaving: bool = False
    """The agent stops, and takes the address from the node if it is ours."""
    stays: bool = True
    """The address outlasts the agent: it is not ours."""
    again_at: float | None = None
    """When time alone may add an offer."""


@dataclass(frozen=True, slots=True)
class Desire:
    state: AsideState
    gateways: tuple[Address, ...] = ()
    why: str = ""


AT_HOME = Desire(AsideState.HOME)


def desire(s: Situation, state: AsideState) -> Desire | None:
    """``state``: the kernel's. None: leave it as it is."""
    if s.rule is LocalConsumers.OFF or s.there is False:
        return AT_HOME
    if s.leaving:
        # The address is gone in a moment. An address that stays has nobody left to look after its rules.
        return AT_HOME if s.stays or state is not AsideState.ASIDE else None
    if s.announce:
        leaves = state in (AsideState.ASIDE, AsideState.RETURNING)
        return Desire(AsideState.RETURNING, why="it is to be announced here") if leaves else AT_HOME
    if not s.decided or s.there is None:
        return None
    gateways = s.routers if s.rule is LocalConsumers.ALWAYS else s.offered
    if s.withdrawn_at is None or not gateways:
        return Desire(AsideState.HOME, why="no router offers it from another node" if s.withdrawn_at else "")
    why = "always, while it is not announced here" if s.rule is LocalConsumers.ALWAYS else "offered by another node"
    return Desire(AsideState.ASIDE, gateways, why)


@dataclass(frozen=True, slots=True)
class AsideTurn:
    """Timer key: look at this address again."""

    address: Address


@dataclass(frozen=True, slots=True)
class ReturnOver:
    """Timer key: the return should be over by now, and the route waits no longer."""

    address: Address


@dataclass(slots=True)
class Record:
    state: AsideState = AsideState.HOME
    since: float = 0.0
    gateways: tuple[Address, ...] = ()
    """Those of the last SetAside that succeeded."""
    error: str = ""
    open: SetAside | None = None
    overdue_return: bool = False
    backoff: Backoff = field(default_factory=lambda: Backoff(RETRY_FIRST, MAX_RETRY))


NO_RECORD = Record()


class Asides(Part):
    def __init__(
        self, board: Board, timers: Timers, opened: OpenActions, situation: Callable[[Prefix, float], Situation | None]
    ) -> None:
        """``situation``: None for a prefix that is not configured."""
        self._board = board
        self._timers = timers
        self._opened = opened
        self._situation = situation
        self._config: AsideConfig | None = None
        self._frozen = False
        self._dirty: dict[Address, None] = {}
        self.known = False
        self.records: dict[Address, Record] = {}

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(Ending, self._agent_ends),
            on(ev.AsideSeen, self._seen),
            on(ev.AsideSet, self._ended),
            on(ev.AdapterFailed, self._adapter_failed),
            on(AsideTurn, self._turn),
            on(ReturnOver, self._return_over),
        )

    def keeps_route(self, prefix: Prefix) -> bool:
        """True while local consumers are aside: a put waits for their return."""
        record = self.records.get(address_of(prefix))
        return record is not None and record.state is AsideState.ASIDE and not record.overdue_return

    def left(self) -> list[Address]:
        """The addresses that are not at home, or not known to be."""
        return sorted(a for a, r in self.records.items() if r.state is not AsideState.HOME or r.open is not None)

    # --- what is asked for ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        before, self._config = self._config, news.config.aside
        if before != self._config:
            self._board.act(WatchAside(self._config))
        self._dirty.update(dict.fromkeys([*self._config.addresses, *self.records]))

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._frozen = not news.stop
        self._dirty.update(dict.fromkeys(self.records))

    def look(self, touched: Touched, now: float) -> None:
        if self._config is None:
            return
        if touched.everything:
            self._dirty.update(dict.fromkeys([*self._config.addresses, *self.records]))
            return
        addresses = (address_of(prefix) for prefix in touched.prefixes)
        self._dirty.update((a, None) for a in addresses if a in self._config.addresses or a in self.records)

    def _turn(self, timer: AsideTurn, now: float) -> None:
        self._dirty[timer.address] = None

    def _return_over(self, timer: ReturnOver, now: float) -> None:
        record = self.records.get(timer.address)
        if record is not None and record.state is AsideState.ASIDE:
            record.overdue_return = True
            self._board.touch(prefix_of(timer.address))

    # --- what was seen ---

    def _seen(self, event: ev.AsideSeen, now: float) -> None:
        self.known = True
        for address in {*event.states, *self.records}:
            self._take(address, event.states.get(address, AsideState.HOME), now)

    def _take(self, address: Address, state: AsideState, now: float) -> None:
        record = self.records.setdefault(address, Record(since=now))
        self._dirty[address] = None
        if record.state is state:
            return
        record.state, record.since, record.overdue_return = state, now, False
        self._timers.cancel(ReturnOver(address))
        self._board.touch(prefix_of(address))
        self._board.tell(Told(address, _SAID[state]))

    def _ended(self, event: ev.AsideSet, now: float) -> None:
        action = self._opened.end(event.action, SetAside)
        if action is not None:
            self._end(action, event.error, now)

    def _give_up(self, action: SetAside, now: float) -> None:
        self._end(action, "no answer from the kernel adapter", now)

    def _end(self, action: SetAside, error: str | None, now: float) -> None:
        record = self.records[action.address]
        record.open, self._dirty[action.address] = None, None
        if error is None:
            record.gateways, record.error = action.gateways, ""
            record.backoff.reset()
            self._board.show(prefix_of(action.address))
            return
        if record.error != error:
            self._board.tell(Told(action.address, f"local consumers: {error}", Level.WARNING))
        record.error = error
        record.backoff.failed(now)
        self._timers.set(AsideTurn(action.address), record.backoff.until())
        self._board.show(prefix_of(action.address))

    def _adapter_failed(self, event: ev.AdapterFailed, now: float) -> None:
        if event.name == ADAPTER:
            self.known = False

    # --- the plan ---

    def plan(self, now: float) -> Iterable[Action]:
        if not self.known or self._frozen:
            return []
        dirty, self._dirty = self._dirty, {}
        return [action for address in dirty for action in self._plan(address, now)]

    def _plan(self, address: Address, now: float) -> Iterable[Action]:
        record = self.records.setdefault(address, Record(since=now))
        situation = self._situation(prefix_of(address), now)
        if situation is not None and situation.again_at is not None:
            self._timers.set(AsideTurn(address), situation.again_at)
        desired = AT_HOME if situation is None else desire(situation, record.state)
        if desired is None or record.open is not None or now < record.backoff.until():
            return
        if record.state is AsideState.RETURNING and desired.state is AsideState.RETURNING:
            if now < record.since + LINGER:
                self._timers.set(AsideTurn(address), record.since + LINGER)
                return
            desired = AT_HOME
        same = record.state is desired.state
        if same and (desired.state is not AsideState.ASIDE or record.gateways == desired.gateways):
            if situation is None and same:
                del self.records[address]
            return
        waits = record.overdue_return or self._timers.get(ReturnOver(address)) is not None
        if record.state is AsideState.ASIDE and desired.state is AsideState.RETURNING and not waits:
            self._timers.set(ReturnOver(address), now + RETURN_WITHIN)
        action = SetAside(self._opened.new_id(), address, desired.state, desired.gateways)
        record.open = self._opened.begin(action, now + DUE, self._give_up)
        yield action


_SAID: Mapping[AsideState, str] = {
    AsideState.HOME: "local consumers are served here",
    AsideState.ASIDE: "local consumers are sent to another replica",
    AsideState.RETURNING: "local consumers come back: new connections are served here",
    AsideState.BROKEN: "local consumers: policy rules of ours are missing, or are not in order",
}
