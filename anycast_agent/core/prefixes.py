"""Prefixes: the health, the flaps and the decision of each, and the routes that are desired for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core.actions import CheckKey
from anycast_agent.core.backoff import NEVER
from anycast_agent.core.board import Board
from anycast_agent.core.cases import Cases
from anycast_agent.core.changes import Decided, Level, Told
from anycast_agent.core.health import NO_FLAPS, NOTHING_HEARD, Flaps, Health, combine
from anycast_agent.core.ladder.case import HealthFact, WaitFact
from anycast_agent.core.ladder.rows import UNDECIDED, decide
from anycast_agent.core.model import (
    Attributes,
    Check,
    Config,
    Decision,
    Prefix,
    Route,
    RouteKey,
    Service,
    Tier,
    Verdict,
    address_of,
    is_host_route,
)
from anycast_agent.core.news import ConfigApplied, Ending, ReplayEnded
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.parts.addresses import Addresses
from anycast_agent.core.parts.probing import Probing
from anycast_agent.core.parts.routes import Routes
from anycast_agent.core.timers import Timers

Offers = Mapping[Tier, Mapping[RouteKey, Attributes]]


@dataclass(frozen=True, slots=True)
class PrefixTurn:
    """Timer key: time alone may change the ladder's decision about this prefix."""

    prefix: Prefix


@dataclass(slots=True)
class PrefixState:
    """One prefix of one service, as decided."""

    prefix: Prefix
    service: str
    offers: Offers
    """The routes that it may have, with their attributes."""
    decision: Decision
    since: float
    health: Health
    health_since: float
    flaps: Flaps
    hold_until: float = NEVER
    keep_until: float = NEVER
    """Until when an announced route stays without a verdict."""
    changes: int = 0

    def offered(self, tier: Tier | None) -> Mapping[RouteKey, Attributes]:
        """The routes of a tier. One without attributes of its own is announced as the full one: less liked is not
        withdrawn."""
        full = self.offers.get(Tier.FULL, {})
        return full if tier is None else self.offers.get(tier) or full


