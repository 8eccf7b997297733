"""ExaBGP's only API process: between ExaBGP (stdin, stdout) and the agent (a unix socket, one JSON object a line).

It holds the ledger, and is the dead-man's switch: without a beat of the agent it carries out the wills. It needs only
the standard library and never blocks on either side.

From the agent                                            To the agent
  hello   versions, agent, started                          hello    version, pipe
  put     id, neighbor, prefixes, head, will                route    neighbor, prefix, head, will, sent, confirmed
  drop    id, keys: [[neighbor, prefix], …]                 session  neighbor, state, why, own_address
  confirm id, keys                                          path     neighbor, prefix, id, as_path (null: gone), large
  beat    n                                                 synced   (the replay is complete)
  extend  id, seconds                                       done     id, error (null: ExaBGP said done)
  reload  id     (settings, and SIGUSR1 to ExaBGP)          sent     neighbor, announced, withdrawn
  config  id     (which revision has ExaBGP?)               dropped  keys, why
  resync                                                    notification neighbor, direction, code, subcode, text
                                                            open     neighbor, families, capabilities (the router's)
                                                            beat     n, exabgp_age
                                                            replaced (a newer agent has come)

Fields are only ever added. An operation that the pipe does not know is answered with an error, never with silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anycast_agent import __version__
from anycast_agent.speaker import codec
from anycast_agent.speaker.exchange import Command, Exchange, Job
from anycast_agent.speaker.ledger import KEEP, Entry, Key, Ledger
from anycast_agent.speaker.own_address import UNSPECIFIED, OwnAddresses
from anycast_agent.speaker.refusals import Refusals, Step

VERSION = 1
LINE_MOST = 1 << 20
OUTPUT_MOST = 8 << 20
"""What an agent may leave unread before it is disconnected. Bytes."""
QUEUE_MOST = 10_000
PATHS_MOST = 20_000
PREFIXES_A_LINE = 64
AGENTS_MOST = 4
ROUND_TRIP_EVERY = 1.0
SETTLES_WITHIN = 0.1
"""After the end of its first turn through the routes (End-of-RIB), what ExaBGP was told goes out at once. Seconds."""
MISSED_MOST = 3
"""Round trips in a row that show fewer peers than are configured, before ExaBGP is ended for it."""
EXTEND_MOST = 3600.0
"""How long an agent that hands over may have the routes kept without one. Seconds."""
END_AFTER = 10.0
"""How long an ExaBGP that the agent started outlives it, once it carries nothing. Seconds."""


class RefusedError(Exception):
    """What the agent sent is not passed on; the text says why."""


@dataclass(slots=True)
class Settings:
    """Read from a file at the start and at each reload, so that ExaBGP's own line for us never changes."""

    dead_man: float
    adopt_for: float
    allow: frozenset[str]
    owned: bool

    @classmethod
    def read(cls, path: Path) -> Settings:
        values = json.loads(path.read_text("ascii"))
        allow = frozenset(p for p in values["allow"] if codec.is_host_route(p))
        return cls(float(values["dead_man"]), float(values["adopt_for"]), allow, bool(values["owned"]))


@dataclass(slots=True, eq=False)
class Agent:
    """A connection."""

    socket: socket.socket
    id: str = ""
    started: float = 0.0
    """When its process began (monotonic): the newest wins, and the one before does not come back."""
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Blind:
    """What ExaBGP was told of a route that it could not send at once."""

    commands: int = 0
    head: str = ""


