"""The queue of each route's next step: it waits for an action of its kind, for ExaBGP, for time, or for nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core.model import Attributes, RouteKey, Will, family_of
from anycast_agent.core.parts.route import RouteState, Step
from anycast_agent.core.timers import Timers

MAX_PREFIXES = 64
"""Routes in one action: a withdrawal never waits longer than ExaBGP needs for this many."""

MAX_OPEN = 2
"""Open actions of a kind. Routes that wait meanwhile share the next one: the batch grows with the load."""


@dataclass(frozen=True, slots=True)
class RouteRetry:
    """Timer key."""

    key: RouteKey


class RouteQueue:
    def __init__(self, timers: Timers, may_put: Callable[[RouteKey], bool]) -> None:
        """``may_put``: ExaBGP is configured for the route, and its address is on the node."""
        self._timers = timers
        self._may_put = may_put
        self._changed: dict[RouteKey, None] = {}
        self._ready: dict[Step, dict[RouteKey, None]] = {Step.DROP: {}, Step.CONFIRM: {}, Step.PUT: {}}
        self.open = {Step.PUT: 0, Step.DROP: 0, Step.CONFIRM: 0}
        """Actions of each kind that have not ended."""

    def look_at(self, keys: Iterable[RouteKey]) -> None:
        """Something that the next step of these routes rests on may have changed."""
        self._changed.update(dict.fromkeys(keys))

    def forget(self, key: RouteKey) -> None:
        self._leave(key)
        self._changed.pop(key, None)
        self._timers.cancel(RouteRetry(key))

    def sort(self, states: Mapping[RouteKey, RouteState], now: float) -> None:
        """Put each route that was looked at where its next step waits."""
        changed, self._changed = self._changed, {}
        for key in changed:
            if (state := states.get(key)) is not None:
                self._place(state, now)

    def _place(self, state: RouteState, now: float) -> None:
        self._leave(state.key)
        if state.under_way is not None or not state.known:
            return  # the end of the action, or of the replay, looks at it again
        step = state.step()
        if step is Step.NONE:
            state.clear_error()
        elif now < state.retry_at(step):
            self._timers.set(RouteRetry(state.key), state.retry_at(step))
        elif step is not Step.PUT or (state.aim is not None and self._may_put(state.key)):
            self._ready[step][state.key] = None
        # Otherwise the put is not possible yet. The event that makes it possible touches the prefix.

    def _leave(self, key: RouteKey) -> None:
        for ready in self._ready.values():
            ready.pop(key, None)

    def chunks(self, step: Step, states: Mapping[RouteKey, RouteState]) -> Iterable[list[RouteState]]:
        """The routes that may begin now, grouped into actions. The first to wait is the first to go."""
        ready, together = self._ready[step], _by_line if step is Step.PUT else _by_error
        while ready and self.open[step] < MAX_OPEN:
            kind = together(states[next(iter(ready))])
            alike = (s for key in ready if together(s := states[key]) == kind)
            chunk = list(itertools.islice(alike, MAX_PREFIXES))
            for state in chunk:
                del ready[state.key]
            yield chunk


def wish(state: RouteState) -> tuple[RouteKey, Attributes, Will]:
    """The content of the route's put."""
    if state.desired is None or state.aim is None:
        raise ValueError(f"no route can be put for {state.key}")
    return state.key, state.aim, state.desired.will


def _by_error(state: RouteState) -> Hashable:
    """A route that failed goes alone: its fault must not become that of the others in its action."""
    return state.key if state.error else None


def _by_line(state: RouteState) -> Hashable:
    """The key of routes that share an action: neighbor, attributes, will and family."""
    key, attributes, will = wish(state)
    return _by_error(state), key.neighbor, attributes, will, family_of(key.prefix)
