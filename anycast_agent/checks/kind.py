"""A kind of check is one value: its parameters, what they ask and name, how its probes end, and how they are made.

A kind of ours is a file with such a value and a line in ``table``; another package's is a value under the entry point
group ``anycast_agent.checks``. This module imports neither sockets nor a loop, so that a configuration is read without.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from anycast_agent.checks.fields import Written
from anycast_agent.checks.outcomes import COMMON, Code, Finding
from anycast_agent.core.outcome import Measure

if TYPE_CHECKING:
    from anycast_agent.checks.shared import Shared

MAX_CODES, MAX_NUMBERS = 32, 16
_WORD = re.compile(r"[a-z][a-z0-9_]{0,31}")


class Params(Written):
    """The parameters of a kind: frozen, and equal where they say the same."""


P = TypeVar("P", bound=Params)
Q = TypeVar("Q", bound=Params, contravariant=True)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a probe asks, and for whom.

    ``address`` is that of the service's prefix: the probe is *pinned* to this node, or, with the address gone, it
    would travel to another node's copy and come back well. Bound to that very address as its source, it fails
    instead; with another source, that the address is here is asked first, and the socket uses no gateway
    (SO_DONTROUTE). None: the parameters name a target of their own.
    """

    service: str
    check: str
    prefix: str = ""
    address: str | None = None
    timeout: float = 1.0
    """Time limit of a probe; then it is cancelled. Seconds."""


class Use(Enum):
    """The purpose of a file that a check names."""

    READ = "read"
    PROGRAM = "program"
    SECRET = "secret"  # noqa: S105
    """Nobody else may read it."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that a check's parameters name."""

    key: str
    """The parameter that names it."""
    path: str
    use: Use = Use.READ


class Asker(Protocol[Q]):
    """What makes the probes of a kind. There is one on a node, and many probes run in it at once."""

    async def probe(self, params: Q, target: Target) -> Finding:
        """Ask once. The call is cancelled at its deadline, so it awaits everything and never blocks the loop.

        It may raise CannotProbeError. Any other exception is a fault of the probe, and says nothing of the service.
        """

    async def close(self) -> None:
        """No probe runs any more."""


def no_files(params: Params) -> Iterable[File]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[P]):
    """A kind of check. Raises ValueError or TypeError where it is not sound."""

    name: str
    """The ``type`` of a check."""
    params: type[P]
    own_target: Callable[[P], bool]
    """Whether the parameters name where to ask. If not, a check is made for each of the service's addresses."""
    outcomes: tuple[Code, ...]
    """How a probe may end, beside ``COMMON``. Metrics have a series for each."""
    open: Callable[[Shared], Asker[P]]
    numbers: tuple[Measure, ...] = ()
    """What a probe may measure. Metrics have a series for each."""
    files: Callable[[P], Iterable[File]] = no_files
    """They are looked at when a configuration is read."""
    aliases: tuple[str, ...] = ()
    """Other tools' words for it, in lower case without ``-`` and ``_``: a configuration with one of them is refused
    with a hint."""

    def __post_init__(self) -> None:
        if not (isinstance(self.params, type) and issubclass(self.params, Params)):
            raise TypeError("params is not a class that extends anycast_agent.checks.kind.Params")
        for what in (self.own_target, self.open, self.files):
            if not callable(what):
                raise TypeError("own_target, open and files are functions")
        _refuse_unbounded("name", [self.name], 1)
        if not all(isinstance(code, Code) for code in self.outcomes):
            raise TypeError("outcomes is a tuple of Code")
        if not all(isinstance(measure, Measure) for measure in self.numbers):
            raise TypeError("numbers is a tuple of Measure")
        _refuse_unbounded("outcomes", [code.word for code in self.codes], MAX_CODES)
        _refuse_unbounded("numbers", [measure.name for measure in self.numbers], MAX_NUMBERS)

    @property
    def codes(self) -> tuple[Code, ...]:
        """The whole table of outcomes."""
        return (*COMMON, *self.outcomes)


def _refuse_unbounded(what: str, words: list[str], most: int) -> None:
    """Raises ValueError: these are values of labels, of which metrics have few, and each one once."""
    if len(words) > most:
        raise ValueError(f"{what}: at most {most}")
    for word in words:
        if not isinstance(word, str) or not _WORD.fullmatch(word):
            raise ValueError(f"{what}: a word has at most 32 letters a-z, digits and _, not {word!r}")
        if words.count(word) > 1:
            raise ValueError(f"{what}: {word!r} stands there twice")


@dataclass(frozen=True, slots=True)
class _Stateless(Generic[P]):
    ask: Callable[[P, Target], Awaitable[Finding]]

    async def probe(self, params: P, target: Target) -> Finding:
        return await self.ask(params, target)

    async def close(self) -> None:
        pass


def stateless(ask: Callable[[P, Target], Awaitable[Finding]]) -> Callable[[Shared], Asker[P]]:
    """``open`` of a kind whose probes share nothing."""

    def opened(shared: Shared) -> Asker[P]:
        return _Stateless(ask)

    return opened
