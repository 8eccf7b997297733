"""The pipe's sockets, selectors, signals and systemd. Every decision is the switchboard's.

The shell always reads ExaBGP's output: an ExaBGP whose helper does not read freezes. An agent that does not read is
disconnected.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from anycast_agent import __version__
from anycast_agent.speaker import wire
from anycast_agent.speaker.pipe.outputs import (
    HangUp,
    Kind,
    Output,
    ReadSettings,
    Say,
    SignalExaBGP,
    TellSystemd,
    ToAgent,
    ToExaBGP,
)
from anycast_agent.speaker.pipe.settings import Settings
from anycast_agent.speaker.pipe.switchboard import Switchboard

MAX_LINE = 1 << 20
MAX_OUTPUT = 8 << 20
"""Limit of unread bytes at which an agent is disconnected."""
MAX_AGENTS = 4
MAX_PASSES = 8
"""Looks at the sockets before the clocks have their turn: there may always be something."""

SIGNALS = {Kind.RELOAD: signal.SIGUSR1, Kind.END: signal.SIGTERM, Kind.KILL: signal.SIGKILL}


@dataclass(slots=True, eq=False)
class Connection:
    number: int
    socket: socket.socket
    incoming: bytearray = field(default_factory=bytearray)
    outgoing: bytearray = field(default_factory=bytearray)


class Shell:
    def __init__(self, listener: socket.socket, settings_file: Path) -> None:
        self._settings_file = settings_file
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._connections: dict[int, Connection] = {}
        self._last = 0
        self._exabgp = os.getppid()
        self._from_exabgp = bytearray()
        self._to_exabgp = bytearray()
        settings = Settings.parse(settings_file.read_text("ascii"))
        name = f"pid {os.getpid()}, {__version__}"
        self._switchboard = Switchboard(settings, source_address, name, time.monotonic())

    def run(self) -> None:
        """Until ExaBGP closes our input."""
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(0, selectors.EVENT_READ, None)
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self._switchboard.begin(time.monotonic())
        self._carry_out()
        while self._hand_over():
            self._switchboard.wake(time.monotonic())
            self._carry_out()

    def _hand_over(self) -> bool:
        """What has come, to the switchboard, and what came meanwhile: a heartbeat may have waited for that. False once
        ExaBGP has closed our input."""
        wait = max(0.0, self._switchboard.deadline() - time.monotonic())
        for _ in range(MAX_PASSES):
            ready = self._selector.select(wait)
            if not all(self._take(key, mask) for key, mask in ready):
                return False
            if not ready:
                break
            wait = 0.0
        return True

    def _take(self, key: selectors.SelectorKey, mask: int) -> bool:
        if key.fd == 0:
            return self._read_exabgp()
        if key.fd == 1:
            self._write_exabgp()
        elif key.data is None:
            self._accept()
        else:
            self._serve(key.data, mask)
        return True

    def _carry_out(self) -> None:
        """Carry out the switchboard's outputs, and those that follow from them."""
        while outputs := self._switchboard.take():
            for output in outputs:
                self._execute(output)

    def _execute(self, output: Output) -> None:
        match output:
            case ToExaBGP(line):
                self._to_exabgp += line.encode("ascii") + b"\n"
                self._write_exabgp()
            case ToAgent(agent, message):
                self._send(agent, message)
            case HangUp(agent):
                self._leave(agent)
            case SignalExaBGP(kind):
                self._signal(SIGNALS[kind])
            case ReadSettings(agent, request):
                self._switchboard.settings_read(agent, request, self._read_settings(), time.monotonic())
            case Say(text):
                say(text)
            case TellSystemd(first):
                notify("READY=1\nSTATUS=ExaBGP answers" if first else "WATCHDOG=1")

    def _read_settings(self) -> Settings | str:
        try:
            return Settings.parse(self._settings_file.read_text("ascii"))
        except (OSError, ValueError, TypeError, LookupError) as error:
            return f"{self._settings_file}: {error}"

    def _signal(self, number: signal.Signals) -> None:
        if os.getppid() == self._exabgp:  # else it has just ended, and our parent is somebody else
            os.kill(self._exabgp, number)

    # --- ExaBGP ---

    def _read_exabgp(self) -> bool:
        """False at the end of input."""
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._from_exabgp += data
        *lines, rest = self._from_exabgp.split(b"\n")
        self._from_exabgp = rest if len(rest) <= 16 * MAX_LINE else bytearray()
        for line in lines:
            self._switchboard.exabgp_said(bytes(line), time.monotonic())
            self._carry_out()
        return True

    def _write_exabgp(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._to_exabgp:
                del self._to_exabgp[: os.write(1, self._to_exabgp)]
        registered = 1 in self._selector.get_map()
        if self._to_exabgp and not registered:
            self._selector.register(1, selectors.EVENT_WRITE, None)
        elif not self._to_exabgp and registered:
            self._selector.unregister(1)

    # --- agents ---

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            say(f"accepting an agent failed: {error}")
            return
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()) or len(self._connections) >= MAX_AGENTS:
            connection.close()
            return
        connection.setblocking(False)
        self._last += 1
        self._connections[self._last] = agent = Connection(self._last, connection)
        self._selector.register(connection, selectors.EVENT_READ, agent)

    def _serve(self, agent: Connection, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._flush(agent)
        if not mask & selectors.EVENT_READ or agent.number not in self._connections:
            return
        try:
            data = agent.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave(agent.number)
            return
        agent.incoming += data
        *lines, rest = agent.incoming.split(b"\n")
        agent.incoming = rest
        for line in lines:
            if agent.number in self._connections:
                self._hear(agent, bytes(line))
        if len(agent.incoming) > MAX_LINE:
            say("a line of the agent is over 1 MiB: disconnected")
            self._leave(agent.number)

    def _hear(self, agent: Connection, line: bytes) -> None:
        try:
            message = wire.read_from_agent(line)
        except wire.MalformedError as error:
            self._switchboard.agent_garbled(agent.number, error, time.monotonic())
        else:
            self._switchboard.agent_said(agent.number, message, time.monotonic())
        self._carry_out()

    def _send(self, number: int, message: wire.ToAgent) -> None:
        agent = self._connections.get(number)
        if agent is None:
            return
        agent.outgoing += wire.write(message)
        if len(agent.outgoing) > MAX_OUTPUT:
            say("the agent does not read: disconnected")
            self._leave(number)
        else:
            self._flush(agent)

    def _flush(self, agent: Connection) -> None:
        try:
            while agent.outgoing:
                del agent.outgoing[: agent.socket.send(agent.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._leave(agent.number)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if agent.outgoing else 0)
        self._selector.modify(agent.socket, events, agent)

    def _leave(self, number: int) -> None:
        agent = self._connections.pop(number, None)
        if agent is not None:
            self._selector.unregister(agent.socket)
            agent.socket.close()
            self._switchboard.agent_left(number, time.monotonic())


def say(text: str) -> None:
    # Who reads this may have gone, like a logger behind the agent, or stand still: what it is about is done anyway.
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            print(f"anycast-pipe: {text}", file=sys.stderr, flush=True)


def notify(text: str) -> None:
    """To systemd, where ExaBGP is a service: only after a round trip with ExaBGP, so that a frozen one is ended."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as client:
        try:
            client.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            say(f"systemd could not be told: {error}")


def source_address(neighbor: str) -> str:
    """The address from which the kernel would connect to a neighbor now; empty where it has no way. Sends nothing."""
    family = socket.AF_INET6 if ":" in neighbor else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
            probe.connect((neighbor, 179))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def listen(path: Path) -> socket.socket:
    """The agent's way in: only for our own user, and root. A socket that an earlier pipe left is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    listener.listen(MAX_AGENTS)
    return listener


def main(arguments: list[str]) -> int:
    """``pipe SOCKET SETTINGS``, as ExaBGP runs it."""
    socket_path, settings_path = (Path(a) for a in arguments)
    # ExaBGP ends its helpers with SIGTERM; a terminal's Ctrl-C is for the agent, which withdraws before it ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        Shell(listen(socket_path), settings_path).run()
    except BrokenPipeError:
        pass  # ExaBGP has ended
    return 0
