"""The link to the speaker: heartbeats, silence, and the replay of its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Heartbeat, Resync
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.life import LINK_TABLE, Link, LinkEvent
from anycast_agent.core.news import ConfigApplied, ReplayBegan, ReplayEnded, ReplayNeeded, SpeakerCame, SpeakerGone
from anycast_agent.core.part import Binding, Part, on
from anycast_agent.core.timers import Timers

REPLAY_WITHIN = 5.0
"""Time without a route after which a replay that has not ended is asked for again. Seconds."""

DEAD_MAN = 5.0
"""The dead-man's time before a configuration says another. Seconds."""

MIN_SILENCE = 2.0


@dataclass(frozen=True, slots=True)
class HeartbeatDue:
    """Timer key."""


@dataclass(frozen=True, slots=True)
class SilenceEnds:
    """Timer key: no answer for so long is silence."""


@dataclass(frozen=True, slots=True)
class ReplayDue:
    """Timer key: the replay should have ended by now."""


class Speaker(Part):
    def __init__(self, board: Board, timers: Timers, handing_over: Callable[[], bool], now: float) -> None:
        self._board = board
        self._timers = timers
        self._handing_over = handing_over
        self._dead_man = DEAD_MAN
        self.state = Link.ABSENT
        self.since = now
        self._told = self.state
        self.pipe = ""
        self.why = "not connected yet"
        self.answered_at: float | None = None
        self.exabgp_age: float | None = None
        self.replaying = False
        """A replay is under way."""
        self._replay_again = False
        """Something was lost during the replay: it is not to be believed."""
        self._named = False
        """The replay has named a route."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.SpeakerConnected, self._connected),
            on(ev.RouteFound, self._route_found),
            on(ev.SpeakerSynced, self._synced),
            on(ev.SpeakerLost, self._lost),
            on(ev.SpeakerAnswered, self._answered),
            on(ev.AdapterFailed, self._adapter_failed),
            on(ev.Lost, self._events_lost),
            on(ConfigApplied, self._config_applied),
            on(ReplayNeeded, self._replay_needed),
            on(HeartbeatDue, self._heartbeat_due),
            on(SilenceEnds, self._silence_ends),
            on(ReplayDue, self._replay_due),
        )

    @property
    def silence(self) -> float:
        """The time without an answer that counts as a wedge, in seconds."""
        return max(self._dead_man, MIN_SILENCE)

    def excuse(self, now: float) -> None:
        """This process did not run: wait for an answer anew, the last ones may lie unread."""
        if self._timers.get(SilenceEnds()) is not None:
            self._timers.set(SilenceEnds(), now + self.silence)

    def _apply(self, event: LinkEvent, now: float) -> None:
        state = LINK_TABLE[self.state, event]
        if state is self.state:
            return
        self.state, self.since = state, now
        if event is LinkEvent.RESYNC or state is self._told:
            return  # a replay that we asked for is no news; where it follows from an error, that was told
        self._told = state
        level = Level.WARNING if state in (Link.ABSENT, Link.WEDGED) else Level.INFO
        self._board.tell(Told("speaker", f"{state}" + (f": {self.why}" if self.why else ""), level))

    # --- the connection ---

    def _connected(self, event: ev.SpeakerConnected, now: float) -> None:
        if self.state is not Link.ABSENT:
            self._gone("replaced by a new connection", now)
        self.pipe, self.why, self.answered_at, self.exabgp_age = event.pipe, "", now, None
        self._timers.set(HeartbeatDue(), now)
        self._timers.set(SilenceEnds(), now + self.silence)
        self._begin_replay(now)
        self._apply(LinkEvent.CONNECTED, now)
        self._board.post(SpeakerCame(), now)

    def _lost(self, event: ev.SpeakerLost, now: float) -> None:
        self._gone(event.why, now)

    def _adapter_failed(self, event: ev.AdapterFailed, now: float) -> None:
        if event.name == ev.Source.SPEAKER and self.state is not Link.ABSENT:
            self._gone(event.error[:200], now)

    def _gone(self, why: str, now: float) -> None:
        self.why, self.replaying = why, False
        for key in (ReplayDue(), HeartbeatDue(), SilenceEnds()):
            self._timers.cancel(key)
        self._apply(LinkEvent.LOST, now)
        self._board.post(SpeakerGone(why), now)
        self._board.touch_all()

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._dead_man = news.config.dead_man

    # --- heartbeats ---

    def _heartbeat_due(self, timer: HeartbeatDue, now: float) -> None:
        # Once the wait for the next agent was extended, a heartbeat would only shorten it again.
        if self.state is not Link.ABSENT and not self._handing_over():
            self._timers.set(HeartbeatDue(), now + min(1.0, self._dead_man / 5))
            self._board.act(Heartbeat())

    def _answered(self, event: ev.SpeakerAnswered, now: float) -> None:
        if self.state is Link.ABSENT:
            return
        self.exabgp_age = event.exabgp_age
        if event.exabgp_age >= self.silence:
            self.why = f"ExaBGP has not answered the pipe for {event.exabgp_age:.1f} s"
            return
        self.answered_at, self.why = now, ""
        self._timers.set(SilenceEnds(), now + self.silence)
        if self.state is Link.WEDGED:
            self._apply(LinkEvent.ANSWERED, now)
            self._resync("it answers again", now)

    def _silence_ends(self, timer: SilenceEnds, now: float) -> None:
        self.why = self.why or f"no answer for {self.silence:.0f} s"
        self._apply(LinkEvent.SILENT, now)

    # --- replays ---

    def _begin_replay(self, now: float) -> None:
        self.replaying, self._replay_again, self._named = True, False, False
        self._timers.set(ReplayDue(), now + REPLAY_WITHIN)
        self._board.post(ReplayBegan(), now)

    def _end_replay(self) -> bool:
        """A replay ended, or is given up. Returns True if it can be believed; otherwise it is asked for again."""
        again, self.replaying, self._replay_again = self._replay_again, False, False
        self._timers.cancel(ReplayDue())
        return not again

    def _synced(self, event: ev.SpeakerSynced, now: float) -> None:
        if not self.replaying:
            return
        if not self._end_replay():
            self._resync("something was lost during the replay", now)
            return
        self._apply(LinkEvent.REPLAYED, now)
        if self.state is Link.SYNCED:
            self._board.post(ReplayEnded(), now)
            self._board.touch_all()

    def _route_found(self, event: ev.RouteFound, now: float) -> None:
        """A replay that goes on has its time anew, however many routes there are."""
        if self.replaying:
            self._named = True
            self._timers.set(ReplayDue(), now + REPLAY_WITHIN)

    def _replay_due(self, timer: ReplayDue, now: float) -> None:
        """One that stopped halfway ends later, in the middle of the next: that end is not to be believed."""
        halfway = self._named
        self._end_replay()
        self._resync("the replay did not end in time", now)
        self._replay_again = self.replaying and halfway

    def _events_lost(self, event: ev.Lost, now: float) -> None:
        if event.source is ev.Source.SPEAKER:
            self._resync(event.why, now)

    def _replay_needed(self, news: ReplayNeeded, now: float) -> None:
        self._resync(news.why, now)

    def _resync(self, why: str, now: float) -> None:
        """Ask for a replay. One is under way at a time: another waits until that has ended.

        One that is wedged is asked once it answers: until then it would only gather questions.
        """
        if self.state in (Link.ABSENT, Link.WEDGED):
            return
        self._apply(LinkEvent.RESYNC, now)
        if self.replaying:
            self._replay_again = True
            return
        self._begin_replay(now)
        self._board.act(Resync(ev.Source.SPEAKER, why))
