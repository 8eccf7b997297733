"""From a snapshot to the shapes that are shown. Pure.

Shapes of all services are generators with short steps, so that a node with thousands of services never blocks the
loop.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Generator, Iterator
from dataclasses import fields, replace
from typing import TypeVar

from anycast_agent import __version__
from anycast_agent.api import headline, shapes, words
from anycast_agent.api.shapes import Mood, State, YesNo, to_json
from anycast_agent.core.changes import Decided
from anycast_agent.core.consumers import LocalConsumers
from anycast_agent.core.model import Attributes, address_of
from anycast_agent.core.snapshot import (
    CheckSnapshot,
    ConsumersSnapshot,
    CoverSnapshot,
    PrefixSnapshot,
    RouteSnapshot,
    ServiceSnapshot,
    Snapshot,
)
from anycast_agent.journal import Entry

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Made a step at a time."""


def _age(at: float, instant: float | None) -> float | None:
    return None if instant is None else round(max(0.0, at - instant), 3)


def _left(at: float, instant: float | None) -> float | None:
    return None if instant is None else round(max(0.0, instant - at), 3)


# --- the parts ---------------------------------------------------------------------------------------------------


class Drawing:
    """The shapes of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._at = snapshot.at
        self._neighbors = {n.name: n for n in snapshot.neighbors}

    def service(self, s: ServiceSnapshot) -> Steps[shapes.Service]:
        checks, prefixes, covers = [], [], []
        for c in s.checks:
            checks.append(self.check(c))
            yield
        for p in s.prefixes:
            prefixes.append(self.prefix(s.name, p))
            yield
        for cover in s.covers:
            covers.append(self.last_resort(s.name, cover))
            yield
        return shapes.Service(s.name, s.health, tuple(checks), tuple(prefixes), tuple(covers))

    def check(self, c: CheckSnapshot) -> shapes.Check:
        at = self._at
        return shapes.Check(
            name=c.name,
            asks=address_of(c.prefix) if c.prefix else "its own target",
            type=c.kind,
            scope=c.scope,
            verdict=c.verdict,
            state=c.state,
            age=_age(at, c.since),
            stale=c.stale,
            kept=c.kept,
            in_a_row=c.streak,
            outcome=c.outcome.code if c.outcome else None,
            detail=c.outcome.detail if c.outcome else "",
            numbers=_numbers(c),
            duration=None if c.duration is None else round(c.duration, 6),
            probe_age=_age(at, c.finished_at),
            next_in=_left(at, c.next_at),
            interval=c.interval,
            fast=c.fast,
            probes=dict(c.runs),
        )

    def prefix(self, service: str, p: PrefixSnapshot) -> shapes.Prefix:
        at, d, head = self._at, p.decision, headline.of_prefix(p, self._neighbors)
        return shapes.Prefix(
            prefix=p.prefix,
            service=service,
            state=head.state,
            mood=head.mood,
            headline=head.text,
            on_wire=YesNo(p.on_wire),
            announce=d.announce,
            tier=d.tier,
            rung=d.rung.number,
            rung_title=d.rung.title,
            reason=d.reason,
            evidence=d.evidence,
            remedy=head.remedy or d.remedy,
            remaining=_left(at, d.until),
            age=_age(at, p.since),
            health=p.health,
            health_age=_age(at, p.health_since),
            flaps=round(p.flaps, 2),
            changes=p.changes,
            last_resort=p.cover,
            on_last_resort=YesNo(p.on_last_resort),
            advice=words.advice(p.prefix, service, p.cover) if head.state is State.LAST_RESORT else (),
            address=self._address(p),
            routes=tuple(self._route(r) for r in p.routes),
            consumers=self._consumers(p.consumers),
        )

    def _consumers(self, c: ConsumersSnapshot) -> shapes.Consumers:
        state = "off" if c.rule is LocalConsumers.OFF else c.state or "unknown"
        return shapes.Consumers(c.rule, state, c.routers, _age(self._at, c.since), c.error)

    def last_resort(self, service: str, c: CoverSnapshot) -> shapes.LastResort:
        at, d, head = self._at, c.decision, headline.of_cover(c, self._neighbors)
        return shapes.LastResort(
            prefix=c.prefix,
            service=service,
            protects=c.behind,
            state=head.state,
            mood=head.mood,
            headline=head.text,
            on_wire=YesNo(c.on_wire),
            announce=d.announce,
            rung=d.rung.number,
            rung_title=d.rung.title,
            reason=d.reason,
            evidence=d.evidence,
            remedy=head.remedy or d.remedy,
            age=_age(at, c.since),
            changes=c.changes,
            blackhole=shapes.Blackhole(
                there=YesNo(c.state.blackholed) if c.state else YesNo.UNKNOWN,
                ours=c.state.ours if c.state and c.state.blackholed else None,
                age=_age(at, c.state_at),
                error=c.error,
                repairs=c.repairs,
            ),
            node_address=c.state.holds if c.state else None,
            routes=tuple(self._route(r) for r in c.routes),
        )

    def _address(self, p: PrefixSnapshot) -> shapes.Address:
        return shapes.Address(
            there=p.address is not None,
            known=p.address_known,
            interface=p.address.interface if p.address else None,
            ours=p.address.ours if p.address else None,
            age=_age(self._at, p.address_at),
            error=p.address_error,
            repairs=p.address_repairs,
        )

    def _route(self, r: RouteSnapshot) -> shapes.Route:
        at = self._at
        return shapes.Route(
            neighbor=r.neighbor,
            session=r.session,
            on_wire=YesNo(r.on_wire),
            desired=_attributes(r.desired),
            desired_age=_age(at, r.desired_since),
            acknowledged=_attributes(r.acknowledged),
            acknowledged_known=r.acknowledged_known,
            acknowledged_age=_age(at, r.acknowledged_at),
            sent=YesNo(r.sent),
            sent_age=_age(at, r.sent_at),
            withdrawal_sent_age=_age(at, r.withdrawal_sent_at),
            echoed=r.echoed,
            echoed_age=_age(at, r.echoed_at),
            adopted=r.adopted,
            pending=r.pending,
            error=r.error,
            waits_for=r.waits_for,
            will=r.will,
        )

    # --- the node ---

    def status(self) -> Steps[shapes.Status]:
        s, at = self._snapshot, self._at
        services: dict[str, shapes.Service] = {}
        for name, service in s.services.items():
            services[name] = yield from self.service(service)
        states = [(p.state, p.mood) for service in services.values() for p in service.prefixes]
        covers = [c.mood for service in services.values() for c in service.last_resorts]
        counts, mood = self._summary(states, covers)
        return shapes.Status(
            version=__version__,
            node=s.node,
            site=s.site,
            headline=headline.of_node(counts),
            mood=mood,
            counts=counts,
            life=s.life,
            life_age=_age(at, s.life_since),
            uptime=_age(at, s.started_at),
            ready=s.ready,
            waits_for=s.not_ready,
            probing=shapes.Probing(s.pace.in_flight, s.pace.queued, s.pace.cap, _age(at, s.pace.starved_since)),
            speaker=self._speaker(),
            neighbors=tuple(
                shapes.Neighbor(
                    n.name, n.address or None, n.interface, n.remote_as, n.local_as, n.state,
                    _age(at, n.since), n.why, n.flaps,
                )
                for n in s.neighbors
            ),
            kernel=shapes.Kernel(
                s.kernel_known, _age(at, s.kernel_at), dict(s.links), {str(k): v for k, v in s.return_route.items()}
            ),
            configuration=self._configuration(),
            warnings=dict(s.warnings),
            adapter_failures=dict(s.adapter_failures),
            open_actions=s.open_actions,
            overdue_actions=s.overdue_actions,
            services=services,
        )  # fmt: skip

    def _summary(self, states: list[tuple[State, Mood]], covers: list[Mood]) -> tuple[shapes.Counts, Mood]:
        counts = headline.counted(states, self._snapshot.neighbors)
        sessions = Mood.OK if counts.sessions_up == counts.sessions else Mood.WARN
        moods = [mood for mood in (*(mood for _, mood in states), *covers) if mood is not Mood.OFF]
        return counts, headline.worst([*moods, sessions])

    def _speaker(self) -> shapes.Speaker:
        speaker, at = self._snapshot.speaker, self._at
        return shapes.Speaker(
            state=speaker.state,
            age=_age(at, speaker.since),
            pipe=speaker.pipe,
            why=speaker.why,
            answered_age=_age(at, speaker.answered_at),
            exabgp_age=speaker.exabgp_age,
            restarts=speaker.restarts,
        )

    def _configuration(self) -> shapes.Configuration:
        c, at = self._snapshot.config, self._at
        return shapes.Configuration(
            _age(at, c.loaded_at), c.reloads_ok, c.reloads_failed, c.errors, _age(at, c.failed_at)
        )

    # --- why ---

    def why(self, word: str) -> Steps[shapes.Why]:
        """Explain a prefix, an address or a service. An empty word means the whole node, and then only what is not
        well. Raises LookupError if the word names nothing."""
        found = _find(self._snapshot, word)
        states, moods, explained = [], [], []
        around = _covers_around(found)
        for service, p in found:
            shape = self.prefix(service.name, p)
            covers = tuple(self.last_resort(service.name, c) for c in around.get(p.prefix, ()))
            states.append((shape.state, shape.mood))
            moods += [c.mood for c in covers]
            if word or not {shape.mood, *(c.mood for c in covers)} <= {Mood.OK, Mood.OFF}:
                checks = tuple(self.check(c) for c in service.checks if c.prefix in ("", p.prefix))
                explained.append(shapes.Explained(shape, checks, covers))
            yield
        counts, mood = self._summary(states, moods)
        off = 0 if word else counts.off
        well = len(found) - len(explained) - off
        return shapes.Why(headline.of_node(counts), mood, word, well, off, tuple(explained))


def _attributes(a: Attributes | None) -> shapes.Attributes | None:
    if a is None:
        return None
    return shapes.Attributes(**{f.name: value for f in fields(a) if (value := getattr(a, f.name)) not in (None, ())})


def _covers_around(found: list[tuple[ServiceSnapshot, PrefixSnapshot]]) -> dict[str, list[CoverSnapshot]]:
    """The last resorts of each prefix of these services."""
    around: dict[str, list[CoverSnapshot]] = {}
    for service in {id(s): s for s, _ in found}.values():
        for cover in service.covers:
            for prefix in cover.behind:
                around.setdefault(prefix, []).append(cover)
    return around


def _find(snapshot: Snapshot, word: str) -> list[tuple[ServiceSnapshot, PrefixSnapshot]]:
    if not word:
        return [(s, p) for s in snapshot.services.values() for p in s.prefixes]
    if (service := snapshot.services.get(word)) is not None:
        return [(service, p) for p in service.prefixes]
    prefix = word
    with contextlib.suppress(ValueError):  # 2001:DB8::0 is 2001:db8::
        prefix = str(ipaddress.ip_network(word))
    for s in snapshot.services.values():
        for p in s.prefixes:
            if prefix in (p.prefix, address_of(p.prefix)):
                return [(s, p)]
        for cover in s.covers:
            if prefix == cover.prefix:
                return [(s, p) for p in s.prefixes if p.prefix in cover.behind]
    raise LookupError(f"no prefix and no service {word[:60]!r} is configured here")


# --- JSON, in pieces -----------------------------------------------------------------------------------------------


def now(steps: Steps[T]) -> T:
    """All the steps at once: for who does not share a loop with the engine."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def status_json(snapshot: Snapshot) -> Iterator[str]:
    status = yield from marked(Drawing(snapshot).status())
    yield to_json(replace(status, services={})).removesuffix("{}}")
    yield "{"
    for number, (name, service) in enumerate(status.services.items()):
        yield (", " if number else "") + to_json(name) + ": "
        yield from _service_json(service)
    yield "}}"


