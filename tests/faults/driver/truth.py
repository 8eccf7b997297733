"""What is true, by what the driver did: the agent is not asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import IntEnum

from tests.faults.driver.configs import ADDRESSES, PREFIXES, Expected, RouteKey, Values, routes

OWNERS = {prefix: service for service, prefixes in PREFIXES.items() for prefix in prefixes}
FAMILIES = ("ipv4", "ipv6")


class Deserved(IntEnum):
    """Whether a route is to be at its router once everything has settled."""

    NO = 0
    MAYBE = 1
    YES = 2


def family_of(prefix: str) -> str:
    return "ipv6" if ":" in prefix else "ipv4"


@dataclass
class Truth:
    """The state of the world, and since when each route has not been deserved."""

    variants: list[Values]
    """The configurations that may be in force: one, but while a reload had no clear end."""
    services: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PREFIXES, "well"))
    default_routes: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(FAMILIES, True))
    uplinks: dict[str, bool] = field(default_factory=lambda: {"leaf1": True, "leaf2": True})
    loopback: bool = True
    agent_runs: bool = True
    asked_to_end: bool = False
    """By a hand-over: its routes stay, until the next one is there."""
    broken_file: bool = False
    disk_full: bool = False
    hampered: bool = False
    """Something was started or reloaded without the file or the disk it needs: it may do, or not."""
    disturbed_at: float = 0.0
    """When a process was last ended, suspended, woken or started, or a link moved."""
    undeserved_since: dict[RouteKey, float] = field(default_factory=dict)

    def routes(self) -> dict[RouteKey, list[Expected | None]]:
        """By route: what each configuration that may be in force makes of it."""
        by_variant = [routes(values) for values in self.variants]
        return {key: [each.get(key) for each in by_variant] for each in by_variant for key in each}

    def deserved(self, key: RouteKey) -> Deserved:
        prefix = key[1]
        wishes = self.routes().get(key, [None])
        if not any(wishes) or not self.agent_runs or not self.announceable(prefix):
            return Deserved.NO
        return Deserved.MAYBE if self.hampered or not all(wishes) else Deserved.YES

    def announceable(self, prefix: str) -> bool:
        """Whether the node can serve it: the service answers, at an address that is up, and replies have a route."""
        well = self.services[OWNERS[prefix]] == "well"
        return well and self.loopback and self.has_return_route(family_of(prefix))

    def has_return_route(self, family: str) -> bool:
        return self.default_routes[family] and self.uplinks["leaf1"]

    def prefixes(self) -> set[str]:
        """Of all configurations that may be in force."""
        return {p for values in self.variants for s in values["services"].values() for p in s["prefixes"]}

    def neighbors(self) -> set[str]:
        """Those with a router behind them, of all configurations that may be in force."""
        return {n for values in self.variants for n in values["bgp"]["neighbors"] if n in ADDRESSES}

    def disturbed(self) -> None:
        self.disturbed_at = time.monotonic()
        self.hampered |= self.disk_full or self.broken_file

    def changed(self) -> None:
        """Call after each change: the clock of what is not deserved any more starts, and of what is, it stops."""
        now = time.monotonic()
        for neighbor in ADDRESSES:
            for prefix in OWNERS:
                if self.deserved((neighbor, prefix)) is Deserved.NO:
                    self.undeserved_since.setdefault((neighbor, prefix), now)
                else:
                    self.undeserved_since.pop((neighbor, prefix), None)
