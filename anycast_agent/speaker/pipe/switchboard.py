"""Every decision of the pipe. Pure: lines, messages and time in; outputs and a deadline out.

Invariants, on which "never a stale route" rests:

- A route that is not in the ledger is not in ExaBGP, or its withdrawal is under way.
- A route is in the ledger before ExaBGP is told of it, and leaves it only after ExaBGP has acknowledged the withdrawal.
- Withdrawals overtake everything that waits. A put that was overtaken is given up, never said afterwards.
- One agent is current, the newest. Another one's routes are unconfirmed from the moment that it is replaced or gone.
- A message of the agent is answered exactly once, whatever happens to it.

ExaBGP's answers carry no number, so it has one command at a time (``exchange``). The shell calls ``wake`` at
``deadline`` or earlier, after it has handed over everything from the sockets. So a heartbeat counts that waited there
while the process was suspended; if there is none within ``dead_man``, there is no second wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.ledger import Ledger
from anycast_agent.speaker.pipe.neighbors import Neighbors
from anycast_agent.speaker.pipe.outbox import Outbox
from anycast_agent.speaker.pipe.outputs import (
    HangUp,
    Kind,
    Output,
    ReadSettings,
    SignalExaBGP,
    TellSystemd,
    ToExaBGP,
)
from anycast_agent.speaker.pipe.own_address import OwnAddresses
from anycast_agent.speaker.pipe.refusals import Step
from anycast_agent.speaker.pipe.requests import RefusedError, check_extend, check_put
from anycast_agent.speaker.pipe.rib import Rib
from anycast_agent.speaker.pipe.settings import Settings
from anycast_agent.speaker.wire import Key

MAX_REVISIONS = 1000
ROUND_TRIP_EVERY = 1.0
"""ExaBGP is asked something at least so often: its answer proves that it is alive. Seconds."""
END_AFTER = 10.0
"""Time that an ExaBGP outlives the agent that started it, once it carries no route. Seconds."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A connection that has said hello."""

    connection: int
    id: str
    started: float
    """When its process began (monotonic): the newest wins, and the one before does not come back."""


