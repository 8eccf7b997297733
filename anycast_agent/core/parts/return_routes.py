"""The return route of each anycast address, as the kernel finds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told, first_of
from anycast_agent.core.ladder.case import ReturnRouteFact
from anycast_agent.core.model import Address, AddressMode, Family, Prefix, ReturnRoute, address_of, family_of, prefix_of
from anycast_agent.core.news import ConfigApplied
from anycast_agent.core.part import Binding, Part, on


class ReturnRoutes(Part):
    def __init__(self, board: Board) -> None:
        self._board = board
        self._watched = False
        self.states: dict[Address, ReturnRoute] = {}
        """The return route of each configured address that is, or was, on the node. Others are unknown."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.KernelSeen, self._kernel_seen),
            on(ev.ReturnRoutesSeen, self._seen),
            on(ConfigApplied, self._config_applied),
        )

    def fact(self, prefix: Prefix) -> ReturnRouteFact:
        route = self.states.get(address_of(prefix))
        return (
            ReturnRouteFact(self._watched, route.usable, route.evidence)
            if route
            else ReturnRouteFact(self._watched, None)
        )

    def families(self) -> Mapping[Family, bool]:
        """By family: True if every address whose return route is known has a usable one."""
        found: dict[Family, bool] = {}
        for address, route in self.states.items():
            family = family_of(address)
            found[family] = found.get(family, True) and route.usable
        return found

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._watched = news.config.address_mode is not AddressMode.UNMANAGED

    def _kernel_seen(self, event: ev.KernelSeen, now: float) -> None:
        self._take(event.return_routes)

    def _seen(self, event: ev.ReturnRoutesSeen, now: float) -> None:
        before = self.states
        news = self._take(event.return_routes)
        self._tell(news, before)

    def _take(self, seen: Mapping[Address, ReturnRoute]) -> list[Address]:
        """Returns the addresses of which it is news."""
        before, self.states = self.states, dict(seen)
        news = [address for address in {**before, **seen} if before.get(address) != seen.get(address)]
        self._board.touch(*(prefix_of(address) for address in news))
        return news

    def _tell(self, news: list[Address], before: Mapping[Address, ReturnRoute]) -> None:
        known = {a: route for a in news if (route := self.states.get(a)) is not None}
        lost = [a for a, route in known.items() if not route.usable]
        if lost:
            text = f"no usable return route for {first_of(lost)}: {known[lost[0]].evidence}"
            self._board.tell(Told("return route", text, Level.WARNING))
        found = [a for a, route in known.items() if route.usable and (was := before.get(a)) and not was.usable]
        if found:
            self._board.tell(Told("return route", f"usable again for {first_of(found)}"))
