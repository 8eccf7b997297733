"""From a snapshot to plain values, for JSON, the page and the command line. Pure.

Every instant becomes an age in seconds. Wanted, taken, sent, echoed and the session are five facts, each with its own.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
from dataclasses import asdict
from typing import Any

from anycast_agent.core.model import Attributes, Decision, address_of
from anycast_agent.core.snapshot import CheckSnapshot, PrefixSnapshot, RouteSnapshot, ServiceSnapshot, Snapshot


def _age(at: float, instant: float | None) -> float | None:
    return None if instant is None else round(max(0.0, at - instant), 3)


def status(snapshot: Snapshot) -> dict[str, Any]:
    """The whole of it, as ``/api/v1/status`` has it."""
    at = snapshot.at
    return {
        "node": snapshot.node,
        "site": snapshot.site,
        "life": snapshot.life,
        "life_age": _age(at, snapshot.life_since),
        "uptime": _age(at, snapshot.started_at),
        "ready": snapshot.ready,
        "waits_for": list(snapshot.not_ready),
        "speaker": {
            "state": snapshot.speaker.state,
            "age": _age(at, snapshot.speaker.since),
            "pipe": snapshot.speaker.pipe,
            "why": snapshot.speaker.why,
            "answered_age": _age(at, snapshot.speaker.answered_at),
            "exabgp_age": snapshot.speaker.exabgp_age,
            "restarts": snapshot.speaker.restarts,
        },
        "neighbors": [
            {
                "name": n.name, "address": n.address, "remote_as": n.remote_as, "local_as": n.local_as,
                "session": n.state, "age": _age(at, n.since), "why": n.why, "flaps": n.flaps,
            }
            for n in snapshot.neighbors
        ],
        "services": {name: service(snapshot, s) for name, s in snapshot.services.items()},
        "kernel": {
            "known": snapshot.kernel_known,
            "report_age": _age(at, snapshot.kernel_at),
            "links": dict(snapshot.links),
            "way_back": {str(k): v for k, v in snapshot.way_back.items()},
        },
        "configuration": {
            "age": _age(at, snapshot.config.loaded_at),
            "reloads_ok": snapshot.config.reloads_ok,
            "reloads_failed": snapshot.config.reloads_failed,
            "errors": list(snapshot.config.errors),
            "failed_age": _age(at, snapshot.config.failed_at),
        },
        "warnings": dict(snapshot.warnings),
        "adapter_failures": dict(snapshot.adapter_failures),
        "open_actions": snapshot.open_actions,
        "overdue_actions": snapshot.overdue_actions,
    }  # fmt: skip


def service(snapshot: Snapshot, s: ServiceSnapshot) -> dict[str, Any]:
    return {
        "name": s.name,
        "health": s.health,
        "checks": [_check(snapshot.at, c) for c in s.checks],
        "prefixes": [prefix(snapshot.at, p) for p in s.prefixes],
    }


def _check(at: float, c: CheckSnapshot) -> dict[str, Any]:
    return {
        "name": c.name,
        "asks": address_of(c.prefix) if c.prefix else "its own target",
        "type": c.kind,
        "scope": c.scope,
        "verdict": c.verdict,
        "state": c.state,
        "age": _age(at, c.since),
        "stale": c.stale,
        "in_a_row": c.streak,
        "outcome": c.outcome,
        "detail": c.detail,
        "duration": None if c.duration is None else round(c.duration, 6),
        "probe_age": _age(at, c.finished_at),
        "next_in": None if c.next_at is None else round(max(0.0, c.next_at - at), 3),
        "interval": c.interval,
        "fast": c.fast,
        "probes": {str(k): v for k, v in c.runs.items()},
    }


def prefix(at: float, p: PrefixSnapshot) -> dict[str, Any]:
    return {
        "prefix": p.prefix,
        **decision(at, p.decision),
        "age": _age(at, p.since),
        "health": p.health,
        "health_age": _age(at, p.health_since),
        "flaps": round(p.flaps, 2),
        "changes": p.changes,
        "address": {
            "there": p.address is not None,
            "known": p.address_known,
            "interface": p.address.interface if p.address else None,
            "ours": p.address.ours if p.address else None,
            "age": _age(at, p.address_at),
            "error": p.address_error,
            "repairs": p.address_repairs,
        },
        "routes": [_route(at, r) for r in p.routes],
    }


def decision(at: float, d: Decision) -> dict[str, Any]:
    return {
        "announce": d.announce,
        "tier": d.tier,
        "rung": d.rung.number,
        "rung_title": d.rung.title,
        "reason": d.reason,
        "evidence": d.evidence,
        "remedy": d.remedy,
        "remaining": None if d.until is None else round(max(0.0, d.until - at), 3),
    }


def _route(at: float, r: RouteSnapshot) -> dict[str, Any]:
    return {
        "neighbor": r.neighbor,
        "session": r.session,
        "wanted": _attributes(r.wanted),
        "wanted_age": _age(at, r.wanted_since),
        "taken": _attributes(r.taken),
        "taken_known": r.taken_known,
        "taken_age": _age(at, r.taken_at),
        "sent": r.sent,
        "sent_age": _age(at, r.sent_at),
        "echoed": r.echoed,
        "echoed_age": _age(at, r.echoed_at),
        "adopted": r.adopted,
        "pending": r.pending,
        "error": r.error,
        "will": r.will,
    }


def _attributes(a: Attributes | None) -> dict[str, Any] | None:
    return None if a is None else {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(a).items() if v}


def find(snapshot: Snapshot, word: str) -> tuple[ServiceSnapshot, PrefixSnapshot] | list[str]:
    """The prefix that a word names, by itself or by its address; else the names that are near."""
    known = {p.prefix: (s, p) for s in snapshot.services.values() for p in s.prefixes}
    with contextlib.suppress(ValueError):  # 2001:DB8::0 is 2001:db8::, and what is no prefix is near to something
        word = str(ipaddress.ip_network(word))
    for prefix_text, found in known.items():
        if word in (prefix_text, address_of(prefix_text)):
            return found
    return difflib.get_close_matches(word, known, n=5, cutoff=0.3)


def explain(snapshot: Snapshot, word: str) -> dict[str, Any]:
    """Why a prefix is announced or not. Raises LookupError, with what is near."""
    found = find(snapshot, word)
    if not isinstance(found, tuple):
        near = f"; there are {', '.join(found)}" if found else ""
        raise LookupError(f"no prefix {word[:60]!r} is configured here{near}")
    s, p = found
    checks = [_check(snapshot.at, c) for c in s.checks if c.prefix in ("", p.prefix)]
    return {"service": s.name, **prefix(snapshot.at, p), "checks": checks}