def service_json(snapshot: Snapshot, service: ServiceSnapshot) -> Iterator[str]:
    drawn = yield from marked(Drawing(snapshot).service(service))
    yield from _service_json(drawn)


def why_json(snapshot: Snapshot, word: str) -> Iterator[str]:
    """Raises LookupError at the first step where the word names nothing."""
    why = yield from marked(Drawing(snapshot).why(word))
    yield to_json(replace(why, prefixes=())).removesuffix("[]}")
    yield from _listed(why.prefixes)
    yield "}"


def changes_json(entries: tuple[Entry, ...], at: float) -> Iterator[str]:
    yield '{"changes": '
    yield from _listed(tuple(_change(entry, at) for entry in entries))
    yield "}"


def _change(entry: Entry, at: float) -> shapes.Change:
    c = entry.change
    reason = c.decision.reason if isinstance(c, Decided) else None
    return shapes.Change(entry.number, _age(at, entry.at) or 0.0, c.subject, c.text, c.level, reason)


def names_json(snapshot: Snapshot) -> Iterator[str]:
    services = snapshot.services.values()
    prefixes = [p.prefix for s in services for p in s.prefixes] + [c.prefix for s in services for c in s.covers]
    yield to_json(shapes.Names((*snapshot.services, *prefixes)))


