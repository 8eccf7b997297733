"""The values that are shown: the page, JSON and the command line are made from these, and from nothing else.

Every instant is an age in seconds. Desired, acknowledged, sent, echoed and the session are five facts, each with its
own age. The headline is the wire: the route that was sent on an established session, not the ladder's wish.

An unknown fact is ``YesNo.UNKNOWN``: "unknown" in words, ``null`` in JSON, ``NaN`` in the metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class YesNo(Enum):
    YES = True
    NO = False
    UNKNOWN = None

    def say(self, yes: str, no: str, what: str) -> str:
        """In words; ``what`` names the fact that is unknown."""
        return {YesNo.YES: yes, YesNo.NO: no, YesNo.UNKNOWN: f"{what} unknown"}[self]


class State(StrEnum):
    """A prefix in two words: the desired state, and the wire."""

    ANNOUNCED = "announced"
    NO_ROUTER = "on no router"
    """It may be announced, and no established session carries it."""
    UNKNOWN = "unknown"
    """It is unknown whether a router has it."""
    LEFT = "still announced"
    """It is not to be announced, and a router still has it."""
    WITHDRAWN = "not announced"
    LAST_RESORT = "last resort"
    """Routers have only its last resort from this node."""


class Mood(StrEnum):
    """The colour."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"
    OFF = "off"
    """Not desired here: neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """Only the attributes that are set."""

    next_hop: str | None = None
    med: int | None = None
    local_preference: int | None = None
    as_path: tuple[int, ...] | None = None
    communities: tuple[str, ...] | None = None
    large_communities: tuple[str, ...] | None = None
    extended_communities: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    neighbor: str
    session: str
    on_wire: YesNo
    desired: Attributes | None
    desired_age: float | None
    acknowledged: Attributes | None
    acknowledged_known: bool
    acknowledged_age: float | None
    sent: YesNo
    sent_age: float | None
    withdrawal_sent_age: float | None
    echoed: bool
    echoed_age: float | None
    adopted: bool
    pending: str
    error: str
    waits_for: str
    will: str


@dataclass(frozen=True, slots=True)
class Address:
    there: bool
    known: bool
    interface: str | None
    ours: bool | None
    age: float | None
    error: str
    repairs: int


@dataclass(frozen=True, slots=True)
class Consumers:
    """Where this node's own packets to the prefix go."""

    rule: str
    state: str
    """``home``: here; ``aside``: to ``routers``; ``returning``, ``broken``, ``unknown``; ``off``: always here."""
    routers: tuple[str, ...]
    age: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Blackhole:
    """The route that discards what is sent to the rest of a last resort."""

    there: YesNo
    ours: bool | None
    age: float | None
    error: str
    repairs: int


@dataclass(frozen=True, slots=True)
class LastResort:
    """A shorter prefix that is announced whatever the checks say."""

    prefix: str
    service: str
    protects: tuple[str, ...]
    """The prefixes of the service that are inside."""
    state: State
    mood: Mood
    headline: str
    on_wire: YesNo
    announce: bool
    rung: int
    rung_title: str
    reason: str
    evidence: str
    remedy: str
    age: float | None
    changes: int
    blackhole: Blackhole
    node_address: str | None
    """An address of this node that is inside, and should not be."""
    routes: tuple[Route, ...]


@dataclass(frozen=True, slots=True)
class Prefix:
    prefix: str
    service: str
    state: State
    mood: Mood
    headline: str
    """The state with its reason: ``healthy, but on no router: leaf1-v6 is down``."""
    on_wire: YesNo
    announce: bool
    """The ladder's answer."""
    tier: str | None
    rung: int
    rung_title: str
    reason: str
    evidence: str
    remedy: str
    """The condition that would change it."""
    remaining: float | None
    age: float | None
    health: str
    health_age: float | None
    flaps: float
    changes: int
    last_resort: str
    """The shorter prefix that is announced whatever the checks say; empty: it has none."""
    on_last_resort: YesNo
    """Whether routers have only that from this node."""
    advice: tuple[str, ...]
    """What that means for its users, and what to type; empty where it is not so."""
    address: Address
    routes: tuple[Route, ...]
    consumers: Consumers


@dataclass(frozen=True, slots=True)
class Number:
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    asks: str
    type: str
    scope: str
    verdict: str
    state: str
    age: float | None
    stale: bool
    kept: bool
    """The verdict is older than it may be, and kept because the agent itself is starved."""
    in_a_row: int
    outcome: str | None
    """A word of its type."""
    detail: str
    numbers: tuple[Number, ...]
    """What the last probe measured."""
    duration: float | None
    probe_age: float | None
    next_in: float | None
    interval: float
    fast: bool
    probes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    health: str
    checks: tuple[Check, ...]
    prefixes: tuple[Prefix, ...]
    last_resorts: tuple[LastResort, ...]


