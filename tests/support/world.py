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
from anycast_agent.core.engine import Engine
from anycast_agent.core.model import (
    SELF,
    Address,
    AddressMode,
    AddressState,
    Attributes,
    Check,
    Config,
    Family,
    HoldDown,
    Neighbor,
    Outcome,
    Prefix,
    ReturnRoute,
    RouteKey,
    Service,
    SessionState,
    Tier,
    Will,
    address_of,
    family_of,
)

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


def neighbor(name: str, number: int) -> Neighbor:
    return Neighbor(name, f"198.51.100.{number}", 65000 + number, 65101)


def config(*services: Service, neighbors: tuple[str, ...] = (LEAF1, LEAF2), **changes: Any) -> Config:
    services = services or (service(),)
    return Config(
        node="edge1",
        site="ams",
        neighbors={n: neighbor(n, i) for i, n in enumerate(neighbors, 1)},
        services={s.name: s for s in services},
        **changes,
    )


@dataclass
class Entry:
    """A route in the pipe's ledger."""

    attributes: Attributes
    will: Will
    confirmed_by: int | None
    unconfirmed_since: float | None = None


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
    way_back: dict[Family, bool] = field(default_factory=lambda: {Family.IPV4: True, Family.IPV6: True})
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Outcome by ``service``, ``service/check`` or ``service/check@address``; OK where none is given."""
    hangs: set[str] = field(default_factory=set)
    """Names as in ``outcomes``: a probe of these never ends."""
    kernel_errors: set[Address] = field(default_factory=set)
    speaker_errors: set[Prefix] = field(default_factory=set)

    silent: set[str] = field(default_factory=set)
    """What is no longer heard of: ``kernel`` (reports), ``sent`` (UPDATEs), ``configured``, ``extended``."""

    ledger: dict[RouteKey, Entry] = field(default_factory=dict)
    router: dict[RouteKey, Attributes] = field(default_factory=dict)
    """What the routers have from us."""
    sessions: dict[str, bool] = field(default_factory=lambda: {LEAF1: True, LEAF2: True})
    own_addresses: dict[str, str] = field(default_factory=dict)
    """Where it is not ``OWN``; empty: not known yet."""
    last_beat: float = 0.0
    pipe_frozen: bool = False
    connected: bool = False

    engine: Engine | None = None
    generation: int = 0
    actions: list[tuple[float, act.Action]] = field(default_factory=list)
    changes: list[tuple[float, Change]] = field(default_factory=list)
    updates: list[tuple[float, str, RouteKey]] = field(default_factory=list)
    """(when, announce or withdraw, key), as the routers saw them."""
    exit: act.Exit | None = None
    cut: int | None = None
    """So many actions are still executed; then the agent is killed, in the middle of its turn."""
    after_turn: Callable[[World], None] | None = None

    def __post_init__(self) -> None:
        self._queue: list[tuple[float, int, int, Callable[[], None]]] = []
        self._number = itertools.count()
        self._told: set[Address] = set()

    # --- the life of an agent process ---

    def start(self, conf: Config) -> None:
        """A new agent process on this node."""
        self.generation += 1
        self.exit = None
        self._told = set()
        self.engine = Engine(self.now, owns_speaker=self.owns_speaker)
        self.dead_man, self.adopt_for = conf.dead_man, conf.adopt_for
        self.offer(conf)

    def kill(self) -> None:
        """kill -9: nothing of what was under way comes back."""
        self.engine = None
        self._disconnected()

    def _disconnected(self) -> None:
        self.connected = False
        for entry in self.ledger.values():
            if entry.unconfirmed_since is None:
                entry.unconfirmed_since = self.now

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
        if self.ledger:
            times += [at for at in (self._dead_man_at(), self._adoption_at()) if at is not None]
        return min(times) if times else None

    # --- the pipe's two switches ---

    def _dead_man_at(self) -> float | None:
        due = any(e.will is Will.WITHDRAW for e in self.ledger.values())
        return max(self.now, self.last_beat + self.dead_man) if due and not self.pipe_frozen else None

    def _adoption_at(self) -> float | None:
        since = [e.unconfirmed_since for e in self.ledger.values() if e.unconfirmed_since is not None]
        return max(self.now, min(since) + self.adopt_for) if since and not self.pipe_frozen else None

    def _switches(self) -> None:
        if self.pipe_frozen:
            return
        if self.now >= self.last_beat + self.dead_man:
            self._drop_itself([k for k, e in self.ledger.items() if e.will is Will.WITHDRAW], "dead man")
        late = [k for k, e in self.ledger.items()
                if e.unconfirmed_since is not None and self.now >= e.unconfirmed_since + self.adopt_for]  # fmt: skip
        self._drop_itself(late, "adoption ran out")

    def _drop_itself(self, keys: list[RouteKey], why: str) -> None:
        if not keys:
            return
        for key in keys:
            del self.ledger[key]
            self._send(key, None)
        if self.connected:
            self.post(ev.RoutesDropped(tuple(keys), why))

    # --- executing ---

    def execute(self, action: act.Action) -> None:
        match action:
            case act.RunProbe():
                self._probe(action)
            case act.AddAddresses() | act.RemoveAddresses():
                self.later(self.kernel_delay, lambda: self._addresses(action))
            case act.WatchKernel():
                self.later(self.kernel_delay, self.report_kernel)
            case act.Resync(source=ev.Source.KERNEL):
                self.later(self.kernel_delay, self.report_kernel)
            case act.Resync():
                self.later(self.speaker_delay, self.replay)
            case act.PutRoutes() | act.DropRoutes() | act.ConfirmRoutes():
                self.later(self.speaker_delay, lambda: self._routes(action))
            case act.ConfigureSpeaker():
                self.later(self.speaker_delay, lambda: self._configure(action))
            case act.RestartSpeaker():
                self.later(self.speaker_delay, lambda: self._restart(action))
            case act.Beat():
                self._beat()
            case act.ExtendDeadMan():
                self.last_beat = self.now + action.seconds
                if "extended" not in self.silent:
                    self.post_later(ev.DeadManExtended(action.id))
            case act.Exit():
                self.exit = action
                if not action.hand_over and self.owns_speaker:
                    self.speaker_dies()
                self.kill()
            case act.Reply():
                pass

    def post_later(self, event: ev.Event, delay: float = 0.0) -> None:
        self.later(delay, lambda: self.post(event))

    def _names(self, key: act.CheckKey) -> tuple[str, str, str]:
        return key.service, f"{key.service}/{key.check}", str(key)

    def _probe(self, action: act.RunProbe) -> None:
        names = self._names(action.key)
        if self.hangs.intersection(names):
            return
        outcome = next((self.outcomes[n] for n in reversed(names) if n in self.outcomes), Outcome.OK)
        delay = action.check.timeout if outcome is Outcome.TIMEOUT else self.probe_delay
        self.post_later(ev.ProbeFinished(action.id, outcome, "as told", delay, self.probe_late), delay)

    # --- kernel ---

    def report_kernel(self) -> None:
        if "kernel" in self.silent:
            return
        self.post(ev.KernelSeen(dict(self.addresses), dict(self.links), self.return_routes()))

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
        return {a: ReturnRoute(self.way_back[family_of(a)], "as told") for a in self._told}

    def set_way_back(self, family: Family, usable: bool) -> None:
        """A route of the family comes or goes."""
        self.way_back[family] = usable
        self.post(ev.ReturnRoutesSeen(self.return_routes()))

    # --- speaker ---

    def connect(self) -> None:
        self.connected = True
        self.last_beat = self.now
        self.post(ev.SpeakerConnected("pipe 1"))
        self.replay()

    def replay(self) -> None:
        if not self.connected:
            return
        for key, entry in list(self.ledger.items()):
            sent = self.router.get(key) == entry.attributes
            confirmed = entry.confirmed_by == self.generation and entry.unconfirmed_since is None
            self.post(ev.RouteFound(key, entry.attributes, entry.will, sent, confirmed))
        for name in self.sessions:
            self._tell_session(name)
        self.post(ev.SpeakerSynced())

    def speaker_dies(self) -> None:
        """kill -9 of ExaBGP: its sessions go, and the routers drop what they had of it."""
        self.ledger.clear()
        for key in list(self.router):
            self._router(key, None)
        if self.connected:
            self.connected = False
            self.post(ev.SpeakerLost("ExaBGP has ended"))

    def lose_pipe(self) -> None:
        """The connection to the pipe breaks; ExaBGP and its sessions stay."""
        self._disconnected()
        self.post(ev.SpeakerLost("connection lost"))

    def _beat(self) -> None:
        if self.connected and not self.pipe_frozen:
            self.last_beat = max(self.last_beat, self.now)
            self.post_later(ev.SpeakerAnswered(0.0), self.speaker_delay)

    def _configure(self, action: act.ConfigureSpeaker) -> None:
        if not self.connected:
            self.connect()
        for name in action.config.neighbors:
            if name not in self.sessions:
                self.sessions[name] = True
                self._tell_session(name)
        for name in [n for n in self.sessions if n not in action.config.neighbors]:
            self.set_session(name, up=False)
            del self.sessions[name]
        if "configured" not in self.silent:
            self.post(ev.SpeakerConfigured(action.id))

    def _restart(self, action: act.RestartSpeaker) -> None:
        self.pipe_frozen = False
        self.speaker_dies()
        self.post(ev.SpeakerConfigured(action.id))
        self.later(0.1, self.connect)

    def _tell_session(self, name: str) -> None:
        state = SessionState.UP if self.sessions[name] else SessionState.DOWN
        self.post(ev.SessionChanged(name, state, own_address=self.own_addresses.get(name, OWN)))

    def set_own_address(self, name: str, address: str) -> None:
        """The kernel would now connect from this address; empty: it has no way."""
        self.own_addresses[name] = address
        self._tell_session(name)

    def set_session(self, name: str, *, up: bool) -> None:
        self.sessions[name] = up
        self._tell_session(name)
        for key in [k for k in {**self.ledger, **self.router} if k.neighbor == name]:
            if not up:
                self._router(key, None)
            elif key in self.ledger:
                self._send(key, self.ledger[key].attributes)

    def _routes(self, action: act.PutRoutes | act.DropRoutes | act.ConfirmRoutes) -> None:
        if self.pipe_frozen:
            return
        if not self.connected:
            self.post(ev.RoutesDone(action.id, "not connected"))
            return
        keys = (
            [RouteKey(action.neighbor, p) for p in action.prefixes]
            if isinstance(action, act.PutRoutes)
            else action.keys
        )
        left_to_exabgp = isinstance(action, act.PutRoutes) and action.attributes.next_hop == SELF
        if left_to_exabgp or self.speaker_errors.intersection(k.prefix for k in keys):
            self.post(ev.RoutesDone(action.id, "ExaBGP said error"))
            return
        for key in keys:
            if isinstance(action, act.PutRoutes):
                self.ledger[key] = Entry(action.attributes, action.will, self.generation)
            elif isinstance(action, act.DropRoutes):
                self.ledger.pop(key, None)
            elif key in self.ledger:
                self.ledger[key].confirmed_by, self.ledger[key].unconfirmed_since = self.generation, None
        self.post(ev.RoutesDone(action.id))
        if not isinstance(action, act.ConfirmRoutes):
            self.later(0.001, lambda: self._send_all(keys), of_agent=False)

    def _send_all(self, keys: Any) -> None:
        for key in keys:
            entry = self.ledger.get(key)
            self._send(key, entry.attributes if entry else None)

    def _send(self, key: RouteKey, attributes: Attributes | None) -> None:
        if not self.sessions.get(key.neighbor):
            return
        if self.router.get(key) == attributes:
            return
        self._router(key, attributes)
        if self.connected and "sent" not in self.silent:
            prefixes = (key.prefix,)
            sent = ev.RoutesSent(key.neighbor, prefixes if attributes else (), () if attributes else prefixes)
            self.post(sent)

    def _router(self, key: RouteKey, attributes: Attributes | None) -> None:
        if attributes is None:
            if self.router.pop(key, None) is not None:
                self.updates.append((self.now, "withdraw", key))
        else:
            self.router[key] = attributes
            self.updates.append((self.now, "announce", key))

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
    "neighbor",
    "service",
]
