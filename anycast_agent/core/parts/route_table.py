"""Every route that is, was or may be, by key and by prefix, and the answers to other parts' questions."""

from __future__ import annotations

from collections.abc import Callable

from anycast_agent.core.backoff import NEVER
from anycast_agent.core.model import Prefix, RouteKey
from anycast_agent.core.observed import Known, Unknown
from anycast_agent.core.parts.route import Acknowledged, RouteState

SENT_WITHIN = 1.0
"""Time limit for the UPDATE of an acknowledged withdrawal: a route that was never sent has none. Seconds."""


class RouteTable:
    def __init__(self, session_down: Callable[[str], bool]) -> None:
        """``session_down``: the neighbor's session is known to carry nothing."""
        self._session_down = session_down
        self.states: dict[RouteKey, RouteState] = {}
        self._by_prefix: dict[Prefix, dict[RouteKey, None]] = {}
        self._own_addresses: dict[str, str | None] = {}
        self.known = False
        """True if a replay has named the speaker's routes."""

    # --- asked by others ---

    def keys_of(self, prefix: Prefix) -> dict[RouteKey, None]:
        return self._by_prefix.get(prefix, {})

    def of_prefix(self, prefix: Prefix) -> list[RouteState]:
        return [self.states[key] for key in self._by_prefix.get(prefix, ())]

    def of_neighbor(self, name: str) -> list[RouteState]:
        return [state for state in self.states.values() if state.key.neighbor == name]

    def announced(self, prefix: Prefix) -> bool:
        """True if the speaker has a route for the prefix, as known now or last."""
        return any(self.states[key].there for key in self._by_prefix.get(prefix, ()))

    def with_speaker(self) -> list[RouteKey]:
        """Every route that is with the speaker, as far as that is known or was known last."""
        return [state.key for state in self.states.values() if state.there]

    def gone_from(self, neighbors: frozenset[str]) -> bool:
        """True if these neighbors have no route in the speaker, on the wire or under way."""
        theirs = [s for s in self.states.values() if s.key.neighbor in neighbors]
        return not any(s.there or s.under_way is not None or s.carried() for s in theirs)

    def carries_nothing(self, neighbor: str) -> bool:
        """True if the neighbor's session is known not to be up."""
        return self._session_down(neighbor)

    def withdrawn_at(self, prefix: Prefix, now: float) -> float | None:
        """Since when no router can have a route for the prefix from us; None while one may.

        That is: withdrawn, and the UPDATE reported as sent, or the session known to be down, or the report overdue.
        """
        if not self.known:
            return None  # an earlier run may have left one that we have not heard of
        latest = NEVER
        for state in self.of_prefix(prefix):
            if not state.known or state.there or state.under_way is not None:
                return None
            at = state.acknowledged.at
            waits_for_report = state.carried() is not False and not self._session_down(state.key.neighbor)
            if waits_for_report and now < at + SENT_WITHIN:
                return None
            latest = max(latest, at, state.sent_at if state.carried() is False else at)
        return latest

    # --- kept by the part ---

    def state(self, key: RouteKey, now: float) -> RouteState:
        """The route's state, made where there is none."""
        state = self.states.get(key)
        if state is None:
            # A key that the replay did not name is known not to be there, once there has been a replay.
            nothing: Acknowledged = Known(None, NEVER) if self.known else Unknown(now, None)
            own = self._own_addresses.get(key.neighbor, "")
            state = RouteState(key, nothing, Unknown(NEVER, False), desired_since=now, own_address=own)
            self.states[key] = state
            self._by_prefix.setdefault(key.prefix, {})[key] = None
        return state

    def remove(self, key: RouteKey) -> None:
        del self.states[key]
        del self._by_prefix[key.prefix][key]
        if not self._by_prefix[key.prefix]:
            del self._by_prefix[key.prefix]

    def take_own_address(self, neighbor: str, address: str | None) -> list[RouteState]:
        """Returns the routes for which it is news."""
        if self._own_addresses.get(neighbor, "") == address:
            return []
        self._own_addresses[neighbor] = address
        states = self.of_neighbor(neighbor)
        for state in states:
            state.take_own_address(address)
        return states
