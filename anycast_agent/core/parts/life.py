"""The agent's own life: start, run, and one of two ends. A stop withdraws; a hand-over leaves everything as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, CheckFiles, Exit, ExtendDeadMan, Reply
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.life import LIFE_TABLE, Life, LifeEvent
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, asked, on
from anycast_agent.core.requests import Asker, HandOver
from anycast_agent.core.timers import Timers

EXTEND_DUE = 3.0
"""The pipe confirms within this time that it waits longer. Seconds."""

FILES_DUE = 15.0
"""The files are read and tried within this time. Seconds."""

LOOK_AGAIN = 0.1
"""Interval at which a stop looks again at conditions that only time or another report can settle. Seconds."""

MAX_LEFT = 20
"""So many things that a stop leaves behind are named."""


@dataclass(frozen=True, slots=True)
class StopOver:
    """Timer key: the time for a clean stop is up."""


@dataclass(frozen=True, slots=True)
class StopTurn:
    """Timer key: look again whether the stop is over."""


class Surroundings(Protocol):
    """The questions to the other parts on which the agent's life depends."""

    def not_ready(self) -> tuple[str, ...]:
        """The reasons why the agent cannot announce yet."""

    def speaker_there(self) -> bool: ...

    def speaker_answers(self) -> bool: ...

    def withdrawing(self, now: float) -> bool:
        """True if a router may still have a route from us."""

    def cleaned_up(self) -> bool:
        """True if no address of ours is left on the node."""

    def left(self) -> list[str]:
        """The leftovers, in words."""


