"""Actions that were asked for and have not ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from anycast_agent.core.actions import EndingAction
from anycast_agent.core.timers import Timers

A = TypeVar("A", bound=EndingAction)
B = TypeVar("B", bound=EndingAction)
C = TypeVar("C", bound=EndingAction)


@dataclass(frozen=True, slots=True)
class Overdue:
    """Timer key: an action should have ended by now."""

    action: int


@dataclass(frozen=True, slots=True)
class _Open:
    action: EndingAction
    give_up: Callable[[Any, float], None]


class OpenActions:
    """Knows each open action by its id, and the handler that takes it where it does not end in time."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[int, _Open] = {}
        self._last = 0
        self.overdue_total = 0

    def new_id(self) -> int:
        self._last += 1
        return self._last

    def begin(self, action: A, due: float, give_up: Callable[[A, float], None]) -> A:
        """``give_up`` is called with the action where it has not ended at ``due`` (monotonic seconds)."""
        self._open[action.id] = _Open(action, give_up)
        self._timers.set(Overdue(action.id), due)
        return action

    @overload
    def end(self, action_id: int, kind: type[A], /) -> A | None: ...
    @overload
    def end(self, action_id: int, kind: type[A], other: type[B], /) -> A | B | None: ...
    @overload
    def end(self, action_id: int, kind: type[A], other: type[B], third: type[C], /) -> A | B | C | None: ...
    def end(self, action_id: int, /, *kinds: Any) -> Any:
        """The open action of one of these kinds, which has ended; None where it was given up before, or never was."""
        found = self._open.get(action_id)
        if found is None or not isinstance(found.action, kinds):
            return None
        self._timers.cancel(Overdue(action_id))
        del self._open[action_id]
        return found.action

    def postpone(self, seconds: float) -> None:
        """Give every open action so much longer."""
        for action_id in self._open:
            if (due := self._timers.get(Overdue(action_id))) is not None:
                self._timers.set(Overdue(action_id), due + seconds)

    def give_up(self, action_id: int, now: float) -> EndingAction | None:
        """The action did not end: its part is told, and the action is returned."""
        found = self._open.pop(action_id, None)
        if found is None:
            return None
        self.overdue_total += 1
        found.give_up(found.action, now)
        return found.action

    def open(self) -> list[EndingAction]:
        """The open actions, the oldest first."""
        return [found.action for found in self._open.values()]

    def __len__(self) -> int:
        return len(self._open)
