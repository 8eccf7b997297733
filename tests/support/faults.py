"""Faults that a random story is made of, and a watch that holds the promises against the world at every turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.engine import Engine
from anycast_agent.core.life import Life
from anycast_agent.core.model import (
    AddressState,
    Attributes,
    Config,
    Family,
    Prefix,
    RouteKey,
    Tier,
    Verdict,
    address_of,
    family_of,
    is_host_route,
    prefix_of,
)
from anycast_agent.core.picture import Pictures
from anycast_agent.core.requests import Asker, HandOver
from anycast_agent.core.snapshot import RouteSnapshot
from tests.support import ends
from tests.support.world import LEAF1, LEAF2, V4, V6, World, as_sent, check, config, cover, service

WWW = "192.0.2.80/32"
NTP = "2001:db8:123::123/128"
COVER4, COVER6, COVER_NTP = "192.0.2.52/31", "2001:db8:53::52/127", "2001:db8:123::/48"
COVERS = (COVER4, COVER6, COVER_NTP)

REACTS_WITHIN = 4.0
"""Bound on how long a route outlives its cause while the agent and the speaker work: repair, error, retry. Seconds."""


def configs() -> list[Config]:
    """Configurations to go back and forth between; the first is where each story begins."""
    covers = (cover(COVER4, V4), cover(COVER6, V6))
    dns, www = service("dns", covers=covers), service("www", (WWW,), neighbors=(LEAF1,))
    ntp = service("ntp", (NTP,), covers=(cover(COVER_NTP, NTP),))
    shared = check("backbone", scope=_shared())
    return [
        config(dns, www, ntp),
        config(dns, replace(www, enabled=False), ntp),
        config(service("dns", attributes=Attributes(med=50)), www, ntp),
        config(service("dns", checks=(*dns.checks, check("other"), shared)), www, ntp),
        config(service("resolver", (V4,)), service("dns", (V6,), covers=covers[1:]), www),
        config(replace(dns, enabled=False), www, ntp),
        config(dns, service("www", (WWW,)), ntp, neighbors=(LEAF1, LEAF2, "leaf3")),
        config(service("dns", neighbors=(LEAF1,)), www, neighbors=(LEAF1,)),
    ]


def _shared() -> Any:
    from anycast_agent.core.model import Scope

    return Scope.SHARED


NAMES = ("dns", "www", "ntp", f"dns/answers@{address_of(V4)}", "dns/backbone", "resolver")
PREFIXES = (V4, V6, WWW, NTP)
OUTCOMES = (ends.OK, ends.REFUSED, ends.TIMEOUT, ends.NOT_RUN, ends.OVERLOADED)

Fault = tuple[str, int, int]
"""A kind of fault, and two numbers that say what of; and after it, time."""


class Faults:
    """Executes one fault. Each leaves the world as something outside of the agent could."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.configs = configs()
        self.offered = self.configs[0]
        self.kinds: dict[str, Callable[[int, int], None]] = {
            "nothing": lambda a, b: None,
            "outcome": self._outcome,
            "hang": self._hang,
            "address_removed": lambda a, b: self.world.set_address(self._address(a), None),
            "address_taken": self._address_taken,
            "blackhole_removed": lambda a, b: self.world.set_blackhole(COVERS[a % 3], None),
            "blackhole_taken": lambda a, b: self.world.set_blackhole(COVERS[a % 3], ours=False),
            "node_address": self._node_address,
            "kernel_error": self._kernel_error,
            "link": self._link,
            "return_route": self._return_route,
            "session": self._session,
            "pipe_lost": lambda a, b: self._pipe_lost(),
            "pipe_frozen": lambda a, b: self._pipe_frozen(),
            "exabgp_dies": lambda a, b: self._exabgp_dies(),
            "speaker_error": self._speaker_error,
            "reload": self._reload,
            "rejected": lambda a, b: self.world.post(ev.ConfigRejected(("line 1: no",), None)),
            "cut": lambda a, b: setattr(self.world, "cut", a % 6),
            "killed": lambda a, b: self._agent_ends(self.world.kill),
            "handed_over": lambda a, b: self._agent_ends(
                lambda: self.world.post(ev.Asked(HandOver(20.0 if a % 2 else None), Asker("SIGUSR2")))
            ),
            "stopped": lambda a, b: self._agent_ends(lambda: self.world.post(ev.StopAsked("SIGTERM"))),
            "kernel_lost": lambda a, b: self.world.post(ev.Lost(ev.Source.KERNEL, "overrun")),
            "speaker_events_lost": lambda a, b: self.world.post(ev.Lost(ev.Source.SPEAKER, "overrun")),
            "kernel_failed": lambda a, b: self._kernel_failed(),
        }

    def do(self, fault: Fault) -> None:
        kind, a, b = fault
        if self.world.engine is None and kind not in ("nothing", "session", "killed"):
            self._start()
        self.kinds[kind](a, b)

    # --- services and kernel ---

    def _outcome(self, a: int, b: int) -> None:
        name, outcome = NAMES[a % len(NAMES)], OUTCOMES[b % len(OUTCOMES)]
        if outcome is ends.OK:
            self.world.outcomes.pop(name, None)
            self.world.hangs.discard(name)
        else:
            self.world.outcomes[name] = outcome

    def _hang(self, a: int, b: int) -> None:
        self.world.hangs.add(NAMES[a % len(NAMES)])

    @staticmethod
    def _address(a: int) -> str:
        return address_of(PREFIXES[a % len(PREFIXES)])

    def _address_taken(self, a: int, b: int) -> None:
        self.world.set_address(self._address(a), AddressState("lo", ours=False, usable=bool(b % 3)))

    def _node_address(self, a: int, b: int) -> None:
        """An address of the node comes up inside a cover, or goes."""
        cover = COVERS[a % 3]
        if self.world.strangers.pop(cover, None) is None:
            self.world.strangers[cover] = address_of(cover)
        self.world.post(ev.CoverSeen(cover, self.world.cover_state(cover)))

    def _kernel_error(self, a: int, b: int) -> None:
        self.world.kernel_errors ^= {(*map(address_of, PREFIXES), *COVERS)[a % 7]}

    def _link(self, a: int, b: int) -> None:
        self.world.links["lo"] = up = not self.world.links["lo"]
        self.world.post(ev.LinkSeen("lo", up))

    def _return_route(self, a: int, b: int) -> None:
        family = (Family.IPV4, Family.IPV6)[a % 2]
        self.world.set_return_route(family, not self.world.return_route[family])

    def _kernel_failed(self) -> None:
        self.world.post(ev.AdapterFailed("kernel", "OSError: no buffer space"))
        self.world.later(0.3, self.world.report_kernel)

    # --- speaker ---

    def _session(self, a: int, b: int) -> None:
        names = sorted(self.world.sessions)
        if names and not self.world.pipe_frozen:
            name = names[a % len(names)]
            self.world.set_session(name, up=not self.world.sessions[name])

    def _pipe_lost(self) -> None:
        if self.world.connected:
            self.world.lose_pipe()
            self.world.later(0.3, self._reconnect)

    def _exabgp_dies(self) -> None:
        self.world.pipe_frozen = False
        self.world.speaker_dies()
        self.world.later(0.5, self._reconnect)

    def _reconnect(self) -> None:
        if not self.world.connected and not self.world.pipe_frozen:
            self.world.connect()

    def _pipe_frozen(self) -> None:
        self.world.pipe_frozen = self.world.connected

    def _speaker_error(self, a: int, b: int) -> None:
        every = (*PREFIXES, *COVERS)
        self.world.speaker_errors ^= {every[a % len(every)]}

    # --- the agent ---

    def _reload(self, a: int, b: int) -> None:
        self.offered = self.configs[a % len(self.configs)]
        self.world.offer(self.offered, force=bool(b % 2))

    def _agent_ends(self, how: Callable[[], None]) -> None:
        self.world.cut = None
        how()

    def _start(self) -> None:
        self.world.cut = None
        self.world.start(self.offered)

    def heal(self) -> None:
        """No fault is left. The agent, where it has ended, is started again, as systemd would."""
        world = self.world
        for stuck in (world.outcomes, world.hangs, world.kernel_errors, world.speaker_errors, world.strangers):
            stuck.clear()
        world.cut = None
        if world.pipe_frozen:
            self._exabgp_dies()  # its watchdog, or we, have ended it
        if world.engine is not None and world.engine.parts.life.state is not Life.RUNNING:
            world.until(lambda w: w.engine is None or w.engine.parts.life.state is Life.RUNNING, 30)
        if world.engine is None:
            self._start()
        for name in list(world.sessions):
            if not world.sessions[name]:
                world.set_session(name, up=True)
        world.links["lo"] = True
        world.return_route.update(dict.fromkeys(Family, True))
        for address, state in list(world.addresses.items()):
            if not state.ours:
                world.set_address(address, None)
        for prefix in [p for p, ours in world.blackholes.items() if not ours]:
            world.set_blackhole(prefix, None)
        world.report_kernel()


