"""Snapshot → Prometheus' text format. Every series is there from the start, and goes when what it tells of goes.

The text is written here, and not by prometheus_client, because a scrape of 1,000 services kept the loop for 230 ms that
way. The lines of a service are kept until its snapshot is another one; ``pieces`` is made in slices.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from anycast_agent import __version__
from anycast_agent.core.consumers import AsideState, LocalConsumers
from anycast_agent.core.life import Life, Link
from anycast_agent.core.model import Family as IpFamily
from anycast_agent.core.model import Reason, SessionState, Verdict
from anycast_agent.core.snapshot import (
    CheckSnapshot,
    CoverSnapshot,
    PrefixSnapshot,
    RouteSnapshot,
    ServiceSnapshot,
    Snapshot,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Shell:
    """Facts of the process itself."""

    turns: int = 0
    turn_seconds: float = 0.0
    turn_age: float = 0.0
    events_lost: int = 0
    late_seconds: float = 0.0


# --- the text format (https://prometheus.io/docs/instrumenting/exposition_formats/) -----------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, its type, and its help text."""

    name: str
    kind: str
    meaning: str

    @property
    def head(self) -> str:
        meaning = self.meaning.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {self.name} {meaning}\n# TYPE {self.name} {self.kind}\n"


def _gauge(name: str, meaning: str) -> Family:
    return Family(f"anycast_{name}", "gauge", meaning)


def _counter(name: str, meaning: str) -> Family:
    return Family(f"anycast_{name}_total", "counter", meaning)


def number(value: float | None) -> str:
    """A value as Go's ParseFloat reads it; None, not known, is NaN."""
    if value is None or value != value:
        return "NaN"
    if isinstance(value, int):  # bool too
        return str(int(value))
    return repr(value) if math.isfinite(value) else "+Inf" if value > 0 else "-Inf"


def escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def labels(**pairs: str) -> str:
    """Labels without their braces: ``service="dns",prefix="192.0.2.53/32"``."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in pairs.items())


def _alone(family: Family, value: float | None) -> str:
    return f"{family.head}{family.name} {number(value)}\n"


def _each(family: Family, label: str, values: Iterable[tuple[str, float | None]]) -> str:
    lines = (f"{family.name}{{{labels(**{label: name})}}} {number(value)}\n" for name, value in values)
    return family.head + "".join(lines)


def _one_of(family: Family, label: str, now: str, every: type[StrEnum]) -> str:
    return _each(family, label, ((state.value, state.value == now) for state in every))


# --- the node ---------------------------------------------------------------------------------------------------


def _agent(s: Snapshot, shell: Shell) -> Iterator[str]:
    info = _gauge("agent_info", "Always 1; the labels say which agent this is.")
    which = labels(version=__version__, python=platform.python_version(), node=s.node, site=s.site)
    yield f"{info.head}{info.name}{{{which}}} 1\n"
    state = _gauge("agent_state", "1 for the state of the agent's life, 0 for the others.")
    yield _one_of(state, "state", s.life, Life)
    yield _alone(_gauge("agent_ready", "Whether configuration, kernel and speaker are known."), s.ready)
    yield _alone(_gauge("agent_uptime_seconds", "Since the agent started."), s.at - s.started_at)
    yield _alone(_counter("agent_turns", "Turns of the engine."), shell.turns)
    yield _alone(_counter("agent_turn_seconds", "Time spent in turns of the engine."), shell.turn_seconds)
    yield _alone(_gauge("agent_turn_age_seconds", "Since the engine's last turn."), shell.turn_age)
    yield _alone(_counter("agent_events_lost", "Events past the inbox's bound."), shell.events_lost)
    late = _counter(
        "agent_late_seconds", "Time in which the agent was too busy, or had no processor, to see its events."
    )
    yield _alone(late, shell.late_seconds)
    starved = _gauge("agent_starved_seconds", "Since when the agent gets too little processor time; 0: it gets enough.")
    yield _alone(starved, 0.0 if s.pace.starved_since is None else s.at - s.pace.starved_since)
    yield _alone(_gauge("probes_in_flight", "Probes that have not ended."), s.pace.in_flight)
    yield _alone(_gauge("probes_queued", "Probes that are due and wait for their turn."), s.pace.queued)
    yield _alone(_gauge("probes_cap", "How many probes may be in flight; fewer while the agent is late."), s.pace.cap)
    yield _alone(_gauge("actions_open", "Actions that have not ended."), s.open_actions)
    yield _alone(_counter("actions_overdue", "Actions given up because they did not end."), s.overdue_actions)
    failures = _counter("adapter_failures", "Failures of an adapter, after each of which it was restarted.")
    adapters = sorted({"kernel", "speaker", *s.adapter_failures})
    yield _each(failures, "adapter", ((name, s.adapter_failures.get(name, 0)) for name in adapters))
    yield _alone(_gauge("warnings", "Things that a person should mend; status names them."), len(s.warnings))


def _configuration(s: Snapshot, wall: float) -> Iterator[str]:
    reloads = _counter("config_reloads", "Reloads of the configuration.")
    yield _each(reloads, "result", (("ok", s.config.reloads_ok), ("failed", s.config.reloads_failed)))
    last = _gauge(
        "config_last_reload_successful", "0 while the newest configuration was refused and an older one is kept."
    )
    yield _alone(last, not s.config.errors)
    loaded = s.config.loaded_at
    at = None if loaded is None else round(wall - (s.at - loaded), 1)
    meaning = "When the configuration in force was accepted; NaN before the first."
    yield _alone(_gauge("config_last_reload_success_timestamp_seconds", meaning), at)


def _kernel(s: Snapshot) -> Iterator[str]:
    yield _alone(_gauge("kernel_known", "Whether addresses, links and routes are known."), s.kernel_known)
    back = _gauge(
        "return_route_usable", "Whether every anycast address has a usable return route; NaN while nobody knows."
    )
    yield _each(back, "family", ((family.value, s.return_route.get(family)) for family in IpFamily))


def _speaker(s: Snapshot) -> Iterator[str]:
    state = _gauge("speaker_state", "1 for the state of the link to the speaker.")
    yield _one_of(state, "state", s.speaker.state, Link)
    yield _alone(_counter("speaker_restarts", "Wedged speakers that the agent ended."), s.speaker.restarts)
    age = _gauge("speaker_exabgp_age_seconds", "Since ExaBGP answered the pipe; NaN while nobody knows.")
    yield _alone(age, s.speaker.exabgp_age)
    up = _gauge("session_up", "Whether the BGP session is established; NaN while nobody knows.")
    known = {n.name: None if n.state is SessionState.UNKNOWN else n.state is SessionState.UP for n in s.neighbors}
    yield _each(up, "neighbor", known.items())
    flaps = _counter("session_flaps", "How often the BGP session was lost.")
    yield _each(flaps, "neighbor", ((n.name, n.flaps) for n in s.neighbors))


# --- prefixes, routes, checks -------------------------------------------------------------------------------------

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Of(Generic[T]):
    """A metric of a prefix, a route or a check: its lines for one of them, which ``which`` labels."""

    family: Family
    lines: Callable[[str, str, T], str]
    """The value of a metric by name, for the labels of a prefix, route or check."""


def _value(family: Family, value: Callable[[T], float | None]) -> _Of[T]:
    def lines(name: str, which: str, of: T) -> str:
        return f"{name}{{{which}}} {number(value(of))}\n"

    return _Of(family, lines)


def _known(verdict: Verdict) -> bool | None:
    return None if verdict is Verdict.UNKNOWN else verdict is Verdict.UP


def _reason(name: str, which: str, p: PrefixSnapshot | CoverSnapshot) -> str:
    return f'{name}{{{which},rung="{p.decision.rung.number}",reason="{p.decision.reason}"}} 1\n'


def _probes(name: str, which: str, c: CheckSnapshot) -> str:
    """Also the ends that never were: an increase from nothing to one is none to a rate."""
    codes = dict.fromkeys((*c.codes, *c.runs))
    return "".join(f'{name}{{{which},outcome="{code}"}} {c.runs.get(code, 0)}\n' for code in codes)


def _numbers(name: str, which: str, c: CheckSnapshot) -> str:
    found = {number.measure: number.value for number in c.outcome.numbers} if c.outcome else {}
    return "".join(
        f"{name}{{{which},{labels(number=m.name, unit=m.unit)}}} {number(found.get(m))}\n" for m in c.measures
    )


def _durations(name: str, which: str, c: CheckSnapshot) -> str:
    return f"{name}_count{{{which}}} {sum(c.runs.values())}\n{name}_sum{{{which}}} {number(c.duration_sum)}\n"


def _aside(p: PrefixSnapshot) -> bool | None:
    if p.consumers.rule is LocalConsumers.OFF:
        return False
    return None if p.consumers.state is None else p.consumers.state is not AsideState.HOME


PREFIX: tuple[_Of[PrefixSnapshot], ...] = (
    _value(_gauge("prefix_announce", "Whether the ladder says to announce it."), lambda p: p.decision.announce),
    _value(
        _gauge("prefix_on_wire", "Whether it was sent on at least one established session; NaN while nobody knows."),
        lambda p: p.on_wire,
    ),
    _Of(_gauge("prefix_reason", "1, with the reason that decides; one series a prefix."), _reason),
    _value(_gauge("prefix_healthy", "Whether its health is up; NaN before a verdict."), lambda p: _known(p.health)),
    _value(
        _gauge("address_present", "Whether its address is on the node; NaN while nobody knows."),
        lambda p: p.address is not None if p.address_known or p.address else None,
    ),
    _value(
        _gauge(
            "local_consumers_aside",
            "Whether this node's own packets to it go to another replica; NaN if unknown.",
        ),
        _aside,
    ),
    _value(
        _gauge("prefix_on_last_resort", "Whether routers have only its last resort from this node; NaN if unknown."),
        lambda p: p.on_last_resort,
    ),
    _value(_counter("prefix_changes", "How often announce changed."), lambda p: p.changes),
    _value(_counter("address_repairs", "How often its address was put back."), lambda p: p.address_repairs),
)
COVER: tuple[_Of[CoverSnapshot], ...] = (
    _value(_gauge("last_resort_announce", "Whether the ladder says to announce it."), lambda c: c.decision.announce),
    _value(
        _gauge("last_resort_on_wire", "Whether it was sent on at least one established session; NaN if unknown."),
        lambda c: c.on_wire,
    ),
    _Of(_gauge("last_resort_reason", "1, with the reason that decides; one series a last resort."), _reason),
    _value(
        _gauge("last_resort_blackholed", "Whether the rest of it is discarded on the node; NaN if unknown."),
        lambda c: None if c.state is None else c.state.blackholed,
    ),
    _value(_counter("blackhole_repairs", "How often its blackhole route was put back."), lambda c: c.repairs),
)
_OF_COVERS = frozenset({Reason.LAST_RESORT, Reason.BLACKHOLE_MISSING, Reason.NODE_ADDRESS_INSIDE})
"""Reasons that no prefix itself can have."""
ROUTE: tuple[_Of[RouteSnapshot], ...] = (
    _value(_gauge("route_desired", "Whether the route is desired at the neighbor."), lambda r: r.desired is not None),
    _value(
        _gauge("route_acknowledged", "Whether ExaBGP has acknowledged it (done); NaN while nobody knows."),
        lambda r: r.acknowledged is not None if r.acknowledged_known else None,
    ),
    _value(
        _gauge("route_sent", "Whether the UPDATE was written to an established session; NaN while nobody knows."),
        lambda r: r.on_wire,
    ),
    _value(_gauge("route_echoed", "Whether a router has shown it back to us."), lambda r: r.echoed),
    _value(
        _gauge("route_adopted", "Whether an earlier run announced it and no verdict has confirmed it."),
        lambda r: r.adopted,
    ),
)
CHECK: tuple[_Of[CheckSnapshot], ...] = (
    _value(_gauge("check_up", "Whether the verdict is up; NaN before the first."), lambda c: _known(c.verdict)),
    _value(_gauge("check_stale", "Whether the verdict has expired."), lambda c: c.stale),
    _Of(_counter("check_probes", "Probes, by how they ended."), _probes),
    _Of(_gauge("check_number", "What the last probe measured; NaN where it did not."), _numbers),
    _Of(Family("anycast_check_duration_seconds", "summary", "How long probes took."), _durations),
)


@dataclass(slots=True)
class _Block:
    """The lines of one service, by metric, in the order of _FAMILIES."""

    of: ServiceSnapshot
    texts: list[str] = field(default_factory=list)


def _texts(families: tuple[_Of[T], ...], labelled: list[tuple[str, T]]) -> Iterator[str]:
    for metric in families:
        lines, name = metric.lines, metric.family.name
        yield "".join([lines(name, which, of) for which, of in labelled])


def _block(s: ServiceSnapshot) -> _Block:
    service = labels(service=s.name)
    prefixes = [(f'{service},prefix="{p.prefix}"', p) for p in s.prefixes]
    covers = [(f'{service},prefix="{c.prefix}"', c) for c in s.covers]
    routes = [(f"{which},{labels(neighbor=r.neighbor)}", r) for which, p in prefixes for r in p.routes]
    routes += [(f"{which},{labels(neighbor=r.neighbor)}", r) for which, c in covers for r in c.routes]
    checks = [(f'{service},{labels(check=c.name)},prefix="{c.prefix}"', c) for c in s.checks]
    texts = (_texts(PREFIX, prefixes), _texts(COVER, covers), _texts(ROUTE, routes), _texts(CHECK, checks))
    return _Block(s, [text for of_kind in texts for text in of_kind])


_FAMILIES = tuple(metric.family for kind in (PREFIX, COVER, ROUTE, CHECK) for metric in kind)
_HEADS = tuple(family.head for family in _FAMILIES)


class Metrics:
    """Nothing is global: the process's own metrics have a registry that is ours."""

    def __init__(self, snapshot: Callable[[], Snapshot], shell: Callable[[], Shell] = Shell) -> None:
        self._snapshot = snapshot
        self._shell = shell
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)  # process_cpu_seconds_total and so on: the names that dashboards know
        self._blocks: dict[str, _Block] = {}

    def text(self) -> str:
        return "".join(self.pieces())

    def pieces(self) -> Iterator[str]:
        """The exposition, in pieces that take a moment each; an empty one is only a moment's end."""
        s = self._snapshot()
        yield from _agent(s, self._shell())
        yield from _configuration(s, time.time())
        yield from _kernel(s)
        yield from _speaker(s)
        yield generate_latest(self._process).decode()
        blocks: list[_Block] = []
        for name, service in s.services.items():
            block = self._blocks.get(name)
            if block is None or block.of is not service:
                block = _block(service)
                yield ""
            blocks.append(block)
        self._blocks = {block.of.name: block for block in blocks}
        for number_, head in enumerate(_HEADS):
            yield head + "".join([block.texts[number_] for block in blocks])
        yield _reasons(s)


def _reasons(s: Snapshot) -> str:
    counts = {reason: 0 for reason in Reason if reason not in _OF_COVERS}
    for service in s.services.values():
        for p in service.prefixes:
            counts[p.decision.reason] += 1
    family = _gauge("prefixes", "Prefixes by the reason that decides, every reason from the start.")
    return _each(family, "reason", ((reason.value, count) for reason, count in counts.items()))
