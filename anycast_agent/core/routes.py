"""Routes: what is wanted, what was observed, and the actions that bring the one to the other.

The rules are preconditions, not a script: a plan that was cut off at any point resumes by itself at the next turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from anycast_agent.core.actions import ConfirmRoutes, DropRoutes, PutRoutes
from anycast_agent.core.events import RouteFound
from anycast_agent.core.model import SELF, Attributes, Prefix, Route, RouteKey, Will, family_of
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
than the first, nor does a confirmation: the pipe's clock runs. Seconds."""

NEVER = float("-inf")

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
    own_address: str | None = ""
    """What next hop ``self`` stands for at the neighbor; empty: not known yet; None: left to ExaBGP."""
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
    withdrawal_sent_at: float | None = None
    """When the UPDATE that takes it back was reported; None where nothing was there to take back, or is again."""
    echoes: set[str] = field(default_factory=set)
    echoed_at: float | None = None
    open: int | None = None
    doing: Step = Step.NONE
    missed: bool = False
    """While its action was open, something was heard that the action's end may contradict: only a replay can say."""
    renew: bool = False
    """ExaBGP has the neighbor anew, and may have forgotten what it had been told for it."""
    error: str = ""
    told: str = ""
    """The error that was last told: one that stays is told once."""
    failed_at: float = NEVER
    retry_in: float = RETRY_FIRST

    @property
    def aim(self) -> Attributes | None:
        """What is wanted, with the address that ``self`` stands for; None where nothing is, or it is not known yet."""
        if self.wanted is None:
            return None
        wanted = self.wanted.attributes
        if wanted.next_hop != SELF or self.own_address is None:
            return wanted
        if self.own_address:
            return replace(wanted, next_hop=self.own_address)
        # What is there was put with an address that was known then: it stays.
        kept = self.taken is not None and replace(self.taken, next_hop=SELF) == wanted
        return self.taken if kept else None

    @property
    def waits_for(self) -> str:
        """What is not possible yet is no error; empty where nothing is waited for."""
        waits = self.wanted is not None and self.aim is None
        return "this node's address on the session: there is no way to the neighbor yet" if waits else ""

    @property
    def there(self) -> bool:
        return self.taken is not None or self.strange

    def retry_at(self, step: Step) -> float:
        """From when on it may be tried again, in monotonic seconds."""
        return self.failed_at + (self.retry_in if step is Step.PUT else RETRY_FIRST)

    def step(self) -> Step:
        """What wanted and observed call for, preconditions aside."""
        if not self.known or self.keep:
            return Step.NONE
        if self.wanted is None:
            return Step.DROP if self.there else Step.NONE
        if self.taken != self.aim or self.will is not self.wanted.will or self.renew:
            return Step.PUT
        return Step.NONE if self.confirmed else Step.CONFIRM


