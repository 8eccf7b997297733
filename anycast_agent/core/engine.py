"""The engine: events in; actions, changes and a snapshot out. Time is an argument, and nothing here waits.

The shell makes four calls. ``handle`` records an event. ``settle`` fires the timers that are due, lets each part look
at the touched prefixes, asks the ladder about them, and collects the actions that are possible now. ``deadline`` says
when the next turn is due. ``snapshot`` is the picture that every surface shows.
"""

from __future__ import annotations

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board, Output
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.opened import OpenActions, Overdue
from anycast_agent.core.part import on
from anycast_agent.core.picture import Pictures
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.core.timers import Timers
from anycast_agent.core.wiring import Parts

SUSPENDED = 1.0
"""A turn that comes so much later than it was asked for tells that the whole process stood still. Seconds."""


class Engine:
    """Owned by one task. Total over Event: every event, in every order, is recorded or ignored."""

    def __init__(self, now: float, *, owns_speaker: bool = False) -> None:
        """``owns_speaker``: ExaBGP was started by us, and a wedged one is ours to end."""
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.board = Board()
        self.parts = Parts(self.board, self.timers, self.opened, owns_speaker=owns_speaker, now=now)
        self._pictures = Pictures(self.parts, self.board, self.timers, self.opened, now)
        self._now = now
        for part in self.parts:
            self.board.bind(part.handlers())
        self.board.bind([on(Overdue, self._overdue)])

    # --- the four calls ---

    def handle(self, event: ev.Event, now: float) -> None:
        """Record an event of ``now`` (monotonic seconds)."""
        if not self._ended:
            self.board.post(event, now)

    def settle(self, now: float) -> Output:
        """Fire due timers, decide about touched prefixes, plan the possible actions. Returns the turn's actions and
        changes."""
        self._now = now
        if not self._ended:
            self._turn(now)
        return self.board.take_output(self.parts.standing())

    def deadline(self) -> float | None:
        """When the engine wants its next turn if nothing happens before; None: not at all."""
        if self._ended:
            return None
        return self._now if self.board.is_touched else self.timers.deadline()

    def snapshot(self, now: float) -> Snapshot:
        """Everything there is to show, as of ``now``."""
        return self._pictures.take(now)

    # --- a turn ---

    @property
    def _ended(self) -> bool:
        return self.parts.life.ended

    def _turn(self, now: float) -> None:
        self._excuse(now)
        for timer in list(self.timers.due(now)):
            self.board.post(timer, now)
            if self._ended:
                return
        self.parts.life.begin_running(now)
        touched = self.board.take_touched()
        if touched:
            for part in self.parts:
                part.look(touched, now)
            self.parts.decide(touched, now)
        for part in self.parts:
            for action in part.plan(now):
                self.board.act(action)

    def _excuse(self, now: float) -> None:
        """After a time in which this process did not run, a missing answer is nobody else's fault."""
        deadline = self.timers.deadline()
        if deadline is not None and now - deadline > SUSPENDED:
            late = now - deadline
            self.opened.postpone(late)
            self.parts.speaker.excuse(now)
            self.board.tell(Told("agent", f"did not run for {late:.1f} s", Level.WARNING))

    def _overdue(self, timer: Overdue, now: float) -> None:
        """An action did not end: its subject is unknown, and the source that knows it is asked in full."""
        action = self.opened.give_up(timer.action, now)
        if action is not None:
            text = f"did not end in time: {action}"[:300]
            self.board.tell(Told(type(action).__name__, text, Level.WARNING))
