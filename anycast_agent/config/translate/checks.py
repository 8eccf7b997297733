"""Checks: the parameters of their type, their times, and the addresses that they ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anycast_agent.checks.base import Params
from anycast_agent.checks.exec import ExecParams
from anycast_agent.checks.registry import KINDS, OUTCOMES, has_own_target
from anycast_agent.config import types
from anycast_agent.config.hints import kind_meant
from anycast_agent.config.models import CheckModel, ServiceModel
from anycast_agent.config.programs import unreadable_file, unusable_program
from anycast_agent.config.report import Report, details, said
from anycast_agent.config.secrets import read_secret, refuse_relative
from anycast_agent.config.source import Where
from anycast_agent.core import model as core

INTERVAL_LEAST = 0.05
M = TypeVar("M", bound=BaseModel)


def core_checks(report: Report, where: Where, written: ServiceModel, elsewhere: bool) -> tuple[core.Check, ...]:
    """A service's checks: one for each of its prefixes, or one alone if it names its own target."""
    checks: list[core.Check] = []
    for name, values in written.checks.items():
        place: Where = (*where, "checks", name)
        report.checked(place, types.name, name)
        common, params = _read(report, place, values, elsewhere)
        if common is None:
            continue
        check = _check(report, place, name, common, params)  # its times are judged even if its parameters are wrong
        if params is None:
            continue
        own = has_own_target(params)
        checks += [check] if own else [replace(check, prefix=prefix) for prefix in written.prefixes]
    return tuple(checks)


def report_checks(report: Report, values: Any, elsewhere: bool) -> None:
    """The problems of every check, whatever else is wrong with its service."""
    for where, written in _written_checks(values):
        _read(report, where, written, elsewhere)


def _written_checks(values: Any) -> Iterator[tuple[Where, dict[str, Any]]]:
    services = values.get("services")
    for name, service in services.items() if isinstance(services, dict) else ():
        checks = service.get("checks") if isinstance(service, dict) else None
        for check, written in checks.items() if isinstance(checks, dict) else ():
            if isinstance(written, dict):
                yield ("services", name, "checks", check), written


def _read(
    report: Report, where: Where, values: dict[str, Any], elsewhere: bool
) -> tuple[CheckModel | None, Params | None]:
    """A check as its models have it. Its common keys and its parameters are validated apart."""
    kind = _kind(report, where, values.get("type"))
    if kind is None:
        return None, None
    shared = set(CheckModel.model_fields)
    common = _valid(report, where, CheckModel, {k: v for k, v in values.items() if k in shared} | {"type": kind})
    params = _valid(report, where, KINDS[kind], {k: v for k, v in values.items() if k not in shared})
    if params is not None:
        _check_files(report, where, params, elsewhere)
    return common, params


def _kind(report: Report, where: Where, written: Any) -> str | None:
    """The type of a check. If no type has this name it is a problem, and the type that is meant is taken instead."""
    if isinstance(written, str) and written in KINDS:
        return written
    there_are = f"there are {', '.join(KINDS)}"
    if written is None:
        report.problem((*where, "type"), f"'type' is missing; {there_are}")
        return None
    meant = kind_meant(str(written))
    hint = f" (did you mean {meant!r}?)" if meant else ""
    report.problem((*where, "type"), f"unknown type {types.shown(written)}{hint}; {there_are}")
    return meant


def _valid(report: Report, where: Where, model: type[M], values: dict[str, Any]) -> M | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for detail in details(error):
            inside, text = said(detail, values)
            report.problem((*where, *inside), text)
        return None


def _check_files(report: Report, where: Where, params: Params, elsewhere: bool) -> None:
    """A key is a secret, so a bad one is a problem. Other files are only missed: one check depends on them."""
    if isinstance(key_file := getattr(params, "key_file", None), str):
        report.checked((*where, "key_file"), refuse_relative if elsewhere else read_secret, Path(key_file))
    if elsewhere:
        return
    for field in ("ca_file", "cert_file"):
        if isinstance(name := getattr(params, field, None), str) and (why := unreadable_file(name)):
            report.lacks((*where, field), why)
    if isinstance(params, ExecParams) and (why := unusable_program(params.command[0])):
        report.lacks((*where, "command"), why)


def _check(report: Report, where: Where, name: str, common: CheckModel, params: Params | None) -> core.Check:
    interval = common.interval
    timeout = min(1.0, interval) if common.timeout is None else common.timeout
    fast = max(INTERVAL_LEAST, interval / 10) if common.fast_interval is None else common.fast_interval
    fresh = max(2.0, 3 * (interval + timeout)) if common.fresh_for is None else common.fresh_for
    doubt = max((common.fall - 1) * interval, timeout) if common.doubt_window is None else common.doubt_window
    _check_times(report, where, interval, timeout, fast, fresh)
    return core.Check(
        name=name,
        kind=common.type,
        params=params,
        interval=interval,
        timeout=timeout,
        fast_interval=min(fast, interval),
        rise=common.rise,
        fall=common.fall,
        jitter=common.jitter,
        doubt_window=doubt,
        fresh_for=fresh,
        scope=core.Scope(common.scope),
        codes=tuple(code.word for code in OUTCOMES[common.type]),
    )


def _check_times(report: Report, where: Where, interval: float, timeout: float, fast: float, fresh: float) -> None:
    if interval < INTERVAL_LEAST:
        report.problem((*where, "interval"), "an interval is at least 50ms")
    if timeout <= 0:
        report.problem((*where, "timeout"), "a timeout is longer than 0")
    elif timeout > interval:
        text = f"the timeout, {timeout:g} s, is longer than the interval, {interval:g} s"
        report.problem((*where, "timeout"), text)
    if not INTERVAL_LEAST <= fast <= max(interval, INTERVAL_LEAST):
        text = "the fast interval is at least 50ms, and no longer than the interval"
        report.problem((*where, "fast_interval"), text)
    if fresh < interval + timeout:
        report.problem((*where, "fresh_for"), "shorter than one round: every verdict would be stale")