class Routes:
    def __init__(self, timers: Timers, opened: OpenActions) -> None:
        self._timers = timers
        self._opened = opened
        self.states: dict[RouteKey, RouteState] = {}
        self._by_prefix: dict[Prefix, dict[RouteKey, None]] = {}
        self._changed: dict[RouteKey, None] = {}
        self._ready: dict[Step, dict[RouteKey, None]] = {Step.DROP: {}, Step.CONFIRM: {}, Step.PUT: {}}
        """What has to be done, and waits for one of the few actions of its kind to end."""
        self._barred: dict[RouteKey, None] = {}
        """Puts that ExaBGP cannot take before it is configured for them, or the neighbor's own address is known."""
        self._own_addresses: dict[str, str | None] = {}
        self._carry_nothing: set[str] = set()
        """Neighbors whose session is known not to be up."""
        self.refused: dict[RouteKey, float] = {}
        """Withdrawals that failed, and since when: until one is taken, a router may have a stale route."""
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

    # --- wanted ---

    def want(self, key: RouteKey, route: Route | None, keep: bool, now: float) -> None:
        """``keep``: exactly as it is found, whatever ``route`` says."""
        state = self._state(key, now)
        if state.wanted == route and state.keep == keep:
            return
        if state.wanted != route:
            # What failed was another wish: this one does not wait for it.
            state.wanted_since, state.failed_at, state.retry_in = now, NEVER, RETRY_FIRST
        state.wanted, state.keep = route, keep
        self.look_at(key)

    def look_at(self, key: RouteKey) -> None:
        """Something that a route's next step rests on may have changed."""
        if key in self.states:
            self._changed[key] = None

    def look_at_barred(self) -> None:
        """ExaBGP's configuration has changed."""
        self._changed.update(self._barred)

    def take_own_address(self, neighbor: str, address: str | None) -> None:
        """What next hop ``self`` stands for at the neighbor; empty: not known yet; None: left to ExaBGP."""
        if self._own_addresses.get(neighbor, "") == address:
            return
        self._own_addresses[neighbor] = address
        for key, state in self.states.items():
            if key.neighbor == neighbor:
                state.own_address = address
                state.taken = _with_address(state.taken, address)
                self._changed[key] = None

    def session_up(self, neighbor: str) -> None:
        """What failed while the session was not up need not wait any longer."""
        self._carry_nothing.discard(neighbor)
        for key, state in self.states.items():
            if key.neighbor == neighbor and state.failed_at != NEVER:
                state.failed_at, state.retry_in = NEVER, RETRY_FIRST
                self._changed[key] = None

    def _state(self, key: RouteKey, now: float) -> RouteState:
        state = self.states.get(key)
        if state is None:
            # A key that the replay did not name is known not to be there, once there has been a replay.
            own = self._own_addresses.get(key.neighbor, "")
            state = self.states[key] = RouteState(key, wanted_since=now, own_address=own, known=self.known)
            self._by_prefix.setdefault(key.prefix, {})[key] = None
            self._changed[key] = None
        return state

    def forget(self, over: Callable[[RouteKey], bool]) -> None:
        """Forget the routes that are neither wanted nor anywhere on the way, and of which ``over`` says so too."""
        for key, state in list(self.states.items()):
            settled = state.wanted is None and state.known and not state.there and state.open is None
            if settled and state.sent is not True and over(key):
                del self.states[key]
                self._leave(key)
                self._changed.pop(key, None)
                self._timers.cancel(RouteRetry(key))
                del self._by_prefix[key.prefix][key]
                if not self._by_prefix[key.prefix]:
                    del self._by_prefix[key.prefix]

    # --- observed ---

    def replay_begins(self) -> None:
        self._found = {}

    def found(self, event: RouteFound) -> None:
        self._found[event.key] = event

    def replay_ends(self, now: float) -> set[Prefix]:
        """What the replay named is there, and nothing else is. Returns the prefixes of which that is news.

        A put or drop that is open says more by its end than a replay that may have come before it. Where it was begun
        before the speaker was lost, not even that is believed: its route stays unknown, and is asked for once more.
        """
        self.known = True
        news: set[Prefix] = set()
        for key in self._found:
            self._state(key, now)
        for key, state in self.states.items():
            if state.open is None or state.doing is Step.CONFIRM:
                was = state.there
                self._take_found(state, self._found.get(key), now)
                if state.there is not was:
                    news.add(key.prefix)
        self._changed.update(dict.fromkeys(self.states))
        self._found = {}
        self.refused = {key: at for key, at in self.refused.items() if key in self.states and self.states[key].there}
        return news

    def _take_found(self, state: RouteState, found: RouteFound | None, now: float) -> None:
        taken = _with_address(found.attributes if found else None, state.own_address)
        strange = found is not None and found.attributes is None
        if not state.known or (state.taken, state.strange) != (taken, strange):
            state.taken_at = now
        state.known, state.taken, state.strange = True, taken, strange
        state.confirmed = found.confirmed if found else True
        state.will = found.will if found else state.will
        # A replay says what was announced. That something is not in it does not say that its withdrawal was sent.
        sent = found.sent if found else (False if state.sent is False else None)
        if state.sent is not sent:
            state.sent, state.sent_at = sent, now

    def lost(self, now: float) -> None:
        """The speaker is away: what was known is the last that was known."""
        self.known = False
        self.refused.clear()
        self._carry_nothing.clear()
        for state in self.states.values():
            state.known = False
            state.sent, state.sent_at = None, now
            state.echoes.clear()

    def session(self, neighbor: str, known: bool, now: float) -> None:
        """A session is not up: it carries nothing, where that is ``known``; else we do not know what it carries."""
        sent = False if known else None
        (self._carry_nothing.add if known else self._carry_nothing.discard)(neighbor)
        for state in self.states.values():
            if state.key.neighbor == neighbor:
                if state.sent is not sent:
                    state.sent, state.sent_at = sent, now
                state.echoes.clear()

    def neighbors_renewed(self, names: Iterable[str]) -> None:
        """ExaBGP has these neighbors anew: what is wanted is put again, whether it has forgotten it or not."""
        renewed = frozenset(names)
        for key, state in self.states.items() if renewed else ():
            if key.neighbor in renewed and state.taken is not None:
                state.renew = True
                self._changed[key] = None

    def sent(self, key: RouteKey, announced: bool, now: float) -> bool:
        state = self.states.get(key)
        if state is None:
            return False
        state.sent, state.sent_at = announced, now
        state.withdrawal_sent_at = None if announced else now
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
            if (state := self.states.get(key)) is None:
                continue
            touched.add(key.prefix)
            self.refused.pop(key, None)
            if state.open is not None:
                state.missed = True  # before or after what is under way? Only a replay can say
                continue
            state.taken, state.strange, state.taken_at, state.confirmed = None, False, now, True
            self._changed[key] = None
        return touched

    def done(self, action: PutRoutes | DropRoutes | ConfirmRoutes, error: str | None, now: float) -> list[RouteState]:
        """An action ended. Returns its routes; of those not ``known`` now, only the next replay can say what they are.

        That is what an error means, too: the speaker may have done it, or a part of it, or nothing.
        """
        self._open[_step_of(action)] -= 1
        states = [s for key in keys_of(action) if (s := self.states.get(key)) is not None and s.open == action.id]
        for state in states:
            missed, state.missed = state.missed, False
            state.open, state.doing = None, Step.NONE
            self._changed[state.key] = None
            if error is not None:
                state.error, state.known = error, False
                if isinstance(action, DropRoutes):
                    self.refused.setdefault(state.key, now)
                state.retry_in = min(RETRY_MOST, 2 * state.retry_in) if state.failed_at != NEVER else RETRY_FIRST
                state.failed_at = now
                continue
            state.error, state.told, state.retry_in, state.failed_at = "", "", RETRY_FIRST, NEVER
            self.refused.pop(state.key, None)
            if isinstance(action, PutRoutes):
                state.taken, state.will = action.attributes, action.will
                state.strange, state.confirmed, state.renew, state.taken_at = False, True, False, now
            elif isinstance(action, DropRoutes):
                state.taken, state.strange, state.taken_at, state.confirmed = None, False, now, True
            else:
                state.confirmed = True
            state.known = state.known and not missed
        return states

    def withdrawn_at(self, prefix: Prefix, session_down: Callable[[str], bool], now: float) -> float | None:
        """Since when no router can have a route for the prefix from us; None while one may.

        That is: taken back, and the UPDATE reported as sent, or the session known to be down, or the report overdue.
        """
        if not self.known:
            return None  # an earlier run may have left one that we have not heard of
        latest = NEVER
        for key in self._by_prefix.get(prefix, ()):
            state = self.states[key]
            if not state.known or state.there or state.open is not None:
                return None
            taken_at = state.taken_at if state.taken_at is not None else NEVER
            on_the_wire = state.sent is not False and state.taken_at is not None and not session_down(key.neighbor)
            if on_the_wire and now < taken_at + SENT_WITHIN:
                return None
            latest = max(latest, taken_at, state.sent_at if state.sent is False and state.sent_at else taken_at)
        return latest

    # --- the plan ---

    def plan(self, now: float, may_put: Callable[[RouteKey], bool]) -> list[PutRoutes | DropRoutes | ConfirmRoutes]:
        """The actions that are possible now; withdrawals first."""
        changed, self._changed = self._changed, {}
        for key in changed:
            self._sort(self.states[key], now, may_put)
        actions: list[PutRoutes | DropRoutes | ConfirmRoutes] = []
        for chunk in self._chunks(Step.DROP, _by_error):
            actions.append(self._begin(DropRoutes(self._opened.new_id(), _keys(chunk)), chunk, now))
        for chunk in self._chunks(Step.CONFIRM, _by_error):
            actions.append(self._begin(ConfirmRoutes(self._opened.new_id(), _keys(chunk)), chunk, now))
        for chunk in self._chunks(Step.PUT, _by_line):
            (key, attributes, will), prefixes = _wish(chunk[0]), tuple(s.key.prefix for s in chunk)
            put = PutRoutes(self._opened.new_id(), key.neighbor, prefixes, attributes, will)
            actions.append(self._begin(put, chunk, now))
        return actions

    def _sort(self, state: RouteState, now: float, may_put: Callable[[RouteKey], bool]) -> None:
        """Put a route where its next step waits: for an action, for ExaBGP, for time, or for nothing."""
        self._leave(state.key)
        if state.open is not None or not state.known:
            return  # the end of the action, or of the replay, looks at it again
        step = state.step()
        if step is Step.NONE:
            state.error, state.told, state.retry_in, state.failed_at = "", "", RETRY_FIRST, NEVER
        elif now < state.retry_at(step):
            self._timers.set(RouteRetry(state.key), state.retry_at(step))
        elif step is Step.PUT and (state.aim is None or not may_put(state.key)):
            self._barred[state.key] = None
        else:
            self._ready[step][state.key] = None

    def _leave(self, key: RouteKey) -> None:
        self._barred.pop(key, None)
        for ready in self._ready.values():
            ready.pop(key, None)

    def _chunks(self, step: Step, together: Callable[[RouteState], Hashable]) -> Iterable[list[RouteState]]:
        """What may begin now, in actions of routes that go together; the first to wait is the first to go."""
        ready = self._ready[step]
        while ready and self._open[step] < MOST_OPEN:
            kind = together(self.states[next(iter(ready))])
            alike = (s for key in ready if together(s := self.states[key]) == kind)
            chunk = list(itertools.islice(alike, MOST_PREFIXES))
            for state in chunk:
                del ready[state.key]
            yield chunk

    def _begin(self, action: A, states: list[RouteState], now: float) -> A:
        step = _step_of(action)
        self._open[step] += 1
        self._opened.begin(action.id, action, now + DUE)
        for state in states:
            state.open, state.doing = action.id, step
            if isinstance(action, PutRoutes) and state.taken != action.attributes:
                # What was sent for other attributes says nothing of these.
                state.sent, state.sent_at = (False if state.key.neighbor in self._carry_nothing else None), now
        return action


