"""The configuration in force, the result of the last offer, and the clients that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Reply
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.model import Config, RouteKey
from anycast_agent.core.news import ConfigApplied, Ending, SpeakerSetUp
from anycast_agent.core.part import Binding, Part, on
from anycast_agent.core.reload import refusal

RELOADED = "reloaded"


class Configuration(Part):
    def __init__(self, board: Board, announced: Callable[[], list[RouteKey]], setting_up: Callable[[], bool]) -> None:
        """``announced``: the routes that are with the speaker. ``setting_up``: ExaBGP does not have the configuration
        yet, and is there to take it."""
        self._board = board
        self._announced = announced
        self._setting_up = setting_up
        self._ending = False
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
            on(ev.ConfigOffered, self._offered),
            on(ev.ConfigRejected, self._rejected),
            on(SpeakerSetUp, self._speaker_set_up),
            on(Ending, self._agent_ends),
        )

    def _offered(self, event: ev.ConfigOffered, now: float) -> None:
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
            self._board.act(Reply(request, True, (RELOADED,)))

    def _rejected(self, event: ev.ConfigRejected, now: float) -> None:
        self._refuse(event.errors, event.request, now)

    def _refuse(self, errors: tuple[str, ...], request: int | None, now: float) -> None:
        self.reloads_failed += 1
        self.errors, self.failed_at = errors, now
        text = "refused, nothing has changed: " + "; ".join(errors[:5])
        self._board.tell(Told("configuration", text, Level.ERROR))
        if request is not None:
            self._board.act(Reply(request, False, errors))

    def _speaker_set_up(self, news: SpeakerSetUp, now: float) -> None:
        if news.settled:
            self._answer(news.error)

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._ending = True
        self._answer("the agent is stopping" if news.stop else "the agent is handing over")

    def _answer(self, error: str | None) -> None:
        request, self._waiting = self._waiting, None
        if request is not None:
            line = RELOADED if error is None else f"{RELOADED}, but the speaker has not accepted it: {error}"
            self._board.act(Reply(request, error is None, (line,)))
