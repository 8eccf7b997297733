"""ExaBGP's configuration: desired against applied, and the actions between the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, ConfigureSpeaker, RestartSpeaker
from anycast_agent.core.backoff import Backoff
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.model import RouteKey, SpeakerConfig
from anycast_agent.core.news import ConfigApplied, Ending, RoutersFound, SpeakerCame, SpeakerSetUp, SpeakerTook
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, on
from anycast_agent.core.timers import Timers

CONFIGURE_DUE = 30.0
"""Starting or reloading ExaBGP, verified, takes longer than a command. Seconds."""

SETTLE_BEFORE_REMOVAL = 3.0
"""Time that the removal of a neighbor waits for the withdrawal of its routes. Seconds."""

RETRY_FIRST, MAX_RETRY = 1.0, 30.0

Setup = ConfigureSpeaker | RestartSpeaker


@dataclass(frozen=True, slots=True)
class ConfigureDue:
    """Timer key: look again whether the speaker's configuration can be sent."""


@dataclass(frozen=True, slots=True)
class Wedge:
    """An ExaBGP of our own that does not answer."""

    why: str
    silence: float
    """The time limit for a new configuration's answer, in seconds."""


class SpeakerSetup(Part):
    """``desired`` and ``has`` are slices of the configuration: values, compared as values."""

    def __init__(
        self,
        board: Board,
        timers: Timers,
        opened: OpenActions,
        wedged: Callable[[], Wedge | None],
        settled: Callable[[frozenset[str]], bool],
        resolved: Callable[[SpeakerConfig], SpeakerConfig],
    ) -> None:
        """``wedged``: the speaker, where it is ours and has to be ended. ``settled``: no route needs these neighbors,
        which are about to be removed. ``resolved``: each neighbor with its address; those without one are left out."""
        self._board = board
        self._timers = timers
        self._opened = opened
        self._wedged = wedged
        self._settled = settled
        self._resolved = resolved
        self._written: SpeakerConfig | None = None
        """As it is in the configuration's files."""
        self._ending = False
        self._desired: SpeakerConfig | None = None
        self._desired_since = 0.0
        self._has: SpeakerConfig | None = None
        self._differs = False
        self._open: int | None = None
        self._grace = 0.0
        self._backoff = Backoff(RETRY_FIRST, MAX_RETRY)
        self._not_before = float("-inf")
        self.restarts = 0
        self.error = ""
        """Why ExaBGP does not have the configuration; empty where it has."""

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.SpeakerConfigured, self._configured),
            on(ConfigApplied, self._config_applied),
            on(RoutersFound, self._routers_found),
            on(SpeakerCame, self._speaker_came),
            on(Ending, self._agent_ends),
            on(ConfigureDue, self._configure_due),
        )

    @property
    def pending(self) -> bool:
        """True while ExaBGP is not known to have the desired configuration."""
        return self._open is not None or self._differs

    def may_put(self, key: RouteKey) -> bool:
        """True if ExaBGP has the neighbor, and the pipe passes the prefix."""
        return self._has is not None and key.neighbor in self._has.neighbors and key.prefix in self._has.prefixes

    # --- desired ---

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._written = news.config.speaker
        self._desire(self._written, now)

    def _routers_found(self, news: RoutersFound, now: float) -> None:
        if self._written is not None:
            self._desire(self._written, now)

    def _desire(self, written: SpeakerConfig, now: float) -> None:
        self._desired, self._desired_since = self._resolved(written), now
        self._differs = self._has != self._desired
        self._backoff.reset()
        self._not_before = now

    def _speaker_came(self, news: SpeakerCame, now: float) -> None:
        # A speaker in a unit of its own begins with what the files say: it does not know the routers that were found.
        self._differs |= self._has is not None and self._desired != self._written
        self._backoff.reset()
        self._not_before = now
        if not self.pending:
            self.error = ""  # a restart had failed: this is its effect

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._ending = True

    def _configure_due(self, timer: ConfigureDue, now: float) -> None:
        """Being awake is all that was asked for: the plan looks by itself."""

    # --- observed ---

    def _configured(self, event: ev.SpeakerConfigured, now: float) -> None:
        action = self._opened.end(event.action, ConfigureSpeaker, RestartSpeaker)
        if action is not None:
            self._ended(action, event.error, now)

    def _give_up(self, action: Setup, now: float) -> None:
        self._ended(action, "no answer from the speaker", now)

    def _ended(self, action: Setup, error: str | None, now: float) -> None:
        self._open = None
        renewed: frozenset[str] = frozenset()
        if error is not None:
            self.error = error
            self._backoff.failed(now)
            self._not_before = self._backoff.until()
            self._board.tell(Told("speaker", f"{type(action).__name__} failed: {error}", Level.ERROR))
        elif isinstance(action, RestartSpeaker):
            # A new one gets as much time to be heard as the old one had, before it is ended in its turn.
            self._recovered(now + self._grace)
        else:
            self._recovered(now)
            renewed = self._take(action.config, now)
        settled = isinstance(action, ConfigureSpeaker) and (error is not None or not self.pending)
        self._board.post(SpeakerSetUp(error, renewed, settled), now)
        self._board.touch_all()

    def _recovered(self, not_before: float) -> None:
        self.error, self._not_before = "", not_before
        self._backoff.reset()

    def _take(self, config: SpeakerConfig, now: float) -> frozenset[str]:
        """ExaBGP has this configuration now. Returns the neighbors that it has anew."""
        had, has = self._has.neighbors if self._has else {}, config.neighbors
        self._has, self._differs = config, config != self._desired
        desired = self._desired.neighbors if self._desired else {}
        self._board.post(SpeakerTook(config, frozenset(desired)), now)
        return frozenset(n for n in has if n in had and had[n] != has[n])

    # --- the plan ---

    def plan(self, now: float) -> Iterable[Action]:
        # A wedged speaker could not be configured: that would only keep its restart waiting.
        if self._ending or self._open is not None:
            return ()
        wedge = self._wedged()
        if wedge is not None:
            if now < self._not_before:
                self._timers.set(ConfigureDue(), self._not_before)
                return ()
            self.restarts += 1
            self._grace = wedge.silence
            return (self._begin(RestartSpeaker(self._opened.new_id(), wedge.why), now),)
        if self._desired is None or not self._differs:
            return ()
        at = max(self._not_before, now if self._settled(self._leaving()) else self._settle_until())
        if now < at:
            self._timers.set(ConfigureDue(), at)
            return ()
        return (self._begin(ConfigureSpeaker(self._opened.new_id(), self._desired, self._changed()), now),)

    def _begin(self, action: Setup, now: float) -> Setup:
        self._open = action.id
        return self._opened.begin(action, now + CONFIGURE_DUE, self._give_up)

    def _settle_until(self) -> float:
        return self._desired_since + SETTLE_BEFORE_REMOVAL

    def _leaving(self) -> frozenset[str]:
        """Neighbors that ExaBGP has and the configuration no longer."""
        if self._has is None or self._desired is None:
            return frozenset()
        return frozenset(self._has.neighbors) - frozenset(self._desired.neighbors)

    def _changed(self) -> tuple[str, ...]:
        old = self._has.neighbors if self._has else {}
        new = self._desired.neighbors if self._desired else {}
        return tuple(sorted(n for n in {*old, *new} if old.get(n) != new.get(n)))
