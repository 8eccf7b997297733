"""A real ExaBGP of which some lines never reach the pipe: what is believed of a session is what the router has."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anycast_agent import holding
from anycast_agent.core.model import Attributes
from anycast_agent.speaker import wire
from anycast_agent.speaker.exabgp import Paths, render
from anycast_agent.speaker.pipe import codec
from anycast_agent.speaker.pipe.outputs import ToAgent, ToExaBGP
from anycast_agent.speaker.pipe.settings import Settings
from anycast_agent.speaker.pipe.switchboard import Switchboard
from anycast_agent.speaker.process import command, environment
from tests.adapters.speaker.harness import V4, V6, config, leaf
from tests.support.bgp import BgpPeer
from tests.support.until import until

RELAY = """
import os, socket, sys, threading
test = socket.socket(socket.AF_UNIX)
test.connect(sys.argv[1])
def copy(read, write):
    while data := read(65536):
        write(data)
    os._exit(0)
threading.Thread(target=copy, args=(lambda most: os.read(0, most), test.sendall)).start()
copy(test.recv, lambda data: os.write(1, data))
"""
P, Q, SIX = V4[0], V4[1], V6[0]
HEADS = {version: codec.head(Attributes(hop)) for version, hop in ((4, "127.0.0.1"), (6, "2001:db8::9"))}


@dataclass
class Bench:
    """A switchboard that hears what a real ExaBGP writes, but for some lines, and says what it is asked to."""

    switchboard: Switchboard
    hides: Callable[[str], bool] = lambda line: False
    hidden: list[str] = field(default_factory=list)
    heard: list[wire.ToAgent] = field(default_factory=list)
    writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.switchboard.begin(time.monotonic())
        self.carry_out()
        while line := await reader.readline():
            text = line.decode().rstrip("\n")
            if self.hides(text):
                self.hidden.append(text)
                continue
            self.switchboard.exabgp_said(text.encode(), time.monotonic())
            self.carry_out()

    def carry_out(self) -> None:
        for output in self.switchboard.take():
            if isinstance(output, ToExaBGP) and self.writer is not None:
                self.writer.write(output.line.encode() + b"\n")
            elif isinstance(output, ToAgent):
                self.heard.append(output.message)

    async def turn(self) -> None:
        """An agent that lives."""
        while True:
            await asyncio.sleep(0.05)
            self.say(wire.Heartbeat(0))
            self.switchboard.wake(time.monotonic())
            self.carry_out()

    def say(self, message: wire.FromAgent) -> None:
        self.switchboard.agent_said(1, message, time.monotonic())
        self.carry_out()

    def put(self, neighbor: str, *prefixes: str) -> None:
        for prefix in prefixes:
            self.say(wire.Put(7, neighbor, (prefix,), HEADS[6 if ":" in prefix else 4]))

    def sessions(self) -> list[str]:
        return [said.state for said in self.heard if isinstance(said, wire.Session)]

    def believed(self) -> set[str]:
        """The prefixes that an agent takes for sent."""
        carried: set[str] = set()
        for said in self.heard:
            if isinstance(said, wire.Session) and said.state != "up":
                carried = set()
            elif isinstance(said, wire.Sent):
                carried = carried - set(said.withdrawn) | set(said.announced)
        return carried


@contextlib.asynccontextmanager
async def speaking(folder: Path, peer: BgpPeer) -> AsyncIterator[Bench]:
    conf, paths = config(leaf(peer)), Paths(folder)
    switchboard = Switchboard(Settings(5.0, 30.0, frozenset((*V4, *V6)), owned=False), lambda _: "127.0.0.1", "", 0.0)
    bench = Bench(switchboard)
    server = await asyncio.start_unix_server(bench.serve, str(folder / "relay.sock"), limit=1 << 24)
    (folder / "relay.py").write_text(RELAY)
    before, rest = render(conf, paths)[0].split("  run ", 1)
    run = f'"{sys.executable}" "{folder}/relay.py" "{folder}/relay.sock"'
    paths.configuration.write_text(f"{before}  run {run};\n" + rest.split("\n", 1)[1])
    lock = holding.open_file(paths.lock, make=True)
    exabgp = subprocess.Popen(
        command(paths, lock), env=environment(conf), pass_fds=[lock], stdin=subprocess.DEVNULL, start_new_session=True
    )
    os.close(lock)
    turning = None
    try:
        await until(lambda: bench.writer is not None, "ExaBGP starts no helper", 20.0)
        turning = asyncio.create_task(bench.turn())
        bench.say(wire.Hello((wire.VERSION,), "one", time.monotonic()))
        await until(lambda: any(isinstance(m, wire.Synced) for m in bench.heard), lambda: bench.heard[-3:], 20.0)
        await until(lambda: bench.sessions()[-1:] == ["up"], bench.sessions, 20.0)
        yield bench
    finally:
        if turning is not None:
            turning.cancel()
        exabgp.terminate()
        exabgp.wait(10)
        server.close()


async def settled(bench: Bench, peer: BgpPeer, *prefixes: str) -> None:
    """Router and belief are these, on a session that was told to be up, and stay so for some summaries."""

    def right() -> bool:
        return set(peer.table) == bench.believed() == set(prefixes) and bench.sessions()[-1:] == ["up"]

    for _ in range(2):
        words = lambda: f"router {set(peer.table)}, believed {bench.believed()}, {bench.sessions()[-9:]}"  # noqa: E731
        await until(right, words, 20.0)
        answers = bench.switchboard._answered_at
        await until(lambda at=answers: bench.switchboard._answered_at > at + 2.0, "ExaBGP does not answer", 20.0)


async def test_what_exabgp_reports_is_what_it_counts(tmp_path: Path) -> None:
    """Announcing, changing, withdrawing, a refresh and sessions that end in each way: nothing is ever in doubt."""
    async with BgpPeer() as peer, speaking(tmp_path, peer) as bench:
        bench.put(peer.address, P, SIX)
        await settled(bench, peer, P, SIX)
        for end in (peer.drop, lambda: peer.notify(6, 4), lambda: peer._writer.write(b"\0" * 40), peer.drop):
            before = len(peer.opened_at)
            end()
            await peer.until(lambda p, before=before: len(p.opened_at) > before and p.established, 20.0)
            bench.put(peer.address, Q)
            bench.say(wire.Drop(8, ((peer.address, P),)))
            await peer.has(Q, SIX)
            peer.refresh()
            bench.put(peer.address, P)
            await settled(bench, peer, P, Q, SIX)
        assert "unknown" not in bench.sessions()


def is_state(*states: str) -> Callable[[str], bool]:
    return lambda line: line.startswith("{") and json.loads(line)["neighbor"].get("state") in states


def is_report(line: str) -> bool:
    return line.startswith("{") and json.loads(line)["neighbor"].get("direction") == "send"


@pytest.mark.parametrize(
    "hides",
    [is_state("down"), is_state("down", "connected"), is_state("down", "connected", "up"), is_state("up"), is_report,
     lambda line: is_state("down", "connected", "up")(line) or is_report(line)],
    ids=["down", "down-connected", "down-connected-up", "up", "reports", "all"],
)  # fmt: skip
async def test_a_session_that_began_anew_is_never_taken_for_the_old_one(
    tmp_path: Path, hides: Callable[[str], bool]
) -> None:
    """Whatever ExaBGP fails to tell of its end and its beginning: its routes are believed once they were said anew."""
    async with BgpPeer() as peer, speaking(tmp_path, peer) as bench:
        bench.put(peer.address, P, SIX)
        await settled(bench, peer, P, SIX)
        bench.heard.clear()
        before = len(peer.opened_at)
        bench.hides = hides
        peer.drop()
        await peer.until(lambda p: len(p.opened_at) > before and set(p.table) == {P, SIX}, 20.0)
        bench.hides = lambda line: False
        assert bench.hidden
        await settled(bench, peer, P, SIX)
