"""A small world for the engine, in virtual time: a kernel, a pipe with ExaBGP behind it, a router, and services.

It keeps the invariants of what it stands for: an address is there or not, and only what is marked is removed; the pipe
answers each action once and in order, reports as sent only what a session that is up carries, carries out the wills of
a silent agent, and drops what is adopted for too long; the router holds just what was sent on the session.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.changes import Change
from anycast_agent.core.consumers import AsideState
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import (
    SELF,
    Address,
    AddressMode,
    AddressState,
    Attributes,
    Check,
    Config,
    Cover,
    CoverState,
    Family,
    HoldDown,
    Neighbor,
    Prefix,
    ReturnRoute,
    RouteKey,
    Service,
    Tier,
    address_of,
    family_of,
)
from anycast_agent.core.outcome import Outcome
from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe.ledger import Entry
from tests.support import ends
from tests.support.speaker import SpeakerSide

V4, V6 = "192.0.2.53/32", "2001:db8:53::53/128"
LEAF1, LEAF2 = "leaf1", "leaf2"
OWN = "198.51.100.9"
"""Our address on each session."""


def as_sent(attributes: Attributes) -> Attributes:
    """As the routers have it: with our own address for ``self``."""
    return replace(attributes, next_hop=OWN) if attributes.next_hop == SELF else attributes


def check(name: str = "answers", prefix: Prefix = "", **changes: Any) -> Check:
    values: dict[str, Any] = {
        "kind": "tcp", "params": None, "interval": 1.0, "timeout": 0.5, "fast_interval": 0.1, "rise": 3, "fall": 2,
        "jitter": 0.0, "doubt_window": 1.0, "fresh_for": 4.5,
    }  # fmt: skip
    return Check(name=name, prefix=prefix, **{**values, **changes})


def service(
    name: str = "dns",
    prefixes: tuple[Prefix, ...] = (V4, V6),
    checks: tuple[Check, ...] | None = None,
    neighbors: tuple[str, ...] = (LEAF1, LEAF2),
    attributes: Attributes | None = None,
    **changes: Any,
) -> Service:
    """A service with one check for each prefix, unless checks are given."""
    attributes = attributes or Attributes()
    keys = [RouteKey(n, p) for n in neighbors for p in prefixes]
    degraded = Attributes(attributes.next_hop, med=attributes.med, as_path=(65101, 65101))
    tiers = {
        Tier.FULL: dict.fromkeys(keys, attributes),
        Tier.DEGRADED: dict.fromkeys(keys, degraded),
    }
    checks = checks if checks is not None else tuple(check(prefix=p) for p in prefixes)
    changes.setdefault("hold_down", HoldDown(2.0, 60.0, 120.0))
    return Service(name, prefixes, checks, attributes=tiers, **changes)


def cover(prefix: Prefix, *behind: Prefix, neighbors: tuple[str, ...] = (LEAF1, LEAF2), **changes: Any) -> Cover:
    """A last resort around these prefixes, with a community of its own."""
    attributes = Attributes(**{"communities": ("65101:9",), **changes})
    return Cover(prefix, behind, {RouteKey(name, prefix): attributes for name in neighbors})


def neighbor(name: str, number: int) -> Neighbor:
    return Neighbor(name, f"198.51.100.{number}", 65000 + number, 65101)


def config(*services: Service, neighbors: tuple[str, ...] = (LEAF1, LEAF2), **changes: Any) -> Config:
    services = services or (service(),)
    return Config(
        node="edge1",
        site="ams",
        neighbors={n: neighbor(n, int(n.removeprefix("leaf"))) for n in neighbors},
        services={s.name: s for s in services},
        **changes,
    )


@dataclass
class World:
    """What is outside of the engine. Delays are in seconds of virtual time."""

    owns_speaker: bool = True
    now: float = 1000.0
    kernel_delay: float = 0.001
    speaker_delay: float = 0.002
    probe_delay: float = 0.005
    probe_late: float = 0.0
    """For how much of each probe the agent could not look. Seconds."""
    dead_man: float = 5.0
    adopt_for: float = 30.0

    addresses: dict[Address, AddressState] = field(default_factory=dict)
    links: dict[str, bool] = field(default_factory=lambda: {"lo": True})
    blackholes: dict[Prefix, bool] = field(default_factory=dict)
    """Blackhole routes of the main table; True: marked as ours."""
    strangers: dict[Prefix, Address] = field(default_factory=dict)
    """By cover, an address of the node that is no anycast address."""
    aside: dict[Address, AsideState] = field(default_factory=dict)
    """The addresses that have policy rules of ours."""
    aside_errors: set[Address] = field(default_factory=set)
    routers: dict[str, tuple[Address, ...]] = field(default_factory=dict)
    """The routers that are seen on each interface."""
    return_route: dict[Family, bool] = field(default_factory=lambda: {Family.IPV4: True, Family.IPV6: True})
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Outcome by ``service``, ``service/check`` or ``service/check@address``; OK where none is given."""
    hangs: set[str] = field(default_factory=set)
    """Names as in ``outcomes``: a probe of these never ends."""
    kernel_errors: set[Address] = field(default_factory=set)
    speaker_errors: set[Prefix] = field(default_factory=set)
    """ExaBGP answers ``error`` to whatever is said of these."""
    put_errors: set[Prefix] = field(default_factory=set)
    """ExaBGP answers ``error`` to the announcement of these."""

    silent: set[str] = field(default_factory=set)
    """What is no longer heard of: ``kernel`` (reports), ``sent`` (UPDATEs), ``configured``, ``extended``."""

    sessions: dict[str, bool] = field(default_factory=lambda: {LEAF1: True, LEAF2: True})
    own_addresses: dict[str, str] = field(default_factory=dict)
    """Where it is not ``OWN``; empty: not known yet."""
    engine: Engine | None = None
    generation: int = 0
    actions: list[tuple[float, act.Action]] = field(default_factory=list)
    changes: list[tuple[float, Change]] = field(default_factory=list)
    updates: list[tuple[float, str, RouteKey]] = field(default_factory=list)
    """(when, announce or withdraw, key), as the routers saw them."""
    exit: act.Exit | None = None
    on_disk: Config | None = None
    """The configuration that a reload reads."""
    broken_files: tuple[str, ...] = ()
    """Why the files on disk are refused."""
    files_kept: bool = False
    cut: int | None = None
    """So many actions are still executed; then the agent is killed, in the middle of its turn."""
    after_turn: Callable[[World], None] | None = None

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._told: set[Address] = set()
        self._watched: frozenset[str] = frozenset()
        self._covers: frozenset[Prefix] = frozenset()
        self.speaker = SpeakerSide(
            self.post, lambda name: self.own_addresses.get(name, OWN), self.sessions, self.owns_speaker
        )
        self.speaker.silent = self.silent
        self._seen: dict[RouteKey, Attributes] = {}

    # --- the life of an agent process ---

    def start(self, conf: Config) -> None:
        """A new agent process on this node."""
        self.generation += 1
        self.exit = None
        self._told = set()
        self.engine = Engine(self.now, owns_speaker=self.owns_speaker)
        self.dead_man = conf.dead_man
        self.offer(conf)

    def kill(self) -> None:
        """kill -9: nothing of what was under way comes back."""
        self.engine = None
        self._disconnected()

    def _disconnected(self) -> None:
        """The pipe sees it after all that was said before."""
        connection = self.speaker.disconnect(self.now)
        if connection is not None:
            self.later(self.speaker_delay, lambda: self.speaker.left(connection, self.now), of_agent=False)

    def offer(self, conf: Config, force: bool = False, request: int | None = None) -> None:
        self.post(ev.ConfigOffered(conf, force, request))

    def post(self, event: ev.Event) -> None:
        if self.engine is not None:
            self.engine.handle(event, self.now)
            self.turn()

    def turn(self) -> None:
        if self.engine is None:
            return
        output = self.engine.settle(self.now)
        self.changes += [(self.now, c) for c in output.changes]
        for action in output.actions:
            if self.cut is not None:
                if self.cut == 0:
                    self.cut = None
                    self.kill()
                    return
                self.cut -= 1
            self.actions.append((self.now, action))
            self.execute(action)
        if self.after_turn is not None:
            self.after_turn(self)

    # --- time ---

    def later(self, delay: float, call: Callable[[], None], *, of_agent: bool = True) -> None:
        generation = self.generation if of_agent else 0
        heapq.heappush(self._queue, (self.now + delay, next(self._number), generation, call))

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.now + seconds
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            self._switches()
            if self._queue and self._queue[0][0] <= self.now:
                _, _, generation, call = heapq.heappop(self._queue)
                if generation in (0, self.generation) and (generation == 0 or self.engine is not None):
                    call()
            else:
                self.turn()
        self.now = end
        self._switches()

    def until(self, condition: Callable[[World], bool], seconds: float = 60.0, step: float = 0.01) -> float:
        """Let time pass until the condition holds; returns how long that took. AssertionError when it never does."""
        began = self.now
        while not condition(self):
            assert self.now - began < seconds, "the condition did not come true in time"
            self.run(step)
        return self.now - began

    def _next(self) -> float | None:
        times = [self._queue[0][0]] if self._queue else []
        if self.engine is not None and (deadline := self.engine.deadline()) is not None:
            times.append(max(deadline, self.now))
        if (at := self.speaker.deadline()) is not None:
            times.append(max(at, self.now))
        return min(times) if times else None

    # --- the speaker's side ---

    def _switches(self) -> None:
        self.speaker.exabgp.refuses, self.speaker.exabgp.refuses_puts = self.speaker_errors, self.put_errors
        at = self.speaker.deadline()
        if at is not None and self.now >= at:
            self.speaker.wake(self.now)
            self._speaker_moved()

    def _speaker_moved(self) -> None:
        """Note what the routers saw; and what ExaBGP was told goes out to them a little later."""
        router = self.speaker.router()
        for key in [k for k in self._seen if k not in router]:
            self.updates.append((self.now, "withdraw", key))
        self.updates += [(self.now, "announce", k) for k, a in router.items() if self._seen.get(k) != a]
        self._seen = router
        if self.speaker.exabgp.owes:
            self.later(0.001, self._send, of_agent=False)

    def _send(self) -> None:
        self.speaker.send(self.now)
        self._speaker_moved()

    @property
    def router(self) -> dict[RouteKey, Attributes]:
        """What the routers have from us."""
        return self.speaker.router()

    @property
    def ledger(self) -> dict[RouteKey, Entry]:
        """What the pipe has."""
        return self.speaker.ledger()

    @property
    def connected(self) -> bool:
        return self.speaker.connection is not None

    @property
    def last_heartbeat(self) -> float:
        """The last heartbeat; later, where the dead-man's switch waits longer for the next agent."""
        ledger = self.speaker.switchboard._ledger
        return max(ledger.last_heartbeat, ledger.waits_until - self.dead_man)

    @property
    def pipe_frozen(self) -> bool:
        return self.speaker.frozen

    @pipe_frozen.setter
    def pipe_frozen(self, frozen: bool) -> None:
        self.speaker.frozen = frozen
        self.later(0.0, self._thaw, of_agent=False)

    def _thaw(self) -> None:
        self.speaker.pump(self.now)
        self._speaker_moved()

    # --- executing ---

    def execute(self, action: act.Action) -> None:
        match action:
            case act.RunProbe():
                self._probe(action)
            case act.AddAddresses() | act.RemoveAddresses():
                self.later(self.kernel_delay, lambda: self._addresses(action))
            case act.AddBlackholes() | act.RemoveBlackholes():
                self.later(self.kernel_delay, lambda: self._blackholes(action))
            case act.WatchKernel():
                self._covers = action.config.covers
                self.later(self.kernel_delay, self.report_kernel)
            case act.WatchRouters():
                self._watched = action.interfaces
                self.later(self.kernel_delay, self.report_routers)
            case act.WatchAside():
                self.later(self.kernel_delay, self.report_aside)
            case act.SetAside():
                self.later(self.kernel_delay, lambda: self._set_aside(action))
            case act.Resync(source=ev.Source.KERNEL):
                self.later(self.kernel_delay, self.report_kernel)
            case act.Resync():
                self._tell_speaker(lambda connection: self.speaker.say(wire.Resync(), self.now, connection))
            case act.PutRoutes() | act.DropRoutes() | act.ConfirmRoutes() | act.ExtendDeadMan():
                self._tell_speaker(lambda connection: self.speaker.carry_out(action, self.now, connection))
            case act.ConfigureSpeaker():
                self.later(self.speaker_delay, lambda: self._configure(action))
            case act.RestartSpeaker():
                self.later(self.speaker_delay, lambda: self._restart(action))
            case act.Heartbeat():
                self._tell_speaker(lambda connection: self.speaker.say(wire.Heartbeat(1), self.now, connection))
            case act.ReadConfig():
                self.later(self.kernel_delay, lambda: self._read_config(action))
            case act.CheckFiles():
                self.post_later(ev.FilesChecked(action.id, self.broken_files, self.files_kept), self.kernel_delay)
            case act.Exit():
                self.exit = action
                if not action.hand_over and self.owns_speaker:
                    self.speaker_dies()
                self.kill()
            case act.Reply():
                pass

    def _read_config(self, action: act.ReadConfig) -> None:
        if self.broken_files or self.on_disk is None:
            self.post(ev.ConfigRejected(self.broken_files, action.request))
        else:
            self.post(ev.ConfigOffered(self.on_disk, action.force, action.request))

    def post_later(self, event: ev.Event, delay: float = 0.0) -> None:
        self.later(delay, lambda: self.post(event))

    def _names(self, key: act.CheckKey) -> tuple[str, str, str]:
        return key.service, f"{key.service}/{key.check}", str(key)

    def _probe(self, action: act.RunProbe) -> None:
        names = self._names(action.key)
        if self.hangs.intersection(names):
            return
        outcome = next((self.outcomes[n] for n in reversed(names) if n in self.outcomes), ends.OK)
        delay = action.check.timeout if outcome is ends.TIMEOUT else self.probe_delay
        self.post_later(ev.ProbeFinished(action.id, replace(outcome, detail="as told"), delay, self.probe_late), delay)

    # --- kernel ---

    def report_kernel(self) -> None:
        if "kernel" in self.silent:
            return
        covers = {p: self.cover_state(p) for p in self._covers.union(p for p, ours in self.blackholes.items() if ours)}
        self.post(ev.KernelSeen(dict(self.addresses), dict(self.links), self.return_routes(), covers))

    def cover_state(self, prefix: Prefix) -> CoverState:
        ours = self.blackholes.get(prefix)
        return CoverState(ours is not None, bool(ours), self.strangers.get(prefix))

    def _blackholes(self, action: act.AddBlackholes | act.RemoveBlackholes) -> None:
        add = isinstance(action, act.AddBlackholes)
        failed = [prefix for prefix in action.prefixes if prefix in self.kernel_errors]
        for prefix in action.prefixes:
            if prefix in failed:
                continue
            if add and prefix not in self.blackholes:
                self.set_blackhole(prefix, ours=True)
            elif not add and self.blackholes.get(prefix):
                self.set_blackhole(prefix, None)
        done = ev.BlackholesAdded if add else ev.BlackholesRemoved
        self.post(done(action.id, dict.fromkeys(failed, "permission denied")))

    def set_blackhole(self, prefix: Prefix, ours: bool | None) -> None:
        """The kernel's own change: by us, or by somebody's hand; None: the route goes."""
        if ours is None:
            self.blackholes.pop(prefix, None)
        else:
            self.blackholes[prefix] = ours
        self.post(ev.CoverSeen(prefix, self.cover_state(prefix)))

    def report_routers(self) -> None:
        self.post(ev.RoutersSeen({name: self.routers.get(name, ()) for name in self._watched}))

    def report_aside(self) -> None:
        """The policy rules of ours that the kernel has, those of an earlier agent too."""
        self.post(ev.AsideSeen(dict(self.aside)))

    def _set_aside(self, action: act.SetAside) -> None:
        failed = action.address in self.aside_errors
        if not failed:
            self.set_aside(action.address, action.state)
        self.post(ev.AsideSet(action.id, "permission denied" if failed else None))

    def set_aside(self, address: Address, state: AsideState) -> None:
        """The kernel's own change: by us, or by somebody's hand."""
        if state is AsideState.HOME:
            self.aside.pop(address, None)
        else:
            self.aside[address] = state
        self.report_aside()

    def _addresses(self, action: act.AddAddresses | act.RemoveAddresses) -> None:
        add = isinstance(action, act.AddAddresses)
        failed = [address for address in action.addresses if address in self.kernel_errors]
        for address in action.addresses:
            if address in failed:
                continue
            if add and address not in self.addresses:
                self.set_address(address, AddressState(action.interface, ours=True))
            elif not add and (there := self.addresses.get(address)) is not None and there.ours:
                self.set_address(address, None)
        done = ev.AddressesAdded if add else ev.AddressesRemoved
        self.post(done(action.id, dict.fromkeys(failed, "permission denied")))

    def set_address(self, address: Address, state: AddressState | None) -> None:
        """The kernel's own change: by us, or by somebody's hand."""
        if state is None:
            self.addresses.pop(address, None)
        else:
            self.addresses[address] = state
        self.post(ev.AddressSeen(address, state))
        if state is not None:  # the kernel is asked for its return route then, a little later
            self.later(self.kernel_delay, lambda: self.post(ev.ReturnRoutesSeen(self.return_routes())))

    def return_routes(self) -> dict[Address, ReturnRoute]:
        """Of an address that is not on the node the kernel has none to tell."""
        self._told |= self.addresses.keys()  # and what was told of it stands while it is gone
        return {a: ReturnRoute(self.return_route[family_of(a)], "as told") for a in self._told}

    def set_return_route(self, family: Family, usable: bool) -> None:
        """A route of the family comes or goes."""
        self.return_route[family] = usable
        self.post(ev.ReturnRoutesSeen(self.return_routes()))

    # --- speaker ---

    def _tell_speaker(self, say: Callable[[int | None], None]) -> None:
        """What was said on a connection is carried out, also where the agent has died meanwhile."""
        connection = self.speaker.connection

        def arrive() -> None:
            say(connection)
            self._speaker_moved()

        self.later(self.speaker_delay, arrive, of_agent=False)

    def connect(self) -> None:
        self.speaker.connect(self.generation, self.now)
        self._speaker_moved()

    def speaker_dies(self) -> None:
        """kill -9 of ExaBGP: its sessions go, and the routers drop what they had of it."""
        was = self.connected
        self.speaker.die()
        self._speaker_moved()
        if was:
            self.post(ev.SpeakerLost("ExaBGP has ended"))

    def lose_pipe(self) -> None:
        """The connection to the pipe breaks; ExaBGP and its sessions stay."""
        self._disconnected()
        self.post(ev.SpeakerLost("connection lost"))

    def _configure(self, action: act.ConfigureSpeaker) -> None:
        self.speaker.configure(action.config, self.now)
        if not self.connected:
            self.connect()
        self.speaker.reload(self.now)
        for name in [n for n in self.sessions if n not in action.config.neighbors]:
            del self.sessions[name]
        self._speaker_moved()
        if "configured" not in self.silent:
            self.post(ev.SpeakerConfigured(action.id))

    def _restart(self, action: act.RestartSpeaker) -> None:
        self.speaker.frozen = False
        self.speaker_dies()
        self.post(ev.SpeakerConfigured(action.id))
        self.later(0.1, self.connect)

    def set_own_address(self, name: str, address: str) -> None:
        """The kernel would now connect from this address; empty: it has no way. The pipe sees it within a second."""
        self.own_addresses[name] = address

    def set_session(self, name: str, *, up: bool) -> None:
        self.sessions[name] = up
        self.speaker.session(name, up=up, now=self.now)
        self._speaker_moved()

    # --- asking ---

    def announced(self, prefix: Prefix) -> set[str]:
        """The routers that have a route for the prefix."""
        return {key.neighbor for key in self.router if key.prefix == prefix}

    def reason(self, prefix: Prefix) -> str:
        assert self.engine is not None
        return self.engine.parts.prefixes.states[prefix].decision.reason

    def address_there(self, prefix: Prefix) -> bool:
        return address_of(prefix) in self.addresses


__all__ = [
    "LEAF1",
    "LEAF2",
    "OWN",
    "V4",
    "V6",
    "AddressMode",
    "Entry",
    "World",
    "check",
    "config",
    "cover",
    "neighbor",
    "service",
]
