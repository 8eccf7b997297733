"""When each check is probed, and what its probes add up to."""

from __future__ import annotations

import heapq
import itertools
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, CheckKey, RunProbe
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Told, VerdictChanged
from anycast_agent.core.health import CheckHealth, Phase
from anycast_agent.core.model import Check, Config, Prefix
from anycast_agent.core.news import ConfigApplied, Ending
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.outcome import Evidence, Outcome, not_run
from anycast_agent.core.pace import CALM, KEPT_FOR, LATE_SHARE, STEP, Pace
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.timers import Timers

SPREAD_PER_CHECK = 0.002
"""N checks that could all be probed now are spread over N × 2 ms: quick for few, and no burst for many."""

PROBE_GRACE = 2.0
"""How long after its timeout a probe may still say that it has ended, before it is given up."""


KEPT_LOOK = 1.0
"""A verdict that is kept because the agent is starved is looked at again after so long. Seconds."""

_SETTLED = frozenset({Phase.UP, Phase.DOWN})


@dataclass(frozen=True, slots=True)
class ProbeDue:
    """Timer key."""

    key: CheckKey


@dataclass(frozen=True, slots=True)
class VerdictStale:
    """Timer key."""

    key: CheckKey


@dataclass(frozen=True, slots=True)
class CapGrows:
    """Timer key: probes wait, and the cap on those in flight has grown."""


@dataclass(frozen=True, slots=True)
class StarvationEnds:
    """Timer key: the loop may have been on time for long enough."""


@dataclass(slots=True)
class CheckState:
    key: CheckKey
    check: Check
    health: CheckHealth
    run: int = 0
    open: int | None = None
    started_at: float = 0.0
    waiting: bool = False
    """It is due, and its address is not on the node: it runs as soon as that is."""
    queued: bool = False
    """It is due, and waits for its turn."""
    runs: dict[str, int] = field(default_factory=dict)
    """How many probes ended with each word."""
    duration_sum: float = 0.0

    def interval(self) -> float:
        return self.check.fast_interval if self.health.wants_fast() else self.check.interval