def wanted(conf: Config) -> dict[RouteKey, Attributes]:
    """What the routers should have where everything is well."""
    enabled = [s for s in conf.services.values() if s.enabled and not s.observe_only]
    routes = {key: a for s in enabled for key, a in s.attributes[Tier.FULL].items()}
    routes |= {key: a for s in enabled for cover in s.covers for key, a in cover.attributes.items()}
    return {key: as_sent(attributes) for key, attributes in routes.items()}


def deaf_to_checks(conf: Config) -> dict[RouteKey, Attributes]:
    """What the routers should have whatever the checks say, where all else is well."""
    return {key: a for key, a in wanted(conf).items() if not is_host_route(key.prefix)}


def config_of(world: World) -> Config:
    assert world.engine is not None
    assert world.engine.parts.configuration.config is not None
    return world.engine.parts.configuration.config


@dataclass
class Watch:
    """Looks at the world after each turn, and fails where a promise does not hold."""

    world: World
    bad_since: dict[RouteKey, float] = field(default_factory=dict)
    adopted_since: dict[Prefix, float] = field(default_factory=dict)
    parted_since: float | None = None
    seen_actions: int = 0

    def __post_init__(self) -> None:
        self.world.after_turn = self.look

    def look(self, world: World) -> None:
        self._actions_are_allowed(world)
        self._routes_are_deserved(world)

    def between(self) -> None:
        """Also where there is no agent to have a turn: what the pipe alone keeps."""
        self.look(self.world)
        if self.world.engine is not None:
            the_snapshot_is_true(self.world, self.world.engine)

    # --- 1, 2 ---

    def _actions_are_allowed(self, world: World) -> None:
        for _, action in world.actions[self.seen_actions :]:
            if isinstance(action, act.PutRoutes) and world.engine is not None:
                for prefix in action.prefixes:
                    if not is_host_route(prefix):
                        self._may_be_covered(world, prefix)
                        continue
                    state = world.engine.parts.prefixes.states[prefix]
                    assert state.health.verdict is Verdict.UP, f"put {prefix} without a verdict"
                    assert address_of(prefix) in world.addresses, f"put {prefix} without its address"
                    assert state.decision.announce
            for address in action.addresses if isinstance(action, act.RemoveAddresses) else ():
                there = set().union(*map(world.announced, (prefix_of(address), *covers_around(prefix_of(address)))))
                # A frozen pipe that we have lost can carry out nothing, and nobody can know.
                assert not there or world.pipe_frozen, f"{address} is removed while {there} have its route"
            for prefix in action.prefixes if isinstance(action, act.RemoveBlackholes) else ():
                assert not world.announced(prefix) or world.pipe_frozen, f"{prefix} is announced without its blackhole"
        self.seen_actions = len(world.actions)

    def _may_be_covered(self, world: World, cover: Prefix) -> None:
        assert world.engine is not None
        state = world.engine.parts.last_resort.states[cover]
        assert state.decision.announce
        for prefix in state.behind:
            assert address_of(prefix) in world.addresses, f"put {cover} without the address of {prefix}"
        assert cover in world.blackholes or any(key.prefix == cover for key in world.ledger), f"{cover} would loop"

    def _routes_are_deserved(self, world: World) -> None:
        parted = world.engine is None or not world.connected
        self.parted_since = (self.parted_since or world.now) if parted else None
        for key in world.router:
            kept = not is_host_route(key.prefix)
            if parted and not kept and not world.pipe_frozen and self.parted_since is not None:
                limit = max(world.last_heartbeat, self.parted_since) + world.dead_man + 1.0
                assert world.now <= limit, f"{key} outlives the agent"
            if world.pipe_frozen or parted or key.prefix in world.speaker_errors or self._deserved(world, key):
                self.bad_since.pop(key, None)
                continue
            since = self.bad_since.setdefault(key, world.now)
            assert world.now - since <= REACTS_WITHIN, f"{key} stays announced: {world.reason(key.prefix)}"
        for key in [k for k in self.bad_since if k not in world.router]:
            del self.bad_since[key]

    def _deserved(self, world: World, key: RouteKey) -> bool:
        assert world.engine is not None
        if not is_host_route(key.prefix):
            return world.engine.parts.life.state is Life.STARTING or self._covers(world, key)
        state = world.engine.parts.prefixes.states.get(key.prefix)
        address = world.addresses.get(address_of(key.prefix))
        if world.engine.parts.life.state is Life.STARTING:
            return True  # what was found is left alone; the pipe's clock bounds for how long
        if state is None or address is None or not address.usable or not world.links["lo"]:
            return False
        if not world.return_route[family_of(key.prefix)] or key not in state.offers.get(Tier.FULL, {}):
            return False
        if state.decision.tier is Tier.ADOPTED:
            since = self.adopted_since.setdefault(key.prefix, world.now)
            return world.now - since <= world.adopt_for + 0.1
        self.adopted_since.pop(key.prefix, None)
        return state.health.verdict is Verdict.UP and state.decision.announce

    def _covers(self, world: World, key: RouteKey) -> bool:
        assert world.engine is not None
        state = world.engine.parts.last_resort.states.get(key.prefix)
        if state is None or key not in state.offers or not world.links["lo"]:
            return False
        found = [world.addresses.get(address_of(prefix)) for prefix in state.behind]
        there = all(address is not None and address.usable for address in found)
        return there and world.return_route[family_of(key.prefix)] and state.decision.announce


