"""The differences between two configurations, and what they do on the wire. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from anycast_agent.core.model import Attributes, Config, RouteKey, Service, Tier
from anycast_agent.core.reload import refusal, withdrawn_by

_TOLD_APART = frozenset({"name", "prefixes", "checks", "attributes", "covers"})
"""Fields of a service with lines of their own. Any other field, also a later one, is told by its name."""


@dataclass(frozen=True, slots=True)
class Change:
    what: str
    """neighbor, service, check, route, node or reload."""
    name: str
    text: str
    withdraws: bool = False


def changes(old: Config, new: Config, announced: Iterable[RouteKey] | None = None) -> list[Change]:
    """All differences, withdrawn routes last. There are none only if the two are equal.

    ``announced``: the routes that are announced now. By default all that the old configuration may announce.
    """
    found = [*_neighbors(old, new), *_services(old, new), *_routes(old, new), *_node(old, new)]
    if announced is None:
        announced = [key for s in old.services.values() if s.enabled and not s.observe_only for key in s.keys]
    announced = list(announced)
    found += [Change("route", f"{k.prefix} at {k.neighbor}", "withdrawn", True) for k in withdrawn_by(new, announced)]
    refused = refusal(new, announced)
    if refused:
        found.append(Change("reload", "refused", refused[0], True))
    return found


def _neighbors(old: Config, new: Config) -> Iterator[Change]:
    for name in sorted({*old.neighbors, *new.neighbors}):
        before, after = old.neighbors.get(name), new.neighbors.get(name)
        if before is None:
            yield Change("neighbor", name, "added: a new session")
        elif after is None:
            yield Change("neighbor", name, "removed: its routes are withdrawn, then the session closes", True)
        elif before != after:
            differing = [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]
            yield Change("neighbor", name, f"{', '.join(differing)}: the session is reset, the others are not")


def _services(old: Config, new: Config) -> Iterator[Change]:
    for name in sorted({*old.services, *new.services}):
        before, after = old.services.get(name), new.services.get(name)
        if after is None:
            yield Change("service", name, "removed", before is not None and not _silent(before))
        elif before is None:
            yield Change("service", name, f"added: {_what_becomes(after)}")
        elif before != after:
            yield from _service(name, before, after)


def _silent(service: Service) -> str:
    """The reason why a service is not announced, whatever its checks say; empty if the checks decide."""
    return "the service is disabled" if not service.enabled else "the service is only observed" * service.observe_only


def _what_becomes(service: Service) -> str:
    why = _silent(service)
    return f"not announced, {why}" if why else "announced once its checks have risen"


def _said(value: object) -> str:
    """As written in a configuration: ``true``, not ``True``."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _service(name: str, before: Service, after: Service) -> Iterator[Change]:
    for prefix in sorted({*after.prefixes} - {*before.prefixes}):
        yield Change("service", name, f"prefix {prefix} added")
    for prefix in sorted({*before.prefixes} - {*after.prefixes}):
        yield Change("service", name, f"prefix {prefix} removed")
    if before.prefixes != after.prefixes and {*before.prefixes} == {*after.prefixes}:
        yield Change("service", name, "prefixes: in another order")
    yield from _covers(name, before, after)
    old_checks, new_checks = ({(c.name, c.prefix): c for c in s.checks} for s in (before, after))
    for key in sorted({*old_checks, *new_checks}):
        label = f"{name}/{key[0]}" + (f"@{key[1].partition('/')[0]}" if key[1] else "")
        if key not in old_checks:
            yield Change("check", label, "added: what is announced waits for its first verdict, and stays meanwhile")
        elif key not in new_checks:
            yield Change("check", label, "removed")
        elif old_checks[key] != new_checks[key]:
            yield Change("check", label, "altered: its history begins again")
    for field in (f.name for f in fields(before) if f.name not in _TOLD_APART):
        if getattr(before, field) != getattr(after, field):
            yield Change("service", name, f"{field}: {_said(getattr(before, field))} → {_said(getattr(after, field))}")
    if _silent(before) != _silent(after):
        yield Change("service", name, _what_becomes(after), not _silent(before))


def _covers(name: str, before: Service, after: Service) -> Iterator[Change]:
    """What is announced whatever the checks say, or no longer."""
    was, becomes = ({c.prefix: c.behind for c in s.covers} for s in (before, after))
    for prefix in sorted({*was, *becomes}):
        if was.get(prefix) != becomes.get(prefix):
            around = f"around {', '.join(becomes[prefix])}" if prefix in becomes else "removed"
            yield Change("service", name, f"last resort {prefix} {around}", prefix not in becomes)


def _routes(old: Config, new: Config) -> Iterator[Change]:
    silent = _silent_routes(new)
    for tier in (Tier.FULL, Tier.DEGRADED, Tier.LAST_RESORT):
        how = "while degraded" if tier is Tier.DEGRADED else "announced anew"
        before, after = _of_tier(old, tier), _of_tier(new, tier)
        for key in sorted({*before, *after}):
            label = f"{key.prefix} at {key.neighbor}"
            was, becomes = before.get(key), after.get(key)
            if was is None or becomes is None:
                if tier is not Tier.DEGRADED:
                    new_one = f"new, but not announced: {silent[key]}" if key in silent else "new"
                    yield Change("route", label, new_one if was is None else "no longer configured")
            elif was != becomes:
                differing = [f.name for f in fields(was) if getattr(was, f.name) != getattr(becomes, f.name)]
                text = f"altered, but not announced: {silent[key]}" if key in silent else how
                yield Change("route", label, f"{text}: {', '.join(differing)}")


def _of_tier(config: Config, tier: Tier) -> dict[RouteKey, Attributes]:
    if tier is Tier.LAST_RESORT:
        return {k: a for s in config.services.values() for cover in s.covers for k, a in cover.attributes.items()}
    return {k: a for s in config.services.values() for k, a in s.attributes.get(tier, {}).items()}


def _silent_routes(config: Config) -> dict[RouteKey, str]:
    return {key: why for s in config.services.values() if (why := _silent(s)) for key in s.keys}


def _node(old: Config, new: Config) -> Iterator[Change]:
    for field in (f.name for f in fields(old) if f.name not in ("neighbors", "services")):
        if getattr(old, field) != getattr(new, field):
            yield Change("node", field, f"{getattr(old, field)} → {getattr(new, field)}")
