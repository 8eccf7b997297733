"""Routes: what is wanted, what was observed, and the actions that bring the one to the other.

The rules are preconditions, not a script: a plan that was cut off at any point resumes by itself at the next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from anycast_agent.core.actions import ConfirmRoutes, DropRoutes, PutRoutes
from anycast_agent.core.events import RouteFound
from anycast_agent.core.model import Attributes, Family, Prefix, Route, RouteKey, Will, family_of
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.timers import Timers

MOST_PREFIXES = 64
"""In one action: a withdrawal never waits longer than it takes ExaBGP to digest so many."""

MOST_OPEN = 2
"""Open actions of a kind. What waits meanwhile goes together in the next: the batch grows with the load."""

DUE = 5.0
"""An action on routes that has not ended by then is overdue. Seconds."""

SENT_WITHIN = 1.0
"""How long after ExaBGP took a withdrawal its UPDATE is waited for: one that never was sent has none. Seconds."""

RETRY_FIRST, RETRY_MOST = 0.5, 30.0
"""After an error a route is tried again after so long, then twice as long each time; a withdrawal never waits longer
than the first. Seconds."""

A = TypeVar("A", PutRoutes, DropRoutes, ConfirmRoutes)


@dataclass(frozen=True, slots=True)
class RouteRetry:
    """Timer key."""

    key: RouteKey


class Step(StrEnum):
    """What to do about one route."""

    NONE = "none"
    PUT = "put"
    DROP = "drop"
    CONFIRM = "confirm"


@dataclass(slots=True)
class RouteState:
    """One route to one neighbor, wanted and observed."""

    key: RouteKey
    wanted: Route | None = None
    keep: bool = False
    """Wanted exactly as it is found, until there is a verdict."""
    wanted_since: float = 0.0
    known: bool = False
    """Whether ``taken`` is what the speaker holds now, and not what it held when we last knew."""
    taken: Attributes | None = None
    strange: bool = False
    """Something is there that we could not have written."""
    taken_at: float | None = None
    confirmed: bool = True
    will: Will = Will.WITHDRAW
    sent: bool | None = None
    sent_at: float | None = None
    echoes: set[str] = field(default_factory=set)
    echoed_at: float | None = None
    open: int | None = None
    doing: Step = Step.NONE
    error: str = ""
    retry_at: float = 0.0
    retry_in: float = RETRY_FIRST

    @property
    def there(self) -> bool:
        return self.taken is not None or self.strange

    def step(self) -> Step:
        """What wanted and observed call for, preconditions aside."""
        if not self.known or self.keep:
            return Step.NONE
        if self.wanted is None:
            return Step.DROP if self.there else Step.NONE
        if self.taken != self.wanted.attributes or self.will is not self.wanted.will:
            return Step.PUT
        return Step.NONE if self.confirmed else Step.CONFIRM


class Routes:
    def __init__(self, timers: Timers, opened: OpenActions) -> None:
        self._timers = timers
        self._opened = opened
        self.states: dict[RouteKey, RouteState] = {}
        self._by_prefix: dict[Prefix, dict[RouteKey, None]] = {}
        self._unsettled: dict[RouteKey, None] = {}
        self._found: dict[RouteKey, RouteFound] = {}
        self._open = {Step.PUT: 0, Step.DROP: 0, Step.CONFIRM: 0}
        self.known = False

    def of_prefix(self, prefix: Prefix) -> list[RouteState]:
        return [self.states[key] for key in self._by_prefix.get(prefix, ())]

    def prefixes(self) -> list[Prefix]:
        """Every prefix of which there is, was or may be a route."""
        return list(self._by_prefix)

    def announced(self, prefix: Prefix) -> bool:
        """Whether a route for the prefix is with the speaker, as far as we know or knew."""
        return any(self.states[key].there for key in self._by_prefix.get(prefix, ()))

    def any_there(self) -> bool:
        return any(s.there or s.open is not None for s in self.states.values())

    # --- wanted ---

    def want(self, key: RouteKey, route: Route | None, keep: bool, now: float) -> None:
        state = self._state(key)
        if state.wanted != route or state.keep != keep:
            if state.wanted != route:
                state.wanted_since = now
            state.wanted, state.keep = route, keep
        self._unsettled[key] = None

    def _state(self, key: RouteKey) -> RouteState:
        state = self.states.get(key)
        if state is None:
            # A key that the replay did not name is known not to be there, once there has been a replay.
            state = self.states[key] = RouteState(key, known=self.known)
            self._by_prefix.setdefault(key.prefix, {})[key] = None
        return state

    def forget_settled(self, configured: Callable[[RouteKey], bool]) -> None:
        """Forget routes that are neither configured nor anywhere on the way."""
        for key in [k for k, s in self.states.items() if s.wanted is None and s.known and not s.there]:
            state = self.states[key]
            if state.open is None and state.sent is not True and not configured(key):
                del self.states[key]
                self._by_prefix[key.prefix].pop(key, None)
                self._unsettled.pop(key, None)
                self._timers.cancel(RouteRetry(key))
                if not self._by_prefix[key.prefix]:
                    del self._by_prefix[key.prefix]

    # --- observed ---

    def replay_begins(self) -> None:
        self._found = {}

    def found(self, event: RouteFound) -> None:
        self._found[event.key] = event

    def replay_ends(self, now: float) -> set[Prefix]:
        """What the replay named is there, and nothing else is. Returns the prefixes of which that is news."""
        self.known = True
        changed: set[Prefix] = set()
        for key in self._found:
            self._state(key)
        for key, state in self.states.items():
            self._unsettled[key] = None
            if state.open is not None:
                continue  # the end of the open action says more than a replay that may have come before it
            found = self._found.get(key)
            taken = found.attributes if found else None
            strange = found is not None and found.attributes is None
            if not state.known or (state.taken, state.strange) != (taken, strange):
                changed.add(key.prefix)
                state.taken_at = now
            state.known, state.taken, state.strange = True, taken, strange
            state.confirmed = found.confirmed if found else True
            state.will = found.will if found else state.will
            sent = found.sent if found else False
            if state.sent is not sent:
                state.sent, state.sent_at = sent, now
        self._found = {}
        return changed

    def lost(self, now: float) -> None:
        """The speaker is away: what was known is the last that was known."""
        self.known = False
        for state in self.states.values():
            state.known = False
            state.sent, state.sent_at = None, now
            state.echoes.clear()

    def session_down(self, neighbor: str, now: float) -> set[Prefix]:
        """A session that is down carries nothing."""
        touched = set()
        for state in self.states.values():
            if state.key.neighbor == neighbor:
                state.sent, state.sent_at = False, now
                state.echoes.clear()
                touched.add(state.key.prefix)
        return touched

    def sent(self, key: RouteKey, announced: bool, now: float) -> bool:
        state = self.states.get(key)
        if state is None:
            return False
        state.sent, state.sent_at = announced, now
        return True

    def echoed(self, key: RouteKey, path_id: str, there: bool, now: float) -> bool:
        state = self.states.get(key)
        if state is None or (path_id in state.echoes) == there:
            return False
        if there and len(state.echoes) < 64:
            state.echoes.add(path_id)
            state.echoed_at = now
        else:
            state.echoes.discard(path_id)
        return True

    def dropped(self, keys: Iterable[RouteKey], now: float) -> set[Prefix]:
        """The pipe dropped them by itself."""
        touched = set()
        for key in keys:
            if (state := self.states.get(key)) is not None and state.open is None:
                state.taken, state.strange, state.taken_at, state.confirmed = None, False, now, True
                self._unsettled[key] = None
                touched.add(key.prefix)
        return touched

    def done(self, action: PutRoutes | DropRoutes | ConfirmRoutes, error: str | None, now: float) -> list[RouteState]:
        """An action ended. After an error, what the speaker holds is unknown until the next replay."""
        step = _step_of(action)
        self._open[step] -= 1
        states = [s for key in keys_of(action) if (s := self.states.get(key)) is not None and s.open == action.id]
        for state in states:
            state.open, state.doing = None, Step.NONE
            self._unsettled[state.key] = None
            if error is not None:
                self._failed(state, error, now)
                continue
            state.error, state.retry_in, state.retry_at = "", RETRY_FIRST, 0.0
            if isinstance(action, PutRoutes):
                state.taken, state.will = action.attributes, action.will
                state.strange, state.confirmed, state.taken_at = False, True, now
            elif isinstance(action, DropRoutes):
                state.taken, state.strange, state.taken_at, state.confirmed = None, False, now, True
            else:
                state.confirmed = True
        return states

    def withdrawn_at(self, prefix: Prefix, session_up: Callable[[str], bool], now: float) -> float | None:
        """Since when no router can have a route for the prefix from us; None while one may.

        That is: taken back, and the UPDATE reported as sent, or the session down, or the report overdue.
        """
        latest = float("-inf")
        for key in self._by_prefix.get(prefix, ()):
            state = self.states[key]
            if not state.known or state.there or state.open is not None:
                return None
            taken_at = state.taken_at if state.taken_at is not None else float("-inf")
            on_the_wire = state.sent is not False and state.taken_at is not None and session_up(key.neighbor)
            if on_the_wire and now < taken_at + SENT_WITHIN:
                return None
            latest = max(latest, taken_at, state.sent_at if state.sent is False and state.sent_at else taken_at)
        return latest

    def _failed(self, state: RouteState, error: str, now: float) -> None:
        state.error, state.known = error, False
        withdrawing = state.wanted is None
        state.retry_at = now + (RETRY_FIRST if withdrawing else state.retry_in)
        state.retry_in = min(RETRY_MOST, 2 * state.retry_in)

    # --- the plan ---

    def plan(self, now: float, may_put: Callable[[RouteKey], bool]) -> list[PutRoutes | DropRoutes | ConfirmRoutes]:
        """The actions that are possible now; withdrawals first."""
        drops: list[RouteState] = []
        confirms: list[RouteState] = []
        puts: dict[tuple[str, Attributes, Will, Family], list[RouteState]] = {}
        for key in list(self._unsettled):
            state = self.states[key]
            if state.open is not None or not state.known:
                continue
            step = state.step()
            if step is Step.NONE:
                del self._unsettled[key]
            elif now < state.retry_at:
                self._timers.set(RouteRetry(key), state.retry_at)
            elif step is Step.DROP:
                drops.append(state)
            elif step is Step.CONFIRM:
                confirms.append(state)
            elif may_put(key) and state.wanted is not None:
                group = (key.neighbor, state.wanted.attributes, state.wanted.will, family_of(key.prefix))
                puts.setdefault(group, []).append(state)
        actions: list[PutRoutes | DropRoutes | ConfirmRoutes] = []
        for chunk in self._chunks(drops, Step.DROP):
            actions.append(self._begin(DropRoutes(self._opened.new_id(), _keys(chunk)), chunk, now))
        for chunk in self._chunks(confirms, Step.CONFIRM):
            actions.append(self._begin(ConfirmRoutes(self._opened.new_id(), _keys(chunk)), chunk, now))
        for (neighbor, attributes, will, _), states in puts.items():
            for chunk in self._chunks(states, Step.PUT):
                prefixes = tuple(s.key.prefix for s in chunk)
                put = PutRoutes(self._opened.new_id(), neighbor, prefixes, attributes, will)
                actions.append(self._begin(put, chunk, now))
        return actions

    def _chunks(self, states: list[RouteState], step: Step) -> Iterable[list[RouteState]]:
        for start in range(0, len(states), MOST_PREFIXES):
            if self._open[step] >= MOST_OPEN:
                return
            yield states[start : start + MOST_PREFIXES]

    def _begin(self, action: A, states: list[RouteState], now: float) -> A:
        step = _step_of(action)
        self._open[step] += 1
        self._opened.begin(action.id, action, now + DUE)
        for state in states:
            state.open, state.doing = action.id, step
            if step is Step.PUT:
                # What was sent for other attributes says nothing of these.
                state.sent, state.sent_at = None, now
        return action


def _step_of(action: PutRoutes | DropRoutes | ConfirmRoutes) -> Step:
    if isinstance(action, PutRoutes):
        return Step.PUT
    return Step.DROP if isinstance(action, DropRoutes) else Step.CONFIRM


def keys_of(action: PutRoutes | DropRoutes | ConfirmRoutes) -> tuple[RouteKey, ...]:
    if isinstance(action, PutRoutes):
        return tuple(RouteKey(action.neighbor, prefix) for prefix in action.prefixes)
    return action.keys


def _keys(states: list[RouteState]) -> tuple[RouteKey, ...]:
    return tuple(s.key for s in states)
