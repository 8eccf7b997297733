"""Checks: the parameters of their type, their times, and the addresses that they ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from anycast_agent.checks import table
from anycast_agent.checks.durations import shown
from anycast_agent.checks.fields import forms
from anycast_agent.checks.kind import File, Kind, Params, Use
from anycast_agent.config import types
from anycast_agent.config.hints import keys_of, kind_meant
from anycast_agent.config.models import CheckModel, ServiceModel
from anycast_agent.config.programs import unreadable_file, unusable_program
from anycast_agent.config.report import Report, details, said
from anycast_agent.config.secrets import read_secret, refuse_relative
from anycast_agent.config.source import Where
from anycast_agent.core import model as core

INTERVAL_LEAST = 0.05
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Read:
    """A check as its models have it. Its common keys and its parameters are validated apart."""

    kind: Kind[Any]
    common: CheckModel
    params: Params | None
    """None: they are wrong, and so reported."""
    own_target: bool = False


def core_checks(report: Report, where: Where, written: ServiceModel, elsewhere: bool) -> tuple[core.Check, ...]:
    """A service's checks: one for each of its prefixes, or one alone if it names its own target."""
    checks: list[core.Check] = []
    for name, values in written.checks.items():
        place: Where = (*where, "checks", name)
        report.checked(place, types.name, name)
        read = _read(report, place, values, elsewhere)
        if read is None:
            continue
        check = _check(report, place, name, read)  # its times are judged even if its parameters are wrong
        if read.params is not None:
            checks += [check] if read.own_target else [replace(check, prefix=prefix) for prefix in written.prefixes]
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


def _read(report: Report, where: Where, values: dict[str, Any], elsewhere: bool) -> _Read | None:
    kind = _kind(report, where, values.get("type"))
    if kind is None:
        return None
    shared = set(CheckModel.model_fields)
    written = {k: v for k, v in values.items() if k in shared} | {"type": kind.name}
    common = _valid(report, where, CheckModel, written)
    try:
        params = _valid(report, where, kind.params, {k: v for k, v in values.items() if k not in shared})
        own_target = params is None or bool(kind.own_target(params))
        files = () if params is None else _files(kind, params)
    except Exception as error:  # of another package's code; our own kinds raise none
        report.problem((*where, "type"), f"type {kind.name!r} is broken: {table.said(error)}")
        return None
    for file in files:
        _check_file(report, where, file, elsewhere)
    return None if common is None else _Read(kind, common, params, own_target)


def _files(kind: Kind[Any], params: Params) -> tuple[File, ...]:
    files = tuple(kind.files(params))
    for file in files:
        if not isinstance(file, File):
            raise TypeError(f"files yields File, not {type(file).__name__}")
    return files


def _kind(report: Report, where: Where, written: Any) -> Kind[Any] | None:
    """The type of a check. If no type has this name it is a problem, and the type that is meant is taken instead."""
    place = (*where, "type")
    if written is None:
        report.problem(place, f"'type' is missing; {_there_are()}")
        return None
    meant = kind_meant(str(written))
    if meant != written:
        hint = f" (did you mean {meant!r}?)" if meant else ""
        report.problem(place, f"unknown type {shown(written)}{hint}; {_there_are()}")
    try:
        kind = table.find(meant) if meant else None
    except table.BrokenKindError as error:
        report.problem(place, f"type {meant!r} is broken: {error}")
        return None
    if kind is not None and (taken := sorted(keys_of(kind.params) & keys_of(CheckModel))):
        report.problem(place, f"type {meant!r} is broken: every check has the key {taken[0]!r} already")
        return None
    return kind


def _there_are() -> str:
    return f"there are {', '.join(table.names())}"


def _valid(report: Report, where: Where, model: type[M], values: dict[str, Any]) -> M | None:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        for detail in details(error):
            inside, text = said(detail, values, forms(model))
            report.problem((*where, *inside), text)
        return None


def _check_file(report: Report, where: Where, file: File, elsewhere: bool) -> None:
    """A secret that is bad is a problem. Other files are only missed: one check depends on them."""
    place = (*where, file.key)
    if file.use is Use.SECRET:
        report.checked(place, refuse_relative if elsewhere else read_secret, Path(file.path))
    elif not elsewhere:
        look = unusable_program if file.use is Use.PROGRAM else unreadable_file
        if why := look(file.path):
            report.lacks(place, why)


def _check(report: Report, where: Where, name: str, read: _Read) -> core.Check:
    common = read.common
    interval = common.interval
    timeout = min(1.0, interval) if common.timeout is None else common.timeout
    fast = max(INTERVAL_LEAST, interval / 10) if common.fast_interval is None else common.fast_interval
    fresh = max(2.0, 3 * (interval + timeout)) if common.fresh_for is None else common.fresh_for
    doubt = max((common.fall - 1) * interval, timeout) if common.doubt_window is None else common.doubt_window
    _check_times(report, where, interval, timeout, fast, fresh)
    return core.Check(
        name=name,
        kind=read.kind.name,
        params=read.params,
        interval=interval,
        timeout=timeout,
        fast_interval=min(fast, interval),
        rise=common.rise,
        fall=common.fall,
        jitter=common.jitter,
        doubt_window=doubt,
        fresh_for=fresh,
        scope=core.Scope(common.scope),
        codes=tuple(code.word for code in read.kind.codes),
        measures=read.kind.numbers,
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
