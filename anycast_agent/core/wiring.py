"""All parts, wired together: their list, their order, and the questions between them.

A part asks others through a function that it is given. A method here answers each question that concerns more than one
part.
"""

from __future__ import annotations

from collections.abc import Iterator

from anycast_agent.core.board import Board, Standing
from anycast_agent.core.cases import Cases
from anycast_agent.core.last_resort import LastResort
from anycast_agent.core.life import Life, Link
from anycast_agent.core.model import (
    Address,
    AddressMode,
    Prefix,
    Reason,
    RouteKey,
    SessionState,
    address_of,
    family_of,
    is_link_local,
    prefix_of,
)
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Part, Touched
from anycast_agent.core.parts.addresses import Addresses
from anycast_agent.core.parts.aside import Asides, Situation
from anycast_agent.core.parts.blackholes import Blackholes
from anycast_agent.core.parts.configuration import Configuration
from anycast_agent.core.parts.echoes import Echoes
from anycast_agent.core.parts.life import LOOK_AGAIN, LifeCycle
from anycast_agent.core.parts.offers import Offers
from anycast_agent.core.parts.probing import Probing
from anycast_agent.core.parts.return_routes import ReturnRoutes
from anycast_agent.core.parts.route_queue import RouteQueue
from anycast_agent.core.parts.route_table import RouteTable
from anycast_agent.core.parts.routers import Routers
from anycast_agent.core.parts.routes import Routes
from anycast_agent.core.parts.sessions import Sessions
from anycast_agent.core.parts.speaker import Speaker
from anycast_agent.core.parts.speaker_setup import SpeakerSetup, Wedge
from anycast_agent.core.parts.warnings import Warnings
from anycast_agent.core.prefixes import Prefixes
from anycast_agent.core.timers import Timers

_UNDECIDED = frozenset({Reason.NOTHING_KNOWN, Reason.ADDRESS_UNKNOWN, Reason.RETURN_ROUTE_UNKNOWN})


