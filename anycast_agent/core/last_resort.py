"""The last resort of each service that has one: what the ladder says of it, and the routes that are desired for it.

A cover is a shorter prefix around prefixes of a service. Routers use it only where no longer prefix is left. So it is
announced whatever the checks say, and stays if the agent dies: a false alarm at every node at once then loses nothing.
It is withdrawn where the node cannot serve (no address, no return route), and where a person says so (stop, disable).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core.backoff import NEVER
from anycast_agent.core.board import Board
from anycast_agent.core.cases import Cases
from anycast_agent.core.changes import Decided, Level, Told
from anycast_agent.core.health import NOTHING_HEARD
from anycast_agent.core.ladder.case import Case, HealthFact, WaitFact
from anycast_agent.core.ladder.rows import UNDECIDED, decide_last_resort
from anycast_agent.core.model import (
    Attributes,
    Config,
    Cover,
    Decision,
    Prefix,
    Reason,
    Route,
    RouteKey,
    Service,
    Will,
    address_of,
    is_host_route,
)
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.parts.addresses import Addresses
from anycast_agent.core.parts.blackholes import Blackholes
from anycast_agent.core.parts.routes import Routes


@dataclass(slots=True)
class CoverDecided:
    """One cover of one service, as decided."""

    prefix: Prefix
    service: str
    behind: tuple[Prefix, ...]
    offers: Mapping[RouteKey, Attributes]
    decision: Decision
    since: float
    changes: int = 0


class LastResort(Part):
    """Asks the ladder about the covers of what was touched, and tells the routes what is desired.

    It stands above the parts whose facts make a Case, as Prefixes does.
    """

    def __init__(
        self,
        board: Board,
        cases: Cases,
        addresses: Addresses,
        blackholes: Blackholes,
        routes: Routes,
        decision: Callable[[Prefix], Decision],
    ) -> None:
        """``decision``: what was decided of a prefix itself."""
        self._board = board
        self._cases = cases
        self._addresses = addresses
        self._blackholes = blackholes
        self._routes = routes
        self._decision = decision
        self._config: Config | None = None
        self._stopping = False
        self.states: dict[Prefix, CoverDecided] = {}
        self._around: dict[Prefix, dict[Prefix, None]] = {}
        """The covers around each prefix, also those that are no longer configured while its address is there."""
        self._lingers: dict[Prefix, float] = {}
        self._fallen: set[Prefix] = set()
        """Prefixes of which this node announces only the cover."""

    def handlers(self) -> Iterable[Binding]:
        return (on(ConfigApplied, self._config_applied), on(Ending, self._agent_ends))

    # --- asked by others ---

    def around(self, prefix: Prefix) -> list[Prefix]:
        """The covers that lead to the prefix's address, also those that are about to be withdrawn."""
        return list(self._around.get(prefix, ()))

    def behind(self, prefix: Prefix) -> tuple[Prefix, ...] | None:
        """The prefixes that a cover leads to; None where it is no cover that is configured."""
        state = self.states.get(prefix)
        return state.behind if state is not None else None

    def linger(self, prefix: Prefix) -> float:
        """How long a cover's blackhole route stays after its withdrawals, in seconds."""
        return self._lingers.get(prefix, 0.0)

    # --- configuration ---

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._stopping = news.stop

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._config = news.config
        configured = {cover.prefix: (s, cover) for s in news.config.services.values() for cover in s.covers}
        for prefix in [p for p in self.states if p not in configured]:
            del self.states[prefix]
            self._unwant(prefix, now)
            self._board.tell(Told(prefix, "no longer configured as a last resort", Level.WARNING))
        self._around = {
            prefix: {c: None for c in covers if c in configured or self._may_be_out(c)}
            for prefix, covers in self._around.items()
            if self._addresses.there(address_of(prefix))
        }
        for service, cover in configured.values():
            self._take(service, cover, now)
        self._routes.forget(self._is_over)

    def _may_be_out(self, cover: Prefix) -> bool:
        return not all(route.is_over() for route in self._routes.table.of_prefix(cover))

    def _is_over(self, key: RouteKey) -> bool:
        """Whether nothing rests on that route any more: no configuration, no address that has to outlast it."""
        if is_host_route(key.prefix):
            return False
        state = self.states.get(key.prefix)
        if state is not None:
            return key not in state.offers
        return not any(key.prefix in covers for covers in self._around.values())

    def _take(self, service: Service, cover: Cover, now: float) -> None:
        prefix = cover.prefix
        state = self.states.get(prefix)
        if state is None:
            state = CoverDecided(prefix, service.name, cover.behind, cover.attributes, UNDECIDED, now)
            self.states[prefix] = state
        state.service, state.behind, state.offers = service.name, cover.behind, cover.attributes
        self._lingers[prefix] = service.linger
        for inside in cover.behind:
            self._around.setdefault(inside, {})[prefix] = None
        self._board.touch(prefix)

    def _unwant(self, prefix: Prefix, now: float) -> None:
        for route in self._routes.table.of_prefix(prefix):
            self._routes.desire(route.key, None, False, now)

    # --- deciding ---

    def decide(self, touched: Touched, now: float) -> None:
        """Ask the ladder about the covers of what was touched; after the prefixes themselves were decided."""
        if self._config is None:
            return
        if touched.everything:
            concerned = list(self.states)
        else:
            around = (cover for prefix in touched.prefixes for cover in (prefix, *self.around(prefix)))
            concerned = [cover for cover in dict.fromkeys(around) if cover in self.states]
        for prefix in concerned:
            self._decide(self.states[prefix], self._config.services[self.states[prefix].service], now)

    def _decide(self, state: CoverDecided, service: Service, now: float) -> None:
        """A cover draws users of every prefix inside: it is announced only where all of their addresses may be."""
        found = [decide_last_resort(self._case(state, prefix, service, now), now) for prefix in state.behind]
        self._take_decision(state, next((d for d in found if not d.announce), found[0]), now)
        for key, attributes in state.offers.items():
            route = Route(key, attributes, Will.KEEP) if state.decision.announce else None
            self._routes.desire(key, route, False, now)
        for other in self._routes.table.of_prefix(state.prefix):
            if other.key not in state.offers:
                self._routes.desire(other.key, None, False, now)
        for prefix in state.behind:
            self._tell_fallen(state, prefix)

    def _case(self, state: CoverDecided, prefix: Prefix, service: Service, now: float) -> Case:
        return self._cases.of(
            prefix,
            service,
            now,
            stopping=self._stopping,
            health=HealthFact((), NOTHING_HEARD, service.require),
            wait=WaitFact(NEVER, NEVER),
            cover=self._blackholes.fact(state.prefix),
        )

    def _take_decision(self, state: CoverDecided, decision: Decision, now: float) -> None:
        before, state.decision = state.decision, decision
        if (before.announce, before.reason) != (decision.announce, decision.reason):
            state.since = now
            state.changes += before.announce is not decision.announce
            self._board.tell(Decided(state.prefix, state.service, decision, before.announce))

    def _tell_fallen(self, state: CoverDecided, prefix: Prefix) -> None:
        """Once, when only the cover of a prefix is left to announce here; a node that has just started is not told."""
        decision = self._decision(prefix)
        if decision.announce or not state.decision.announce:
            self._fallen.discard(prefix)
        elif prefix not in self._fallen and decision.reason is not Reason.NOTHING_KNOWN:
            self._fallen.add(prefix)
            text = f"on last resort: if no other node announces it, users come here by {state.prefix}, well or not"
            self._board.tell(Told(prefix, text, Level.WARNING))
