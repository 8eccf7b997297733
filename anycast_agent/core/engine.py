"""The engine: events in; actions, changes and a snapshot out. Time is an argument, and nothing here waits.

``handle`` records what happened and notes what it touches. ``settle`` fires the timers that are due, asks the ladder
about the prefixes that were touched, and plans. The parts it holds know their own business and not each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from anycast_agent.core import events as ev
from anycast_agent.core.actions import (
    Action,
    AddAddresses,
    ConfigureSpeaker,
    ConfirmRoutes,
    DropRoutes,
    Exit,
    ExtendDeadMan,
    PutRoutes,
    RemoveAddresses,
    Reply,
    RestartSpeaker,
    Resync,
    RunProbe,
    WatchKernel,
)
from anycast_agent.core.addresses import Addresses, AddressTurn, KernelDue, KernelForgotten, RepairOver
from anycast_agent.core.life import LIFE_TABLE, Life, LifeEvent, Link, LinkEvent
from anycast_agent.core.link import BeatDue, ConfigureDue, ReplayDue, SilenceEnds, SpeakerLink, Unheard
from anycast_agent.core.model import (
    Address,
    AddressMode,
    Config,
    Outcome,
    Prefix,
    RouteKey,
    SessionState,
    address_of,
    prefix_of,
)
from anycast_agent.core.opened import OpenActions, Overdue
from anycast_agent.core.pace import CALM
from anycast_agent.core.picture import Pictures
from anycast_agent.core.prefixes import Prefixes, PrefixTurn
from anycast_agent.core.probing import CapGrows, ProbeDue, Probing, VerdictStale
from anycast_agent.core.reload import ConfigRecord, refusal
from anycast_agent.core.routes import RouteRetry, Routes, keys_of
from anycast_agent.core.snapshot import Snapshot
from anycast_agent.core.timers import Timers

EXTEND_DUE = 3.0
SUSPENDED = 1.0
"""A turn that comes so much later than it was asked for tells that the whole process stood still. Seconds."""

MOST_WARNINGS = 256

NO_ANSWER = "no answer from the kernel adapter"

LOOK_AGAIN = 0.1
"""What only time or another's report can settle is looked at again after so long. Seconds."""


@dataclass(frozen=True, slots=True)
class StopOver:
    """Timer key: the time for a clean stop is up."""


@dataclass(frozen=True, slots=True)
class StopTurn:
    """Timer key: look again whether the stop is over."""


@dataclass(frozen=True, slots=True)
class StarvationEnds:
    """Timer key: the loop may have been on time for long enough."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a person would want to read in the log."""

    subject: str
    text: str
    level: str = "info"
    """info, warning or error."""


@dataclass(frozen=True, slots=True)
class Output:
    """What one turn asks for, and what it changed."""

    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()


