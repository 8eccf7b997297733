"""The board that all parts share: touched prefixes, actions, changes, and news."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from anycast_agent.core.actions import Action
from anycast_agent.core.changes import Change
from anycast_agent.core.events import Asked
from anycast_agent.core.life import Life
from anycast_agent.core.model import Prefix
from anycast_agent.core.part import Binding, Touched


@dataclass(frozen=True, slots=True)
class Standing:
    """The agent's state, for its supervisor."""

    life: Life
    ready: bool
    not_ready: tuple[str, ...]
    """The reasons why the agent is not ready."""
    refused: tuple[str, ...]
    """Why the last reload was refused; empty after one that was not."""
    in_force: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The files in force, by path, once the speaker has accepted what they say; empty before."""
    dead_man: float = 0.0
    """The time without a heartbeat after which the pipe carries out the wills. Seconds."""


@dataclass(frozen=True, slots=True)
class Output:
    """The actions of one turn, its changes, and the agent's state after it."""

    standing: Standing
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()


class Board:
    """Written by parts, read by the engine once a turn.

    ``touch`` is for a fact that the ladder or another part may look at. ``show`` is for a fact that only the snapshot
    shows. Both renew the snapshot of the prefix's service, so that no handler has a second thing to remember.
    """

    def __init__(self) -> None:
        self._handlers: dict[type, tuple[Callable[[Any, float], None], ...]] = {}
        self._touched: dict[Prefix, None] = {}
        self._everything = False
        self._shown: dict[Prefix, None] = {}
        self._all_shown = False
        self._actions: list[Action] = []
        self._changes: list[Change] = []

    # --- for parts ---

    def touch(self, *prefixes: Prefix) -> None:
        """A fact about these prefixes may have changed."""
        self._touched.update(dict.fromkeys(prefixes))

    def touch_all(self) -> None:
        """A fact about any prefix may have changed."""
        self._everything = True

    def show(self, *prefixes: Prefix) -> None:
        """Something that is shown of these prefixes has changed, and nothing is decided by it."""
        self._shown.update(dict.fromkeys(prefixes))

    def show_all(self) -> None:
        """Something that is shown of every prefix has changed, and nothing is decided by it."""
        self._all_shown = True

    def act(self, action: Action) -> None:
        """Ask the shell for an action, outside of the part's plan."""
        self._actions.append(action)

    def tell(self, change: Change) -> None:
        """Record a change that a person wants to know of."""
        self._changes.append(change)

    def post(self, news: object, now: float) -> None:
        """Hand an event, a due timer or news to every handler that is bound to its kind, at once, in order of PARTS. A
        request is handed to those that are bound to its own kind."""
        kind = type(news.request) if isinstance(news, Asked) else type(news)
        for handle in self._handlers.get(kind, ()):
            handle(news, now)

    # --- for the engine ---

    def bind(self, bindings: Iterable[Binding]) -> None:
        for binding in bindings:
            self._handlers[binding.kind] = (*self._handlers.get(binding.kind, ()), binding.handle)

    @property
    def kinds(self) -> frozenset[type]:
        """Every kind that some handler is bound to."""
        return frozenset(self._handlers)

    def take_touched(self) -> Touched:
        touched = Touched(frozenset(self._touched), self._everything)
        self._shown.update(self._touched)
        self._all_shown = self._all_shown or self._everything
        self._touched, self._everything = {}, False
        return touched

    def take_shown(self, service_of: Mapping[Prefix, str]) -> frozenset[str] | None:
        """The services whose snapshot is out of date; None: all of them."""
        shown, everything = self._shown, self._all_shown
        self._shown, self._all_shown = {}, False
        return None if everything else frozenset(service_of[p] for p in shown if p in service_of)

    @property
    def is_touched(self) -> bool:
        """True if something waits for the next turn."""
        return self._everything or bool(self._touched)

    def take_output(self, standing: Standing) -> Output:
        output = Output(standing, tuple(self._actions), tuple(self._changes))
        self._actions, self._changes = [], []
        return output
