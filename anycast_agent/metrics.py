"""Snapshot → Prometheus. Every series is there from the start, and goes when what it tells of goes."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from anycast_agent import __version__
from anycast_agent.core.life import Life, Link
from anycast_agent.core.model import Outcome, Reason, SessionState, Verdict
from anycast_agent.core.snapshot import CheckSnapshot, PrefixSnapshot, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = ("service", "prefix")
_ROUTE = ("service", "prefix", "neighbor")
_CHECK = ("service", "check", "prefix")


@dataclass(frozen=True, slots=True)
class Shell:
    """What the process knows of itself."""

    turns: int = 0
    turn_seconds: float = 0.0
    turn_age: float = 0.0
    events_lost: int = 0


class Metrics:
    """A collector with a registry of its own: nothing is global."""

    def __init__(self, snapshot: Callable[[], Snapshot], shell: Callable[[], Shell] = Shell) -> None:
        self._snapshot = snapshot
        self._shell = shell
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(namespace="anycast", registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        s = self._snapshot()
        yield from _agent(s, self._shell())
        yield from _speaker(s)
        yield from _prefixes(s)
        yield from _routes(s)
        yield from _checks(s)


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"anycast_{name}", text, labels=labels)


def _counter(name: str, text: str, labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(f"anycast_{name}", text, labels=labels)


def _single(family: GaugeMetricFamily | CounterMetricFamily, value: float) -> Metric:
    family.add_metric([], value)
    return family


def _one_of(name: str, text: str, label: str, now: str, all_: type[Life] | type[Link]) -> Metric:
    family = _gauge(name, text, (label,))
    for state in all_:
        family.add_metric([state.value], state.value == now)
    return family


def _agent(s: Snapshot, shell: Shell) -> Iterator[Metric]:
    info = _gauge("agent_info", "Always 1; the labels say which agent this is.", ("version", "python", "node", "site"))
    info.add_metric([__version__, platform.python_version(), s.node, s.site], 1)
    yield info
    yield _one_of("agent_state", "1 for the state of the agent's life, 0 for the others.", "state", s.life, Life)
    yield _single(_gauge("agent_ready", "Whether configuration, kernel and speaker are known."), s.ready)
    yield _single(_gauge("agent_uptime_seconds", "Since the agent started."), s.at - s.started_at)
    yield _single(_counter("agent_turns", "Turns of the engine."), shell.turns)
    yield _single(_counter("agent_turn_seconds", "Time spent in turns of the engine."), shell.turn_seconds)
    yield _single(_gauge("agent_turn_age_seconds", "Since the engine's last turn."), shell.turn_age)
    yield _single(_counter("agent_events_lost", "Events past the inbox's bound."), shell.events_lost)
    yield _single(_gauge("actions_open", "Actions that have not ended."), s.open_actions)
    yield _single(_counter("actions_overdue", "Actions given up because they did not end."), s.overdue_actions)
    failures = _counter(
        "adapter_failures", "Failures of an adapter, after each of which it was restarted.", ("adapter",)
    )
    for adapter in sorted({"kernel", "speaker", *s.adapter_failures}):
        failures.add_metric([adapter], s.adapter_failures.get(adapter, 0))
    yield failures
    yield _single(_gauge("warnings", "Things that a person should mend; status names them."), len(s.warnings))
    reloads = _counter("config_reloads", "Reloads of the configuration.", ("result",))
    reloads.add_metric(["ok"], s.config.reloads_ok)
    reloads.add_metric(["failed"], s.config.reloads_failed)
    yield reloads
    failing = _gauge(
        "config_last_reload_failed", "1 while the newest configuration was refused and an older one is kept."
    )
    yield _single(failing, bool(s.config.errors))
    yield _single(_gauge("kernel_known", "Whether addresses, links and routes are known."), s.kernel_known)
    back = _gauge(
        "way_back_usable", "Whether replies from each anycast address have a usable return route.", ("family",)
    )
    for family, usable in s.way_back.items():
        back.add_metric([family], usable)
    yield back


def _speaker(s: Snapshot) -> Iterator[Metric]:
    yield _one_of("speaker_state", "1 for the state of the link to the speaker.", "state", s.speaker.state, Link)
    yield _single(_counter("speaker_restarts", "Wedged speakers that the agent ended."), s.speaker.restarts)
    age = math.nan if s.speaker.exabgp_age is None else s.speaker.exabgp_age
    yield _single(_gauge("speaker_exabgp_age_seconds", "Since ExaBGP answered the pipe; NaN while nobody knows."), age)
    up = _gauge("session_up", "Whether the BGP session is established.", ("neighbor",))
    flaps = _counter("session_flaps", "How often the BGP session was lost.", ("neighbor",))
    for n in s.neighbors:
        up.add_metric([n.name], n.state is SessionState.UP)
        flaps.add_metric([n.name], n.flaps)
    yield up
    yield flaps


def _of_prefixes(s: Snapshot) -> Iterator[tuple[list[str], PrefixSnapshot]]:
    for service in s.services.values():
        for p in service.prefixes:
            yield [service.name, p.prefix], p


def _prefixes(s: Snapshot) -> Iterator[Metric]:
    announce = _gauge("prefix_announce", "Whether the ladder says to announce it.", _PREFIX)
    reason = _gauge(
        "prefix_reason", "1, with the reason that decides; one series a prefix.", (*_PREFIX, "rung", "reason")
    )
    healthy = _gauge("prefix_healthy", "Whether its health is up.", _PREFIX)
    there = _gauge("address_present", "Whether its address is on the node; NaN while nobody knows.", _PREFIX)
    changes = _counter("prefix_changes", "How often announce changed.", _PREFIX)
    repairs = _counter("address_repairs", "How often its address was put back.", _PREFIX)
    for labels, p in _of_prefixes(s):
        announce.add_metric(labels, p.decision.announce)
        reason.add_metric([*labels, str(p.decision.rung.number), p.decision.reason], 1)
        healthy.add_metric(labels, p.health is Verdict.UP)
        there.add_metric(labels, p.address is not None if p.address_known or p.address else math.nan)
        changes.add_metric(labels, p.changes)
        repairs.add_metric(labels, p.address_repairs)
    yield from (announce, reason, healthy, there, changes, repairs)
    reasons = _gauge("prefixes", "Prefixes by the reason that decides, every reason from the start.", ("reason",))
    counts = dict.fromkeys(Reason, 0)
    for _, p in _of_prefixes(s):
        counts[p.decision.reason] += 1
    for why, count in counts.items():
        reasons.add_metric([why], count)
    yield reasons


def _routes(s: Snapshot) -> Iterator[Metric]:
    wanted = _gauge("route_wanted", "Whether the route is wanted at the neighbor.", _ROUTE)
    taken = _gauge("route_taken", "Whether ExaBGP has taken it (done).", _ROUTE)
    sent = _gauge("route_sent", "Whether the last UPDATE that ExaBGP reported announced it.", _ROUTE)
    echoed = _gauge("route_echoed", "Whether a router has shown it back to us.", _ROUTE)
    adopted = _gauge("route_adopted", "Whether an earlier run announced it and no verdict has confirmed it.", _ROUTE)
    for labels, p in _of_prefixes(s):
        for r in p.routes:
            of_route = [*labels, r.neighbor]
            wanted.add_metric(of_route, r.wanted is not None)
            taken.add_metric(of_route, r.taken is not None and r.taken_known)
            sent.add_metric(of_route, r.sent is True)
            echoed.add_metric(of_route, r.echoed)
            adopted.add_metric(of_route, r.adopted)
    yield from (wanted, taken, sent, echoed, adopted)


def _of_checks(s: Snapshot) -> Iterator[tuple[list[str], CheckSnapshot]]:
    for service in s.services.values():
        for c in service.checks:
            yield [service.name, c.name, c.prefix], c


def _checks(s: Snapshot) -> Iterator[Metric]:
    up = _gauge("check_up", "Whether the verdict is up.", _CHECK)
    stale = _gauge("check_stale", "Whether the verdict has expired.", _CHECK)
    probes = _counter("check_probes", "Probes, by how they ended.", (*_CHECK, "outcome"))
    durations = SummaryMetricFamily("anycast_check_duration_seconds", "How long probes took.", labels=_CHECK)
    for labels, c in _of_checks(s):
        up.add_metric(labels, c.verdict is Verdict.UP)
        stale.add_metric(labels, c.stale)
        for outcome in Outcome:  # also what never was: an increase from nothing to one is none to a rate
            probes.add_metric([*labels, outcome], c.runs.get(outcome, 0))
        durations.add_metric(labels, count_value=sum(c.runs.values()), sum_value=c.duration_sum)
    yield from (up, stale, probes, durations)