class LifeCycle(Part):
    def __init__(
        self, board: Board, timers: Timers, opened: OpenActions, surroundings: Surroundings, now: float
    ) -> None:
        self._board = board
        self._timers = timers
        self._opened = opened
        self._surroundings = surroundings
        self._stop_within = self._dead_man = 0.0
        self._departure: float | None = None
        """The routes' default wait for the next agent. On a busy node a restart takes longer than ``dead_man``, so they
        wait as long as an earlier run's routes may stay without a verdict."""
        self._wish: tuple[HandOver, Asker] | None = None
        """The hand-over that was asked for, and who did."""
        self.state = Life.STARTING
        self.since = now

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.StopAsked, self._stop_asked),
            asked(HandOver, self._hand_over_asked),
            on(ev.FilesChecked, self._files_checked),
            on(ev.DeadManExtended, self._extended),
            on(ConfigApplied, self._config_applied),
            on(StopOver, self._stop_over),
            on(StopTurn, self._stop_turn),
        )

    @property
    def ended(self) -> bool:
        return self.state is Life.ENDED

    @property
    def ready(self) -> bool:
        return self.state is Life.RUNNING and not self._surroundings.not_ready()

    def _apply(self, event: LifeEvent, now: float, why: str = "") -> bool:
        state = LIFE_TABLE[self.state, event]
        if state is self.state:
            return False
        self.state, self.since = state, now
        self._board.tell(Told("agent", f"{state}" + (f": {why}" if why else "")))
        return True

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._stop_within, self._dead_man = news.config.stop_within, news.config.dead_man
        longer = news.config.adopt_for > news.config.dead_man
        self._departure = news.config.adopt_for if longer else None

    def begin_running(self, now: float) -> None:
        """Everything is known. Only from now on may leftovers of an earlier run be removed."""
        if self.state is Life.STARTING and not self._surroundings.not_ready():
            self._apply(LifeEvent.ALL_KNOWN, now)
            self._board.touch_all()

    # --- stop ---

    def _stop_asked(self, event: ev.StopAsked, now: float) -> None:
        if self._apply(LifeEvent.STOP_ASKED, now, event.why) and self.state is Life.STOPPING:
            self._timers.set(StopOver(), now + self._stop_within)
            self._board.post(Ending(event.why, stop=True), now)
            self._board.touch_all()

    def _stop_over(self, timer: StopOver, now: float) -> None:
        left = "; ".join(self._surroundings.left()[:MAX_LEFT])
        self._finish(now, 1, f"the time for a clean stop is up; left: {left}")

    def _stop_turn(self, timer: StopTurn, now: float) -> None:
        """Being awake is all that was asked for: ``end_stop`` looks by itself."""

    def end_stop(self, now: float) -> None:
        """The stop is over once no router has a route from us and no address of ours is left."""
        if self.state is not Life.STOPPING:
            return
        if self._surroundings.withdrawing(now):
            self._timers.set(StopTurn(), now + LOOK_AGAIN)
        elif self._surroundings.cleaned_up():
            self._finish(now, 0, "stopped; nothing is left")

    # --- hand-over ---

    def _hand_over_asked(self, request: HandOver, by: Asker, now: float) -> None:
        if self._wish is not None or LIFE_TABLE[self.state, LifeEvent.HAND_OVER_ASKED] is self.state:
            self._reply(
                by, False, f"not now: the agent is {self.state if self._wish is None else 'about to hand over'}"
            )
            return
        self._wish = request, by
        self._board.act(self._opened.begin(CheckFiles(self._opened.new_id()), now + FILES_DUE, self._not_checked))

    def _files_checked(self, event: ev.FilesChecked, now: float) -> None:
        if self._opened.end(event.action, CheckFiles) is not None:
            self._checked(event.refused, event.kept, now)

    def _not_checked(self, action: CheckFiles, now: float) -> None:
        self._checked(("the files could not be read in time",), False, now)

    def _checked(self, refused: tuple[str, ...], kept: bool, now: float) -> None:
        """A person can mend the files first. systemd starts the next agent in any case: from the record, if need be."""
        if self._wish is None:
            return
        request, by = self._wish
        if refused and by.ticket is not None:
            self._wish = None
            self._reply(by, False, "nothing was done: the next agent could not start from the files", *refused)
        elif refused and not kept:
            self._wish = None
            text = f"not handed over: the next agent could not start: {refused[0]}"
            self._board.post(ev.Warned("hand-over", text), now)
        else:
            if refused:
                text = f"broken; the next agent starts with what is in force now: {refused[0]}"
                self._board.post(ev.Warned("configuration files", text), now)
            self._hand_over(request, by, now)

    def _hand_over(self, request: HandOver, by: Asker, now: float) -> None:
        if not self._apply(LifeEvent.HAND_OVER_ASKED, now, by.who):
            self._reply(by, False, f"not now: the agent is {self.state}")
            self._wish = None
            return
        self._board.post(Ending(by.who, stop=False), now)
        departure = self._departure if self._surroundings.speaker_answers() else None
        seconds = departure if request.extend is None else request.extend
        if seconds is None or not self._surroundings.speaker_there():
            self._handed_over(by.who, None, now)
            return
        extend = ExtendDeadMan(self._opened.new_id(), seconds)
        self._board.act(self._opened.begin(extend, now + EXTEND_DUE, self._not_extended))

    def _extended(self, event: ev.DeadManExtended, now: float) -> None:
        if self._opened.end(event.action, ExtendDeadMan) is not None:
            self._handed_over("handed over", event.error, now)

    def _not_extended(self, action: ExtendDeadMan, now: float) -> None:
        self._handed_over("", "the speaker did not confirm the longer wait", now)

    def _handed_over(self, why: str, error: str | None, now: float) -> None:
        """The client is answered only now, when the routes' wait is known."""
        request, by = self._wish or (HandOver(), Asker(why))
        if error is not None:
            line = f"the agent ends, and its routes wait no longer than dead_man for the next one: {error}"
        elif request.extend is None:
            line = "handing over"
        else:
            within = max(request.extend, self._dead_man)
            line = f"handing over: start the next agent within {within:g} s, or the routes are withdrawn"
        self._reply(by, error is None, line)
        self._finish(now, 0 if error is None else 1, error or why, hand_over=True, asked=by.ticket is not None)

    def _reply(self, by: Asker, ok: bool, *lines: str) -> None:
        if by.ticket is not None:
            self._board.act(Reply(by.ticket, ok, lines))

    def _finish(self, now: float, code: int, why: str, *, hand_over: bool = False, asked: bool = False) -> None:
        self.state, self.since = LIFE_TABLE[self.state, LifeEvent.FINISHED], now
        self._board.tell(Told("agent", f"ends: {why}", Level.INFO if code == 0 else Level.ERROR))
        self._board.act(Exit(code, why, hand_over, asked))

    def plan(self, now: float) -> Iterable[Action]:
        self.end_stop(now)
        return ()
