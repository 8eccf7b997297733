"""The link to the speaker: beats, silence, sessions, and whether ExaBGP has the configuration that is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anycast_agent.core.actions import Beat, ConfigureSpeaker, RestartSpeaker
from anycast_agent.core.life import LINK_TABLE, Link, LinkEvent
from anycast_agent.core.model import Config, RouteKey, SessionState
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.timers import Timers

CONFIGURE_DUE = 30.0
"""Starting or reloading ExaBGP, verified, takes longer than a command. Seconds."""

SETTLE_BEFORE_REMOVAL = 3.0
"""How long the removal of a neighbor waits for the withdrawal of its routes. Seconds."""

REPLAY_WITHIN = 5.0
"""A replay that has not ended by then is asked for again. Seconds."""

UNHEARD_AFTER = 30.0
"""A router to which no connection comes about for so long is warned of. Seconds."""

MOST_SESSIONS = 4096
"""Sessions that are remembered: the speaker names them, and what comes from outside is bounded."""

_RETRY_FIRST, _RETRY_MOST = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class BeatDue:
    """Timer key."""


@dataclass(frozen=True, slots=True)
class SilenceEnds:
    """Timer key: no answer for so long is silence."""


@dataclass(frozen=True, slots=True)
class ConfigureDue:
    """Timer key: look again whether the speaker's configuration can be sent."""


@dataclass(frozen=True, slots=True)
class ReplayDue:
    """Timer key: the replay should have ended by now."""


UNREAD_AFTER = 10.0
"""A router that takes nothing of what waits for it for so long is warned of. Seconds."""


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
    own_address: str | None = ""
    """Ours; empty: not known yet; None: the pipe does not say."""
    queued: int = 0
    """What waits for the router to take it. Octets."""
    unread_since: float | None = None
    """Since when it has taken nothing of that."""


