"""The routers that offer one of our prefixes from somebody else: another node has it, as the routing system tells
us."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board
from anycast_agent.core.model import Prefix, SessionState
from anycast_agent.core.news import ConfigApplied, SessionMoved, SpeakerGone
from anycast_agent.core.part import Binding, Part, on

MAX_PATHS = 64
"""Paths that are remembered of one prefix at one neighbor: input from outside is bounded."""

ECHO_GONE_WITHIN = 5.0
"""A path from our own AS may be our own route, shown back to us. If it still stands so long after our withdrawal was
sent, another node of that AS announces it. Seconds."""


@dataclass(frozen=True, slots=True)
class Offered:
    """The neighbors that offer a prefix from somebody else."""

    neighbors: tuple[str, ...] = ()
    until: float | None = None
    """When time alone may add one (monotonic seconds); None: never."""


class Offers(Part):
    def __init__(self, board: Board) -> None:
        self._board = board
        self._local_as: dict[str, int] = {}
        self._prefixes: frozenset[Prefix] = frozenset()
        self._paths: dict[Prefix, dict[str, dict[str, int]]] = {}
        """By prefix, neighbor and path id: the AS that originates the path; 0: unknown."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(ev.PathSeen, self._path_seen),
            on(ev.PathGone, self._path_gone),
            on(SessionMoved, self._session_moved),
            on(SpeakerGone, self._speaker_gone),
        )

    def of(self, prefix: Prefix, withdrawn_at: float | None, now: float) -> Offered:
        """``withdrawn_at``: since when no router can have the route from us; None: one still may."""
        sure, later = [], []
        for neighbor, paths in self._paths.get(prefix, {}).items():
            foreign = any(origin != self._local_as.get(neighbor) for origin in paths.values())
            ripe = None if withdrawn_at is None else withdrawn_at + ECHO_GONE_WITHIN
            if paths and (foreign or (ripe is not None and now >= ripe)):
                sure.append(neighbor)
            elif paths and ripe is not None:
                later.append(ripe)
        return Offered(tuple(sure), min(later, default=None))

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._local_as = {n.name: n.local_as for n in news.config.neighbors.values()}
        self._prefixes = news.config.prefixes
        for prefix in [p for p in self._paths if p not in self._prefixes]:
            del self._paths[prefix]
        for by_neighbor in self._paths.values():
            for neighbor in [n for n in by_neighbor if n not in self._local_as]:
                del by_neighbor[neighbor]

    def _path_seen(self, event: ev.PathSeen, now: float) -> None:
        if event.prefix not in self._prefixes or event.neighbor not in self._local_as:
            return
        paths = self._paths.setdefault(event.prefix, {}).setdefault(event.neighbor, {})
        origin = event.as_path[-1] if event.as_path else 0
        if paths.get(event.path_id) != origin and (event.path_id in paths or len(paths) < MAX_PATHS):
            paths[event.path_id] = origin
            self._board.touch(event.prefix)

    def _path_gone(self, event: ev.PathGone, now: float) -> None:
        if self._paths.get(event.prefix, {}).get(event.neighbor, {}).pop(event.path_id, None) is not None:
            self._board.touch(event.prefix)

    def _session_moved(self, news: SessionMoved, now: float) -> None:
        if news.state is not SessionState.UP:
            self._forget(lambda neighbor: neighbor == news.neighbor)

    def _speaker_gone(self, news: SpeakerGone, now: float) -> None:
        self._forget(lambda neighbor: True)

    def _forget(self, which: Callable[[str], bool]) -> None:
        for prefix, by_neighbor in self._paths.items():
            for neighbor in [n for n in by_neighbor if which(n)]:
                del by_neighbor[neighbor]
                self._board.touch(prefix)
