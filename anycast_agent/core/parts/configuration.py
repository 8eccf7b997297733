"""The configuration in force, the result of the last offer, and the clients that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, ReadConfig, Reply
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.model import Config, RouteKey
from anycast_agent.core.news import ConfigApplied, Ending, SpeakerSetUp
from anycast_agent.core.part import Binding, Part, asked, on
from anycast_agent.core.reload import refusal
from anycast_agent.core.requests import Asker, Reload
from anycast_agent.core.timers import Timers

RELOADED = "reloaded"

READ_WITHIN = 60.0
"""The files are read and tried within this time; else the next reload may begin. Seconds."""

MAX_LATER = 16
"""Reloads that wait."""


@dataclass(frozen=True, slots=True)
class ReadOver:
    """Timer key: the files should have been read by now."""


class Configuration(Part):
    def __init__(
        self, board: Board, timers: Timers, announced: Callable[[], list[RouteKey]], setting_up: Callable[[], bool]
    ) -> None:
        """``announced``: the routes that are with the speaker. ``setting_up``: ExaBGP does not have the configuration
        yet, and is there to take it."""
        self._board = board
        self._timers = timers
        self._announced = announced
        self._setting_up = setting_up
        self._ending = False
        self._reading = False
        self._later: list[tuple[Reload, Asker]] = []
        """Reloads that wait for the one before."""
        self._waiting: int | None = None
        """The request that is answered once ExaBGP has the configuration."""
        self.config: Config | None = None
        self.files: Mapping[str, str] = {}
        """The files in force, as they were read."""
        self.loaded_at: float | None = None
        self.reloads_ok = 0
        self.reloads_failed = 0
        self.errors: tuple[str, ...] = ()
        """Why the last reload was refused; empty after one that was not."""
        self.failed_at: float | None = None

    def handlers(self) -> Iterable[Binding]:
        return (
            asked(Reload, self._reload_asked),
            on(ev.ConfigOffered, self._offered),
            on(ev.ConfigRejected, self._rejected),
            on(SpeakerSetUp, self._speaker_set_up),
            on(Ending, self._agent_ends),
            on(ReadOver, self._read_over),
        )

    def _reload_asked(self, request: Reload, by: Asker, now: float) -> None:
        """One reload at a time. Of those that nobody waits for, one is enough: it reads the files as they are then."""
        if by.ticket is None and any(later.ticket is None for _, later in self._later):
            return
        if len(self._later) >= MAX_LATER:
            self._reply(by.ticket, False, "too many reloads wait already")
        elif self._reading or self._waiting is not None:
            self._later.append((request, by))
        else:
            self._board.act(self._read(request, by, now))

    def plan(self, now: float) -> Iterable[Action]:
        if self._later and not self._reading and self._waiting is None:
            return [self._read(*self._later.pop(0), now)]
        return []

    def _read(self, request: Reload, by: Asker, now: float) -> Action:
        self._reading = True
        self._timers.set(ReadOver(), now + READ_WITHIN)
        return ReadConfig(request.force, by.ticket)

    def _has_read(self) -> None:
        self._reading = False
        self._timers.cancel(ReadOver())

    def _read_over(self, timer: ReadOver, now: float) -> None:
        """They lie on a disk that does not answer, perhaps. Their end may still come."""
        self._reading = False
        self._board.tell(Told("configuration", f"the files were not read within {READ_WITHIN:g} s", Level.ERROR))

    def _reply(self, ticket: int | None, ok: bool, *lines: str) -> None:
        if ticket is not None:
            self._board.act(Reply(ticket, ok, lines))

    def _offered(self, event: ev.ConfigOffered, now: float) -> None:
        self._has_read()
        refused: tuple[str, ...] = ()
        if self._ending:
            refused = ("the agent is ending",)
        elif self.config is not None and not event.force:
            refused = refusal(event.config, self._announced())
        if refused:
            self._refuse(refused, event.request, now)
            return
        old, self.config, self.files, self.loaded_at = self.config, event.config, event.files, now
        self.errors, self.failed_at = (), None
        self._board.post(ConfigApplied(event.config, old), now)
        self._board.touch_all()
        if old is not None:
            self.reloads_ok += 1
            self._board.tell(Told("configuration", RELOADED))
        if event.request is not None:
            self._answer_or_wait(event.request)

    def _answer_or_wait(self, request: int) -> None:
        if self._setting_up():
            self._answer("a newer configuration came first")
            self._waiting = request
        else:
            self._reply(request, True, RELOADED)

    def _rejected(self, event: ev.ConfigRejected, now: float) -> None:
        self._has_read()
        self._refuse(event.errors, event.request, now)

    def _refuse(self, errors: tuple[str, ...], request: int | None, now: float) -> None:
        self.reloads_failed += 1
        self.errors, self.failed_at = errors, now
        text = "refused, nothing has changed: " + "; ".join(errors[:5])
        self._board.tell(Told("configuration", text, Level.ERROR))
        self._reply(request, False, *errors)

    def _speaker_set_up(self, news: SpeakerSetUp, now: float) -> None:
        if news.settled:
            self._answer(news.error)

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._ending = True
        for _, by in self._later:
            self._reply(by.ticket, False, "the agent is ending")
        self._later.clear()
        self._answer("the agent is stopping" if news.stop else "the agent is handing over")

    def _answer(self, error: str | None) -> None:
        request, self._waiting = self._waiting, None
        if request is not None:
            line = RELOADED if error is None else f"{RELOADED}, but the speaker has not accepted it: {error}"
            self._reply(request, error is None, line)