def _step_of(action: PutRoutes | DropRoutes | ConfirmRoutes) -> Step:
    if isinstance(action, PutRoutes):
        return Step.PUT
    return Step.DROP if isinstance(action, DropRoutes) else Step.CONFIRM


def _wish(state: RouteState) -> tuple[RouteKey, Attributes, Will]:
    if state.wanted is None or state.aim is None:
        raise ValueError(f"no route can be put for {state.key}")
    return state.key, state.aim, state.wanted.will


def _with_address(found: Attributes | None, own_address: str | None) -> Attributes | None:
    """What is there, as ``aim`` says it: an earlier agent may have left ``self`` to ExaBGP."""
    if found is None or found.next_hop != SELF or not own_address:
        return found
    return replace(found, next_hop=own_address)


def _by_error(state: RouteState) -> Hashable:
    """What has failed goes alone: the fault of one route is not to be that of the others in its action."""
    return state.key if state.error else None


def _by_line(state: RouteState) -> Hashable:
    """What can be announced together: same neighbor, attributes, will and family."""
    key, attributes, will = _wish(state)
    return _by_error(state), key.neighbor, attributes, will, family_of(key.prefix)


def keys_of(action: PutRoutes | DropRoutes | ConfirmRoutes) -> tuple[RouteKey, ...]:
    if isinstance(action, PutRoutes):
        return tuple(RouteKey(action.neighbor, prefix) for prefix in action.prefixes)
    return action.keys


def _keys(states: list[RouteState]) -> tuple[RouteKey, ...]:
    return tuple(s.key for s in states)
