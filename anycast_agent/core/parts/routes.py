"""Routes: desired against acknowledged, and the actions that bring the one to the other.

Theory
- The ladder says what is desired. The pipe says what ExaBGP has acknowledged. The plan compares the two each turn.
- The rules are preconditions and not a script: a plan that was cut off at any point resumes by itself.
- Withdrawals come first, and never wait longer than the first back-off. A put needs the address on the node, and
  ExaBGP configured for the neighbor. A put that is not possible yet waits; that is not an error.
- An error means unknown: the speaker may have done all of it, a part, or nothing. Only a replay says which.
- A route that failed goes alone from then on: its fault must not become that of the others in its action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Action, ConfirmRoutes, DropRoutes, PutRoutes
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.ladder.case import RouteFact
from anycast_agent.core.model import Prefix, Route, RouteKey, SessionState
from anycast_agent.core.news import (
    OwnAddress,
    ReplayBegan,
    ReplayEnded,
    ReplayNeeded,
    SessionMoved,
    SpeakerGone,
    SpeakerSetUp,
)
from anycast_agent.core.opened import OpenActions
from anycast_agent.core.part import Binding, Part, Touched, on
from anycast_agent.core.parts.route import Held, RouteState, Step, UnderWay, with_address
from anycast_agent.core.parts.route_queue import RouteQueue, RouteRetry, wish
from anycast_agent.core.parts.route_table import RouteTable

DUE = 5.0
"""An action on routes that has not ended by then is overdue. Seconds."""

RouteAction = PutRoutes | DropRoutes | ConfirmRoutes
A = TypeVar("A", PutRoutes, DropRoutes, ConfirmRoutes)


class Routes(Part):
    def __init__(
        self, board: Board, opened: OpenActions, table: RouteTable, queue: RouteQueue, may_act: Callable[[], bool]
    ) -> None:
        """``may_act``: the speaker takes actions."""
        self._board = board
        self._opened = opened
        self._queue = queue
        self._may_act = may_act
        self.table = table
        self.refused: dict[RouteKey, float] = {}
        """Withdrawals that failed, and since when: until one succeeds, a router may have a stale route."""
        self._found: dict[RouteKey, ev.RouteFound] = {}
        self._replaying = False

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.RouteFound, self._route_found),
            on(ev.RoutesDone, self._done),
            on(ev.RoutesSent, self._sent),
            on(ev.RoutesDropped, self._dropped),
            on(ReplayBegan, self._replay_began),
            on(ReplayEnded, self._replay_ended),
            on(SpeakerGone, self._speaker_gone),
            on(SpeakerSetUp, self._speaker_set_up),
            on(SessionMoved, self._session_moved),
            on(OwnAddress, self._own_address),
            on(RouteRetry, self._retry),
        )

    def fact(self, prefix: Prefix) -> RouteFact:
        return RouteFact(self.table.announced(prefix))

    # --- desired ---

    def desire(self, key: RouteKey, route: Route | None, keep: bool, now: float) -> None:
        """``keep``: leave it exactly as found, whatever ``route`` says."""
        state = self.table.state(key, now)
        self._queue.look_at([key])
        if state.desired == route and state.keep == keep:
            return
        if state.desired != route:
            state.desired_since = now
            state.forget_failures()  # the failure was that of other attributes: these do not wait for it
        state.desired, state.keep = route, keep

    def forget(self, over: Callable[[RouteKey], bool]) -> None:
        """Forget the routes that are neither desired nor anywhere on the way, and of which ``over`` says so too."""
        for key in [k for k, state in self.table.states.items() if state.is_over() and over(k)]:
            self.table.remove(key)
            self._queue.forget(key)

    def look(self, touched: Touched, now: float) -> None:
        if touched.everything:
            self._queue.look_at(self.table.states)
            return
        for prefix in touched.prefixes:
            self._queue.look_at(self.table.keys_of(prefix))

    def _retry(self, timer: RouteRetry, now: float) -> None:
        self._queue.look_at([timer.key])

    # --- observed: replays ---

    def _replay_began(self, news: ReplayBegan, now: float) -> None:
        self._replaying, self._found = True, {}

    def _route_found(self, event: ev.RouteFound, now: float) -> None:
        if self._replaying:
            self._found[event.key] = event

    def _replay_ended(self, news: ReplayEnded, now: float) -> None:
        """The speaker has the routes that the replay named, and no others.

        The end of a put or drop that is under way is newer than a replay that may have come before it. If it began
        before the speaker was lost, its end is not believed either: the route stays unknown, and is asked for again.
        """
        self.table.known, self._replaying = True, False
        for key in self._found:
            self.table.state(key, now)
        for key, state in self.table.states.items():
            if state.under_way is None or state.under_way.step is Step.CONFIRM:
                _take_found(state, self._found.get(key), now)
        self._found = {}
        self.refused = {
            key: at for key, at in self.refused.items() if key in self.table.states and self.table.states[key].there
        }

    def _speaker_gone(self, news: SpeakerGone, now: float) -> None:
        """Known states become the last known ones."""
        self.table.known, self._replaying = False, False
        self.refused.clear()
        for state in self.table.states.values():
            state.doubt(now)
            state.unheard(now)
            if state.under_way is not None and state.under_way.step is not Step.CONFIRM:
                state.under_way.contradicted = True  # its end may come after the next replay, and is about the last

    # --- observed: sessions and neighbors ---

    def _session_moved(self, news: SessionMoved, now: float) -> None:
        for state in self.table.of_neighbor(news.neighbor):
            if news.state is SessionState.UP:
                state.forget_failures()
            elif news.state is SessionState.UNKNOWN:
                state.unheard(now)
            else:
                state.infer(False, now)  # a session that is not up carries nothing
            self._queue.look_at([state.key])

    def _own_address(self, news: OwnAddress, now: float) -> None:
        for state in self.table.take_own_address(news.neighbor, news.address):
            self._board.touch(state.key.prefix)

    def _speaker_set_up(self, news: SpeakerSetUp, now: float) -> None:
        """Put desired routes again at a neighbor that ExaBGP has anew, whether it has forgotten them or not."""
        for key, state in self.table.states.items() if news.renewed else ():
            if key.neighbor in news.renewed and state.attributes is not None:
                state.renew = True

    # --- observed: routes ---

    def _sent(self, event: ev.RoutesSent, now: float) -> None:
        for carried, prefixes in ((True, event.announced), (False, event.withdrawn)):
            for prefix in prefixes:
                if (state := self.table.states.get(RouteKey(event.neighbor, prefix))) is not None:
                    state.reported(carried, now)
                    self._board.touch(prefix)

    def _dropped(self, event: ev.RoutesDropped, now: float) -> None:
        """The pipe dropped them by itself."""
        for key in event.keys:
            if (state := self.table.states.get(key)) is None:
                continue
            self._board.touch(key.prefix)
            self.refused.pop(key, None)
            if state.under_way is not None:
                state.under_way.contradicted = True  # before or after the action under way? Only a replay can tell
            else:
                state.drop(now)
        text = f"dropped {len(event.keys)} routes by itself: {event.why}"
        self._board.tell(Told("speaker", text, Level.WARNING))

    # --- observed: ends of actions ---

    def _done(self, event: ev.RoutesDone, now: float) -> None:
        action = self._opened.end(event.action, PutRoutes, DropRoutes, ConfirmRoutes)
        if action is not None:
            self._ended(action, event.error, now)

    def _give_up(self, action: RouteAction, now: float) -> None:
        self._ended(action, "no answer from the speaker", now)

    def _ended(self, action: RouteAction, error: str | None, now: float) -> None:
        self._queue.open[_step_of(action)] -= 1
        states = [s for key in keys_of(action) if (s := self.table.states.get(key)) is not None and _is_in(s, action)]
        for state in states:
            contradicted = state.under_way is not None and state.under_way.contradicted
            state.under_way = None
            self._board.touch(state.key.prefix)
            if error is not None:
                self._failed(state, action, error, now)
                continue
            self._succeeded(state, action, now)
            if contradicted:
                state.doubt(now)
        self._tell_error(action, states, error)
        if any(not state.known for state in states):
            self._board.post(ReplayNeeded("what an action on routes did is not known"), now)

    def _failed(self, state: RouteState, action: RouteAction, error: str, now: float) -> None:
        state.error = error
        state.doubt(now)
        state.backoff.failed(now)
        if isinstance(action, DropRoutes):
            self.refused.setdefault(state.key, now)

    def _succeeded(self, state: RouteState, action: RouteAction, now: float) -> None:
        state.clear_error()
        self.refused.pop(state.key, None)
        match action:
            case PutRoutes():
                state.renew = False
                state.acknowledge(Held(action.attributes, action.will), now)
            case DropRoutes():
                state.drop(now)
            case ConfirmRoutes():
                state.confirm()

    def _tell_error(self, action: RouteAction, states: list[RouteState], error: str | None) -> None:
        """An error that stays is told once."""
        news = [state for state in states if error is not None and state.told != error]
        for state in news:
            state.told = state.error
        if news:
            text = f"{len(news)} routes, {news[0].key.prefix} first: {error}"
            self._board.tell(Told(type(action).__name__, text, Level.ERROR))

    # --- the plan ---

    def plan(self, now: float) -> Iterable[Action]:
        """The actions that are possible now; withdrawals first."""
        if not self._may_act():
            return
        states, queue = self.table.states, self._queue
        queue.sort(states, now)
        for chunk in queue.chunks(Step.DROP, states):
            yield self._begin(DropRoutes(self._opened.new_id(), _keys(chunk)), chunk, now)
        for chunk in queue.chunks(Step.CONFIRM, states):
            yield self._begin(ConfirmRoutes(self._opened.new_id(), _keys(chunk)), chunk, now)
        for chunk in queue.chunks(Step.PUT, states):
            (key, attributes, will), prefixes = wish(chunk[0]), tuple(s.key.prefix for s in chunk)
            put = PutRoutes(self._opened.new_id(), key.neighbor, prefixes, attributes, will)
            yield self._begin(put, chunk, now)

    def _begin(self, action: A, states: list[RouteState], now: float) -> A:
        step = _step_of(action)
        self._queue.open[step] += 1
        self._opened.begin(action, now + DUE, self._give_up)
        for state in states:
            state.under_way = UnderWay(action.id, step)
            if isinstance(action, PutRoutes) and state.attributes != action.attributes:
                # A report about other attributes says nothing of these.
                state.infer(False if self.table.carries_nothing(state.key.neighbor) else None, now)
            self._board.show(state.key.prefix)
        return action


def _is_in(state: RouteState, action: RouteAction) -> bool:
    return state.under_way is not None and state.under_way.action == action.id


def _step_of(action: RouteAction) -> Step:
    if isinstance(action, PutRoutes):
        return Step.PUT
    return Step.DROP if isinstance(action, DropRoutes) else Step.CONFIRM


def keys_of(action: RouteAction) -> tuple[RouteKey, ...]:
    if isinstance(action, PutRoutes):
        return tuple(RouteKey(action.neighbor, prefix) for prefix in action.prefixes)
    return action.keys


def _keys(states: list[RouteState]) -> tuple[RouteKey, ...]:
    return tuple(s.key for s in states)


def _take_found(state: RouteState, found: ev.RouteFound | None, now: float) -> None:
    if found is None:
        state.take(None, now)
        # A replay names announced routes. A route that is missing in it may still have an unsent withdrawal.
        state.infer(False if state.carried() is False else None, now)
        return
    attributes = with_address(found.attributes, state.own_address)
    state.take(Held(attributes, found.will, found.confirmed), now)
    state.infer(found.sent, now)