@dataclass(frozen=True, slots=True)
class Neighbor:
    name: str
    address: str | None
    """None: it is that of the router on the interface, which has not been seen yet."""
    interface: str
    remote_as: int
    local_as: int
    session: str
    age: float | None
    why: str
    flaps: int


@dataclass(frozen=True, slots=True)
class Speaker:
    state: str
    age: float | None
    pipe: str
    why: str
    answered_age: float | None
    exabgp_age: float | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Kernel:
    known: bool
    report_age: float | None
    links: Mapping[str, bool]
    return_route: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Configuration:
    age: float | None
    reloads_ok: int
    reloads_failed: int
    errors: tuple[str, ...]
    failed_age: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    prefixes: int = 0
    """Those that somebody wants here."""
    announced: int = 0
    unknown: int = 0
    last_resort: int = 0
    """Those of which routers have only the last resort from this node."""
    off: int = 0
    """Disabled, or only observed."""
    sessions: int = 0
    sessions_up: int = 0
    sessions_unknown: int = 0


@dataclass(frozen=True, slots=True)
class Probing:
    """The agent's own pace: does it keep up with its probes?"""

    in_flight: int
    queued: int
    cap: int
    starved_age: float | None
    """Since when this process gets too little processor time; null: it gets enough."""


@dataclass(frozen=True, slots=True)
class Status:
    """The whole of it, as ``/api/v1/status`` has it."""

    version: str
    node: str
    site: str
    headline: str
    """``3 of 12 prefixes announced, 1 of 3 sessions up``."""
    mood: Mood
    counts: Counts
    life: str
    life_age: float | None
    uptime: float | None
    ready: bool
    waits_for: tuple[str, ...]
    probing: Probing
    speaker: Speaker
    neighbors: tuple[Neighbor, ...]
    kernel: Kernel
    configuration: Configuration
    warnings: Mapping[str, str]
    adapter_failures: Mapping[str, int]
    open_actions: int
    overdue_actions: int
    services: Mapping[str, Service]


@dataclass(frozen=True, slots=True)
class Explained:
    """Why one prefix is as it is."""

    prefix: Prefix
    checks: tuple[Check, ...]
    last_resorts: tuple[LastResort, ...]
    """Those around the prefix."""


@dataclass(frozen=True, slots=True)
class Why:
    """The answer to ``why``: a prefix, a service's prefixes, or those of the node that need a person's attention."""

    headline: str
    mood: Mood
    asked: str
    """Empty: the whole node, and then only prefixes that are not well."""
    well: int
    """Prefixes of the node that are left out, because they are announced at their best at every neighbor."""
    off: int
    """And those that nobody wants here."""
    prefixes: tuple[Explained, ...]


@dataclass(frozen=True, slots=True)
class Announced:
    """A route that is with the speaker."""

    neighbor: str
    prefix: str


@dataclass(frozen=True, slots=True)
class InForce:
    """The configuration in force as it was read, not as the files are now, and the routes announced from it."""

    files: Mapping[str, str]
    announced: tuple[Announced, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """All that ``why`` answers to: services and prefixes."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the journal."""

    number: int
    age: float
    subject: str
    text: str
    level: str
    reason: str | None
    """The ladder's, if it decided something else than before."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The journal, the oldest first."""

    changes: tuple[Change, ...]


# --- to JSON and back --------------------------------------------------------------------------------------------


def _plain(value: object) -> object:
    if isinstance(value, YesNo):
        return value.value
    if isinstance(value, Attributes):
        return {f.name: v for f in fields(value) if (v := getattr(value, f.name)) is not None}
    if is_dataclass(value):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError(f"no shape: {value!r}")


to_json = json.JSONEncoder(default=_plain).encode


def read(shape: type[T], value: Any) -> T:
    """A shape from JSON. Unknown fields are ignored. Raises ValueError if it does not fit."""
    return _read(shape, value)  # type: ignore[no-any-return]


def _read(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return _read_fields(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None and NoneType in inner else _read(inner[0], value)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(inner[0], v) for v in value)
    if origin is Mapping and isinstance(value, dict):
        return {_read(inner[0], k): _read(inner[1], v) for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and isinstance(value, hint) and (hint is not int or not isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r:.80} is not {hint}")


_hints = cache(get_type_hints)


def _read_fields(shape: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80} is no {shape.__name__}")
    hints = _hints(shape)
    known = {f.name: value[f.name] for f in fields(shape) if f.name in value}
    try:
        return shape(**{name: _read(hints[name], found) for name, found in known.items()})
    except TypeError as error:  # a field that is not there
        raise ValueError(str(error)) from None
