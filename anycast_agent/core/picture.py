"""From the engine's state to the snapshot that every surface shows. Rebuilds only the services that changed."""

from __future__ import annotations

from types import MappingProxyType

from anycast_agent.core.backoff import NEVER
from anycast_agent.core.board import Board
from anycast_agent.core.consumers import AsideState, LocalConsumers
from anycast_agent.core.last_resort import CoverDecided
from anycast_agent.core.model import Address, Config, Prefix, RouteKey, Service, Verdict, Will, address_of
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.pace import KEPT_FOR
from anycast_agent.core.parts.aside import NO_RECORD
from anycast_agent.core.parts.probing import CheckState, ProbeDue
from anycast_agent.core.parts.route import RouteState
from anycast_agent.core.prefixes import PrefixState
from anycast_agent.core.snapshot import (
    CheckSnapshot,
    ConfigSnapshot,
    ConsumersSnapshot,
    CoverSnapshot,
    NeighborSnapshot,
    PaceSnapshot,
    PrefixSnapshot,
    RouteSnapshot,
    ServiceSnapshot,
    Snapshot,
    SpeakerSnapshot,
)
from anycast_agent.core.timers import Timers
from anycast_agent.core.wiring import Parts

STARVED_SHOWN = 2.0
"""Starvation becomes a warning after this time. Seconds."""
_WORST_FIRST = (Verdict.DOWN, Verdict.UNKNOWN, Verdict.UP)


