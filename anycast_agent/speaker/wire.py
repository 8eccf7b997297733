"""The protocol between agent and pipe: one JSON object a line, one frozen dataclass a message.

Both sides import this module and nothing else of each other. Fields and messages are only ever added, and each added
field has a default: so an old pipe serves a new agent, and a new pipe an old one. An unknown message is kept as
``Unknown``: the pipe refuses it, and the agent ignores it.

Standard library only: a reader who has to trust the pipe reads it in full.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TypeVar

VERSION = 1

Key = tuple[str, str]
"""(neighbor address, prefix)."""

Fields = Mapping[str, object]

M = TypeVar("M")


class MalformedError(ValueError):
    """A line that is no message. ``id`` is the request's number where the line has one, so that it can be answered."""

    def __init__(self, why: str, number: int | None = None) -> None:
        super().__init__(why)
        self.id = number


# --- from the agent -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a connection."""

    versions: tuple[int, ...]
    agent: str
    """Which agent process: the same name after a reconnect."""
    started: float | None = None
    """When the process began (monotonic seconds): the newest wins."""


@dataclass(frozen=True, slots=True)
class Put:
    """Announce prefixes with one head to one neighbor. Answered by Done."""

    id: int
    neighbor: str
    prefixes: tuple[str, ...]
    head: str
    """ExaBGP's text of the attributes."""
    will: str = "withdraw"


@dataclass(frozen=True, slots=True)
class Drop:
    """Withdraw. Answered by Done."""

    id: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    """The agent stands behind these routes. Answered by Done."""

    id: int
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A heartbeat. Answered by HeartbeatAnswer."""

    n: int


@dataclass(frozen=True, slots=True)
class Extend:
    """Wait this long for the next agent, in seconds. Answered by Done."""

    id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the settings again; ``exabgp``: and tell ExaBGP to read its configuration again. Answered by Done."""

    id: int
    exabgp: bool = False


@dataclass(frozen=True, slots=True)
class AskRevision:
    """Which revision of the configuration has ExaBGP? Answered by Done with ``revisions`` and ``neighbors``."""

    id: int


@dataclass(frozen=True, slots=True)
class Resync:
    """Name every route, session and path again."""


FromAgent = Hello | Put | Drop | Confirm | Heartbeat | Extend | Reload | AskRevision | Resync
Request = Put | Drop | Confirm | Extend | Reload | AskRevision
"""Each has an ``id``, and is answered by exactly one Done."""


# --- to the agent -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to Hello."""

    version: int
    pipe: str
    """Which pipe, for people."""


@dataclass(frozen=True, slots=True)
class Route:
    """The replay: a route of the ledger."""

    neighbor: str
    prefix: str
    head: str
    will: str
    sent: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Session:
    neighbor: str
    state: str
    """``up``, ``connected`` or ``down``."""
    why: str = ""
    own_address: str | None = None
    """This node's address on the session; empty: not known yet; None: the pipe does not say."""


@dataclass(frozen=True, slots=True)
class Open:
    """A router's last OPEN."""

    neighbor: str
    families: tuple[str, ...]
    capabilities: int
    """The number that it sent (RFC 5492)."""


@dataclass(frozen=True, slots=True)
class Path:
    """A router's path for one of our prefixes; ``as_path`` None: it has gone."""

    neighbor: str
    prefix: str
    id: str
    as_path: tuple[int, ...] | None
    large: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Synced:
    """The replay is complete."""


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a request."""

    id: int | None
    """None: the answer to a line that had no number."""
    error: str | None = None
    revisions: tuple[str, ...] = ()
    """For AskRevision: each revision that some neighbor has."""
    neighbors: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """ExaBGP reported the UPDATE that it wrote."""

    neighbor: str
    announced: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dropped:
    """The pipe withdrew these routes by itself."""

    keys: tuple[Key, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Notification:
    neighbor: str
    direction: str
    """``send`` or ``receive``."""
    code: int
    subcode: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    n: int
    exabgp_age: float
    """Seconds since ExaBGP last answered, where it owes an answer."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """A newer agent has come: this connection ends."""


ToAgent = (
    Welcome | Route | Session | Open | Path | Synced | Done | Sent | Dropped | Notification | HeartbeatAnswer | Replaced
)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a newer peer."""

    op: str
    id: int | None = None


Message = FromAgent | ToAgent


# --- writing ------------------------------------------------------------------------------------------------

_OPS: Mapping[type[Message], str] = {
    Hello: "hello",
    Put: "put",
    Drop: "drop",
    Confirm: "confirm",
    Heartbeat: "beat",
    Extend: "extend",
    Reload: "reload",
    AskRevision: "config",
    Resync: "resync",
    Welcome: "hello",
    Route: "route",
    Session: "session",
    Open: "open",
    Path: "path",
    Synced: "synced",
    Done: "done",
    Sent: "sent",
    Dropped: "dropped",
    Notification: "notification",
    HeartbeatAnswer: "beat",
    Replaced: "replaced",
}


def write(message: Message) -> bytes:
    """A message as its line, newline included."""
    values = {"op": _OPS[type(message)], **asdict(message)}
    return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"


# --- reading ------------------------------------------------------------------------------------------------


def read_from_agent(line: bytes) -> FromAgent | Unknown:
    """Parse a line for the pipe. Raises MalformedError."""
    return _read(line, _FROM_AGENT)