def in_force_json(configuration: shapes.InForce) -> Iterator[str]:
    yield '{"files": {'
    for number, (path, text) in enumerate(configuration.files.items()):
        yield f"{', ' if number else ''}{to_json(path)}: {to_json(text)}"
    yield '}, "announced": '
    yield from _listed(configuration.announced)
    yield "}"


def _service_json(service: shapes.Service) -> Iterator[str]:
    head = to_json(replace(service, checks=(), prefixes=(), last_resorts=()))
    yield head.removesuffix('"checks": [], "prefixes": [], "last_resorts": []}')
    yield '"checks": '
    yield from _listed(service.checks)
    yield ', "prefixes": '
    yield from _listed(service.prefixes)
    yield ', "last_resorts": '
    yield from _listed(service.last_resorts)
    yield "}"


def _listed(shapes_: tuple[object, ...]) -> Iterator[str]:
    yield "["
    for number, shape in enumerate(shapes_):
        yield (", " if number else "") + to_json(shape)
    yield "]"


def marked(steps: Steps[T]) -> Generator[str, None, T]:
    """The same steps, each an empty piece."""
    try:
        while True:
            next(steps)
            yield ""
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _numbers(c: CheckSnapshot) -> tuple[shapes.Number, ...]:
    found = c.outcome.numbers if c.outcome else ()
    return tuple(shapes.Number(number.measure.name, number.value, number.measure.unit) for number in found)
