"""Prefixes: the health, the flaps and the decision of each, and the routes that are wanted for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anycast_agent.core.addresses import Addresses
from anycast_agent.core.health import NO_FLAPS, NOTHING_HEARD, Flaps, Health, combine
from anycast_agent.core.ladder.case import Case, HealthFact, RouteFact, WaitFact, WishFact
from anycast_agent.core.ladder.rows import UNDECIDED, decide
from anycast_agent.core.model import (
    Attributes,
    Config,
    Decision,
    Prefix,
    Route,
    RouteKey,
    Service,
    Tier,
    Verdict,
    address_of,
)
from anycast_agent.core.probing import Probing
from anycast_agent.core.routes import Routes
from anycast_agent.core.timers import Timers

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class PrefixTurn:
    """Timer key: time alone may change what the ladder says of this prefix."""

    prefix: Prefix


@dataclass(slots=True)
class PrefixState:
    """One prefix of one service, as decided."""

    prefix: Prefix
    service: str
    offers: Mapping[Tier, Mapping[RouteKey, Attributes]]
    """The routes that it may have, with what they carry."""
    decision: Decision
    since: float
    health: Health
    health_since: float
    flaps: Flaps
    hold_until: float = NEVER
    keep_until: float = NEVER
    """Until when what is announced stays without a verdict."""
    changes: int = 0


class Prefixes:
    """Asks the ladder about the prefixes that something has touched, and says what routes are wanted for them."""

    def __init__(
        self,
        timers: Timers,
        addresses: Addresses,
        probing: Probing,
        routes: Routes,
        say: Callable[[str, str, str], None],
    ) -> None:
        self._timers = timers
        self._addresses = addresses
        self._probing = probing
        self._routes = routes
        self._say = say
        self.states: dict[Prefix, PrefixState] = {}
        self._lingers: dict[Prefix, float] = {}
        self._touched: dict[Prefix, None] = {}
        self.decided: set[str] = set()
        """The services of which something was decided; who draws them takes and empties it."""

    def touch(self, prefix: Prefix) -> None:
        self._touched[prefix] = None

    def touch_all(self) -> None:
        self._touched.update(dict.fromkeys(self.states))

    def linger(self, prefix: Prefix) -> float:
        """How long an address stays after its withdrawals, in seconds; known also for what is no longer configured."""
        return self._lingers.get(prefix, 0.0)

    # --- configuration ---

    def configure(self, config: Config, altered: set[Prefix], now: float) -> None:
        """Take over a configuration. ``altered``: prefixes with a check that is new or another one now."""
        configured = {p: s for s in config.services.values() for p in s.prefixes}
        for prefix in [p for p in self.states if p not in configured]:
            del self.states[prefix]
            self.unwant(prefix, now)
            self._say(prefix, "no longer configured", "warning")
        for prefix, service in configured.items():
            self._take(prefix, service, prefix in altered, config, now)
        for prefix in [p for p in self._lingers if p not in configured and not self._addresses.there(address_of(p))]:
            del self._lingers[prefix]
        self._routes.forget(self._over)

    def _over(self, key: RouteKey) -> bool:
        """Whether nothing rests on that route any more: no configuration, no address that has to outlast it."""
        state = self.states.get(key.prefix)
        if state is None:
            return not self._addresses.there(address_of(key.prefix))
        return not any(key in routes for routes in state.offers.values())

    def _take(self, prefix: Prefix, service: Service, altered: bool, config: Config, now: float) -> None:
        offers = {
            tier: {key: attributes for key, attributes in routes.items() if key.prefix == prefix}
            for tier, routes in service.attributes.items()
        }
        state = self.states.get(prefix)
        if state is None:
            state = PrefixState(prefix, service.name, offers, UNDECIDED, now, NOTHING_HEARD, now, NO_FLAPS)
            self.states[prefix] = state
        elif altered and state.decision.announce and state.decision.tier is not Tier.ADOPTED:
            # A check that is new to an announced prefix has no verdict yet, and that is no reason to withdraw. What
            # is already kept without a verdict is not kept longer: reloads in a row would keep it for ever.
            state.keep_until = now + config.adopt_for
        state.service, state.offers = service.name, offers
        self._lingers[prefix] = service.linger
        self.touch(prefix)

    def unwant(self, prefix: Prefix, now: float) -> None:
        for route in self._routes.of_prefix(prefix):
            self._routes.want(route.key, None, False, now)

    def adopt(self, config: Config, now: float) -> None:
        """What was found announced stays for a bounded time, counted once from when it was first seen."""
        for prefix, state in self.states.items():
            if state.keep_until == NEVER and self._routes.announced(prefix):
                state.keep_until = now + config.adopt_for

    # --- deciding ---

    def decide(self, config: Config, stopping: bool, now: float) -> None:
        touched, self._touched = self._touched, {}
        for prefix in touched:
            state = self.states.get(prefix)
            if state is not None:
                self._decide(state, config.services[state.service], config, stopping, now)

    def _decide(self, state: PrefixState, service: Service, config: Config, stopping: bool, now: float) -> None:
        checks = tuple((s.check, s.health) for s in self._probing.of_prefix(state.prefix))
        self._take_health(state, service, combine(checks, service.require), now)
        case = Case(
            prefix=state.prefix,
            wish=WishFact(service.name, service.enabled, service.observe_only),
            stopping=stopping,
            address=self._addresses.fact(address_of(state.prefix), now),
            return_route=self._addresses.return_route(state.prefix),
            health=HealthFact(checks, state.health, service.require),
            route=RouteFact(self._routes.announced(state.prefix)),
            wait=WaitFact(state.keep_until, state.hold_until, state.flaps.decayed(service.hold_down, now)),
        )
        self._take_decision(state, decide(case, now), now)
        self._want_routes(state, service, now)
        self.decided.add(service.name)

    def _take_health(self, state: PrefixState, service: Service, health: Health, now: float) -> None:
        before, state.health = state.health, health
        if before.verdict is health.verdict:
            return
        state.health_since = now
        if before.verdict is Verdict.UP and (health.verdict is Verdict.DOWN or health.stale):
            state.flaps = state.flaps.fallen(service.hold_down, now)
        if health.verdict is Verdict.UP and not state.decision.announce:
            state.hold_until = now + state.flaps.hold_for(service.hold_down, now)
        if health.verdict is not Verdict.UNKNOWN:
            state.keep_until = now  # there is a verdict: nothing is kept without one any more

    def _take_decision(self, state: PrefixState, decision: Decision, now: float) -> None:
        before, state.decision = state.decision, decision
        if (before.announce, before.tier, before.reason) != (decision.announce, decision.tier, decision.reason):
            state.since = now
            state.changes += before.announce is not decision.announce
            verb = f"announce, {decision.tier}" if decision.announce else "do not announce"
            level = "warning" if before.announce and not decision.announce else "info"
            self._say(state.prefix, f"{verb}: {decision.reason} ({decision.evidence})", level)
        if decision.until is not None:
            self._timers.set(PrefixTurn(state.prefix), decision.until)

    def _want_routes(self, state: PrefixState, service: Service, now: float) -> None:
        decision = state.decision
        keep = decision.tier is Tier.ADOPTED
        full = state.offers.get(Tier.FULL, {})
        # A lower tier without attributes of its own is announced as the full one: less liked is not withdrawn.
        offered = full if keep or decision.tier is None else state.offers.get(decision.tier) or full
        for key, attributes in offered.items():
            route = Route(key, attributes, service.will) if decision.announce else None
            self._routes.want(key, route, keep, now)
        for found in self._routes.of_prefix(state.prefix):
            if found.key not in offered:
                self._routes.want(found.key, None, False, now)