class Pictures:
    def __init__(self, parts: Parts, board: Board, timers: Timers, opened: OpenActions, now: float) -> None:
        self._parts = parts
        self._board = board
        self._timers = timers
        self._opened = opened
        self._started_at = now
        self._services: dict[str, ServiceSnapshot] = {}

    def take(self, now: float) -> Snapshot:
        parts, life, addresses = self._parts, self._parts.life, self._parts.addresses
        config = parts.configuration.config
        services = config.services if config else {}
        self._forget_what_changed()
        for name in services:
            if name not in self._services:
                self._services[name] = self._service(services[name], now)
        return Snapshot(
            at=now,
            node=config.node if config else "",
            site=config.site if config else "",
            life=life.state,
            life_since=life.since,
            started_at=self._started_at,
            ready=life.ready,
            not_ready=parts.not_ready(),
            pace=self._pace(now),
            speaker=self._speaker(),
            neighbors=self._neighbors(config),
            services=MappingProxyType({name: self._services[name] for name in services}),
            kernel_known=addresses.known,
            kernel_at=addresses.seen_at,
            links=MappingProxyType(dict(addresses.links)),
            return_route=MappingProxyType(dict(parts.return_routes.families())),
            config=self._configuration(),
            warnings=MappingProxyType(self._warnings(now)),
            adapter_failures=MappingProxyType(dict(parts.warnings.adapter_failures)),
            open_actions=len(self._opened),
            overdue_actions=self._opened.overdue_total,
        )

    def _forget_what_changed(self) -> None:
        """The services that the board says are out of date are drawn anew."""
        of_prefixes = {p: s.service for p, s in self._parts.prefixes.states.items()}
        of_covers = {p: s.service for p, s in self._parts.last_resort.states.items()}
        shown = self._board.take_shown(of_prefixes | of_covers)
        for name in list(self._services) if shown is None else shown:
            self._services.pop(name, None)

    def _configuration(self) -> ConfigSnapshot:
        found = self._parts.configuration
        return ConfigSnapshot(
            found.loaded_at, found.reloads_ok, found.reloads_failed, found.errors, found.failed_at, found.files
        )

    def _pace(self, now: float) -> PaceSnapshot:
        probing = self._parts.probing
        pace = probing.pace
        return PaceSnapshot(probing.in_flight, probing.queued, pace.cap(now), pace.starved_since)

    def _warnings(self, now: float) -> dict[str, str]:
        warnings = dict(self._parts.warnings.texts)
        pace = self._parts.probing.pace
        if pace.starved_since is not None and now - pace.starved_since >= STARVED_SHOWN:
            warnings["starved"] = (
                f"the agent gets too little processor time: late for {pace.share:.0%} of the last moments, for"
                f" {now - pace.starved_since:.0f} s. Timeouts say nothing meanwhile, and verdicts are kept for"
                f" {KEPT_FOR:.0f} s beyond their freshness. Give it more (CPUWeight=), or fewer checks"
            )
        if self._parts.setup.error:
            warnings["speaker configuration"] = self._parts.setup.error
        return warnings

    def _speaker(self) -> SpeakerSnapshot:
        link = self._parts.speaker
        return SpeakerSnapshot(
            link.state, link.since, link.pipe, link.why, link.answered_at, link.exabgp_age, self._parts.setup.restarts
        )

    def _neighbors(self, config: Config | None) -> tuple[NeighborSnapshot, ...]:
        sessions, routers = self._parts.sessions.states, self._parts.routers
        return tuple(
            NeighborSnapshot(
                n.name, n.address or routers.found.get(n.name, ""), n.interface, n.remote_as, n.local_as,
                sessions[n.name].state, sessions[n.name].since, routers.why(n.name) or sessions[n.name].why,
                sessions[n.name].flaps,
            )
            for n in (config.neighbors.values() if config else ())
        )  # fmt: skip

    def _service(self, service: Service, now: float) -> ServiceSnapshot:
        parts = self._parts
        covers = tuple(self._cover(parts.last_resort.states[c.prefix]) for c in service.covers)
        around = {inside: c for c in sorted(covers, key=lambda c: c.on_wire is True) for inside in c.behind}
        prefixes = tuple(self._prefix(parts.prefixes.states[p], service, around.get(p), now) for p in service.prefixes)
        checks = {s.key: s for p in service.prefixes for s in parts.probing.of_prefix(p)}
        healths = [p.health for p in prefixes]
        return ServiceSnapshot(
            name=service.name,
            health=next((v for v in _WORST_FIRST if v in healths), Verdict.UNKNOWN),
            checks=tuple(self._check(state) for state in checks.values()),
            prefixes=prefixes,
            covers=covers,
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
            duration=health.duration,
            finished_at=health.finished_at,
            next_at=self._timers.get(ProbeDue(state.key)),
            codes=check.codes,
            measures=check.measures,
            runs=MappingProxyType(dict(state.runs)),
            duration_sum=state.duration_sum,
            interval=check.interval,
            fast=health.wants_fast(),
        )

    def _prefix(self, state: PrefixState, service: Service, cover: CoverSnapshot | None, now: float) -> PrefixSnapshot:
        parts = self._parts
        record = parts.addresses.records.get(address_of(state.prefix))
        offered = {key for routes in state.offers.values() for key in routes}
        return PrefixSnapshot(
            prefix=state.prefix,
            address=record.state if record else None,
            address_known=parts.addresses.known and parts.addresses.watched,
            address_at=record.seen_at if record else None,
            address_error=record.error if record else "",
            address_repairs=record.repairs if record else 0,
            health=state.health.verdict,
            health_since=state.health_since,
            flaps=state.flaps.decayed(service.hold_down, now),
            decision=state.decision,
            since=state.since,
            changes=state.changes,
            routes=self._routes(state.prefix, offered),
            cover=cover.prefix if cover else "",
            cover_on_wire=cover.on_wire if cover else False,
            consumers=self._consumers(address_of(state.prefix), service),
        )

    def _consumers(self, address: Address, service: Service) -> ConsumersSnapshot:
        asides, config = self._parts.asides, self._parts.configuration.config
        record = asides.records.get(address, NO_RECORD)
        known = asides.known and service.local_consumers is not LocalConsumers.OFF
        names = {n.address: n.name for n in config.neighbors.values()} if config else {}
        return ConsumersSnapshot(
            service.local_consumers,
            record.state if known else None,
            record.since if known else None,
            tuple(names.get(a, a) for a in record.gateways) if record.state is AsideState.ASIDE else (),
            record.error,
        )

    def _cover(self, state: CoverDecided) -> CoverSnapshot:
        record = self._parts.blackholes.records.get(state.prefix)
        return CoverSnapshot(
            prefix=state.prefix,
            behind=state.behind,
            state=record.state if record else None,
            state_at=record.seen_at if record else None,
            error=record.error if record else "",
            repairs=record.repairs if record else 0,
            decision=state.decision,
            since=state.since,
            changes=state.changes,
            routes=self._routes(state.prefix, set(state.offers)),
        )

    def _routes(self, prefix: Prefix, offered: set[RouteKey]) -> tuple[RouteSnapshot, ...]:
        """Those of a prefix; one that is neither configured nor anywhere on the way is history."""
        found = self._parts.routes.table.of_prefix(prefix)
        shown = (r for r in found if r.key in offered or r.there or r.under_way is not None or r.carried())
        return tuple(self._route(r) for r in shown)

    def _route(self, route: RouteState) -> RouteSnapshot:
        held, echo = route.held, self._parts.echoes.of(route.key)
        desired = route.attributes if route.keep else route.aim or (route.desired.attributes if route.desired else None)
        return RouteSnapshot(
            neighbor=route.key.neighbor,
            desired=desired,
            desired_since=route.desired_since,
            acknowledged=route.attributes,
            acknowledged_known=route.known,
            acknowledged_at=_instant(route.acknowledged.at),
            sent=route.carried(),
            sent_at=_instant(route.sent_at),
            withdrawal_sent_at=route.withdrawal_sent_at,
            echoed=bool(echo.paths),
            echoed_at=echo.at,
            adopted=held is not None and not held.confirmed,
            pending="" if route.under_way is None else route.under_way.step,
            error=route.error,
            waits_for=route.waits_for,
            will=held.will if held else route.desired.will if route.desired else Will.WITHDRAW,
            session=self._parts.sessions.state(route.key.neighbor),
        )


def _instant(at: float) -> float | None:
    return None if at == NEVER else at
