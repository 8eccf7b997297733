"""The floor that parts stand on.

A part owns one subject: its state, the events and timers that move it, and its actions. No part imports another. A
part learns of the others in two ways: by ``news`` values that another part posts on the board, and by the few
questions that the engine hands to its constructor.

Each turn has four steps. Events and due timers go to the handlers that are bound to them. Each part then looks at the
prefixes that the board says were touched. The ladder decides about the same prefixes. At last each part plans: it
compares what is desired with what was observed, and returns the actions that are possible now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from anycast_agent.core.actions import Action
from anycast_agent.core.model import Prefix
from anycast_agent.core.requests import Asker, Request

E = TypeVar("E")
R = TypeVar("R", bound=Request)


@dataclass(frozen=True, slots=True)
class Binding:
    """A handler, and the one kind of event, timer, news or request that it takes. Made by ``on`` and ``asked`` only."""

    kind: type
    handle: Callable[[Any, float], None]


def on(kind: type[E], handle: Callable[[E, float], None]) -> Binding:
    """Bind a handler to a kind of event, timer or news. mypy refuses a handler that does not take that kind."""
    return Binding(kind, handle)


def asked(kind: type[R], handle: Callable[[R, Asker, float], None]) -> Binding:
    """Bind a handler to a kind of request. mypy refuses a handler that does not take that kind."""
    return Binding(kind, lambda event, now: handle(event.request, event.by, now))


@dataclass(frozen=True, slots=True)
class Touched:
    """The subjects of a turn."""

    prefixes: frozenset[Prefix]
    everything: bool = False
    """Also prefixes that are no longer configured."""

    def __bool__(self) -> bool:
        return self.everything or bool(self.prefixes)


class Part:
    """The engine's calls to each part. Instants are monotonic seconds."""

    def handlers(self) -> Iterable[Binding]:
        """The events, timers and news that this part takes."""
        raise NotImplementedError

    def look(self, touched: Touched, now: float) -> None:
        """Something about these prefixes may have changed, in this part or in another."""

    def plan(self, now: float) -> Iterable[Action]:
        """The actions that are possible now."""
        return ()
