"""Makes the ladder's cases: a fact of every prefix and of every last resort is asked for here, once."""

from __future__ import annotations

from anycast_agent.core.ladder.case import Case, CoverFact, HealthFact, WaitFact, WishFact
from anycast_agent.core.model import Prefix, Service, address_of
from anycast_agent.core.parts.addresses import Addresses
from anycast_agent.core.parts.return_routes import ReturnRoutes
from anycast_agent.core.parts.routes import Routes


class Cases:
    def __init__(self, addresses: Addresses, return_routes: ReturnRoutes, routes: Routes) -> None:
        self._addresses = addresses
        self._return_routes = return_routes
        self._routes = routes

    def of(
        self,
        prefix: Prefix,
        service: Service,
        now: float,
        *,
        stopping: bool,
        health: HealthFact,
        wait: WaitFact,
        cover: CoverFact | None = None,
    ) -> Case:
        """The case of a prefix; with ``cover``, that of its last resort."""
        return Case(
            prefix=prefix,
            wish=WishFact(service.name, service.enabled, service.observe_only),
            stopping=stopping,
            address=self._addresses.fact(address_of(prefix), now),
            return_route=self._return_routes.fact(prefix),
            health=health,
            route=self._routes.fact(prefix if cover is None else cover.prefix),
            wait=wait,
            cover=cover,
        )
