"""One part by itself: a board, timers and open actions, and the test says what happens."""

from __future__ import annotations

from anycast_agent.core.actions import Action
from anycast_agent.core.board import Board, Standing
from anycast_agent.core.changes import Change
from anycast_agent.core.life import Life
from anycast_agent.core.opened import OpenActions, Overdue
from anycast_agent.core.part import Binding, Part, on
from anycast_agent.core.timers import Timers

STANDING = Standing(Life.RUNNING, True, (), ())


class PartBench:
    """``news``: what the part told the others, of the kinds that are listened for."""

    def __init__(self, *listened: type) -> None:
        self.now = 100.0
        self.board, self.timers = Board(), Timers()
        self.opened = OpenActions(self.timers)
        self.news: list[object] = []
        self.changes: list[Change] = []
        self.part = Part()
        self.board.bind([on(Overdue, lambda timer, now: self._overdue(timer, now))])
        self._listened = listened

    def install(self, part: Part) -> None:
        self.part = part
        self.board.bind(part.handlers())
        self.board.bind(self._listener(kind) for kind in self._listened)

    def _listener(self, kind: type) -> Binding:
        return on(kind, lambda news, now: self.news.append(news))

    def _overdue(self, timer: Overdue, now: float) -> None:
        self.opened.give_up(timer.action, now)

    def post(self, *events: object) -> None:
        for event in events:
            self.board.post(event, self.now)

    def plan(self) -> list[Action]:
        """A turn: what is due, what was touched, what is possible; with what was asked for outside of the plan."""
        for timer in list(self.timers.due(self.now)):
            self.board.post(timer, self.now)
        touched = self.board.take_touched()
        if touched:
            self.part.look(touched, self.now)
        planned = list(self.part.plan(self.now))
        output = self.board.take_output(STANDING)
        self.changes += output.changes
        return [*output.actions, *planned]
