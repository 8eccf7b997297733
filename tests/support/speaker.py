"""What is behind the agent's speaker in the world: the REAL translation and switchboard, with a small ExaBGP."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, RouteKey, SpeakerConfig
from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.ledger import Entry
from anycast_agent.speaker.pipe.outputs import (
    HangUp,
    Kind,
    Output,
    ReadSettings,
    SignalExaBGP,
    ToAgent,
    ToExaBGP,
)
from anycast_agent.speaker.pipe.settings import Settings
from anycast_agent.speaker.pipe.switchboard import Switchboard
from anycast_agent.speaker.translation import RouteAction, Translation
from tests.support.exabgp import ExaBGP


class SpeakerSide:
    """The pipe and ExaBGP of one node. It outlives the agents; what an agent said before it died is still carried out.

    ``post``: an event for the agent that is connected. ``own_address``: of this node, by the neighbor's name.
    """

    def __init__(
        self,
        post: Callable[[ev.Event], None],
        own_address: Callable[[str], str],
        sessions: dict[str, bool],
        owned: bool,
    ) -> None:
        self._post = post
        self._own_address = own_address
        self._sessions = sessions
        self._owned = owned
        self._config = SpeakerConfig()
        self._names: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, RouteAction] = {}
        self._translation = Translation()
        self._backlog: list[tuple[int, wire.FromAgent]] = []
        """What was said to a pipe that stands still."""
        self.connection: int | None = None
        self.alive = False
        self.frozen = False
        self.silent: set[str] = set()
        """What is no longer heard of: ``sent`` (UPDATEs), ``extended``."""
        self.exabgp = ExaBGP()
        self.switchboard = Switchboard(self._settings(), self._choose, "pipe 1", 0.0)

    def _settings(self) -> Settings:
        c = self._config
        return Settings(c.dead_man, c.adopt_for, c.prefixes, self._owned, c.keep_for)

    def _choose(self, address: str) -> str:
        return self._own_address(self._names.get(address, address))

    # --- the process ---

    def start(self, now: float) -> None:
        """A new ExaBGP, with the neighbors that are configured, and its pipe."""
        self.alive, self.frozen = True, False
        self.exabgp = ExaBGP(own_address="")
        self._backlog.clear()
        self._waiting.clear()
        self.switchboard = Switchboard(self._settings(), self._choose, "pipe 1", now)
        self._configure_exabgp()
        self.exabgp.take()
        self.switchboard.begin(now)
        self.pump(now)

    def die(self) -> None:
        """kill -9 of ExaBGP: its sessions go, and the routers drop what they had of it."""
        self.exabgp.end()
        self.alive, self.connection = False, None

    # --- the agent ---

    def connect(self, generation: int, now: float) -> None:
        if not self.alive:
            self.start(now)
        self.connection = next(self._numbers)
        self._waiting.clear()
        self.say(wire.Hello((wire.VERSION,), f"agent {generation}", float(generation)), now)

    def disconnect(self, now: float) -> int | None:
        """The agent's end of the connection is gone. Returns its number, for ``left``."""
        connection, self.connection = self.connection, None
        return connection

    def left(self, connection: int, now: float) -> None:
        """The pipe sees the end of a connection, after all that was said on it."""
        if self.alive:
            self.switchboard.agent_left(connection, now)
            self.pump(now)

    def say(self, message: wire.FromAgent, now: float, connection: int | None = None) -> None:
        connection = connection or self.connection
        if connection is None or not self.alive:
            return
        self._backlog.append((connection, message))
        self.pump(now)

    def carry_out(self, action: RouteAction, now: float, connection: int | None) -> None:
        """An action on routes, said on a connection that may have ended since."""
        if connection is None or not self.alive:
            self._post(self._translation.ended(action, wire.Done(0, "not connected")))
            return
        number = next(self._numbers)
        if connection == self.connection:
            self._waiting[number] = action
        self.say(self._translation.request(action, number), now, connection)

    # --- configuration ---

    def configure(self, config: SpeakerConfig, now: float) -> None:
        self._config = config
        self._names = {n.address: n.name for n in config.neighbors.values()}
        self._translation.begin(config)
        for name in config.neighbors:
            self._sessions.setdefault(name, True)

    def reload(self, now: float) -> None:
        """ExaBGP and the pipe take the configuration."""
        self.say(wire.Reload(next(self._numbers), exabgp=True), now)
        self.say(wire.AskRevision(next(self._numbers)), now)
        for event in self._translation.configured():
            self._post(event)

    def _configure_exabgp(self) -> None:
        wanted = {n.address: n.name for n in self._config.neighbors.values()}
        for address in [a for a in self.exabgp.peers if a not in wanted]:
            self.exabgp.session(address, up=False)
            del self.exabgp.peers[address]
        for address, name in wanted.items():
            if address not in self.exabgp.peers:
                self._set_own(address)
                self.exabgp.session(address, up=False)
                self.exabgp.session(address, up=self._sessions[name])

    def _set_own(self, address: str) -> None:
        self.exabgp.own_addresses[address] = self._choose(address)

    # --- sessions ---

    def session(self, name: str, *, up: bool, now: float) -> None:
        neighbor = self._config.neighbors.get(name)
        if neighbor is not None and self.alive:
            self._set_own(neighbor.address)
            self.exabgp.session(neighbor.address, up=up)
            self.pump(now)

    # --- the pipe turns ---

    def wake(self, now: float) -> None:
        if self.alive and not self.frozen:
            self.switchboard.wake(now)
            self.pump(now)

    def deadline(self) -> float | None:
        return self.switchboard.deadline() if self.alive and not self.frozen else None

    def pump(self, now: float) -> None:
        """Until nobody has anything to say, or the pipe stands still."""
        while self.alive and not self.frozen:
            said, self._backlog = self._backlog, []
            for connection, message in said:
                self.switchboard.agent_said(connection, message, now)
            outputs = self.switchboard.take()
            for output in outputs:
                self._execute(output, now)
            worked = self.exabgp.work()
            lines = self.exabgp.take()
            for line in lines:
                self.switchboard.exabgp_said(line.encode(), now)
            if not (said or outputs or worked or lines):
                return

    def send(self, now: float) -> None:
        """What ExaBGP was told goes out to the routers."""
        if self.alive and self.exabgp.send():
            self.pump(now)

    def _execute(self, output: Output, now: float) -> None:
        match output:
            case ToExaBGP(line):
                self.exabgp.told(line)
            case ToAgent(connection, message) if connection == self.connection:
                self._hear(message)
            case HangUp(connection):
                self.switchboard.agent_left(connection, now)
            case SignalExaBGP(Kind.RELOAD):
                self._configure_exabgp()
            case SignalExaBGP():
                self.ended()
            case ReadSettings(connection, request):
                self.switchboard.settings_read(connection, request, self._settings(), now)

    def ended(self) -> None:
        """The pipe has ended ExaBGP."""
        was = self.connection is not None
        self.die()
        if was:
            self._post(ev.SpeakerLost("ExaBGP has ended"))

    def _hear(self, message: wire.ToAgent) -> None:
        if isinstance(message, wire.Sent) and "sent" in self.silent:
            return
        if isinstance(message, wire.Done):
            action = self._waiting.pop(message.id or 0, None)
            if action is None or (isinstance(action, act.ExtendDeadMan) and "extended" in self.silent):
                return
            self._post(self._translation.ended(action, message))
            return
        for event in self._translation.events(message):
            self._post(event)

    # --- asking ---

    def ledger(self) -> dict[RouteKey, Entry]:
        entries = self.switchboard._ledger.entries if self.alive else {}
        return {RouteKey(self._names.get(n, n), prefix): entry for (n, prefix), entry in entries.items()}

    def router(self) -> dict[RouteKey, Attributes]:
        """What the routers have from us."""
        found = {}
        for (address, prefix), head in self.exabgp.routers().items():
            attributes = codec.parse_head(head)
            assert attributes is not None
            found[RouteKey(self._names.get(address, address), prefix)] = attributes
        return found
