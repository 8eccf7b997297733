"""From the engine's state to the snapshot that every surface shows. Rebuilds only the services that changed."""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol

from anycast_agent.core.addresses import Addresses
from anycast_agent.core.life import Life
from anycast_agent.core.link import SpeakerLink
from anycast_agent.core.model import Family, Service, SessionState, Verdict, address_of, family_of
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.pace import KEPT_FOR
from anycast_agent.core.prefixes import Prefixes, PrefixState
from anycast_agent.core.probing import CheckState, ProbeDue, Probing
from anycast_agent.core.reload import ConfigRecord
from anycast_agent.core.routes import Routes, RouteState
from anycast_agent.core.snapshot import (
    CheckSnapshot,
    ConfigSnapshot,
    NeighborSnapshot,
    PaceSnapshot,
    PrefixSnapshot,
    RouteSnapshot,
    ServiceSnapshot,
    Snapshot,
    SpeakerSnapshot,
)
from anycast_agent.core.timers import Timers

_NO_SESSION = SessionState.UNKNOWN
STARVED_SHOWN = 2.0
"""Starvation is a warning once it has lasted so long: a moment is none. Seconds."""
_WORST_FIRST = (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP)


class Drawn(Protocol):
    """What a picture is taken of: the engine's parts."""

    timers: Timers
    opened: OpenActions
    addresses: Addresses
    probing: Probing
    routes: Routes
    link: SpeakerLink
    prefixes: Prefixes
    record: ConfigRecord
    life: Life
    life_since: float
    started_at: float
    warnings: dict[str, str]
    adapter_failures: dict[str, int]

    def not_ready(self) -> tuple[str, ...]: ...


