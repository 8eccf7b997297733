"""Actions that have been asked for and have not ended."""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.actions import Action
from anycast_agent.core.timers import Timers


@dataclass(frozen=True, slots=True)
class Overdue:
    """Timer key: an action should have ended by now."""

    action: int


class OpenActions:
    """Knows each open action by its id, and sets the timer that says that it is overdue."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[int, Action] = {}
        self._last = 0
        self.overdue_total = 0

    def new_id(self) -> int:
        self._last += 1
        return self._last

    def begin(self, action_id: int, action: Action, due: float) -> None:
        self._open[action_id] = action
        self._timers.set(Overdue(action_id), due)

    def get(self, action_id: int) -> Action | None:
        """The open action; None where it was given up as overdue before, or never was."""
        return self._open.get(action_id)

    def end(self, action_id: int) -> None:
        self._timers.cancel(Overdue(action_id))
        self._open.pop(action_id, None)

    def postpone(self, seconds: float) -> None:
        """Give every open action so much longer."""
        for action_id in self._open:
            if (due := self._timers.get(Overdue(action_id))) is not None:
                self._timers.set(Overdue(action_id), due + seconds)

    def give_up(self, action_id: int) -> Action | None:
        self.overdue_total += 1
        return self._open.pop(action_id, None)

    def __len__(self) -> int:
        return len(self._open)
