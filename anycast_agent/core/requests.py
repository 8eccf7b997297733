"""The requests of people that change something: values, and one registry of their names.

A request is asked by the event ``Asked``. The part that it concerns binds a handler to its class with ``part.asked``,
and answers it with exactly one ``Reply``. The control socket, the command line, signals and tests use these values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

MAX_EXTEND = 3600.0
"""Longest time without an agent that a hand-over may ask the pipe for. Seconds. The pipe has the same bound."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks."""

    who: str
    """For people: ``root``, ``SIGHUP``."""
    ticket: int | None = None
    """The number that the reply carries; None: nobody waits for one."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration again. All or nothing."""

    force: bool = False
    """Also if more than half of the announced routes would be withdrawn."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """End without touching a route."""

    extend: float | None = None
    """The pipe keeps the routes for this time without an agent, in seconds; None: its default."""


Request = Reload | HandOver


class RefusedError(Exception):
    """The request is understood and refused. The text says why."""


Fields = Mapping[str, object]
"""A request as JSON has it, without its name."""


def _reload(fields: Fields) -> Reload:
    return Reload(force=bool(fields.get("force")))


def _hand_over(fields: Fields) -> HandOver:
    extend = fields.get("for")
    if extend is None:
        return HandOver()
    if isinstance(extend, bool) or not isinstance(extend, int | float) or not (math.isfinite(extend) and extend >= 0):
        raise ValueError("for: not a time in seconds")
    if extend > MAX_EXTEND:
        most = f"the speaker keeps the routes for {MAX_EXTEND:g} s at the most"
        raise RefusedError(f"{most}, not for {extend:g} s; nothing was done")
    return HandOver(float(extend))


REQUESTS: Mapping[str, Callable[[Fields], Request]] = MappingProxyType({"reload": _reload, "handover": _hand_over})
"""By the verb that asks for it. Each raises ValueError for fields that are no such request, and RefusedError."""
