"""The BGP sessions, as ExaBGP reports them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board
from anycast_agent.core.changes import SessionChange
from anycast_agent.core.model import Neighbor, SessionState
from anycast_agent.core.news import ConfigApplied, OwnAddress, SessionMoved, SpeakerGone, SpeakerTook
from anycast_agent.core.part import Binding, Part, on
from anycast_agent.core.timers import Timers

MAX_SESSIONS = 4096
"""Sessions that are remembered: names come from the speaker, and input from outside is bounded."""

MAX_TEXT = 200

UNHEARD_AFTER = 30.0
"""Time without a connection after which the agent warns of the router. Seconds."""

UNREAD_AFTER = 10.0
"""Time for which a router reads nothing of its queue before the agent warns of it. Seconds."""

DOES_NOT_READ = (
    "the router does not read what is sent to it, though the session is up: it may go by routes that were withdrawn; "
    "reset the session there"
)

_CARRIES_NOTHING = frozenset({SessionState.DOWN, SessionState.CONNECTED})


@dataclass(frozen=True, slots=True)
class Unheard:
    """Timer key: no connection to this neighbor for too long."""

    neighbor: str


@dataclass(slots=True)
class Session:
    state: SessionState = SessionState.UNKNOWN
    since: float = 0.0
    why: str = ""
    flaps: int = 0
    """The number of times that it left UP."""
    own_address: str | None = ""
    """This node's, as the pipe says; empty: not known yet; None: the pipe does not say."""
    queued: int = 0
    """Octets that wait for the router to read them."""
    unread_since: float | None = None
    """Since when it has taken nothing of that."""


class Sessions(Part):
    def __init__(self, board: Board, timers: Timers) -> None:
        self._board = board
        self._timers = timers
        self.states: dict[str, Session] = {}
        """By the neighbor's name."""
        self._configured: Mapping[str, Neighbor] = {}
        """The neighbors in ExaBGP."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.SessionChanged, self._changed),
            on(ev.SendQueueSeen, self._queue_seen),
            on(Unheard, self._unheard),
            on(ConfigApplied, self._config_applied),
            on(SpeakerTook, self._speaker_took),
            on(SpeakerGone, self._speaker_gone),
        )

    def down(self, neighbor: str) -> bool:
        """True if the session is known to carry nothing. An unknown session may carry something."""
        session = self.states.get(neighbor)
        return session is not None and session.state in _CARRIES_NOTHING

    def state(self, neighbor: str) -> SessionState:
        session = self.states.get(neighbor)
        return session.state if session else SessionState.UNKNOWN

    def _changed(self, event: ev.SessionChanged, now: float) -> None:
        if event.neighbor not in self.states and len(self.states) >= MAX_SESSIONS:
            return
        session, why = self.states.setdefault(event.neighbor, Session(since=now)), event.why[:MAX_TEXT]
        self._take_own_address(event.neighbor, session, event.own_address, now)
        if session.state is event.state:
            session.why = why or session.why
            return
        session.flaps += session.state is SessionState.UP
        session.state, session.since, session.why = event.state, now, why
        self._watch(event.neighbor, event.state, now)
        self._board.tell(SessionChange(event.neighbor, event.state, why))
        self._board.post(SessionMoved(event.neighbor, event.state), now)
        self._board.touch_all()

    # --- routers that do not answer, or do not read ---

    def _watch(self, neighbor: str, state: SessionState, now: float) -> None:
        if state is SessionState.DOWN:
            self._timers.set(Unheard(neighbor), now + UNHEARD_AFTER)
        else:
            self._timers.cancel(Unheard(neighbor))
            self._warn(f"connection to {neighbor}", "", now)
        if state is not SessionState.UP:
            self._warn(f"reader {neighbor}", "", now)

    def _warn(self, subject: str, text: str, now: float) -> None:
        self._board.post(ev.Warned(subject, text), now)

    def _queue_seen(self, event: ev.SendQueueSeen, now: float) -> None:
        session = self.states.get(event.neighbor)
        if session is None:
            return
        stands = session.state is SessionState.UP and event.octets >= session.queued > 0
        session.unread_since = (now if session.unread_since is None else session.unread_since) if stands else None
        session.queued = event.octets
        unread = session.unread_since is not None and now - session.unread_since >= UNREAD_AFTER
        self._warn(f"reader {event.neighbor}", DOES_NOT_READ if unread else "", now)

    def _unheard(self, timer: Unheard, now: float) -> None:
        session, configured = self.states.get(timer.neighbor), self._configured.get(timer.neighbor)
        if session is None or configured is None or session.state is not SessionState.DOWN:
            return
        self._warn(f"connection to {timer.neighbor}", _why_unheard(configured, session), now)

    # --- the others' news ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        for name in news.config.neighbors:
            self.states.setdefault(name, Session(since=now))

    def _speaker_took(self, news: SpeakerTook, now: float) -> None:
        has = news.config.neighbors
        self._configured = has
        for name in [n for n in self.states if n not in has and n not in news.desired]:
            del self.states[name]
            self._timers.cancel(Unheard(name))
            self._warn(f"connection to {name}", "", now)
            self._warn(f"reader {name}", "", now)
        for name in self.states:
            self._board.post(OwnAddress(name, self.own_address(name)), now)

    def own_address(self, neighbor: str) -> str | None:
        """The address behind next hop ``self`` there; empty: unknown yet; None: left to ExaBGP."""
        session, configured = self.states.get(neighbor), self._configured.get(neighbor)
        if configured is not None and configured.local_address is not None:
            return configured.local_address
        return session.own_address if session else ""

    def _take_own_address(self, neighbor: str, session: Session, address: str | None, now: float) -> None:
        """A known address is not forgotten."""
        if address not in (session.own_address, ""):
            session.own_address = address
            self._board.post(OwnAddress(neighbor, self.own_address(neighbor)), now)

    def _speaker_gone(self, news: SpeakerGone, now: float) -> None:
        for session in self.states.values():
            if session.state is not SessionState.UNKNOWN:
                session.state, session.since, session.why = SessionState.UNKNOWN, now, news.why


def _why_unheard(neighbor: Neighbor, session: Session) -> str:
    """Hints for a person if no connection comes about."""
    if session.own_address == "" and not neighbor.interface:
        return f"no connection to {neighbor.address}: this node has no route to it, or no address on the uplink"
    secret = f"another MD5 password than {neighbor.password_file}" if neighbor.password_file else "an MD5 password"
    on = f" on {neighbor.interface}" if neighbor.interface else ""
    down = f"{neighbor.interface} is missing or down, " if neighbor.interface else ""
    return (
        f"no connection to {neighbor.address}{on} for {UNHEARD_AFTER:g} s: {down}the router is off, does not listen, "
        f"is filtered, or has {secret}"
    )