class Probing(Part):
    """Schedules one probe at a time for each check. Knows nothing of services' policies.

    What is due waits in a queue, and begins as the cap on probes in flight allows. Whose interval is over the longest
    comes first: so the fast interval uses what the others leave, and no check falls behind for another's sake.
    """

    def __init__(
        self, board: Board, timers: Timers, opened: OpenActions, reachable: Callable[[Prefix], bool], now: float
    ) -> None:
        """``reachable``: a probe of the prefix's address reaches this node's own service."""
        self._board = board
        self._timers = timers
        self._opened = opened
        self._reachable = reachable
        self._seed = ""
        self.states: dict[CheckKey, CheckState] = {}
        self._by_prefix: dict[Prefix, list[CheckKey]] = {}
        self._prefixes_of: dict[CheckKey, tuple[Prefix, ...]] = {}
        self._same: dict[tuple[str, str], list[CheckKey]] = {}
        """By service and name: the keys of one check, which is made for each prefix by itself."""
        self._stopped = False
        self.pace = Pace(now)
        self._in_flight: set[int] = set()
        self._queue: list[tuple[float, int, CheckKey]] = []
        self._number = itertools.count()

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ConfigApplied, self._config_applied),
            on(Ending, self._agent_ends),
            on(ev.ProbeFinished, self._finished),
            on(ev.LoopWasLate, self._loop_was_late),
            on(ProbeDue, self._due),
            on(VerdictStale, self._stale),
            on(CapGrows, self._cap_grows),
            on(StarvationEnds, self._starvation_ends),
        )

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def queued(self) -> int:
        return sum(state.queued for state in self.states.values())

    def _agent_ends(self, news: Ending, now: float) -> None:
        self._stopped = True

    def _config_applied(self, news: ConfigApplied, now: float) -> None:
        self._configure(news.config, now)

    def _configure(self, config: Config, now: float) -> None:
        """Take over the checks of a configuration; those that did not change keep their history."""
        self._seed = config.seed or config.node
        wanted = {CheckKey(s.name, c.name, c.prefix): c for s in config.services.values() for c in s.checks}
        for key in [k for k in self.states if k not in wanted]:
            self._forget(key)
        fresh = [key for key, check in wanted.items() if (s := self.states.get(key)) is None or s.check != check]
        spread = len(fresh) * SPREAD_PER_CHECK
        for key in fresh:
            self._forget(key)
            check = wanted[key]
            self.states[key] = CheckState(key, check, CheckHealth(since=now), started_at=now - check.interval)
            self._timers.set(ProbeDue(key), now + min(spread, check.interval) * self._share(key, 0))
        self._by_prefix = {}
        for service in config.services.values():
            for prefix in service.prefixes:
                self._by_prefix[prefix] = [
                    CheckKey(service.name, c.name, c.prefix) for c in service.checks if c.prefix in ("", prefix)
                ]
        self._prefixes_of = {
            CheckKey(s.name, c.name, c.prefix): (c.prefix,) if c.prefix else s.prefixes
            for s in config.services.values()
            for c in s.checks
        }
        self._same = {}
        for key in wanted:
            self._same.setdefault((key.service, key.check), []).append(key)

    def _forget(self, key: CheckKey) -> None:
        self.states.pop(key, None)
        self._timers.cancel(ProbeDue(key))
        self._timers.cancel(VerdictStale(key))

    def of_prefix(self, prefix: Prefix) -> list[CheckState]:
        return [self.states[key] for key in self._by_prefix.get(prefix, ())]

    def prefixes_of(self, key: CheckKey) -> Iterable[Prefix]:
        """The prefixes whose health a check is part of."""
        return self._prefixes_of.get(key, ())

    def look(self, touched: Touched, now: float) -> None:
        """Run what waited for an address that is there now."""
        for prefix in self._by_prefix if touched.everything else touched.prefixes:
            for key in self._by_prefix.get(prefix, ()):
                state = self.states[key]
                if state.waiting and self._reachable(prefix):
                    state.waiting = False
                    self._timers.set(ProbeDue(key), now)

    # --- probes, in turn ---

    def _due(self, timer: ProbeDue, now: float) -> None:
        """The check waits for its turn."""
        state = self.states.get(timer.key)
        if state is not None and state.open is None and not state.queued:
            state.queued = True
            heapq.heappush(self._queue, (state.started_at + state.check.interval, next(self._number), timer.key))

    def plan(self, now: float) -> Iterable[Action]:
        """The probes whose turn it is."""
        if self._stopped or not self._queue:
            return
        cap = self.pace.cap(now)
        while self._queue and len(self._in_flight) < cap:
            state = self.states.get(heapq.heappop(self._queue)[2])
            if state is None or not state.queued:
                continue  # of a configuration that has gone
            state.queued = False
            if state.key.prefix and not self._reachable(state.key.prefix):
                # Asked now, it would fail by a cause that rung 3 names better, or be answered by another node.
                state.waiting = True
            else:
                yield self._begin(state, now)
        if self._queue:
            self._timers.set(CapGrows(), now + STEP)

    def _cap_grows(self, timer: CapGrows, now: float) -> None:
        """Being awake is all that was asked for: the plan looks by itself."""

    def _begin(self, state: CheckState, now: float) -> RunProbe:
        state.run += 1
        state.open = self._opened.new_id()
        state.started_at = now
        state.waiting = False
        probe = RunProbe(state.open, state.key, state.check)
        self._in_flight.add(probe.id)
        return self._opened.begin(probe, now + state.check.timeout + PROBE_GRACE, self._give_up)

    def _finished(self, event: ev.ProbeFinished, now: float) -> None:
        probe = self._opened.end(event.action, RunProbe)
        if probe is not None:
            self._ended(probe, event, now)

    def _give_up(self, probe: RunProbe, now: float) -> None:
        self._ended(probe, ev.ProbeFinished(probe.id, not_run("the probe did not end in time")), now)

    def _ended(self, probe: RunProbe, event: ev.ProbeFinished, now: float) -> None:
        self._in_flight.discard(probe.id)
        state = self.states.get(probe.key)
        if state is None or state.open != probe.id:
            return  # the check is gone, or another one by now
        outcome, duration = event.outcome, event.duration
        if outcome.by_time and event.late > LATE_SHARE * state.check.timeout:
            outcome = not_run(f"{outcome.detail}; the agent itself was {event.late * 1000:.0f} ms late")
        before = state.health
        state.open = None
        state.health = before.after(state.check, outcome, duration, now)
        state.runs[outcome.code] = state.runs.get(outcome.code, 0) + 1
        state.duration_sum += duration
        self._schedule_next(state, now)
        # Not after a doubtful outcome: a service that is overloaded is not to be asked more for it.
        sure = outcome.evidence is not Evidence.DOUBTFUL
        if sure and before.phase in _SETTLED and state.health.phase is not before.phase:
            self._ask_alike(probe.key, before.phase, now)
        stale_at = state.health.stale_at(state.check)
        if stale_at is not None and self._timers.get(VerdictStale(probe.key)) is None:
            self._timers.set(VerdictStale(probe.key), stale_at)
        self._show_or_touch(state, before)

    def _show_or_touch(self, state: CheckState, before: CheckHealth) -> None:
        """A service that goes on being well is most of what happens: nobody has to decide anything about it."""
        health, prefixes = state.health, self.prefixes_of(state.key)
        steady = before.phase is health.phase is Phase.UP and _good(before.outcome) and _good(health.outcome)
        if steady and not before.kept:
            self._board.show(*prefixes)
            return
        self._board.touch(*prefixes)
        if before.verdict is not health.verdict:
            self._board.tell(VerdictChanged(state.key.service, state.key.check, health.verdict, _detail(health)))

    def _schedule_next(self, state: CheckState, now: float) -> None:
        interval = state.interval()
        early = interval * state.check.jitter * self._share(state.key, state.run)
        self._timers.set(ProbeDue(state.key), max(now, state.started_at + interval - early))

    def _ask_alike(self, key: CheckKey, phase: Phase, now: float) -> None:
        """What one prefix's check has found is likely to be so for the service's others: they are asked next.

        At their fast interval at the most; and each still has to find by itself what changes its verdict.
        """
        alike = [k for k in self._same[key.service, key.check] if k != key and self.states[k].health.phase is phase]
        for number, other in enumerate(alike):
            state, due = self.states[other], self._timers.get(ProbeDue(other))
            soon = max(now + number * SPREAD_PER_CHECK, state.started_at + state.check.fast_interval)
            if due is not None and soon < due:
                self._timers.set(ProbeDue(other), soon)

    def _stale(self, timer: VerdictStale, now: float) -> None:
        """The verdict has expired, unless probes came since: then the timer is set again."""
        state = self.states.get(timer.key)
        if state is None or (stale_at := state.health.stale_at(state.check)) is None:
            return
        if stale_at > now:
            self._timers.set(timer, stale_at)
            return
        if self.pace.starved_since is not None and now < stale_at + KEPT_FOR:
            self._timers.set(timer, now + KEPT_LOOK)
            if state.health.kept:
                return
            state.health = state.health.keep()
        else:
            state.health = state.health.expire(now)
        self._board.touch(*self.prefixes_of(timer.key))

    # --- processor time ---

    def _loop_was_late(self, event: ev.LoopWasLate, now: float) -> None:
        before = self.pace.starved_since
        self.pace.report(event.lost, event.over, self.in_flight, now)
        if before is None and (calm_at := self.pace.calm_at()) is not None:
            self._timers.set(StarvationEnds(), calm_at)

    def _starvation_ends(self, timer: StarvationEnds, now: float) -> None:
        since = self.pace.starved_since
        if self.pace.settle(now) and since is not None:
            if now - since > 2 * CALM:
                self._board.tell(Told("agent", f"had too little processor time, for {now - since:.0f} s"))
        elif (calm_at := self.pace.calm_at()) is not None:
            self._timers.set(timer, calm_at)

    def _share(self, key: CheckKey, run: int) -> float:
        """A number in [0, 1) that is the same for the same seed, check and run: jitter that a test can repeat."""
        return zlib.crc32(f"{self._seed}/{key}/{run}".encode()) / 2**32


def _good(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.evidence is Evidence.SUCCESS


def _detail(health: CheckHealth) -> str:
    return health.outcome.detail if health.outcome else ""