class Switchboard:
    def __init__(self, settings: Settings, choose: Callable[[str], str], name: str, now: float) -> None:
        """``choose``: this node's address for a connection to a neighbor now, empty where there is no way.
        ``name``: this pipe, for people."""
        self._settings = settings
        self._name = name
        self._now = now
        self._out = Outbox()
        self._agent: Agent | None = None
        self._alone_since = now
        self._ledger = Ledger(settings.dead_man, settings.adopt_for, now, settings.keep_for)
        self._rib = Rib(self._ledger, OwnAddresses(choose), lambda: self._now, self._out.say)
        self._neighbors = Neighbors(self._rib, settings.allow, self._out.tell)
        self._asked_at = self._answered_at = self._woken_at = now
        self._learned = False
        self._replay_due = False
        self._proved = False
        """ExaBGP has answered at least once."""

    # --- the shell's calls ---

    def begin(self, now: float) -> None:
        """Ask ExaBGP for the routes of an earlier pipe. Until the answer, no agent is told that the replay is
        complete."""
        self._now = now
        ask = self._rib.ask
        ask("show adj-rib out extensive", self._rib_line, _ignore)
        ask("show neighbor summary", self._summary_line, _ignore)
        ask("show neighbor configuration", self._neighbors.configuration_line, _ignore)
        ask("show adj-rib in extensive", self._neighbors.path_line, lambda _: self._has_learned())
        self._next_command()

    def exabgp_said(self, line: bytes, now: float) -> None:
        """A line of ExaBGP, without its end."""
        self._now = now
        if line in (b"done", b"error"):
            self._answered(None if line == b"done" else "ExaBGP said error; its log has the reason")
            return
        try:
            if line.startswith(b"{"):
                for event in codec.parse_event(line.decode("utf-8", "replace")):
                    self._event(event)
            else:
                self._rib.exchange.text(line.decode("utf-8", "replace"))
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            self._out.say(f"ExaBGP wrote what could not be read: {type(error).__name__}: {error}"[:300])
        self._next_command()

    def agent_said(self, connection: int, message: wire.FromAgent | wire.Unknown, now: float) -> None:
        self._now = now
        try:
            self._request(connection, message)
        except RefusedError as error:
            number = message.id if isinstance(message, wire.Request | wire.Unknown) else None
            self._out.refuse(connection, number, str(error))
        self._next_command()

    def agent_garbled(self, connection: int, error: wire.MalformedError, now: float) -> None:
        """A line that is no message."""
        self._now = now
        self._out.refuse(connection, error.id, str(error))

    def agent_left(self, connection: int, now: float) -> None:
        """The connection has ended, for whatever cause."""
        self._now = now
        self._rib.exchange.forget(connection)
        if self._agent is not None and self._agent.connection == connection:
            self._agent = self._out.current = None
            self._alone_since = now
            self._ledger.gone(now)
        self._next_command()

    def settings_read(self, agent: int, request: wire.Reload, settings: Settings | str, now: float) -> None:
        """The answer to ReadSettings; a text says why they could not be read, and the old ones stay."""
        self._now = now
        if isinstance(settings, str):
            self._out.refuse(agent, request.id, settings)
            return
        self._settings, self._neighbors.allow = settings, settings.allow
        self._ledger.configure(settings.dead_man, settings.adopt_for, settings.keep_for)
        if request.exabgp:
            self._neighbors.peers.configured = 0  # not known until the answer to AskRevision shows the new ones
            self._out.put(SignalExaBGP(Kind.RELOAD))
        self._out.tell(wire.Done(request.id), agent)

    def wake(self, now: float) -> None:
        """A deadline may have passed: carry out what is due."""
        self._now = self._woken_at = now
        for neighbor in self._rib.flow.settled(now):
            self._rib.session_flows(neighbor)
        if self._learned:
            keys, why = self._ledger.overdue(now)
            if keys:
                self._drop_by_itself(keys, why)
            if self._ledger.fired:
                self._rib.exchange.overtake()  # requests of the dead agent that have not begun are dropped
        for neighbor, step in self._rib.refusals.due(now):
            self._escalate(neighbor, step)
        if not self._rib.exchange.waits and now - self._answered_at >= ROUND_TRIP_EVERY:
            self._neighbors.peers.begin()
            self._rib.ask("show neighbor summary", self._summary_line, self._round_trip_done)
        self._end_if_alone()
        self._next_command()

    def deadline(self) -> float:
        """When ``wake`` is due at the latest (monotonic seconds)."""
        times = [self._ledger.deadline(), self._rib.refusals.deadline(), self._rib.flow.deadline()]
        return min([self._woken_at + ROUND_TRIP_EVERY / 2, *(at for at in times if at is not None)])

    def take(self) -> list[Output]:
        """The outputs since the last call, in order."""
        return self._out.take()

    # --- ExaBGP ---

    def _next_command(self) -> None:
        line = self._rib.exchange.next_line()
        if line is not None:
            self._asked_at = self._now
            self._out.put(ToExaBGP(line))

    def _answered(self, error: str | None) -> None:
        self._answered_at = self._now
        self._rib.exchange.answered(error)
        if self._replay_due:
            self._replay()
        self._next_command()

    def _rib_line(self, line: str) -> None:
        found = codec.parse_rib_line(line)
        if found is not None and codec.is_announceable(found[1]):
            self._ledger.found((found[0], found[1]), found[2], self._now)

    def _summary_line(self, line: str) -> None:
        shown = self._neighbors.summary_line(line)
        if shown is not None and shown.up and not self._learned:
            self._ledger.sent(shown.neighbor, [p for n, p in self._ledger.entries if n == shown.neighbor])

    def _has_learned(self) -> None:
        self._learned = True
        if self._agent is not None:
            self._replay()

    def _event(self, event: codec.SpeakerEvent) -> None:
        match event:
            case codec.SessionEvent():
                self._neighbors.session(event)
            case codec.SentEvent(neighbor, announced, withdrawn):
                self._neighbors.reported(neighbor)
                self._ledger.sent(neighbor, announced, withdrawn)
                self._rib.flow.sent(neighbor, (*announced, *withdrawn))
                self._out.tell(wire.Sent(neighbor, tuple(announced), tuple(withdrawn)))
            case codec.EndOfRibEvent(neighbor):
                self._neighbors.reported(neighbor)
                self._rib.flow.end_of_rib(neighbor, self._now)
            case codec.OpenEvent():
                self._neighbors.opened(event)
            case codec.ReceivedPath():
                self._neighbors.received(event)
            case codec.NotificationEvent(neighbor, direction, code, subcode, text):
                self._out.tell(wire.Notification(neighbor, direction, code, subcode, text))

    def _round_trip_done(self, error: str | None) -> None:
        if error is None:
            self._out.put(TellSystemd(first=not self._proved))
            self._proved = True
            self._neighbors.round_trip()
        given_up = self._neighbors.peers.end()
        if given_up:
            self._out.say(f"ExaBGP has given up {given_up} of its peers: ending it, to be started again")
            self._out.put(SignalExaBGP(Kind.END))

    # --- the pipe's own work ---

    def _drop_by_itself(self, keys: list[Key], why: str) -> None:
        self._out.say(f"withdrawing {len(keys)} routes: {why}")

        def then(error: str | None) -> None:
            if error is None:
                self._out.tell(wire.Dropped(tuple(keys), why))
            else:
                self._ledger.again(keys, self._now, ROUND_TRIP_EVERY)

        self._ledger.leaving(keys)
        self._rib.withdraw(keys, self._neighbors.known, then)

    def _escalate(self, neighbor: str, step: Step) -> None:
        """ExaBGP refuses a withdrawal: a lost session is better than a stale route."""
        refused = f"ExaBGP refuses to withdraw a route from {neighbor}"
        if step is Step.CLEAR:
            self._out.say(f"{refused}: withdrawing all that it has from us")
            why = f"{refused}; all that it had from us was withdrawn at once"
            self._rib.clear(neighbor, lambda keys: self._out.tell(wire.Dropped(tuple(keys), why)))
        else:
            self._out.say(f"{refused}: ending ExaBGP, which ends its sessions")
            self._out.put(SignalExaBGP(Kind.END if step is Step.END else Kind.KILL))

    def _end_if_alone(self) -> None:
        """An ExaBGP that an agent started does not outlive it for ever."""
        alone = self._settings.owned and self._agent is None and not self._ledger.entries and self._learned
        since = max(self._alone_since + self._settings.dead_man, self._ledger.waits_until)
        if alone and self._now >= since + END_AFTER:
            self._out.say("no agent has come: ending ExaBGP")
            self._out.put(SignalExaBGP(Kind.END))
            self._alone_since = self._now

    # --- agents ---

    def _request(self, connection: int, message: wire.FromAgent | wire.Unknown) -> None:
        if isinstance(message, wire.Hello):
            self._hello(connection, message)
            return
        agent = self._agent
        if agent is None or agent.connection != connection:
            raise RefusedError("say hello first")
        match message:
            case wire.Heartbeat():
                self._ledger.heartbeat(self._now)
                self._out.tell(wire.HeartbeatAnswer(message.n, round(self._exabgp_age(), 3)))
            case wire.Resync():
                self._replay()
            case wire.Put():
                self._put(agent, message)
            case wire.Drop():
                then = self._out.answers(connection, message.id)
                self._rib.withdraw(list(message.keys), self._neighbors.known, then, connection)
            case wire.Confirm():
                self._ledger.confirm(message.keys)
                self._out.tell(wire.Done(message.id))
            case wire.Extend():
                check_extend(message)
                self._ledger.extend(message.seconds, self._now)
                self._out.tell(wire.Done(message.id))
            case wire.Reload():
                self._out.put(ReadSettings(connection, message))
            case wire.AskRevision():
                self._revision(agent, message)
            case wire.Unknown():
                raise RefusedError(f"no operation {message.op!r} in version {wire.VERSION}")

    def _hello(self, connection: int, hello: wire.Hello) -> None:
        if wire.VERSION not in hello.versions:
            versions = list(hello.versions)
            raise RefusedError(f"this pipe speaks version {wire.VERSION}, the agent {versions}")
        old, started = self._agent, self._now if hello.started is None else hello.started
        if old is not None and old.started > started:
            raise RefusedError("a newer agent has the speaker")
        self._agent, self._out.current = Agent(connection, hello.agent[:64], started), connection
        if old is not None and old.connection != connection:
            self._out.tell(wire.Replaced(), old.connection)
            self._ledger.gone(self._now)
            self._rib.exchange.forget(old.connection)
            self._out.put(HangUp(old.connection))
        self._ledger.hello(self._agent.id, self._now)
        self._out.tell(wire.Welcome(wire.VERSION, self._name))
        if self._learned:
            self._replay()

    def _put(self, agent: Agent, put: wire.Put) -> None:
        check_put(put, self._settings.allow)
        self._ledger.heartbeat(self._now)  # it proves as much as a heartbeat does
        routes = [(put.neighbor, prefix, put.head) for prefix in dict.fromkeys(put.prefixes)]

        def then(error: str | None) -> None:
            self._out.answers(agent.connection, put.id)(error)
            # ExaBGP reports no UPDATE for a repeated announcement: the route was sent, and stays sent.
            entries = [(p, self._ledger.entries.get((n, p))) for n, p, _ in routes]
            there = tuple(p for p, entry in entries if entry is not None and entry.sent)
            if error is None and there:
                self._out.tell(wire.Sent(put.neighbor, there), agent.connection)

        self._rib.put(routes, put.will, agent.id, agent.connection, then)

    def _revision(self, agent: Agent, asked: wire.AskRevision) -> None:
        """Which revision of the configuration has each of ExaBGP's neighbors? An older one is not reloaded yet."""
        found: list[str] = []

        def on_text(line: str) -> None:
            revision = codec.parse_revision_line(line)
            if revision is not None and len(found) < MAX_REVISIONS:
                found.append(revision)

        def then(error: str | None) -> None:
            self._neighbors.peers.configured = len(found)
            self._out.tell(wire.Done(asked.id, error, tuple(sorted(set(found))), len(found)), agent.connection)

        self._rib.ask("show neighbor configuration", on_text, then, agent.connection)

    def _replay(self) -> None:
        """Replay all routes, once ExaBGP has named its own and no command is open."""
        if not self._learned or self._agent is None:
            return
        self._replay_due = self._rib.exchange.waits
        if self._replay_due:
            return
        for (neighbor, prefix), e in self._ledger.entries.items():
            confirmed = e.agent == self._agent.id and e.unconfirmed_since is None
            self._out.tell(wire.Route(neighbor, prefix, e.head, e.will, e.sent, confirmed))
        for message in self._neighbors.messages():
            self._out.tell(message)
        self._out.tell(wire.Synced())

    def _exabgp_age(self) -> float:
        """Seconds since ExaBGP last answered, where it owes an answer; it is asked at least every second."""
        waits = self._rib.exchange.waits
        return self._now - self._asked_at if waits else max(0.0, self._now - self._answered_at)


def _ignore(_: str | None) -> None:
    """Handle an answer to a command that only asks."""