class Pictures:
    def __init__(self, engine: Drawn) -> None:
        self._engine = engine
        self._services: dict[str, ServiceSnapshot] = {}

    def forget(self, service: str) -> None:
        self._services.pop(service, None)

    def forget_all(self) -> None:
        self._services.clear()

    def take(self, now: float) -> Snapshot:
        engine = self._engine
        config, record, not_ready = engine.record.config, engine.record, engine.not_ready()
        for name in engine.prefixes.decided:
            self.forget(name)
        engine.prefixes.decided.clear()
        for name, service in (config.services if config else {}).items():
            if name not in self._services:
                self._services[name] = self._service(service, now)
        return Snapshot(
            at=now,
            node=config.node if config else "",
            site=config.site if config else "",
            life=engine.life,
            life_since=engine.life_since,
            started_at=engine.started_at,
            ready=not not_ready and engine.life is Life.RUNNING,
            not_ready=not_ready,
            pace=self._pace(now),
            speaker=self._speaker(),
            neighbors=self._neighbors(),
            services=MappingProxyType({name: self._services[name] for name in (config.services if config else {})}),
            kernel_known=engine.addresses.known,
            kernel_at=engine.addresses.seen_at,
            links=MappingProxyType(dict(engine.addresses.links)),
            way_back=MappingProxyType(self._return_routes()),
            config=ConfigSnapshot(
                record.loaded_at, record.reloads_ok, record.reloads_failed, record.errors, record.failed_at
            ),
            warnings=MappingProxyType(self._warnings(now)),
            adapter_failures=MappingProxyType(dict(engine.adapter_failures)),
            open_actions=len(engine.opened),
            overdue_actions=engine.opened.overdue_total,
        )

    def _return_routes(self) -> dict[Family, bool]:
        """By family: whether every address of which it is known has a usable one."""
        found: dict[Family, bool] = {}
        for address, route in self._engine.addresses.return_routes.items():
            family = family_of(address)
            found[family] = found.get(family, True) and route.usable
        return found

    def _pace(self, now: float) -> PaceSnapshot:
        probing = self._engine.probing
        pace = probing.pace
        return PaceSnapshot(probing.in_flight, probing.queued, pace.cap(now), pace.starved_since)

    def _warnings(self, now: float) -> dict[str, str]:
        warnings = dict(self._engine.warnings)
        pace = self._engine.probing.pace
        if pace.starved_since is not None and now - pace.starved_since >= STARVED_SHOWN:
            warnings["starved"] = (
                f"the agent gets too little processor time: late for {pace.share:.0%} of the last moments, for"
                f" {now - pace.starved_since:.0f} s. Timeouts say nothing meanwhile, and verdicts are kept for"
                f" {KEPT_FOR:.0f} s beyond their freshness. Give it more (CPUWeight=), or fewer checks"
            )
        if self._engine.link.configure_error:
            warnings["speaker configuration"] = self._engine.link.configure_error
        return warnings

    def _speaker(self) -> SpeakerSnapshot:
        link = self._engine.link
        return SpeakerSnapshot(
            link.state, link.since, link.pipe, link.why, link.answered_at, link.exabgp_age, link.restarts
        )

    def _neighbors(self) -> tuple[NeighborSnapshot, ...]:
        config, sessions = self._engine.record.config, self._engine.link.sessions
        return tuple(
            NeighborSnapshot(
                n.name, n.address, n.remote_as, n.local_as,
                sessions[n.name].state, sessions[n.name].since, sessions[n.name].why, sessions[n.name].flaps,
            )
            for n in (config.neighbors.values() if config else ())
        )  # fmt: skip

    def _service(self, service: Service, now: float) -> ServiceSnapshot:
        engine = self._engine
        prefixes = tuple(self._prefix(engine.prefixes.states[p], service, now) for p in service.prefixes)
        checks = {s.key: s for p in service.prefixes for s in engine.probing.of_prefix(p)}
        healths = [p.health for p in prefixes]
        return ServiceSnapshot(
            name=service.name,
            health=next((v for v in _WORST_FIRST if v in healths), Verdict.UNKNOWN),
            checks=tuple(self._check(state) for state in checks.values()),
            prefixes=prefixes,
        )

    def _check(self, state: CheckState) -> CheckSnapshot:
        health, check = state.health, state.check
        return CheckSnapshot(
            name=check.name,
            prefix=check.prefix,
            kind=check.kind,
            scope=check.scope,
            verdict=health.verdict,
            state=health.phase,
            since=health.since,
            stale=health.expired,
            kept=health.kept,
            streak=health.successes or health.failures,
            outcome=health.outcome,
            detail=health.detail,
            duration=health.duration,
            finished_at=health.finished_at,
            next_at=self._engine.timers.get(ProbeDue(state.key)),
            runs=MappingProxyType(dict(state.runs)),
            duration_sum=state.duration_sum,
            interval=check.interval,
            fast=health.wants_fast(),
        )

    def _prefix(self, state: PrefixState, service: Service, now: float) -> PrefixSnapshot:
        engine = self._engine
        record = engine.addresses.records.get(address_of(state.prefix))
        offered = {key for routes in state.offers.values() for key in routes}
        # One that is neither configured nor anywhere on the way is history.
        routes = [
            r for r in engine.routes.of_prefix(state.prefix)
            if r.key in offered or r.there or r.open is not None or r.sent
        ]  # fmt: skip
        return PrefixSnapshot(
            prefix=state.prefix,
            address=record.state if record else None,
            address_known=engine.addresses.known and engine.addresses.watched,
            address_at=record.seen_at if record else None,
            address_error=record.error if record else "",
            address_repairs=record.repairs if record else 0,
            health=state.health.verdict,
            health_since=state.health_since,
            flaps=state.flaps.decayed(service.hold_down, now),
            decision=state.decision,
            since=state.since,
            changes=state.changes,
            routes=tuple(self._route(r) for r in routes),
        )

    def _route(self, route: RouteState) -> RouteSnapshot:
        session = self._engine.link.sessions.get(route.key.neighbor)
        wanted = route.taken if route.keep else route.aim or (route.wanted.attributes if route.wanted else None)
        return RouteSnapshot(
            neighbor=route.key.neighbor,
            wanted=wanted,
            wanted_since=route.wanted_since,
            taken=route.taken,
            taken_known=route.known,
            taken_at=route.taken_at,
            sent=route.sent,
            sent_at=route.sent_at,
            withdrawal_sent_at=route.withdrawal_sent_at,
            echoed=bool(route.echoes),
            echoed_at=route.echoed_at,
            adopted=route.there and not route.confirmed,
            pending="" if route.open is None else route.doing,
            error=route.error,
            waits_for=route.waits_for,
            will=route.will,
            session=session.state if session else _NO_SESSION,
        )
