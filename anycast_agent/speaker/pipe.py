"""ExaBGP's only API process: between ExaBGP (stdin, stdout) and the agent (a unix socket, one JSON object a line).

It holds the ledger, and is the dead-man's switch: without a beat of the agent it carries out the wills. It needs only
the standard library and never blocks on either side.

From the agent                                            To the agent
  hello   versions, agent                                   hello    version, pipe
  put     id, neighbor, prefixes, head, will                route    neighbor, prefix, head, will, sent, confirmed
  drop    id, keys: [[neighbor, prefix], …]                 session  neighbor, state, why
  confirm id, keys                                          path     neighbor, prefix, id, as_path (null: gone), large
  beat    n                                                 synced   (the replay is complete)
  extend  id, seconds                                       done     id, error (null: ExaBGP said done)
  reload  id     (settings, and SIGUSR1 to ExaBGP)          sent     neighbor, announced, withdrawn
  config  id     (which revision has ExaBGP?)               dropped  keys, why
  resync                                                    notification neighbor, direction, code, subcode, text
                                                            beat     n, exabgp_age
                                                            replaced (a newer agent has come)

Fields are only ever added. An operation that the pipe does not know is answered with an error, never with silence.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anycast_agent import __version__
from anycast_agent.speaker import codec
from anycast_agent.speaker.ledger import Key, Ledger

VERSION = 1
LINE_MOST = 1 << 20
OUTPUT_MOST = 8 << 20
"""What an agent may leave unread before it is disconnected. Bytes."""
QUEUE_MOST = 10_000
PATHS_MOST = 20_000
PREFIXES_A_LINE = 64
AGENTS_MOST = 4
ROUND_TRIP_EVERY = 1.0
MISSED_MOST = 3
"""Round trips in a row that show fewer peers than are configured, before ExaBGP is ended for it."""
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
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)


@dataclass(slots=True, eq=False)
class Job:
    """Commands for ExaBGP, one at a time, and what follows once all are answered."""

    commands: deque[str]
    finish: Callable[[str | None], None]
    """Called once, with an error or None."""
    on_text: Callable[[str], None] | None = None
    """For each line that ExaBGP answers before its ``done``."""
    agent: Agent | None = None
    keys: frozenset[Key] = frozenset()
    error: str | None = None


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
        self._urgent: deque[Job] = deque()
        self._jobs: deque[Job] = deque()
        self._running: Job | None = None
        self._asked_at = now
        self._answered_at = now
        self._from_exabgp = bytearray()
        self._to_exabgp = bytearray()
        self._sessions: dict[str, tuple[str, str]] = {}
        self._paths: dict[tuple[str, str, str], codec.ReceivedPath] = {}
        self._learned = False
        self._configured = 0
        self._peers = 0
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
        deadline = self._ledger.deadline()
        left = ROUND_TRIP_EVERY if deadline is None else deadline - time.monotonic()
        return min(ROUND_TRIP_EVERY / 2, max(0.0, left))

    def _clocks(self, now: float) -> None:
        # What was waiting in the sockets has been read first: a beat that lay there while this process was
        # suspended counts, and one that did not come within dead_man of it will not be waited for again.
        if self._learned:
            keys, why = self._ledger.overdue(now)
            if keys:
                self._drop_by_itself(keys, why)
        if self._running is None and now - self._answered_at >= ROUND_TRIP_EVERY:
            self._peers = 0
            self._ask("show neighbor summary", self._on_summary_line, self._round_trip_done)
        self._end_if_alone(now)

    def _end_if_alone(self, now: float) -> None:
        """An ExaBGP that an agent started does not outlive it for ever."""
        alone = self._settings.owned and self._current is None and not self._ledger.entries and self._learned
        since = max(self._alone_since + self._settings.dead_man, self._ledger.waits_until)
        if alone and now >= since + END_AFTER:
            _say("no agent has come: ending ExaBGP")
            os.kill(os.getppid(), signal.SIGTERM)
            self._alone_since = now

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
        self._peers += found is not None
        if found is not None and found[0] not in self._sessions:
            self._session(found[0], "up" if found[1] else "down", "")
            if found[1] and not self._learned:
                self._ledger.sent(found[0], [p for n, p in self._ledger.entries if n == found[0]])

    def _on_configuration_line(self, line: str) -> None:
        self._configured += codec.parse_revision_line(line) is not None

    def _on_path_line(self, line: str) -> None:
        path = codec.parse_path_line(line)
        if path is not None:
            self._received(path)

    def _ask(self, command: str, on_text: Callable[[str], None], finish: Callable[[str | None], None]) -> None:
        self._jobs.append(Job(deque([command]), finish, on_text))
        self._next_command()

    def _next_command(self) -> None:
        """One command is with ExaBGP at a time: its answers carry no number, and a batch does not keep its order."""
        while self._running is None or not self._running.commands:
            if self._running is not None:
                return  # its last command is not answered yet
            if not self._urgent and not self._jobs:
                return
            self._running = (self._urgent or self._jobs).popleft()
        self._to_exabgp += self._running.commands.popleft().encode("ascii") + b"\n"
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
        if line.startswith(b"{"):
            try:
                events = codec.parse_event(line.decode("utf-8", "replace"))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                _say(f"an event of ExaBGP could not be read: {error}")
                return
            for event in events:
                self._on_event(event)
        elif line in (b"done", b"error"):
            self._answered(None if line == b"done" else "ExaBGP said error; its log has the reason")
        elif self._running is not None and self._running.on_text is not None:
            self._running.on_text(line.decode("utf-8", "replace"))

    def _answered(self, error: str | None) -> None:
        self._answered_at = time.monotonic()
        job = self._running
        if job is None:
            return
        job.error = job.error or error
        if not job.commands:
            self._running = None
            job.finish(job.error)
        self._next_command()

    def _on_event(self, event: codec.SpeakerEvent) -> None:
        match event:
            case codec.SessionEvent(neighbor, state, why):
                self._session(neighbor, state, why)
            case codec.SentEvent(neighbor, announced, withdrawn):
                self._ledger.sent(neighbor, announced)
                self._tell(op="sent", neighbor=neighbor, announced=announced, withdrawn=withdrawn)
            case codec.ReceivedPath():
                self._received(event)
            case codec.NotificationEvent(neighbor, direction, code, subcode, text):
                self._tell(
                    op="notification", neighbor=neighbor, direction=direction, code=code, subcode=subcode, text=text
                )

    def _session(self, neighbor: str, state: str, why: str) -> None:
        self._sessions[neighbor] = (state, why)
        self._tell(op="session", neighbor=neighbor, state=state, why=why)
        if state == "down":
            self._ledger.session_down(neighbor)
            for key in [k for k in self._paths if k[0] == neighbor]:
                self._received(codec.ReceivedPath(*key, as_path=None))

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
        self._missed = self._missed + 1 if self._peers < self._configured else 0
        if self._missed == MISSED_MOST:
            # An event that ExaBGP wrote to a pipe just as that died makes it give up the peer, for good.
            _say(f"ExaBGP has given up {self._configured - self._peers} of its peers: ending it, to be started again")
            os.kill(os.getppid(), signal.SIGTERM)

    def exabgp_age(self, now: float) -> float:
        """Seconds since ExaBGP last answered, where it owes an answer; it is asked at least every second."""
        return now - self._asked_at if self._running is not None else max(0.0, now - self._answered_at)

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
        # What it asked for and was not begun is no longer asked for by anybody.
        self._jobs = deque(job for job in self._jobs if job.agent is not agent)
        self._urgent = deque(job for job in self._urgent if job.agent is not agent)
        if agent is self._current:
            self._current, self._alone_since = None, time.monotonic()
            self._ledger.gone(self._alone_since)

    def _on_agent_line(self, agent: Agent, line: bytes) -> None:
        request: Any = None
        try:
            request = json.loads(line.decode("ascii"))
            self._on_request(agent, request)
        except (RefusedError, ValueError, KeyError, TypeError) as error:
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
        old, self._current = self._current, agent
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
        for (neighbor, prefix), e in self._ledger.entries.items():
            confirmed = e.agent == agent.id and e.unconfirmed_since is None
            self._tell(agent, op="route", neighbor=neighbor, prefix=prefix, head=e.head, will=e.will, sent=e.sent,
                       confirmed=confirmed)  # fmt: skip
        for neighbor, (state, why) in self._sessions.items():
            self._tell(agent, op="session", neighbor=neighbor, state=state, why=why)
        for path in self._paths.values():
            self._tell(agent, **_path_fields(path))
        self._tell(agent, op="synced")

    def _on_put(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        neighbor, head, will = str(request["neighbor"]), str(request["head"]), str(request.get("will", "withdraw"))
        prefixes = tuple(str(p) for p in request["prefixes"])
        self._check(neighbor, head, prefixes)
        keys = frozenset((neighbor, p) for p in prefixes)

        def finish(error: str | None) -> None:
            if error is None:
                self._ledger.put(sorted(keys), head, will)
                if agent is not self._current:
                    self._ledger.gone(time.monotonic())
            self._tell(agent, op="done", id=number, error=error)

        commands = deque(_commands("announce", ((neighbor, p, head) for p in prefixes)))
        self._enqueue(self._jobs, Job(commands, finish, agent=agent, keys=keys))

    def _check(self, neighbor: str, head: str, prefixes: tuple[str, ...]) -> None:
        ipaddress.ip_address(neighbor)
        if codec.parse_head(head) is None:
            raise RefusedError(f"not a head that a route may have: {head[:80]!r}")
        for prefix in prefixes:
            if not codec.is_host_route(prefix) or prefix not in self._settings.allow:
                raise RefusedError(f"{prefix[:50]} is not on the list of prefixes")

    def _on_drop(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        keys = [(str(n), str(p)) for n, p in request["keys"]]
        self._withdraw(keys, agent, lambda error: self._tell(agent, op="done", id=number, error=error))

    def _drop_by_itself(self, keys: list[Key], why: str) -> None:
        _say(f"withdrawing {len(keys)} routes: {why}")
        shown = [list(key) for key in keys]
        self._withdraw(keys, None, lambda _: self._tell(op="dropped", keys=shown, why=why))
        for key in keys:
            if key in self._ledger.entries:
                self._ledger.entries[key].unconfirmed_since = None  # it is on its way out: once is enough

    def _withdraw(self, keys: list[Key], agent: Agent | None, then: Callable[[str | None], None]) -> None:
        """Withdraw ahead of everything that waits, with the attributes that were announced."""
        wanted = frozenset(keys)
        for job in [j for j in self._jobs if not wanted.isdisjoint(j.keys)]:
            # A put that was overtaken would announce what has just been withdrawn.
            self._jobs.remove(job)
            job.finish("overtaken by a withdrawal")
        entries = self._ledger.entries
        routes = [(n, p, entries[n, p].head) for n, p in keys if (n, p) in entries]

        def finish(error: str | None) -> None:
            if error is None:
                self._ledger.drop(keys)
            then(error)

        if not routes:
            finish(None)
            return
        self._enqueue(self._urgent, Job(deque(_commands("withdraw", routes)), finish, agent=agent, keys=wanted))

    def _on_confirm(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        self._ledger.confirm([(str(n), str(p)) for n, p in request["keys"]])
        self._tell(agent, op="done", id=number, error=None)

    def _on_extend(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        seconds = float(request["seconds"])
        if not 0 <= seconds <= 3600:
            raise RefusedError("an hour at the most")
        self._ledger.extend(seconds, time.monotonic())
        self._tell(agent, op="done", id=number, error=None)

    def _on_reload(self, agent: Agent, number: int, request: dict[str, Any]) -> None:
        """Read the settings again, and where ``exabgp`` is true tell ExaBGP to read its configuration again."""
        self._settings = Settings.read(self._settings_file)
        self._ledger.dead_man, self._ledger.adopt_for = self._settings.dead_man, self._settings.adopt_for
        if request.get("exabgp"):
            self._configured = 0  # not known until the answer to ``config`` shows the new ones
            os.kill(os.getppid(), signal.SIGUSR1)
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

        self._enqueue(self._jobs, Job(deque(["show neighbor configuration"]), finish, on_text, agent))

    def _enqueue(self, queue: deque[Job], job: Job) -> None:
        if len(self._jobs) + len(self._urgent) >= QUEUE_MOST and job.agent is not None:
            raise RefusedError("too many requests wait for ExaBGP")
        queue.append(job)
        self._next_command()

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


def _commands(verb: str, routes: Iterable[tuple[str, str, str]]) -> list[str]:
    """As few commands as can be: a family, a neighbor and a head each, and not too many prefixes."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for neighbor, prefix, head in routes:
        groups.setdefault((neighbor, head, ":" in prefix), []).append(prefix)
    commands = []
    for (neighbor, head, _), prefixes in groups.items():
        for at in range(0, len(prefixes), PREFIXES_A_LINE):
            commands.append(codec.command(verb, neighbor, head, tuple(prefixes[at : at + PREFIXES_A_LINE])))
    return commands


def _path_fields(path: codec.ReceivedPath) -> dict[str, object]:
    return {"op": "path", "neighbor": path.neighbor, "prefix": path.prefix, "id": path.path_id,
            "as_path": path.as_path, "large": path.large_communities}  # fmt: skip


def _say(text: str) -> None:
    print(f"anycast-pipe: {text}", file=sys.stderr, flush=True)


def _notify(text: str) -> None:
    """To systemd, where ExaBGP is a service: only after a round trip with ExaBGP, so that a frozen one is ended."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
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