class Engine:
    """Owned by one task. Total over Event: whatever comes, in whatever order, it is recorded or ignored."""

    def __init__(self, now: float, *, owns_speaker: bool = False) -> None:
        """``owns_speaker``: ExaBGP was started by us, and a wedged one is ours to end."""
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.addresses = Addresses(self.timers, self.opened)
        self.probing = Probing(self.timers, self.opened, self._reachable, now)
        self.routes = Routes(self.timers, self.opened)
        self.link = SpeakerLink(self.timers, self.opened, owns_speaker, now)
        self.record = ConfigRecord()
        self.life = Life.STARTING
        self.life_since = self.started_at = now
        self.warnings: dict[str, str] = {}
        self.adapter_failures: dict[str, int] = {}
        self._hand_over_request: int | None = None
        self._link_told = self.link.state
        self._actions: list[Action] = []
        self._changes: list[Change] = []
        self._pictures = Pictures(self)
        self.prefixes = Prefixes(self.timers, self.addresses, self.probing, self.routes, self._say)
        self._handlers: dict[type, Callable[[Any, float], None]] = {
            ev.ProbeFinished: self._on_probe_finished,
            ev.KernelSeen: self._on_kernel_seen,
            ev.AddressSeen: self._on_address_seen,
            ev.LinkSeen: self._on_link_seen,
            ev.ReturnRoutesSeen: self._on_return_routes_seen,
            ev.AddressesAdded: self._on_addresses_ended,
            ev.AddressesRemoved: self._on_addresses_ended,
            ev.SpeakerConnected: self._on_speaker_connected,
            ev.RouteFound: self._on_route_found,
            ev.SpeakerSynced: self._on_speaker_synced,
            ev.SpeakerLost: self._on_speaker_lost,
            ev.SpeakerAnswered: self._on_speaker_answered,
            ev.SessionChanged: self._on_session_changed,
            ev.SendQueueSeen: self._on_send_queue_seen,
            ev.RoutesDone: self._on_routes_done,
            ev.RoutesSent: self._on_routes_sent,
            ev.RoutesDropped: self._on_routes_dropped,
            ev.PathSeen: self._on_path_seen,
            ev.PathGone: self._on_path_gone,
            ev.SpeakerConfigured: self._on_speaker_configured,
            ev.ConfigOffered: self._on_config_offered,
            ev.ConfigRejected: self._on_config_rejected,
            ev.StopAsked: self._on_stop_asked,
            ev.HandOverAsked: self._on_hand_over_asked,
            ev.DeadManExtended: self._on_dead_man_extended,
            ev.LoopWasLate: self._on_loop_was_late,
            ev.AdapterFailed: self._on_adapter_failed,
            ev.Lost: self._on_lost,
            ev.Warned: self._on_warned,
        }

    # --- the four calls ---

    def handle(self, event: ev.Event, now: float) -> None:
        """Record what happened at ``now`` (monotonic seconds)."""
        if not self._ended:
            self._handlers[type(event)](event, now)

    def settle(self, now: float) -> Output:
        """Fire what is due, decide what was touched, plan what is possible. The turn's actions and changes."""
        if self._ended:
            return self._output()
        self._excuse(now)
        for key in list(self.timers.due(now)):
            self._fire(key, now)
            if self._ended:
                return self._output()
        self._begin_running(now)
        if self.record.config is not None:
            self.prefixes.decide(self.record.config, self.life is Life.STOPPING, now)
        self._plan(now)
        self._end_stop(now)
        return self._output()

    def _excuse(self, now: float) -> None:
        """After a time in which this process did not run, nobody else is to blame for what it did not hear."""
        deadline = self.timers.deadline()
        if deadline is not None and now - deadline > SUSPENDED:
            late = now - deadline
            self.opened.postpone(late)
            self.link.postpone(now)
            self._say("agent", f"did not run for {late:.1f} s", "warning")

    def deadline(self) -> float | None:
        """When the engine wants its next turn if nothing happens before; None: not at all."""
        return None if self._ended else self.timers.deadline()

    def snapshot(self, now: float) -> Snapshot:
        """Everything there is to show, as of ``now``."""
        return self._pictures.take(now)

    @property
    def _ended(self) -> bool:
        return self.life is Life.ENDED

    def _output(self) -> Output:
        output = Output(tuple(self._actions), tuple(self._changes))
        self._actions, self._changes = [], []
        return output

    # --- timers ---

    def _fire(self, key: object, now: float) -> None:
        match key:
            case ProbeDue(check):
                self.probing.due(check)
            case VerdictStale(check):
                if self.probing.stale(check, now):
                    self._touch_check(check.service, self.probing.prefixes_of(check))
            case Overdue(action):
                self._give_up(action, now)
            case PrefixTurn(prefix):
                self.prefixes.touch(prefix)
            case BeatDue():
                # Once the wait for the next agent was extended, a beat would only shorten it again.
                if self.link.state is not Link.ABSENT and self.life is not Life.HANDING_OVER:
                    self._actions.append(self.link.beat(now))
            case SilenceEnds():
                self._silence(now)
            case AddressTurn(address):
                self.addresses.look_at(address)
            case RepairOver(address):
                self._touch_address(address)
            case KernelForgotten():
                self.prefixes.touch_all()
            case KernelDue():
                self._kernel_unknown("no full report came", now)
            case ReplayDue():
                self.link.replay_ended()
                self._resync_speaker("the replay did not end in time", now)
            case Unheard(neighbor):
                self._warn(f"connection to {neighbor}", self.link.unheard(neighbor))
            case RouteRetry(route):
                self.routes.look_at(route)
            case StopOver():
                self._finish(now, 1, "the time for a clean stop is up; left: " + "; ".join(self._left()))
            case StarvationEnds():
                self._look_at_starvation(now)
            case ConfigureDue() | StopTurn() | CapGrows():
                pass  # being awake is all that was asked for: the plan looks by itself
            case _:
                raise AssertionError(f"unknown timer {key!r}")

    def _give_up(self, action_id: int, now: float) -> None:
        """An open action did not end: what it was about is unknown, and whoever knows is asked in full."""
        action = self.opened.give_up(action_id)
        match action:
            case RunProbe():
                self._probe_ended(action, Outcome.NOT_RUN, "the probe did not end in time", 0.0, 0.0, now)
            case AddAddresses() | RemoveAddresses():
                self._addresses_ended(action, dict.fromkeys(action.addresses, NO_ANSWER), now)
                self._ask_kernel("an address action did not end", now)
            case PutRoutes() | DropRoutes() | ConfirmRoutes():
                self._routes_ended(action, "no answer from the speaker", now)
            case ConfigureSpeaker() | RestartSpeaker():
                self._speaker_configured(action, "no answer from the speaker", now)
            case ExtendDeadMan():
                self._handed_over("", "the speaker did not confirm the longer wait", now)
        if action is not None:
            self._say(type(action).__name__, f"did not end in time: {action}"[:300], "warning")

    # --- configuration ---

    def _on_config_offered(self, event: ev.ConfigOffered, now: float) -> None:
        record = self.record
        refused = () if event.force or record.config is None else self._refusal(event.config)
        if self.life not in (Life.STARTING, Life.RUNNING):
            refused = ("the agent is ending",)
        if refused:
            self._reload_failed(refused, event.request, now)
            return
        first = record.config is None
        old, record.config, record.loaded_at = record.config, event.config, now
        record.errors, record.failed_at = (), None
        record.reloads_ok += not first
        self._take_config(event.config, old, now)
        if not first:
            self._say("configuration", "reloaded")
        if event.request is not None:
            if self.link.pending and self.link.state is not Link.ABSENT:
                self._answer_waiting("a newer configuration came first")
                record.reply_to = event.request
            else:
                self._actions.append(Reply(event.request, True, ("reloaded",)))

    def _refusal(self, config: Config) -> tuple[str, ...]:
        return refusal(config, [s.key for s in self.routes.states.values() if s.there])

    def _take_config(self, config: Config, old: Config | None, now: float) -> None:
        altered = self.probing.configure(config, now)
        self.addresses.configure(config)
        self.link.want(config, now)
        self.prefixes.configure(config, altered if old is not None else set(), now)
        self.routes.look_at_barred()
        self._pictures.forget_all()
        watched = ("services", "interface", "address_mode", "way_back")
        if old is None or any(getattr(old, name) != getattr(config, name) for name in watched):
            self._actions.append(WatchKernel(config))
            self.addresses.ask(now)
        if old is None and self.link.state is Link.SYNCED:
            self.prefixes.adopt(config, now)

    def _on_config_rejected(self, event: ev.ConfigRejected, now: float) -> None:
        self._reload_failed(event.errors, event.request, now)

    def _reload_failed(self, errors: tuple[str, ...], request: int | None, now: float) -> None:
        self.record.reloads_failed += 1
        self.record.errors, self.record.failed_at = errors, now
        self._say("configuration", "refused, nothing has changed: " + "; ".join(errors[:5]), "error")
        if request is not None:
            self._actions.append(Reply(request, False, errors))

    def _answer_waiting(self, error: str | None) -> None:
        request, self.record.reply_to = self.record.reply_to, None
        if request is not None:
            lines = ("reloaded",) if error is None else ("reloaded, but the speaker has not taken it: " + error,)
            self._actions.append(Reply(request, error is None, lines))

    # --- checks ---

    def _on_probe_finished(self, event: ev.ProbeFinished, now: float) -> None:
        action = self.opened.get(event.action)
        if isinstance(action, RunProbe):
            self.opened.end(event.action)
            self._probe_ended(action, event.outcome, event.detail, event.duration, event.late, now)

    def _probe_ended(
        self, probe: RunProbe, outcome: Outcome, detail: str, duration: float, late: float, now: float
    ) -> None:
        finished = self.probing.finished(probe, outcome, detail, duration, late, now)
        if finished is None:
            return
        self._pictures.forget(probe.key.service)
        if finished[1]:
            self._touch_check(probe.key.service, self.probing.prefixes_of(probe.key))

    def _touch_check(self, service: str, prefixes: Iterable[Prefix]) -> None:
        self._pictures.forget(service)
        for prefix in prefixes:
            self.prefixes.touch(prefix)

    # --- kernel ---

    def _on_kernel_seen(self, event: ev.KernelSeen, now: float) -> None:
        changed, everything = self.addresses.report(event, now)
        for address in changed:
            self._address_changed(address, now)
        if everything:
            self.prefixes.touch_all()
        self._pictures.forget_all()

    def _on_address_seen(self, event: ev.AddressSeen, now: float) -> None:
        if self.addresses.seen(event.address, event.state, now):
            self._address_changed(event.address, now)
        self._forget_picture(prefix_of(event.address))

    def _address_changed(self, address: Address, now: float) -> None:
        prefix = prefix_of(address)
        if prefix not in self.prefixes.states:
            return
        self.prefixes.touch(prefix)
        there = self.addresses.there(address)
        self._say(address, "is on the node" if there else "is not on the node", "info" if there else "warning")
        if there:
            self.probing.wake(prefix, now)
            for route in self.routes.of_prefix(prefix):
                self.routes.look_at(route.key)

    def _on_link_seen(self, event: ev.LinkSeen, now: float) -> None:
        if self.addresses.links.get(event.interface) is not event.up:
            self.addresses.links[event.interface] = event.up
            self._say(event.interface, "is up" if event.up else "is down", "info" if event.up else "warning")
            self.prefixes.touch_all()

    def _on_return_routes_seen(self, event: ev.ReturnRoutesSeen, now: float) -> None:
        before = self.addresses.return_routes
        news = self.addresses.return_routes_seen(event.return_routes)
        for address in news:
            self._touch_address(address)
        known = {a: route for a in news if (route := event.return_routes.get(a)) is not None}
        lost = [a for a, route in known.items() if not route.usable]
        if lost:
            text = f"no usable return route for {_first_of(lost)}: {known[lost[0]].evidence}"
            self._say("return route", text, "warning")
        found = [a for a, route in known.items() if route.usable and (was := before.get(a)) and not was.usable]
        if found:
            self._say("return route", f"usable again for {_first_of(found)}")

    def _touch_address(self, address: Address) -> None:
        if (prefix := prefix_of(address)) in self.prefixes.states:
            self.prefixes.touch(prefix)
            self._forget_picture(prefix)

    def _on_addresses_ended(self, event: ev.AddressesAdded | ev.AddressesRemoved, now: float) -> None:
        action = self.opened.get(event.action)
        if isinstance(action, AddAddresses | RemoveAddresses):
            self.opened.end(event.action)
            self._addresses_ended(action, event.errors, now)

    def _addresses_ended(
        self, action: AddAddresses | RemoveAddresses, errors: Mapping[Address, str], now: float
    ) -> None:
        self.addresses.ended(action, errors, now)
        for address in action.addresses:
            self._touch_address(address)
        verb = "adding it to" if isinstance(action, AddAddresses) else "removing it from"
        for error in dict.fromkeys(errors.values()):
            failed = [address for address, said in errors.items() if said == error]
            self._say(_first_of(failed), f"{verb} {action.interface} failed: {error}", "error")

    def _kernel_unknown(self, why: str, now: float) -> None:
        self.addresses.lost(now)
        self.prefixes.touch_all()
        self._ask_kernel(why, now)

    def _ask_kernel(self, why: str, now: float) -> None:
        self.addresses.ask(now)
        self._actions.append(Resync(ev.Source.KERNEL, why))

    def _reachable(self, prefix: Prefix) -> bool:
        mode = self.record.config.address_mode if self.record.config else AddressMode.UNMANAGED
        return mode is AddressMode.UNMANAGED or self.addresses.there(address_of(prefix))

    # --- speaker ---

    def _link(self, event: LinkEvent, now: float) -> bool:
        if not self.link.apply(event, now):
            return False
        # A replay that we asked for is no news; where it follows from an error, that was said.
        if event is not LinkEvent.RESYNC and self.link.state is not self._link_told:
            self._link_told = self.link.state
            level = "warning" if self.link.state in (Link.ABSENT, Link.WEDGED) else "info"
            self._say("speaker", f"{self.link.state}" + (f": {self.link.why}" if self.link.why else ""), level)
        return True

    def _on_speaker_connected(self, event: ev.SpeakerConnected, now: float) -> None:
        if self.link.state is not Link.ABSENT:
            self._speaker_lost("replaced by a new connection", now)
        self.link.connected(event.pipe, now)
        self._link(LinkEvent.CONNECTED, now)
        self.routes.replay_begins()

    def _on_route_found(self, event: ev.RouteFound, now: float) -> None:
        if self.link.replaying:
            self.routes.found(event)

    def _on_speaker_synced(self, event: ev.SpeakerSynced, now: float) -> None:
        if not self.link.replaying:
            return
        if not self.link.replay_ended():
            self._resync_speaker("something was lost during the replay", now)
            return
        self._link(LinkEvent.REPLAYED, now)
        if self.link.state is not Link.SYNCED:
            return
        for prefix in self.routes.replay_ends(now):
            self.prefixes.touch(prefix)
        if self.record.config is not None:
            self.prefixes.adopt(self.record.config, now)
        self._pictures.forget_all()

    def _on_speaker_lost(self, event: ev.SpeakerLost, now: float) -> None:
        self._speaker_lost(event.why, now)

    def _speaker_lost(self, why: str, now: float) -> None:
        self.link.lost(why, now)
        self._link(LinkEvent.LOST, now)
        self.routes.lost(now)
        self._pictures.forget_all()

    def _on_speaker_answered(self, event: ev.SpeakerAnswered, now: float) -> None:
        if self.link.answered(event.exabgp_age, now) and self.link.state is Link.WEDGED:
            self._link(LinkEvent.ANSWERED, now)
            self._resync_speaker("it answers again", now)

    def _silence(self, now: float) -> None:
        self.link.why = self.link.why or f"no answer for {self.link.silence:.0f} s"
        self._link(LinkEvent.SILENT, now)

    def _resync_speaker(self, why: str, now: float) -> None:
        if self.link.state is not Link.ABSENT:
            self._link(LinkEvent.RESYNC, now)
            if self.link.ask_replay(now):
                self.routes.replay_begins()
                self._actions.append(Resync(ev.Source.SPEAKER, why))

    def _on_session_changed(self, event: ev.SessionChanged, now: float) -> None:
        changed = self.link.session(event.neighbor, event.state, event.why[:200], now)
        if self.link.take_own_address(event.neighbor, event.own_address):
            self._own_address(event.neighbor)
        if not changed:
            return
        up = event.state is SessionState.UP
        if event.state is not SessionState.DOWN:
            self._warn(f"connection to {event.neighbor}", "")
        if not up:
            self._warn(f"reader {event.neighbor}", "")
        self._say(event.neighbor, f"session {event.state}" + (f": {event.why}"[:200] if event.why else ""),
                  "info" if up or event.state is SessionState.CONNECTED else "warning")  # fmt: skip
        if up:
            self.routes.session_up(event.neighbor)
        else:
            self.routes.session(event.neighbor, event.state is not SessionState.UNKNOWN, now)
        self.addresses.look_at_all()  # one may have waited for this session's withdrawals
        self._pictures.forget_all()

    def _on_send_queue_seen(self, event: ev.SendQueueSeen, now: float) -> None:
        self._warn(f"reader {event.neighbor}", self.link.queue_seen(event.neighbor, event.octets, now))

    def _own_address(self, neighbor: str) -> None:
        self.routes.take_own_address(neighbor, self.link.own_address(neighbor))

    def _on_routes_done(self, event: ev.RoutesDone, now: float) -> None:
        action = self.opened.get(event.action)
        if isinstance(action, PutRoutes | DropRoutes | ConfirmRoutes):
            self.opened.end(event.action)
            self._routes_ended(action, event.error, now)

    def _routes_ended(self, action: PutRoutes | DropRoutes | ConfirmRoutes, error: str | None, now: float) -> None:
        states = self.routes.done(action, error, now)
        for state in states:
            self._route_moved(state.key.prefix)
        news = [state for state in states if state.told != state.error]
        if news and error is not None:
            for state in news:
                state.told = error
            self._say(type(action).__name__, f"{len(news)} routes, {news[0].key.prefix} first: {error}", "error")
        if any(not state.known for state in states) and self.link.state is Link.SYNCED:
            self._resync_speaker("what an action on routes did is not known", now)

    def _on_routes_sent(self, event: ev.RoutesSent, now: float) -> None:
        for announced, prefixes in ((True, event.announced), (False, event.withdrawn)):
            for prefix in prefixes:
                if self.routes.sent(RouteKey(event.neighbor, prefix), announced, now):
                    self._route_moved(prefix)

    def _on_routes_dropped(self, event: ev.RoutesDropped, now: float) -> None:
        for prefix in self.routes.dropped(event.keys, now):
            self.prefixes.touch(prefix)
            self._route_moved(prefix)
        self._say("speaker", f"dropped {len(event.keys)} routes by itself: {event.why}", "warning")

    def _on_path_seen(self, event: ev.PathSeen, now: float) -> None:
        config = self.record.config
        neighbor = config.neighbors.get(event.neighbor) if config else None
        # Ours is the path that our own AS originates; another node in the same AS cannot be told from us by it.
        ours = neighbor is not None and event.as_path[-1:] == (neighbor.local_as,)
        if ours and self.routes.echoed(RouteKey(event.neighbor, event.prefix), event.path_id, True, now):
            self._route_moved(event.prefix)

    def _on_path_gone(self, event: ev.PathGone, now: float) -> None:
        if self.routes.echoed(RouteKey(event.neighbor, event.prefix), event.path_id, False, now):
            self._route_moved(event.prefix)

    def _route_moved(self, prefix: Prefix) -> None:
        self.addresses.look_at(address_of(prefix))
        self._forget_picture(prefix)

    def _forget_picture(self, prefix: Prefix) -> None:
        if (state := self.prefixes.states.get(prefix)) is not None:
            self._pictures.forget(state.service)

    def _on_speaker_configured(self, event: ev.SpeakerConfigured, now: float) -> None:
        action = self.opened.get(event.action)
        if isinstance(action, ConfigureSpeaker | RestartSpeaker):
            self.opened.end(event.action)
            self._speaker_configured(action, event.error, now)

    def _speaker_configured(self, action: ConfigureSpeaker | RestartSpeaker, error: str | None, now: float) -> None:
        before = set(self.link.sessions)
        renewed = self.link.configured(action, error, now)
        for neighbor in before - self.link.sessions.keys():
            self._warn(f"connection to {neighbor}", "")
            self._warn(f"reader {neighbor}", "")
        if renewed is None:
            return
        self.routes.neighbors_renewed(renewed)
        for neighbor in self.link.sessions:
            self._own_address(neighbor)
        self.routes.look_at_barred()
        if error is not None:
            self._say("speaker", f"{type(action).__name__} failed: {error}", "error")
        if isinstance(action, ConfigureSpeaker) and (error is not None or not self.link.pending):
            self._answer_waiting(error)

    # --- people, and the process itself ---

    def _on_stop_asked(self, event: ev.StopAsked, now: float) -> None:
        if self._live(LifeEvent.STOP_ASKED, now, event.why) and self.life is Life.STOPPING:
            self.probing.stopped = True
            self.addresses.want_none()
            self.timers.set(StopOver(), now + (self.record.config.stop_within if self.record.config else 0.0))
            self._answer_waiting("the agent is stopping")
            self.prefixes.touch_all()

    def _on_hand_over_asked(self, event: ev.HandOverAsked, now: float) -> None:
        if not self._live(LifeEvent.HAND_OVER_ASKED, now, event.why):
            if event.request is not None:
                self._actions.append(Reply(event.request, False, (f"not now: the agent is {self.life}",)))
            return
        self._answer_waiting("the agent is handing over")
        self.probing.stopped = True
        self._hand_over_request = event.request
        seconds = self._departure() if event.extend is None else event.extend
        if seconds is None or self.link.state is Link.ABSENT:
            self._handed_over(event.why, None, now)
            return
        extend = ExtendDeadMan(self.opened.new_id(), seconds)
        self.opened.begin(extend.id, extend, now + EXTEND_DUE)
        self._actions.append(extend)

    def _departure(self) -> float | None:
        """How long the routes are to wait for the next agent where nobody said it: on a busy node, a restart takes
        longer than the dead man waits. As long as what an earlier run announced may stay without a verdict."""
        config = self.record.config
        if config is None or self.link.state is Link.WEDGED or config.adopt_for <= config.dead_man:
            return None
        return config.adopt_for

    def _on_dead_man_extended(self, event: ev.DeadManExtended, now: float) -> None:
        if isinstance(self.opened.get(event.action), ExtendDeadMan):
            self.opened.end(event.action)
            self._handed_over("handed over", event.error, now)

    def _handed_over(self, why: str, error: str | None, now: float) -> None:
        """Who asked is told only now, when it is known how long the routes wait."""
        if self._hand_over_request is not None:
            text = f"the agent ends, and its routes wait no longer than dead_man for the next one: {error}"
            self._actions.append(
                Reply(self._hand_over_request, error is None, ("handing over" if error is None else text,))
            )
        self._finish(now, 0 if error is None else 1, error or why, hand_over=True)

    def _on_loop_was_late(self, event: ev.LoopWasLate, now: float) -> None:
        pace = self.probing.pace
        before = pace.starved_since
        pace.report(event.lost, event.over, self.probing.in_flight, now)
        if before is None and (calm_at := pace.calm_at()) is not None:
            self.timers.set(StarvationEnds(), calm_at)

    def _look_at_starvation(self, now: float) -> None:
        pace = self.probing.pace
        since = pace.starved_since
        if pace.settle(now) and since is not None:
            if now - since > 2 * CALM:
                self._say("agent", f"had too little processor time, for {now - since:.0f} s")
        elif (calm_at := pace.calm_at()) is not None:
            self.timers.set(StarvationEnds(), calm_at)

    def _on_adapter_failed(self, event: ev.AdapterFailed, now: float) -> None:
        self.adapter_failures[event.name] = self.adapter_failures.get(event.name, 0) + 1
        self._say(event.name, f"failed and is restarted: {event.error}"[:500], "error")
        if event.name == ev.Source.KERNEL:
            self.addresses.lost(now)
            self.addresses.ask(now)
            self.prefixes.touch_all()
        elif event.name == ev.Source.SPEAKER and self.link.state is not Link.ABSENT:
            self._speaker_lost(event.error[:200], now)

    def _on_lost(self, event: ev.Lost, now: float) -> None:
        self._say(event.source, f"events were lost: {event.why}", "warning")
        if event.source is ev.Source.KERNEL:
            self._kernel_unknown(event.why, now)
        else:
            self._resync_speaker(event.why, now)

    def _on_warned(self, event: ev.Warned, now: float) -> None:
        self._warn(event.subject, event.text)

    def _warn(self, subject: str, text: str) -> None:
        if not text:
            self.warnings.pop(subject, None)
        elif subject in self.warnings or len(self.warnings) < MOST_WARNINGS:
            if self.warnings.get(subject) != text:
                self._say(subject, text, "warning")
            self.warnings[subject] = text

    # --- life ---

    def _live(self, event: LifeEvent, now: float, why: str = "") -> bool:
        life = LIFE_TABLE[self.life, event]
        if life is self.life:
            return False
        self.life, self.life_since = life, now
        self._say("agent", f"{life}" + (f": {why}" if why else ""))
        return True

    @property
    def ready(self) -> bool:
        return self.life is Life.RUNNING and not self.not_ready()

    def not_ready(self) -> tuple[str, ...]:
        """What the agent still waits for before it can announce."""
        waits = []
        if self.record.config is None:
            waits.append("configuration")
        if not self.addresses.known:
            waits.append("kernel")
        if self.link.state is not Link.SYNCED:
            waits.append("speaker")
        if self.routes.refused:
            waits.append(f"withdrawals that ExaBGP refuses ({len(self.routes.refused)})")
        return tuple(waits)

    def _begin_running(self, now: float) -> None:
        if self.life is Life.STARTING and not self.not_ready():
            self._live(LifeEvent.ALL_KNOWN, now)
            self.addresses.look_at_all()  # what an earlier run left may go only from now on

    def _left(self) -> list[str]:
        routes = [f"route {s.key.prefix} at {s.key.neighbor}" for s in self.routes.states.values() if s.there]
        unseen = [] if self._addresses_seen() else ["addresses: what the kernel has is not known"]
        return (routes + unseen + [f"address {a}" for a in self.addresses.ours_left()])[:20]

    def _addresses_seen(self) -> bool:
        config = self.record.config
        return self.addresses.known or config is None or config.address_mode is not AddressMode.MANAGE

    def _end_stop(self, now: float) -> None:
        if self.life is not Life.STOPPING or self._withdrawing(now):
            return
        if self._addresses_seen() and not self.addresses.ours_left():
            self._finish(now, 0, "stopped; nothing is left")

    def _withdrawing(self, now: float) -> bool:
        """Whether a router may still have a route from us."""
        if self._dead_man_has_fired(now):
            return False
        away = self.link.state is not Link.SYNCED
        withdrawn_at, down = self.routes.withdrawn_at, self.link.session_down
        if away or any(withdrawn_at(key.prefix, down, now) is None for key in self.routes.states):
            self.timers.set(StopTurn(), now + LOOK_AGAIN)
            return True
        return False

    def _dead_man_has_fired(self, now: float) -> bool:
        """Away for so long, the pipe has carried out the wills, or died with the sessions of its ExaBGP."""
        config = self.record.config
        if self.link.state is not Link.ABSENT or config is None:
            return False
        return now >= self.link.since + config.dead_man + 1.0

    def _finish(self, now: float, code: int, why: str, hand_over: bool = False) -> None:
        self.life, self.life_since = LIFE_TABLE[self.life, LifeEvent.FINISHED], now
        self._say("agent", f"ends: {why}", "info" if code == 0 else "error")
        self._actions.append(Exit(code, why, hand_over))

    # --- planning ---

    def _plan(self, now: float) -> None:
        if self.life in (Life.RUNNING, Life.STOPPING) and self.link.state is Link.SYNCED:
            for action in self.routes.plan(now, self._may_put):
                self._actions.append(action)
                for key in keys_of(action):
                    self._forget_picture(key.prefix)
        self._actions.extend(self.probing.begin(now))
        change = self.addresses.plan(now, lambda address: self._removable(address, now))
        self._actions += [change] if change is not None else []
        if self.life in (Life.STARTING, Life.RUNNING):
            # A wedged one could not be configured: that would only keep its restart waiting.
            step = self.link.restart(now) or self.link.configure(self._neighbors_settled, now)
            self._actions += [step] if step is not None else []

    def _may_put(self, key: RouteKey) -> bool:
        """The address first, also where its route may stay while it is put back."""
        return self.link.may_put(key) and self._reachable(key.prefix)

    def _neighbors_settled(self) -> bool:
        leaving = self.link.leaving()
        if not leaving:
            return True
        theirs = [s for s in self.routes.states.values() if s.key.neighbor in leaving]
        return not any(s.there or s.open is not None or s.sent for s in theirs)

    def _removable(self, address: Address, now: float) -> float | None:
        """An address goes after each of its routes' withdrawals was sent, or the session is down, and the linger."""
        if self.life is Life.STARTING or self.life is Life.HANDING_OVER:
            return None
        prefix = prefix_of(address)
        at = self.routes.withdrawn_at(prefix, self.link.session_down, now)
        if at is None:
            return now if self._dead_man_has_fired(now) else now + LOOK_AGAIN
        return at + self.prefixes.linger(prefix)

    def _say(self, subject: str, text: str, level: str = "info") -> None:
        self._changes.append(Change(subject, text, level))


def _first_of(addresses: list[Address]) -> str:
    more = len(addresses) - 1
    return addresses[0] + (f" and {more} more" if more else "")