class Pipe:
    def __init__(self, listener: socket.socket, settings_file: Path) -> None:
        now = time.monotonic()
        self._settings_file = settings_file
        self._settings = Settings.read(settings_file)
        self._ledger = Ledger(self._settings.dead_man, self._settings.adopt_for, now)
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._agents: list[Agent] = []
        self._current: Agent | None = None
        self._exabgp = os.getppid()
        self._exchange = Exchange()
        self._asked_at = now
        self._answered_at = now
        self._from_exabgp = bytearray()
        self._to_exabgp = bytearray()
        self._sessions: dict[str, tuple[str, str]] = {}
        self._opens: dict[str, codec.OpenEvent] = {}
        """What each router's last OPEN said."""
        self._own = OwnAddresses(source_address)
        self._refusals = Refusals()
        self._blind: dict[Key, Blind] = {}
        self._flowing: set[str] = set()
        """Sessions that are up and have sent what waited for them: what ExaBGP is told now it sends now."""
        self._settling: dict[str, float] = {}
        self._unsent: dict[Key, str] = {}
        """Told while the session carried everything at once, and not reported as sent yet: the head of each."""
        self._replay_due: Agent | None = None
        self._paths: dict[tuple[str, str, str], codec.ReceivedPath] = {}
        self._learned = False
        self._configured = 0
        self._peers: dict[str, bool] = {}
        self._missed = 0
        self._alone_since = now
        self._ready_said = False

    # --- the loop ---

    def run(self) -> None:
        """Until ExaBGP closes our input."""
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(0, selectors.EVENT_READ, None)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self._learn()
        while True:
            for key, mask in self._selector.select(self._timeout()):
                if key.fd == 0:
                    if not self._read_exabgp():
                        return
                elif key.fd == 1:
                    self._write_exabgp()
                elif key.data is None:
                    self._accept()
                else:
                    self._serve(key.data, mask)
            self._clocks(time.monotonic())

    def _timeout(self) -> float:
        deadlines = (self._ledger.deadline(), self._refusals.deadline())
        times = [*self._settling.values(), *(at for at in deadlines if at is not None)]
        left = ROUND_TRIP_EVERY if not times else min(times) - time.monotonic()
        return min(ROUND_TRIP_EVERY / 2, max(0.0, left))

    def _clocks(self, now: float) -> None:
        for neighbor in [n for n, at in self._settling.items() if now >= at]:
            del self._settling[neighbor]
            self._look_again(neighbor)
        # What was waiting in the sockets has been read first: a beat that lay there while this process was
        # suspended counts, and one that did not come within dead_man of it will not be waited for again.
        if self._learned:
            keys, why = self._ledger.overdue(now)
            if keys:
                self._drop_by_itself(keys, why)
            if self._ledger.fired:
                self._exchange.overtake()  # what the dead agent still asked for is not begun any more
        for neighbor, step in self._refusals.due(now):
            self._escalate(neighbor, step)
        if not self._exchange.waits and now - self._answered_at >= ROUND_TRIP_EVERY:
            self._peers = {}
            self._ask("show neighbor summary", self._on_summary_line, self._round_trip_done)
        self._end_if_alone(now)

    def _escalate(self, neighbor: str, step: Step) -> None:
        """ExaBGP refuses a withdrawal: a lost session is better than a stale route."""
        refused = f"ExaBGP refuses to withdraw a route from {neighbor}"
        if step is Step.CLEAR:
            _say(f"{refused}: withdrawing all that it has from us")
            self._clear(neighbor, f"{refused}; all that it had from us was withdrawn at once")
        else:
            _say(f"{refused}: ending ExaBGP, which ends its sessions")
            self._signal_exabgp(signal.SIGTERM if step is Step.END else signal.SIGKILL)

    def _clear(self, neighbor: str, why: str) -> None:
        """Withdraw all routes of a neighbor, by a command that names none of them."""

        def finish(error: str | None) -> None:
            if error is not None:
                return  # the next step follows
            routes = [(*key, entry.head) for key, entry in self._ledger.entries.items() if key[0] == neighbor]
            keys = [(n, p) for n, p, _ in routes]
            self._told(routes)
            self._gone(keys)
            self._tell(op="dropped", keys=[list(key) for key in keys], why=why)

        self._exchange.overtake(frozenset(key for key in self._ledger.entries if key[0] == neighbor))
        self._add(Job(lambda: [Command(f"neighbor {neighbor} clear adj-rib out")], finish), urgent=True)

    def _gone(self, keys: Iterable[Key]) -> None:
        """ExaBGP has these routes no more."""
        keys = list(keys)
        self._ledger.drop(keys)
        self._refusals.over(keys)

    def _end_if_alone(self, now: float) -> None:
        """An ExaBGP that an agent started does not outlive it for ever."""
        alone = self._settings.owned and self._current is None and not self._ledger.entries and self._learned
        since = max(self._alone_since + self._settings.dead_man, self._ledger.waits_until)
        if alone and now >= since + END_AFTER:
            _say("no agent has come: ending ExaBGP")
            self._signal_exabgp(signal.SIGTERM)
            self._alone_since = now

    def _signal_exabgp(self, number: signal.Signals) -> None:
        if os.getppid() == self._exabgp:  # else it has just ended, and our parent is somebody else
            os.kill(self._exabgp, number)

    # --- ExaBGP ---

    def _learn(self) -> None:
        """Ask ExaBGP what it has from an earlier pipe; until that is known, no agent is told that all is known."""
        self._ask("show adj-rib out extensive", self._on_rib_line, lambda _: None)
        self._ask("show neighbor summary", self._on_summary_line, lambda _: None)
        self._ask("show neighbor configuration", self._on_configuration_line, lambda _: None)
        self._ask("show adj-rib in extensive", self._on_path_line, lambda _: self._has_learned())

    def _has_learned(self) -> None:
        self._learned = True
        if self._current is not None:
            self._replay(self._current)

    def _on_rib_line(self, line: str) -> None:
        found = codec.parse_rib_line(line)
        if found is not None and codec.is_host_route(found[1]):
            self._ledger.found((found[0], found[1]), found[2], time.monotonic())

    def _on_summary_line(self, line: str) -> None:
        found = codec.parse_summary_line(line)
        if found is None:
            return
        neighbor, up = found
        self._peers[neighbor] = up
        state, _ = self._sessions.get(neighbor, ("", ""))
        if not state or (state == "up") is not up:  # an event was lost, with an earlier pipe at the latest
            self._session(neighbor, "up" if up else "down", "")
            if up:
                self._look_again(neighbor)
        elif not up and self._own.session(neighbor, state):  # the uplink has come, or has another address
            self._tell_session(neighbor)
        if up and not self._learned:
            self._ledger.sent(neighbor, [p for n, p in self._ledger.entries if n == neighbor])

    def _on_configuration_line(self, line: str) -> None:
        self._configured += codec.parse_revision_line(line) is not None

    def _on_path_line(self, line: str) -> None:
        path = codec.parse_path_line(line)
        if path is not None:
            self._received(path)

    def _ask(self, command: str, on_text: Callable[[str], None], finish: Callable[[str | None], None]) -> None:
        self._add(Job(lambda: [Command(command)], finish, on_text))

    def _add(self, job: Job, *, urgent: bool = False) -> None:
        if len(self._exchange) >= QUEUE_MOST and job.owner is not None:
            raise RefusedError("too many requests wait for ExaBGP")
        self._exchange.add(job, urgent=urgent)
        self._next_command()

    def _next_command(self) -> None:
        line = self._exchange.next_line()
        if line is not None:
            self._to_exabgp += line.encode("ascii") + b"\n"
            self._asked_at = time.monotonic()
            self._write_exabgp()

    def _write_exabgp(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._to_exabgp:
                del self._to_exabgp[: os.write(1, self._to_exabgp)]
        registered = 1 in self._selector.get_map()
        if self._to_exabgp and not registered:
            self._selector.register(1, selectors.EVENT_WRITE, None)
        elif not self._to_exabgp and registered:
            self._selector.unregister(1)

    def _read_exabgp(self) -> bool:
        """False at the end of input. Whatever ExaBGP writes is read: one whose helper does not read freezes."""
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._from_exabgp += data
        *lines, rest = self._from_exabgp.split(b"\n")
        self._from_exabgp = rest if len(rest) <= 16 * LINE_MOST else bytearray()
        for line in lines:
            self._on_exabgp_line(bytes(line))
        return True

    def _on_exabgp_line(self, line: bytes) -> None:
        if line in (b"done", b"error"):
            self._answered(None if line == b"done" else "ExaBGP said error; its log has the reason")
            return
        try:
            if line.startswith(b"{"):
                for event in codec.parse_event(line.decode("utf-8", "replace")):
                    self._on_event(event)
            else:
                self._exchange.text(line.decode("utf-8", "replace"))
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            _say(f"ExaBGP wrote what could not be read: {type(error).__name__}: {error}"[:300])

    def _answered(self, error: str | None) -> None:
        self._answered_at = time.monotonic()
        self._exchange.answered(error)
        if self._replay_due is not None:
            self._replay(self._replay_due)
        self._next_command()

    def _on_event(self, event: codec.SpeakerEvent) -> None:
        match event:
            case codec.SessionEvent(neighbor, state, why, own_address):
                self._session(neighbor, state, why, own_address)
            case codec.SentEvent(neighbor, announced, withdrawn):
                self._ledger.sent(neighbor, announced)
                for prefix in (*announced, *withdrawn):
                    self._unsent.pop((neighbor, prefix), None)
                self._tell(op="sent", neighbor=neighbor, announced=announced, withdrawn=withdrawn)
            case codec.EndOfRibEvent(neighbor):
                # What it was told until now may still wait for its next turns.
                self._settling[neighbor] = time.monotonic() + SETTLES_WITHIN
            case codec.ReceivedPath():
                self._received(event)
            case codec.OpenEvent(neighbor):
                self._opens[neighbor] = event
                self._tell_open(event)
            case codec.NotificationEvent(neighbor, direction, code, subcode, text):
                self._tell(
                    op="notification", neighbor=neighbor, direction=direction, code=code, subcode=subcode, text=text
                )

    def _session(self, neighbor: str, state: str, why: str, own_address: str = "") -> None:
        self._sessions[neighbor] = (state, why)
        self._own.session(neighbor, state, own_address)
        self._tell_session(neighbor)
        if state != "up":
            self._stops_flowing(neighbor)
        if state == "down":
            self._ledger.session_down(neighbor)
            for key in [k for k in self._paths if k[0] == neighbor]:
                self._received(codec.ReceivedPath(*key, as_path=None))

    def _tell_session(self, neighbor: str) -> None:
        state, why = self._sessions[neighbor]
        self._tell(op="session", neighbor=neighbor, state=state, why=why, own_address=self._own.of(neighbor))

    def _tell_open(self, said: codec.OpenEvent) -> None:
        self._tell(op="open", neighbor=said.neighbor, families=said.families, capabilities=said.capabilities)

    def _stops_flowing(self, neighbor: str) -> None:
        """ExaBGP notices an end later than it happens: what it was told just before waits as well."""
        self._flowing.discard(neighbor)
        self._settling.pop(neighbor, None)
        for key in [k for k in self._unsent if k[0] == neighbor]:
            blind = self._blind.setdefault(key, Blind())
            blind.commands, blind.head = blind.commands + 1, self._unsent.pop(key)

    def _look_again(self, neighbor: str) -> None:
        """A session came up, and what waited for it was sent. ExaBGP does that by attributes and not in order, so that
        a route that was changed more than once meanwhile may have ended as anything: have the last word said again."""
        self._flowing.add(neighbor)
        blind = {key: self._blind.pop(key) for key in [k for k in self._blind if k[0] == neighbor]}
        changed = [(*key, b.head) for key, b in blind.items() if b.commands > 1]
        if not changed:
            return

        def make() -> list[Command]:
            entries = self._ledger.entries
            chunks = _chunks(route for route in changed if route[:2] not in entries)
            flush = Command(f"neighbor {neighbor} flush adj-rib out")
            return [flush, *(Command(self._withdrawal(chunk)) for chunk in chunks)]

        def finish(error: str | None) -> None:
            if error is not None:  # the session is down again, most likely: ExaBGP flushes only one that is up
                _say(f"routes were not said again to {neighbor}: {error}")

        self._add(Job(make, finish), urgent=True)

    def _told(self, routes: Iterable[tuple[str, str, str]]) -> None:
        """ExaBGP was told something of these routes: for which of them can it not have been sent at once?"""
        for neighbor, prefix, head in routes:
            if neighbor in self._flowing:
                self._unsent[neighbor, prefix] = head
            else:
                blind = self._blind.setdefault((neighbor, prefix), Blind())
                blind.commands, blind.head = blind.commands + 1, head

    def _received(self, path: codec.ReceivedPath) -> None:
        key = (path.neighbor, path.prefix, path.path_id)
        if path.prefix not in self._settings.allow:
            return  # a router may send a whole table: only our own prefixes are of interest
        if path.as_path is None:
            self._paths.pop(key, None)
        elif key in self._paths or len(self._paths) < PATHS_MOST:
            self._paths[key] = path
        self._tell(None, **_path_fields(path))

    def _round_trip_done(self, error: str | None) -> None:
        if error is None:
            _notify("WATCHDOG=1" if self._ready_said else "READY=1\nSTATUS=ExaBGP answers")
            self._ready_said = True
        if error is None and len(self._peers) == self._configured:
            self._forget_neighbors(self._peers)
        self._missed = self._missed + 1 if len(self._peers) < self._configured else 0
        if self._missed == MISSED_MOST:
            # An event that ExaBGP wrote to a pipe just as that died makes it give up the peer, for good.
            given_up = self._configured - len(self._peers)
            _say(f"ExaBGP has given up {given_up} of its peers: ending it, to be started again")
            self._signal_exabgp(signal.SIGTERM)

    def _forget_neighbors(self, present: dict[str, bool]) -> None:
        """A neighbor that was taken out of the configuration has no session, and no routes."""
        for neighbor in [n for n in self._sessions if n not in present]:
            del self._sessions[neighbor]
            self._own.forget(neighbor)
            self._opens.pop(neighbor, None)
            self._flowing.discard(neighbor)
            self._settling.pop(neighbor, None)
            self._unsent = {key: head for key, head in self._unsent.items() if key[0] != neighbor}
            self._blind = {key: blind for key, blind in self._blind.items() if key[0] != neighbor}
            for path in [k for k in self._paths if k[0] == neighbor]:
                self._received(codec.ReceivedPath(*path, as_path=None))
        gone = [key for key in self._ledger.entries if key[0] not in present]
        if gone:
            self._gone(gone)
            self._tell(op="dropped", keys=[list(key) for key in gone], why="ExaBGP has no such neighbor any more")

    def exabgp_age(self, now: float) -> float:
        """Seconds since ExaBGP last answered, where it owes an answer; it is asked at least every second."""
        return now - self._asked_at if self._exchange.waits else max(0.0, now - self._answered_at)

    # --- agents ---

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            _say(f"accepting an agent failed: {error}")
            return
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()) or len(self._agents) >= AGENTS_MOST:
            connection.close()
            return
        connection.setblocking(False)
        agent = Agent(connection)
        self._agents.append(agent)
        self._selector.register(connection, selectors.EVENT_READ, agent)

    def _serve(self, agent: Agent, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(agent)
        if not mask & selectors.EVENT_READ or agent not in self._agents:
            return
        try:
            data = agent.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(agent)
            return
        agent.incoming += data
        *lines, rest = agent.incoming.split(b"\n")
        agent.incoming = rest
        for line in lines:
            if agent in self._agents:
                self._on_agent_line(agent, bytes(line))
        if len(agent.incoming) > LINE_MOST:
            _say("a line of the agent is over 1 MiB: disconnected")
            self._leave(agent)

    def _leave(self, agent: Agent) -> None:
        if agent not in self._agents:
            return
        self._agents.remove(agent)
        self._selector.unregister(agent.socket)
        agent.socket.close()
        self._exchange.forget(agent)
        if agent is self._current:
            self._current, self._alone_since = None, time.monotonic()
            self._ledger.gone(self._alone_since)

    def _on_agent_line(self, agent: Agent, line: bytes) -> None:
        request: Any = None
        try:
            request = json.loads(line.decode("ascii"))
            self._on_request(agent, request)
        except (RefusedError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, OSError) as error:
            why = f"missing {error}" if isinstance(error, KeyError) else str(error)
            number = request.get("id") if isinstance(request, dict) else None
            self._tell(agent, op="done", id=number, error=f"refused by the pipe: {why}"[:300])

    def _on_request(self, agent: Agent, request: dict[str, Any]) -> None:
        if not isinstance(request, dict):
            raise RefusedError("not an object")
        op = request.get("op")
        if op == "hello":
            self._on_hello(agent, request)
            return
        if agent is not self._current:
            raise RefusedError("say hello first")
        if op == "beat":
            now = time.monotonic()
            self._ledger.beat(now)
            self._tell(agent, op="beat", n=request.get("n"), exabgp_age=round(self.exabgp_age(now), 3))
        elif op == "resync":
            self._replay(agent)
        elif op in ("put", "drop", "confirm", "extend", "reload", "config"):
            number = int(request["id"])
            getattr(self, f"_on_{op}")(agent, number, request)
        else:
            raise RefusedError(f"no operation {str(op)[:40]!r} in version {VERSION}")

    def _on_hello(self, agent: Agent, request: dict[str, Any]) -> None:
        if VERSION not in request["versions"]:
            raise RefusedError(f"this pipe speaks version {VERSION}, the agent {request['versions']}")
        started = float(request.get("started", time.monotonic()))
        old = self._current
        if old is not None and old.started > started:
            raise RefusedError("a newer agent has the speaker")
        self._current, agent.started = agent, started
        agent.id = str(request["agent"])[:64]
        if old is not None and old is not agent:
            self._tell(old, op="replaced")
            self._ledger.gone(time.monotonic())
            self._leave(old)
        self._ledger.hello(agent.id, time.monotonic())
        self._tell(agent, op="hello", version=VERSION, pipe=f"pid {os.getpid()}, {__version__}")
        if self._learned:
            self._replay(agent)

    def _replay(self, agent: Agent) -> None:
        if not self._learned:
            return  # it follows when ExaBGP has said what it has
        self._replay_due = agent if self._exchange.waits else None
        if self._replay_due is not None:
            return  # nor is it known what comes of the command that is with it
        for (neighbor, prefix), e in self._ledger.entries.items():
            confirmed = e.agent == agent.id and e.unconfirmed_since is None
            self._tell(agent, op="route", neighbor=neighbor, prefix=prefix, head=e.head, will=e.will, sent=e.sent,
                       confirmed=confirmed)  # fmt: skip
        for neighbor in self._sessions:
            self._tell_session(neighbor)
            if neighbor in self._opens:
                self._tell_open(self._opens[neighbor])
        for path in self._paths.values():
            self._tell(agent, **_path_fields(path))
        self._tell(agent, op="synced")

    def _on_put(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        neighbor, head, will = str(request["neighbor"]), str(request["head"]), str(request.get("will", "withdraw"))
        prefixes = tuple(dict.fromkeys(str(p) for p in request["prefixes"]))
        self._check(neighbor, head, will, prefixes)
        self._ledger.beat(time.monotonic())  # it proves as much as a beat does

        def command(line: str, keys: list[Key]) -> Command:
            before: dict[Key, Entry | None] = {}

            def begins() -> None:
                before.update(self._ledger.put(keys, head, will, agent.id))

            def ends(error: str | None) -> None:
                if error is None:
                    self._told((*key, head) for key in keys)
                    self._refusals.over(keys)
                else:
                    self._ledger.restore(before)

            return Command(line, begins, ends)

        def make() -> list[Command]:
            chunks = _chunks((neighbor, p, head) for p in prefixes)
            return [command(_line("announce", chunk), [(n, p) for n, p, _ in chunk]) for chunk in chunks]

        def finish(error: str | None) -> None:
            self._tell(agent, op="done", id=number, error=error)
            # ExaBGP reports no UPDATE for an announcement of what it has announced: it was sent, and stays that.
            there = [p for p in prefixes if (e := self._ledger.entries.get((neighbor, p))) is not None and e.sent]
            if error is None and there:
                self._tell(agent, op="sent", neighbor=neighbor, announced=there, withdrawn=[])

        self._add(Job(make, finish, owner=agent, announces=frozenset((neighbor, p) for p in prefixes)))

    def _check(self, neighbor: str, head: str, will: str, prefixes: tuple[str, ...]) -> None:
        if not codec.is_address(neighbor):
            raise RefusedError(f"not a neighbor's address: {neighbor[:50]!r}")
        if codec.parse_head(head) is None:
            raise RefusedError(f"not a head that a route may have: {head[:80]!r}")
        if will not in ("withdraw", KEEP):
            raise RefusedError(f"not a will: {will[:20]!r}")
        for prefix in prefixes:
            if not codec.is_host_route(prefix) or prefix not in self._settings.allow:
                raise RefusedError(f"{prefix[:50]} is not on the list of prefixes")

    def _on_drop(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        keys = [(str(n), str(p)) for n, p in request["keys"]]
        self._withdraw(keys, agent, lambda error: self._tell(agent, op="done", id=number, error=error))

    def _drop_by_itself(self, keys: list[Key], why: str) -> None:
        _say(f"withdrawing {len(keys)} routes: {why}")
        shown = [list(key) for key in keys]

        def then(error: str | None) -> None:
            if error is None:
                self._tell(op="dropped", keys=shown, why=why)
            else:
                self._ledger.again(keys, time.monotonic(), ROUND_TRIP_EVERY)

        self._ledger.leaving(keys)
        self._withdraw(keys, None, then)

    def _withdraw(self, keys: list[Key], agent: Agent | None, then: Callable[[str | None], None]) -> None:
        """Withdraw ahead of everything that waits, with the attributes that were announced."""

        def command(chunk: list[Announced]) -> Command:
            keys = [(n, p) for n, p, _ in chunk]

            def ends(error: str | None) -> None:
                if error is None:
                    self._told(chunk)
                    self._gone(keys)
                elif chunk[0][0] in self._sessions:  # else ExaBGP has no such neighbor, and no router a route
                    self._refusals.refused(keys, time.monotonic())

            return Command(self._withdrawal(chunk), ends=ends)

        def make() -> list[Command]:
            entries = self._ledger.entries
            return [command(chunk) for chunk in _chunks((*key, entries[key].head) for key in keys if key in entries)]

        self._exchange.overtake(frozenset(keys))
        self._add(Job(make, then, owner=agent), urgent=True)

    def _withdrawal(self, chunk: list[Announced]) -> str:
        """Never with ``self``: a withdrawal does not depend on what ExaBGP knows of its own address."""
        neighbor, prefix, head = chunk[0]
        address = self._own.of(neighbor) or UNSPECIFIED[":" in prefix]
        return _line("withdraw", [(n, p, codec.with_next_hop(head, address)) for n, p, _ in chunk])

    def _on_confirm(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        self._ledger.confirm([(str(n), str(p)) for n, p in request["keys"]])
        self._tell(agent, op="done", id=number, error=None)

    def _on_extend(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        seconds = float(request["seconds"])
        if not 0 <= seconds <= EXTEND_MOST:
            raise RefusedError("an hour at the most")
        self._ledger.extend(seconds, time.monotonic())
        self._tell(agent, op="done", id=number, error=None)

    def _on_reload(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        """Read the settings again, and where ``exabgp`` is true tell ExaBGP to read its configuration again."""
        self._settings = Settings.read(self._settings_file)
        self._ledger.dead_man, self._ledger.adopt_for = self._settings.dead_man, self._settings.adopt_for
        if request.get("exabgp"):
            self._configured = 0  # not known until the answer to ``config`` shows the new ones
            self._signal_exabgp(signal.SIGUSR1)
        self._tell(agent, op="done", id=number, error=None)

    def _on_config(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        """Which revision of the configuration has each of ExaBGP's neighbors? One that is older: not reloaded yet."""
        found: list[str] = []

        def on_text(line: str) -> None:
            revision = codec.parse_revision_line(line)
            if revision is not None and len(found) < 1000:
                found.append(revision)

        def finish(error: str | None) -> None:
            self._configured = len(found)
            self._tell(agent, op="done", id=number, error=error, revisions=sorted(set(found)), neighbors=len(found))

        self._add(Job(lambda: [Command("show neighbor configuration")], finish, on_text, agent))

    def _tell(self, agent: Agent | None = None, **fields: object) -> None:
        """To one agent, or to the current one. An agent that does not read is disconnected, not waited for."""
        agent = agent or self._current
        if agent is None or agent not in self._agents:
            return
        agent.outgoing += json.dumps(fields, separators=(",", ":")).encode("ascii") + b"\n"
        if len(agent.outgoing) > OUTPUT_MOST:
            _say("the agent does not read: disconnected")
            self._leave(agent)
        else:
            self._flush(agent)

    def _flush(self, agent: Agent) -> None:
        try:
            while agent.outgoing:
                del agent.outgoing[: agent.socket.send(agent.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._leave(agent)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if agent.outgoing else 0)
        self._selector.modify(agent.socket, events, agent)


Announced = tuple[str, str, str]
"""(neighbor address, prefix, head)."""


def _chunks(routes: Iterable[Announced]) -> list[list[Announced]]:
    """As few commands as can be: a family, a neighbor and a head each, and not too many prefixes."""
    groups: dict[tuple[str, str, bool], list[Announced]] = {}
    for route in routes:
        groups.setdefault((route[0], route[2], ":" in route[1]), []).append(route)
    return [g[at : at + PREFIXES_A_LINE] for g in groups.values() for at in range(0, len(g), PREFIXES_A_LINE)]


def _line(verb: str, chunk: list[Announced]) -> str:
    return codec.command(verb, chunk[0][0], chunk[0][2], tuple(prefix for _, prefix, _ in chunk))


def source_address(neighbor: str) -> str:
    """The address from which the kernel would connect to a neighbor now; empty where it has no way. Sends nothing."""
    family = socket.AF_INET6 if ":" in neighbor else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
            probe.connect((neighbor, 179))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def _path_fields(path: codec.ReceivedPath) -> dict[str, object]:
    return {"op": "path", "neighbor": path.neighbor, "prefix": path.prefix, "id": path.path_id,
            "as_path": path.as_path, "large": path.large_communities}  # fmt: skip


def _say(text: str) -> None:
    # Who reads this may have gone, like a logger behind the agent, or stand still: what it is about is done anyway.
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            print(f"anycast-pipe: {text}", file=sys.stderr, flush=True)


def _notify(text: str) -> None:
    """To systemd, where ExaBGP is a service: only after a round trip with ExaBGP, so that a frozen one is ended."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as client:
        try:
            client.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            _say(f"systemd could not be told: {error}")


def listen(path: Path) -> socket.socket:
    """The agent's way in: only for our own user, and root. A socket that an earlier pipe left is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    listener.listen(AGENTS_MOST)
    return listener


def main(arguments: list[str]) -> int:
    """``pipe SOCKET SETTINGS``, as ExaBGP runs it."""
    socket_path, settings_path = (Path(a) for a in arguments)
    # ExaBGP ends its helpers with SIGTERM; a terminal's Ctrl-C is for the agent, which withdraws before it ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        Pipe(listen(socket_path), settings_path).run()
    except BrokenPipeError:
        pass  # ExaBGP has ended
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
