"""Runs a drill: starts the traffic, carries out the steps, and records what happened. It judges nothing."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.drills import acts
from lab.drills.drill import Drill, Step
from lab.drills.load import Watch
from lab.drills.result import Expectation, Load, Mark
from lab.drills.says import Says, ask
from lab.drills.scene import STREAMS, Expected, Scene
from lab.net import links
from lab.net.lab import Lab, LabError
from lab.net.node import Node, NodeError, Ran
from lab.net.tables import Change, Tables

TRAFFIC = Path(__file__).resolve().parent / "traffic.py"
LONGEST = 660.0
"""No drill's traffic goes on for longer; a drill that does could not be judged. Seconds."""

FLOWS_WITHIN = 15.0
"""Clients that have not begun to ask by then never will. Seconds."""

HOLDS = 0.5
"""An expected state has to last this long before the drill goes on: a change may still be under way. Seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """The outcome of one request. ``sent``: monotonic."""

    sent: float
    client: str
    stream: str
    who: str | None
    took: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A line of a node's log that says that something was noticed. ``at``: monotonic."""

    at: float
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class Running:
    """The numbers of a node's processes of one name. ``at``: monotonic."""

    at: float
    node: str
    process: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Packets that have crossed the end of a link, in both directions. ``at``: monotonic."""

    at: float
    node: str
    far: str
    packets: int


@dataclass
class Story:
    """All that was observed during a drill; times are monotonic."""

    drill: str
    variant: str
    started: str
    begin: float
    end: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    met: list[Expectation] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)
    """When the tables were seen to be as a step expects of a fault: not when all is steady again. Monotonic."""
    running: list[Running] = field(default_factory=list)
    counted: list[Counted] = field(default_factory=list)
    """At the begin of the drill, and just before its first fault."""
    commands: list[Ran] = field(default_factory=list)
    load: Load | None = None
    clients: tuple[str, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""


Wrong = Callable[[], Awaitable[list[str]]]
"""Returns what is wrong, in words. It is called repeatedly."""

Teller = Callable[[float, str], None]
"""Called for each thing that happens, at once: (seconds since the start of the drill, what)."""


class Conductor:
    def __init__(
        self, lab: Lab, scene: Scene, name: str, drill: Drill, tell: Teller, *, steady_first: bool = True
    ) -> None:
        """``steady_first``: only a lab in which nothing is wrong is good enough to begin with."""
        self._steady_first = steady_first
        self._lab, self._scene, self._drill, self._tell = lab, scene, drill, tell
        self._tables = Tables(lab.topology, lab.nodes, scene.concerns)
        self._clients = (*scene.clients, *drill.consumers)
        self._ending = False
        self._came = 0.0
        """When the last expected state was reached."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        self.story = Story(
            name, lab.variant, now, time.monotonic(),
            clients=self._clients, users=scene.users, prefixes=scene.prefixes,
        )  # fmt: skip

    def _since(self, at: float) -> float:
        return at - self.story.begin

    async def run(self) -> Story:
        """The drill, to its end or to where it cannot go on; the traffic always ends."""
        story, entered = self.story, time.monotonic()
        self._tables.open(name for name, node in self._lab.nodes.items() if node.init)
        try:
            if self._steady_first:
                await self._steady_before()
            await self._with_traffic()
        except (LabError, NodeError, OSError) as error:
            story.problem = str(error)
        finally:
            story.end = story.end or time.monotonic()
            story.changes = list(self._tables.changes)
            story.seen = sorted(noticed(self._lab, story.begin), key=lambda seen: seen.at)
            story.commands = sorted(
                (ran for node in self._lab.nodes.values() for ran in node.ran if ran.at >= entered),
                key=lambda ran: ran.at,
            )
            self._tables.close()
        return story

    async def _steady_before(self) -> None:
        wrong = await self._hold(self._steady_now, self._drill.patience)
        if wrong:
            raise LabError(f"before the drill, the lab is not steady: {'; '.join(wrong[:5])}")

    async def _with_traffic(self) -> None:
        story = self.story
        traffic = [await self._traffic(client) for client in self._clients]
        readers = [asyncio.create_task(self._read(c, p)) for c, p in zip(self._clients, traffic, strict=True)]
        watcher = asyncio.create_task(self._watch())
        try:
            await self._flows()
            load = Watch()
            story.begin = time.monotonic()
            self._tables.changes.clear()
            self._count()
            try:
                await asyncio.sleep(self._drill.before)
                for step in self._drill.steps:
                    await self._step(step)
                await asyncio.sleep(self._drill.after)
                self._look()
            finally:
                story.end = time.monotonic()
                story.load = load.stop()
        finally:
            await self._end(traffic, readers)
            story.requests = [r for r in story.requests if story.begin <= r.sent <= (story.end or r.sent)]
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _flows(self) -> None:
        """Wait until every stream has asked: a client that starts late must not look like one that asks too little."""
        wanted = {
            (client, stream)
            for client in self._clients
            for stream in STREAMS
            if self._drill.traffic.rate(stream.split()[0])
        }
        deadline = time.monotonic() + FLOWS_WITHIN
        while missing := wanted - {(r.client, r.stream) for r in self.story.requests}:
            if self.story.problem or time.monotonic() > deadline:
                client, stream = min(missing)
                raise LabError(self.story.problem or f"{client} has not asked {stream} after {FLOWS_WITHIN:g} s")
            await asyncio.sleep(0.02)

    # --- steps ---

    async def _step(self, step: Step) -> None:
        if step.fault is not None or step.recover is not None:
            await self._act(step)
        elif step.wait is not None:
            await asyncio.sleep(step.wait)
        elif step.tables is not None:
            wanted = step.tables
            if await self._expected(
                lambda: self._tables_now(wanted), self._drill.patience, "the tables are as expected"
            ):
                self.story.settled.append(self._came)
        elif step.says is not None:
            told = step.says
            await self._expected(lambda: self._says_now(told), self._drill.patience, "nodes say what is expected")
        elif step.steady is not None:
            await self._expected(self._steady_now, step.steady, "everything is as before")

    async def _act(self, step: Step) -> None:
        act = step.fault or step.recover
        assert act is not None  # noqa: S101 -- the caller has checked
        kind = "fault" if step.fault else "recovery"
        if kind == "fault" and not any(mark.kind == "fault" for mark in self.story.marks):
            self._look()
            self._count()
        at = time.monotonic()
        if act.verb == "power_off":
            for name in act.what.of(self._lab.topology):
                self._tables.close(name)
        text = await asyncio.to_thread(acts.do, self._lab, act)
        self.story.marks.append(Mark(at, kind, text))
        self._tell(self._since(at), f"{kind}: {text}")
        if act.verb == "power_on":
            self._tables.open(act.what.of(self._lab.topology))

    def _look(self) -> None:
        """Which processes run that the drill says are replaced."""
        for effect in self._drill.effect:
            if effect.replaced is not None:
                for name in effect.replaced.nodes:
                    pids = tuple(self._lab.nodes[name].processes(effect.replaced.process))
                    self.story.running.append(Running(time.monotonic(), name, effect.replaced.process, pids))

    def _count(self) -> None:
        """Packet counts of the links and the clients whose share the drill expects something of."""
        topology = self._lab.topology
        for effect in self._drill.effect:
            if effect.carried is not None and effect.carried.link is not None:
                clients = [end for link in topology.links for end in link.ends if end.node == effect.carried.client]
                for end in (self._lab.link(*effect.carried.link).a, *clients):
                    far = topology.far_end(end.node, end.interface)
                    count = links.packets(end, self._lab.nodes[end.node])
                    self.story.counted.append(Counted(time.monotonic(), end.node, far.node if far else "", count))

    # --- waiting for a state, and for it to hold ---

    async def _tables_now(self, expected: Expected) -> list[str]:
        return self._scene.differences(expected, self._tables.now())

    async def _says_now(self, all_says: Sequence[Says]) -> list[str]:
        found = await asyncio.to_thread(lambda: [one for says in all_says for one in ask(self._lab, says)])
        return [f"{one.text}: {one.found}" for one in found if not one.met]

    async def _steady_now(self) -> list[str]:
        """Routers are asked once the tables are right: each of them costs the machine a process."""
        return await self._tables_now(self._scene.steady) or await self._says_now(self._scene.says)

    async def _expected(self, wrong_now: Wrong, patience: float, text: str) -> bool:
        begun = time.monotonic()
        wrong = await self._hold(wrong_now, patience)
        found = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        found = found or f"after {self._came - begun:.2f} s, and for {HOLDS:g} s"
        self.story.met.append(Expectation(f"{text} within {patience:g} s", not wrong, found))
        self._tell(self._since(time.monotonic()), f"{text}: {found}" if not wrong else f"NOT {text}: {found}")
        return not wrong

    async def _hold(self, wrong_now: Wrong, patience: float) -> list[str]:
        """Return what is still wrong after ``patience``; nothing as soon as all has been right for a while."""
        deadline = time.monotonic() + patience
        since: float | None = None
        while True:
            wrong = await wrong_now()
            now = time.monotonic()
            if wrong:
                since = None
                if now >= deadline:
                    return wrong
            elif since is None:
                since = self._came = now
            elif now - since >= HOLDS:
                return []
            await asyncio.sleep(0.05)

    async def _watch(self) -> None:
        """Tell of the tables' changes as they come."""
        told = 0
        while True:
            for change in self._tables.changes[told:]:
                after = " and ".join(change.after) if change.after else "nobody"
                self._tell(self._since(change.at), f"{change.node}: {change.prefix} → {after}")
            told = len(self._tables.changes)
            await asyncio.sleep(0.1)

    # --- traffic ---

    async def _traffic(self, client: str) -> asyncio.subprocess.Process:
        traffic, node = self._drill.traffic, self._lab.nodes[client]
        orders = {**traffic.model_dump(), "seconds": LONGEST, "targets": self._scene.targets}
        words = node.tool([sys.executable, "-I", str(TRAFFIC), json.dumps(orders)])
        return await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            limit=1 << 22, env=node.environment(), preexec_fn=node.join,
        )  # fmt: skip

    async def _read(self, client: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None and process.stderr is not None  # noqa: S101 -- asked for with PIPE
        async for line in process.stdout:
            if not line.endswith(b"\n"):
                self.story.problem = f"{client}: the traffic was cut off"
                break
            for sent, stream, who, took in json.loads(line):
                lost = who is None
                self.story.requests.append(
                    Request(sent, client, stream, who, 0.0 if lost else took, str(took) if lost else "")
                )
        error = (await process.stderr.read(4096)).decode(errors="replace").strip()
        if error:
            self.story.problem = f"{client}: the traffic ended: {error.splitlines()[-1]}"
        elif not self._ending:  # a client that asks nothing loses nothing: that must not look good
            self.story.problem = f"{client}: the traffic ended before the drill, with status {await process.wait()}"

    async def _end(self, traffic: list[asyncio.subprocess.Process], readers: list[asyncio.Task[None]]) -> None:
        self._ending = True
        for process in traffic:  # ours alone: somebody may look on with traffic of his own
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(self._drill.traffic.timeout + 5):
                await asyncio.gather(*readers)
                for process in traffic:
                    await process.wait()
        except TimeoutError:
            for process in traffic:
                with suppress(ProcessLookupError):
                    process.kill()
            self.story.problem = self.story.problem or "the traffic did not end"


# --- logs ---

_LINE = re.compile(r"(?:\d{4}/\d\d/\d\d )?(\d\d:\d\d:\d\d\.\d{3}) (.+)")
_AGENT = re.compile(r"\w+ +(.+)")
_FRR = re.compile(r"BGP: .*%ADJCHANGE: (.* Down.*)")
_NOTICED = re.compile(r"^\S+/(32|128): (?!announce)|: session (down|closed)|: down")


def noticed(lab: Lab, since: float) -> list[Seen]:
    """Lines of agents' and routers' logs about something that went wrong. A node that is off has no logs."""
    found: list[Seen] = []
    for node in lab.nodes.values():
        for log, pattern in (("/var/log/agent.log", _AGENT), ("/var/log/frr/frr.log", _FRR)):
            for at, line in _lines(node, log, since):
                match = pattern.match(line)
                if match and (pattern is _FRR or _NOTICED.search(match[1])):
                    found.append(Seen(at, node.name, match[1][:200]))
    return found


def _lines(node: Node, log: str, since: float) -> Iterator[tuple[float, str]]:
    """Lines from the last back to the first since then. Logs have no date: the first older line ends the search."""
    if not node.init:
        return
    try:
        lines = node.path(log).read_text(errors="replace").splitlines()
    except OSError:
        return  # it has none
    now, now_utc = time.monotonic(), datetime.now(UTC)
    for line in reversed(lines):
        if match := _LINE.match(line):
            at = now - ago(match[1], now_utc)
            if at < since:
                return
            yield at, match[2]


def ago(clock: str, now: datetime) -> float:
    """Seconds since a clock last showed this time of day. The logs have no date, and the clocks of nodes are UTC."""
    then = datetime.combine(now.date(), datetime.strptime(clock, "%H:%M:%S.%f").time(), now.tzinfo)
    return (now - then).total_seconds() % 86400