class Parts:
    def __init__(self, board: Board, timers: Timers, opened: OpenActions, *, owns_speaker: bool, now: float) -> None:
        self._owns_speaker = owns_speaker
        self.warnings = Warnings(board)
        self.life = LifeCycle(board, timers, opened, self, now)
        self.speaker = Speaker(board, timers, lambda: self.life.state is Life.HANDING_OVER, now)
        self.sessions = Sessions(board, timers)
        self.routers = Routers(board)
        self.setup = SpeakerSetup(
            board, timers, opened, self.wedge, lambda names: self.routes.table.gone_from(names), self.routers.resolved
        )
        self.addresses = Addresses(board, timers, opened, self.removable)
        self.return_routes = ReturnRoutes(board)
        self.blackholes = Blackholes(board, timers, opened, lambda: self.addresses.known, self.undrawn)
        self.probing = Probing(board, timers, opened, self.addresses.reachable, now)
        table, queue = RouteTable(self.sessions.down), RouteQueue(timers, self.may_put)
        self.routes = Routes(board, opened, table, queue, self.may_act)
        self.echoes = Echoes(board)
        self.offers = Offers(board)
        self.asides = Asides(board, timers, opened, self.consumers_of)
        cases = Cases(self.addresses, self.return_routes, self.routes)
        self.prefixes = Prefixes(board, timers, cases, self.addresses, self.probing, self.routes)
        self.last_resort = LastResort(
            board, cases, self.addresses, self.blackholes, self.routes, self.prefixes.decision
        )
        self.configuration = Configuration(board, timers, table.with_speaker, self.setting_up)

    def __iter__(self) -> Iterator[Part]:
        """In the order of calls: withdrawals are planned before addresses are removed."""
        yield self.warnings
        yield self.configuration
        yield self.routers
        yield self.speaker
        yield self.sessions
        yield self.probing
        yield self.routes
        yield self.echoes
        yield self.offers
        yield self.asides
        yield self.addresses
        yield self.return_routes
        yield self.blackholes
        yield self.setup
        yield self.prefixes
        yield self.last_resort
        yield self.life

    def standing(self) -> Standing:
        """The agent's state, for its supervisor."""
        found = self.configuration
        dead_man = found.config.dead_man if found.config is not None else 0.0
        in_force = {} if self.setup.pending else found.files
        return Standing(self.life.state, self.life.ready, self.not_ready(), found.errors, in_force, dead_man)

    def decide(self, touched: Touched, now: float) -> None:
        """Ask the ladder about what was touched: the prefixes, then their covers."""
        self.prefixes.decide(touched, now)
        self.last_resort.decide(touched, now)

    # --- the questions of one part to several others ---

    def not_ready(self) -> tuple[str, ...]:
        """The reasons why the agent cannot announce yet, or must not be called ready."""
        waits = []
        if self.configuration.config is None:
            waits.append("configuration")
        if not self.addresses.known:
            waits.append("kernel")
        if self.speaker.state is not Link.SYNCED:
            waits.append("speaker")
        if self.routes.refused:
            waits.append(f"withdrawals that ExaBGP refuses ({len(self.routes.refused)})")
        return tuple(waits)

    def setting_up(self) -> bool:
        """ExaBGP is there to take the configuration, and does not have it yet."""
        return self.setup.pending and self.speaker_there()

    def speaker_there(self) -> bool:
        return self.speaker.state is not Link.ABSENT

    def speaker_answers(self) -> bool:
        return self.speaker.state not in (Link.ABSENT, Link.WEDGED)

    def wedge(self) -> Wedge | None:
        if self._owns_speaker and self.speaker.state is Link.WEDGED:
            return Wedge(self.speaker.why, self.speaker.silence)
        return None

    def may_act(self) -> bool:
        """True if the speaker's routes are known, and the agent has begun and does not hand over."""
        return self.speaker.state is Link.SYNCED and self.life.state in (Life.RUNNING, Life.STOPPING)

    def may_put(self, key: RouteKey) -> bool:
        """The addresses first, also where the route may stay while they are put back. Local consumers return before."""
        leads_to = self.last_resort.behind(key.prefix) or (key.prefix,)
        ready = self.setup.may_put(key) and all(self.addresses.reachable(prefix) for prefix in leads_to)
        return ready and not self.asides.keeps_route(key.prefix)

    def consumers_of(self, prefix: Prefix, now: float) -> Situation | None:
        """The facts by which the node's own packets to a prefix stay, or go to another replica."""
        config, state = self.configuration.config, self.prefixes.states.get(prefix)
        if config is None or state is None:
            return None
        neighbors = config.neighbors
        withdrawn_at = self.routes.table.withdrawn_at(prefix, now)
        offered = self.offers.of(prefix, withdrawn_at, now)
        family = family_of(address_of(prefix))
        # A link-local address is no next hop for them: it has no meaning without its interface.
        usable = {n.name: n for n in neighbors.values() if n.address and not is_link_local(n.address)}
        up = (n for n in usable.values() if self.sessions.state(n.name) is SessionState.UP)
        return Situation(
            rule=config.services[state.service].local_consumers,
            there=self.addresses.there(address_of(prefix)) if self.addresses.known else None,
            announce=state.decision.announce,
            decided=state.decision.reason not in _UNDECIDED,
            withdrawn_at=withdrawn_at,
            offered=tuple(usable[n].address for n in offered.neighbors if n in usable),
            routers=tuple(n.address for n in up if family_of(n.address) is family),
            leaving=self.life.state is Life.STOPPING,
            stays=not self.addresses.ours(address_of(prefix)),
            again_at=offered.until,
        )

    def removable(self, address: Address, now: float) -> float | None:
        """An address goes after the withdrawals of its prefix, of each cover around it, and the linger."""
        prefix = prefix_of(address)
        return self._undrawn((prefix, *self.last_resort.around(prefix)), self.prefixes.linger(prefix), now)

    def undrawn(self, cover: Prefix, now: float) -> float | None:
        """A blackhole route goes after the withdrawals of its cover, and the linger."""
        return self._undrawn((cover,), self.last_resort.linger(cover), now)

    def _undrawn(self, prefixes: tuple[Prefix, ...], linger: float, now: float) -> float | None:
        """When nobody is drawn here any more: the withdrawals were sent, or the sessions are down; and the linger."""
        if self.life.state is Life.STARTING:
            return None
        times = [self.routes.table.withdrawn_at(prefix, now) for prefix in prefixes]
        known = [at for at in times if at is not None]
        if len(known) < len(times):
            return now if self._dead_man_has_fired(now) else now + LOOK_AGAIN
        return max(known) + linger

    def withdrawing(self, now: float) -> bool:
        """True if a router may still have a route from us."""
        if self._dead_man_has_fired(now):
            return False
        table = self.routes.table
        away = self.speaker.state is not Link.SYNCED
        return away or any(table.withdrawn_at(key.prefix, now) is None for key in table.states)

    def _dead_man_has_fired(self, now: float) -> bool:
        """Away for so long, the pipe has carried out the wills, or died with the sessions of its ExaBGP."""
        config = self.configuration.config
        if self.speaker_there() or config is None:
            return False
        return now >= self.speaker.since + config.dead_man + 1.0

    def cleaned_up(self) -> bool:
        """True if no address, no route and no policy rule of ours is left on the node."""
        left = [*self.addresses.ours_left(), *self.blackholes.ours_left(), *self.asides.left()]
        return self._addresses_seen() and not left

    def _addresses_seen(self) -> bool:
        return self.addresses.known or self.addresses.mode is not AddressMode.MANAGE

    def left(self) -> list[str]:
        """The leftovers of a stop, in words."""
        routes = [f"route {key.prefix} at {key.neighbor}" for key in self.routes.table.with_speaker()]
        unseen = [] if self._addresses_seen() else ["addresses: what the kernel has is not known"]
        addresses = [f"address {a}" for a in self.addresses.ours_left()]
        rules = [f"policy rules for {a}" for a in self.asides.left()]
        blackholes = [f"blackhole route {p}" for p in self.blackholes.ours_left()]
        return [*routes, *unseen, *addresses, *blackholes, *rules]