def read_to_agent(line: bytes) -> ToAgent | Unknown:
    """Parse a line for the agent. Raises MalformedError."""
    return _read(line, _TO_AGENT)


def _read(line: bytes, parsers: Mapping[str, Callable[[Fields], M]]) -> M | Unknown:
    try:
        found = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not a line of JSON: {error}"[:200]) from None
    if not isinstance(found, dict):
        raise MalformedError("not an object")
    number = found.get("id") if isinstance(found.get("id"), int) else None
    op = str(found.get("op"))[:40]
    parser = parsers.get(op)
    if parser is None:
        return Unknown(op, number)
    try:
        return parser(found)
    except KeyError as missing:
        raise MalformedError(f"{op}: {missing} is missing", number) from None
    except (ValueError, TypeError, OverflowError) as error:  # JSON's whole numbers have no end, and floats have
        raise MalformedError(f"{op}: {error}"[:200], number) from None


def _text(m: Fields, name: str, default: str | None = None) -> str:
    value = m[name] if default is None else m.get(name, default)
    if not isinstance(value, str):
        raise TypeError(f"{name} is not a text")
    return value


def _text_or_none(m: Fields, name: str) -> str | None:
    return None if m.get(name) is None else _text(m, name)


def _integer(m: Fields, name: str) -> int:
    value = m[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is not a whole number")
    return value


def _number(m: Fields, name: str) -> float:
    value = m[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"{name} is not a number")
    return float(value)


def _list(m: Fields, name: str, default: tuple[object, ...] | None = None) -> list[object] | tuple[object, ...]:
    value = m[name] if default is None else m.get(name, default)
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name} is not a list")
    return value


def _texts(m: Fields, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
    values = _list(m, name, default)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} is not a list of texts")
    return tuple(str(value) for value in values)


def _integers(m: Fields, name: str) -> tuple[int, ...]:
    values = _list(m, name)
    return tuple(_integer({name: value}, name) for value in values)


def _keys(m: Fields, name: str) -> tuple[Key, ...]:
    keys = []
    for pair in _list(m, name):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise TypeError(f"{name} is not a list of neighbors and prefixes")
        keys.append((str(pair[0]), str(pair[1])))
    return tuple(keys)


def _hello(m: Fields) -> Hello:
    started = _number(m, "started") if m.get("started") is not None else None
    return Hello(_integers(m, "versions"), _text(m, "agent"), started)


def _put(m: Fields) -> Put:
    will = _text(m, "will", "withdraw")
    return Put(_integer(m, "id"), _text(m, "neighbor"), _texts(m, "prefixes"), _text(m, "head"), will)


def _route(m: Fields) -> Route:
    head, will = _text(m, "head"), _text(m, "will")
    return Route(_text(m, "neighbor"), _text(m, "prefix"), head, will, bool(m["sent"]), bool(m["confirmed"]))


def _session(m: Fields) -> Session:
    why, own_address = _text(m, "why", ""), _text_or_none(m, "own_address")
    return Session(_text(m, "neighbor"), _text(m, "state"), why, own_address)


def _path(m: Fields) -> Path:
    as_path = _integers(m, "as_path") if m["as_path"] is not None else None
    return Path(_text(m, "neighbor"), _text(m, "prefix"), _text(m, "id"), as_path, _texts(m, "large", ()))


def _done(m: Fields) -> Done:
    number = _integer(m, "id") if m.get("id") is not None else None
    neighbors = _integer(m, "neighbors") if "neighbors" in m else 0
    return Done(number, _text_or_none(m, "error"), _texts(m, "revisions", ()), neighbors)


def _notification(m: Fields) -> Notification:
    code, subcode = _integer(m, "code"), _integer(m, "subcode")
    return Notification(_text(m, "neighbor"), _text(m, "direction"), code, subcode, _text(m, "text", ""))


_FROM_AGENT: Mapping[str, Callable[[Fields], FromAgent]] = {
    "hello": _hello,
    "put": _put,
    "drop": lambda m: Drop(_integer(m, "id"), _keys(m, "keys")),
    "confirm": lambda m: Confirm(_integer(m, "id"), _keys(m, "keys")),
    "beat": lambda m: Heartbeat(_integer(m, "n")),
    "extend": lambda m: Extend(_integer(m, "id"), _number(m, "seconds")),
    "reload": lambda m: Reload(_integer(m, "id"), bool(m.get("exabgp", False))),
    "config": lambda m: AskRevision(_integer(m, "id")),
    "resync": lambda m: Resync(),
}

_TO_AGENT: Mapping[str, Callable[[Fields], ToAgent]] = {
    "hello": lambda m: Welcome(_integer(m, "version"), _text(m, "pipe", "")),
    "route": _route,
    "session": _session,
    "open": lambda m: Open(_text(m, "neighbor"), _texts(m, "families"), _integer(m, "capabilities")),
    "path": _path,
    "synced": lambda m: Synced(),
    "done": _done,
    "sent": lambda m: Sent(_text(m, "neighbor"), _texts(m, "announced", ()), _texts(m, "withdrawn", ())),
    "dropped": lambda m: Dropped(_keys(m, "keys"), _text(m, "why", "")),
    "notification": _notification,
    "beat": lambda m: HeartbeatAnswer(_integer(m, "n"), _number(m, "exabgp_age")),
    "replaced": lambda m: Replaced(),
}
