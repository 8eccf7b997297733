"""Which of our routes a router has shown back to us."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board
from anycast_agent.core.model import RouteKey, SessionState
from anycast_agent.core.news import ConfigApplied, SessionMoved, SpeakerGone
from anycast_agent.core.part import Binding, Part, on

MAX_PATHS = 64
"""Paths that are remembered of one route."""


@dataclass(slots=True)
class Echo:
    paths: set[str] = field(default_factory=set)
    at: float | None = None
    """When the last one came."""


class Echoes(Part):
    def __init__(self, board: Board) -> None:
        self._board = board
        self._local_as: dict[str, int] = {}
        self._prefixes: frozenset[str] = frozenset()
        self.states: dict[RouteKey, Echo] = {}

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(ev.PathSeen, self._path_seen),
            on(ev.PathGone, self._path_gone),
            on(SessionMoved, self._session_moved),
            on(SpeakerGone, self._speaker_gone),
        )

    def of(self, key: RouteKey) -> Echo:
        return self.states.get(key) or Echo()

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._local_as = {n.name: n.local_as for n in news.config.neighbors.values()}
        self._prefixes = news.config.speaker.prefixes
        for key in [k for k in self.states if k.neighbor not in self._local_as or k.prefix not in self._prefixes]:
            del self.states[key]

    def _path_seen(self, event: ev.PathSeen, now: float) -> None:
        # Ours is the path that our own AS originates; another node in the same AS cannot be told from us by it.
        ours = event.as_path[-1:] == (self._local_as.get(event.neighbor),)
        if not ours or event.prefix not in self._prefixes:
            return
        echo = self.states.setdefault(RouteKey(event.neighbor, event.prefix), Echo())
        if event.path_id not in echo.paths and len(echo.paths) < MAX_PATHS:
            echo.paths.add(event.path_id)
            echo.at = now
            self._board.show(event.prefix)

    def _path_gone(self, event: ev.PathGone, now: float) -> None:
        echo = self.states.get(RouteKey(event.neighbor, event.prefix))
        if echo is not None and event.path_id in echo.paths:
            echo.paths.discard(event.path_id)
            self._board.show(event.prefix)

    def _session_moved(self, news: SessionMoved, now: float) -> None:
        if news.state is not SessionState.UP:
            for key, echo in self.states.items():
                if key.neighbor == news.neighbor:
                    echo.paths.clear()

    def _speaker_gone(self, news: SpeakerGone, now: float) -> None:
        for echo in self.states.values():
            echo.paths.clear()