class SpeakerLink:
    def __init__(self, timers: Timers, opened: OpenActions, owned: bool, now: float) -> None:
        self._timers = timers
        self._opened = opened
        self._owned = owned
        self.state = Link.ABSENT
        self.since = now
        self.pipe = ""
        self.why = "not connected yet"
        self.answered_at: float | None = None
        self.exabgp_age: float | None = None
        self.restarts = 0
        self.sessions: dict[str, Session] = {}
        self.replaying = False
        """A replay is under way."""
        self._replay_again = False
        """While it is, something was lost: what it adds up to is not to be believed."""
        self._wanted: Config | None = None
        self._wanted_since = now
        self._done: Config | None = None
        self._passed: frozenset[str] = frozenset()
        self._open: int | None = None
        self._retry_at = now
        self._retry_in = _RETRY_FIRST
        self.configure_error = ""

    def apply(self, event: LinkEvent, now: float) -> bool:
        """Returns whether the state has changed."""
        state = LINK_TABLE[self.state, event]
        if state is self.state:
            return False
        self.state, self.since = state, now
        return True

    # --- hearing from it ---

    @property
    def silence(self) -> float:
        """How long without an answer is a wedge, in seconds."""
        return max(self._wanted.dead_man if self._wanted else 5.0, 2.0)

    def connected(self, pipe: str, now: float) -> None:
        self.pipe, self.why, self.answered_at, self.exabgp_age = pipe, "", now, None
        self._timers.set(BeatDue(), now)
        self._timers.set(SilenceEnds(), now + self.silence)
        self._retry_at = now  # what failed because nobody was there need not wait any longer
        if not self.pending:
            self.configure_error = ""  # a restart that failed: here is what it was to bring
        self._replay_begins(now)

    def lost(self, why: str, now: float) -> None:
        self.why = why
        self.replaying = False
        self._timers.cancel(ReplayDue())
        self._timers.cancel(BeatDue())
        self._timers.cancel(SilenceEnds())
        for session in self.sessions.values():
            if session.state is not SessionState.UNKNOWN:
                session.state, session.since, session.why = SessionState.UNKNOWN, now, why

    # --- replays ---

    def _replay_begins(self, now: float) -> None:
        self.replaying, self._replay_again = True, False
        self._timers.set(ReplayDue(), now + REPLAY_WITHIN)

    def ask_replay(self, now: float) -> bool:
        """Whether to ask for a replay now. One is under way at a time: another waits until that has ended."""
        if self.replaying:
            self._replay_again = True
            return False
        self._replay_begins(now)
        return True

    def replay_ended(self) -> bool:
        """A replay ended, or is given up. Returns whether it can be believed; if not, ask again."""
        again, self.replaying, self._replay_again = self._replay_again, False, False
        self._timers.cancel(ReplayDue())
        return not again

    # --- beats ---

    def postpone(self, now: float) -> None:
        """Wait for an answer anew: the last ones may lie unread."""
        if self._timers.get(SilenceEnds()) is not None:
            self._timers.set(SilenceEnds(), now + self.silence)

    def beat(self, now: float) -> Beat:
        interval = min(1.0, (self._wanted.dead_man if self._wanted else 5.0) / 5)
        self._timers.set(BeatDue(), now + interval)
        return Beat()

    def answered(self, exabgp_age: float, now: float) -> bool:
        """The pipe answered a beat. Returns whether ExaBGP itself is heard too."""
        if self.state is Link.ABSENT:
            return False
        self.exabgp_age = exabgp_age
        if exabgp_age >= self.silence:
            self.why = f"ExaBGP has not answered the pipe for {exabgp_age:.1f} s"
            return False
        self.answered_at, self.why = now, ""
        self._timers.set(SilenceEnds(), now + self.silence)
        return True

    # --- sessions ---

    def session_down(self, neighbor: str) -> bool:
        """Whether the session is known not to carry anything. One of which nothing is known may."""
        session = self.sessions.get(neighbor)
        return session is not None and session.state in (SessionState.DOWN, SessionState.CONNECTED)

    def session(self, neighbor: str, state: SessionState, why: str, now: float) -> bool:
        if neighbor not in self.sessions and len(self.sessions) >= MOST_SESSIONS:
            return False
        session = self.sessions.setdefault(neighbor, Session(since=now))
        if session.state is state:
            session.why = why or session.why
            return False
        if session.state is SessionState.UP:
            session.flaps += 1
        if state is SessionState.DOWN:
            self._timers.set(Unheard(neighbor), now + UNHEARD_AFTER)
        else:
            self._timers.cancel(Unheard(neighbor))
        session.state, session.since, session.why = state, now, why
        return True

    def take_own_address(self, neighbor: str, address: str | None) -> bool:
        """Returns whether another one is known now. One that was known is not forgotten."""
        session = self.sessions.get(neighbor)
        if session is None or address in (session.own_address, ""):
            return False
        session.own_address = address
        return True

    def own_address(self, neighbor: str) -> str | None:
        """What next hop ``self`` stands for there; empty: not known yet; None: left to ExaBGP."""
        configured = self._done.neighbors.get(neighbor) if self._done is not None else None
        if configured is not None and configured.local_address is not None:
            return configured.local_address
        session = self.sessions.get(neighbor)
        return session.own_address if session is not None else ""

    def queue_seen(self, neighbor: str, octets: int, now: float) -> str:
        """What a person is to know of a router that does not read; empty while it does."""
        session = self.sessions.get(neighbor)
        if session is None:
            return ""
        stands = session.state is SessionState.UP and octets > 0 and octets >= session.queued > 0
        session.unread_since = (now if session.unread_since is None else session.unread_since) if stands else None
        session.queued = octets
        if session.unread_since is None or now - session.unread_since < UNREAD_AFTER:
            return ""
        return (
            "the router does not read what is sent to it, though the session is up: it may go by routes that were "
            "withdrawn; reset the session there"
        )

    def unheard(self, neighbor: str) -> str:
        """What a person may look at where no connection comes about; empty where there is nothing to look at."""
        session = self.sessions.get(neighbor)
        configured = self._done.neighbors.get(neighbor) if self._done is not None else None
        if configured is None or session is None or session.state is not SessionState.DOWN:
            return ""
        if session.own_address == "":
            return f"no connection to {configured.address}: this node has no route to it, or no address on the uplink"
        secret = (
            f"another MD5 password than {configured.password_file}" if configured.password_file else "an MD5 password"
        )
        return (
            f"no connection to {configured.address} for {UNHEARD_AFTER:g} s: the router is off, does not listen, "
            f"is filtered, or has {secret}"
        )

    # --- configuration ---

    def want(self, config: Config, now: float) -> None:
        self._wanted, self._wanted_since, self._retry_at = config, now, now
        self._retry_in = _RETRY_FIRST
        for name in config.neighbors:
            self.sessions.setdefault(name, Session(since=now))
        self._compare()

    def _compare(self) -> None:
        """Where what ExaBGP has is as good as what is wanted, it is what is wanted: to be asked each turn, for free."""
        if self._same(self._done, self._wanted):
            self._done = self._wanted

    @property
    def pending(self) -> bool:
        """Whether ExaBGP is not yet known to have the configuration that is wanted."""
        return self._open is not None or self._done is not self._wanted

    @staticmethod
    def _same(one: Config | None, other: Config | None) -> bool:
        if one is None or other is None:
            return one is other
        return (
            one.neighbors == other.neighbors
            and (one.dead_man, one.adopt_for, one.router_id) == (other.dead_man, other.adopt_for, other.router_id)
            and _prefixes(one) == _prefixes(other)
        )

    def may_put(self, key: RouteKey) -> bool:
        """Whether ExaBGP has the neighbor, and the pipe passes the prefix."""
        done = self._done
        return done is not None and key.neighbor in done.neighbors and key.prefix in self._passed

    def configure(self, settled: Callable[[], bool], now: float) -> ConfigureSpeaker | None:
        """The action that brings ExaBGP to what is wanted, once ``settled``: no route needs a neighbor that goes."""
        if self._wanted is None or self._open is not None or self._done is self._wanted:
            return None
        at = max(self._retry_at, now if settled() else self._wanted_since + SETTLE_BEFORE_REMOVAL)
        if now < at:
            self._timers.set(ConfigureDue(), at)
            return None
        action = ConfigureSpeaker(self._opened.new_id(), self._wanted, self._changed())
        self._open = action.id
        self._opened.begin(action.id, action, now + CONFIGURE_DUE)
        return action

    def leaving(self) -> frozenset[str]:
        """Neighbors that ExaBGP has and the configuration no longer."""
        if self._done is None or self._wanted is None:
            return frozenset()
        return frozenset(self._done.neighbors) - frozenset(self._wanted.neighbors)

    def _changed(self) -> tuple[str, ...]:
        old = self._done.neighbors if self._done else {}
        new = self._wanted.neighbors if self._wanted else {}
        return tuple(sorted(n for n in {*old, *new} if old.get(n) != new.get(n)))

    def restart(self, now: float) -> RestartSpeaker | None:
        """The action that ends a wedged ExaBGP of our own."""
        if not self._owned or self.state is not Link.WEDGED or self._open is not None or now < self._retry_at:
            return None
        action = RestartSpeaker(self._opened.new_id(), self.why)
        self._open = action.id
        self.restarts += 1
        self._opened.begin(action.id, action, now + CONFIGURE_DUE)
        return action

    def configured(
        self, action: ConfigureSpeaker | RestartSpeaker, error: str | None, now: float
    ) -> frozenset[str] | None:
        """An action ended. Returns the neighbors that ExaBGP has anew; None where it is not the open one."""
        if self._open != action.id:
            return None
        self._open = None
        if error is not None:
            self.configure_error = error
            self._retry_at = now + self._retry_in
            self._retry_in = min(_RETRY_MOST, 2 * self._retry_in)
            self._timers.set(ConfigureDue(), self._retry_at)
            return frozenset()
        self.configure_error, self._retry_in = "", _RETRY_FIRST
        if isinstance(action, RestartSpeaker):
            # A new one gets as much time to be heard as the old one had, before it is ended in its turn.
            self._retry_at = now + self.silence
            self._timers.set(ConfigureDue(), self._retry_at)
            return frozenset()
        had = self._done.neighbors if self._done else {}
        self._done, self._passed = action.config, _prefixes(action.config)
        self._compare()
        has = action.config.neighbors
        wanted = self._wanted.neighbors if self._wanted else {}
        for name in [n for n in self.sessions if n not in has and n not in wanted]:
            del self.sessions[name]
            self._timers.cancel(Unheard(name))
        return frozenset(n for n in has if n in had and had[n] != has[n])


def _prefixes(config: Config) -> frozenset[str]:
    return frozenset(p for s in config.services.values() for p in s.prefixes)