class Prefixes(Part):
    """Asks the ladder about the touched prefixes, and tells the routes which are desired.

    It stands above the parts whose facts make a Case, and is the only one that knows several of them.
    """

    def __init__(
        self,
        board: Board,
        timers: Timers,
        cases: Cases,
        addresses: Addresses,
        probing: Probing,
        routes: Routes,
    ) -> None:
        self._board = board
        self._timers = timers
        self._cases = cases
        self._addresses = addresses
        self._probing = probing
        self._routes = routes
        self._config: Config | None = None
        self._stopping = False
        self.states: dict[Prefix, PrefixState] = {}
        self._lingers: dict[Prefix, float] = {}

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(Ending, self._agent_ends),
            on(ReplayEnded, self._replay_ended),
            on(PrefixTurn, self._turn),
        )

    def linger(self, prefix: Prefix) -> float:
        """Time that an address stays after its withdrawals, in seconds; known also for prefixes that are no longer
        configured."""
        return self._lingers.get(prefix, 0.0)

    def decision(self, prefix: Prefix) -> Decision:
        """What was decided of a prefix."""
        return self.states[prefix].decision if prefix in self.states else UNDECIDED

    def _turn(self, timer: PrefixTurn, now: float) -> None:
        self._board.touch(timer.prefix)

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._stopping = news.stop

    # --- configuration ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        config, self._config = news.config, news.config
        configured = {p: s for s in config.services.values() for p in s.prefixes}
        for prefix in [p for p in self.states if p not in configured]:
            del self.states[prefix]
            self._unwant(prefix, now)
            self._board.tell(Told(prefix, "no longer configured", Level.WARNING))
        before = _checks_of(news.old)
        offers = {prefix: tiers for s in config.services.values() for prefix, tiers in s.offers().items()}
        for prefix, service in configured.items():
            altered = news.old is not None and any(before.get(k) != c for k, c in _checks(service, prefix))
            self._take(prefix, service, offers[prefix], altered, now)
        for prefix in [p for p in self._lingers if p not in configured and not self._addresses.there(address_of(p))]:
            del self._lingers[prefix]
        self._routes.forget(self._is_over)
        if news.old is None and self._routes.table.known:
            self._adopt(now)

    def _is_over(self, key: RouteKey) -> bool:
        """True if nothing depends on that route any more: no configuration, no address that has to outlast it."""
        state = self.states.get(key.prefix)
        if state is None:
            return is_host_route(key.prefix) and not self._addresses.there(address_of(key.prefix))
        return not any(key in routes for routes in state.offers.values())

    def _take(self, prefix: Prefix, service: Service, offers: Offers, altered: bool, now: float) -> None:
        state = self.states.get(prefix)
        if state is None:
            state = PrefixState(prefix, service.name, offers, UNDECIDED, now, NOTHING_HEARD, now, NO_FLAPS)
            self.states[prefix] = state
        elif altered and state.decision.announce and state.decision.tier is not Tier.ADOPTED:
            # A check that is new to an announced prefix has no verdict yet, and that is no reason to withdraw. What
            # is already kept without a verdict is not kept longer: reloads in a row would keep it for ever.
            state.keep_until = now + self._adopt_for
        state.service, state.offers = service.name, offers
        self._lingers[prefix] = service.linger
        self._board.touch(prefix)

    def _unwant(self, prefix: Prefix, now: float) -> None:
        for route in self._routes.table.of_prefix(prefix):
            self._routes.desire(route.key, None, False, now)

    # --- adoption ---

    @property
    def _adopt_for(self) -> float:
        return self._config.adopt_for if self._config is not None else 0.0

    def _replay_ended(self, news: ReplayEnded, now: float) -> None:
        if self._config is not None:
            self._adopt(now)

    def _adopt(self, now: float) -> None:
        """A route that was found announced stays for a bounded time, counted once from its first sight."""
        for prefix, state in self.states.items():
            if state.keep_until == NEVER and self._routes.table.announced(prefix):
                state.keep_until = now + self._adopt_for

    # --- deciding ---

    def decide(self, touched: Touched, now: float) -> None:
        """Ask the ladder about the touched prefixes."""
        if self._config is None:
            return
        for prefix in self.states if touched.everything else touched.prefixes:
            state = self.states.get(prefix)
            if state is not None:
                self._decide(state, self._config.services[state.service], now)

    def _decide(self, state: PrefixState, service: Service, now: float) -> None:
        checks = tuple((s.check, s.health) for s in self._probing.of_prefix(state.prefix))
        self._take_health(state, service, combine(checks, service.require), now)
        case = self._cases.of(
            state.prefix,
            service,
            now,
            stopping=self._stopping,
            health=HealthFact(checks, state.health, service.require),
            wait=WaitFact(state.keep_until, state.hold_until, state.flaps.decayed(service.hold_down, now)),
        )
        self._take_decision(state, decide(case, now), now)
        self._desire_routes(state, service, now)

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
            self._board.tell(Decided(state.prefix, state.service, decision, before.announce))
        if decision.until is not None:
            self._timers.set(PrefixTurn(state.prefix), decision.until)

    def _desire_routes(self, state: PrefixState, service: Service, now: float) -> None:
        decision = state.decision
        keep = decision.tier is Tier.ADOPTED
        offered = state.offered(decision.tier)
        for key, attributes in offered.items():
            route = Route(key, attributes, service.will) if decision.announce else None
            self._routes.desire(key, route, keep, now)
        for found in self._routes.table.of_prefix(state.prefix):
            if found.key not in offered:
                self._routes.desire(found.key, None, False, now)


def _checks(service: Service, prefix: Prefix) -> list[tuple[CheckKey, Check]]:
    """The checks that a prefix's health is made of."""
    return [(CheckKey(service.name, c.name, c.prefix), c) for c in service.checks if c.prefix in ("", prefix)]


def _checks_of(config: Config | None) -> dict[CheckKey, Check]:
    services = config.services.values() if config is not None else ()
    return {CheckKey(s.name, c.name, c.prefix): c for s in services for c in s.checks}