def covers_around(prefix: Prefix) -> list[Prefix]:
    """Of the covers that stories have."""
    address = ip_address(address_of(prefix))
    return [cover for cover in COVERS if address in ip_network(cover)]


# --- 11 ---


def the_snapshot_is_true(world: World, engine: Engine) -> None:
    """What is shown is what a picture drawn anew would show, and what the world has."""
    shown = engine.snapshot(world.now)
    drawn = Pictures(engine.parts, engine.board, engine.timers, engine.opened, 0.0).take(world.now)
    for name in drawn.services:
        assert timeless(shown.services[name]) == timeless(drawn.services[name]), f"an old picture of {name}"
    if world.pipe_frozen or not world.connected:
        return
    for one in shown.services.values():
        for last in one.covers:
            assert last.state is None or last.state == world.cover_state(last.prefix)
            the_routes_are_true(world, last.prefix, last.routes)
        for prefix in one.prefixes:
            assert prefix.address_known is False or prefix.address == world.addresses.get(address_of(prefix.prefix))
            the_routes_are_true(world, prefix.prefix, prefix.routes)


def the_routes_are_true(world: World, prefix: Prefix, routes: tuple[RouteSnapshot, ...]) -> None:
    for route in routes:
        key = RouteKey(route.neighbor, prefix)
        if route.sent is not None:
            assert route.sent == (key in world.router), f"{key}: sent is shown as {route.sent}"
        if route.on_wire is not None:
            assert route.on_wire == (key in world.router), f"{key}: on the wire is shown as {route.on_wire}"
        if route.acknowledged_known and not route.pending:
            assert (route.acknowledged is not None) == (key in world.ledger), f"{key}: acknowledged is shown wrong"


def timeless(one: Any) -> Any:
    """Without what moves with time alone."""
    checks = tuple(replace(c, next_at=None) for c in one.checks)
    return replace(one, checks=checks, prefixes=tuple(replace(p, flaps=0.0) for p in one.prefixes))
