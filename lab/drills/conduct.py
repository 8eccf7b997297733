"""Runs a drill: starts the traffic, does what the steps say, and writes down what happened. It judges nothing."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lab.drills import acts
from lab.drills.drill import Drill, Step
from lab.drills.result import Expectation, Mark
from lab.drills.scene import Expected, Scene
from lab.net.lab import Lab, LabError
from lab.net.node import Node, NodeError
from lab.net.tables import Change, Tables

TRAFFIC = Path(__file__).resolve().parent / "traffic.py"
LONGEST = 660.0
"""No drill's traffic goes on for longer; a drill that does could not be judged. Seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """What became of one request. ``sent``: monotonic."""

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


@dataclass
class Story:
    """What happened, as it was observed; times are monotonic."""

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
    problem: str = ""


Teller = Callable[[float, str], None]
"""Told what happens, as it happens: (seconds since the drill's start, what)."""


class Conductor:
    def __init__(self, lab: Lab, scene: Scene, name: str, drill: Drill, tell: Teller) -> None:
        self._lab, self._scene, self._drill, self._tell = lab, scene, drill, tell
        self._tables = Tables(lab.topology, lab.nodes, scene.concerns)
        self._ending = False
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        self.story = Story(name, lab.variant, now, time.monotonic())

    def _since(self, at: float) -> float:
        return at - self.story.begin

    async def run(self) -> Story:
        """The drill, to its end or to where it cannot go on; the traffic always ends."""
        story = self.story
        self._tables.open(name for name, node in self._lab.nodes.items() if node.init)
        try:
            await self._until(self._scene.steady, self._drill.patience, "before the drill")
            story.begin = time.monotonic()
            self._tables.changes.clear()
            traffic = [await self._traffic(client) for client in self._scene.clients]
            readers = [asyncio.create_task(self._read(c, p)) for c, p in zip(self._scene.clients, traffic, strict=True)]
            watcher = asyncio.create_task(self._watch())
            try:
                await asyncio.sleep(self._drill.before)
                for step in self._drill.steps:
                    await self._step(step)
                await asyncio.sleep(self._drill.after)
            finally:
                story.end = time.monotonic()
                await self._end(traffic, readers)
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)
        except (LabError, NodeError, OSError) as error:
            story.problem = str(error)
        finally:
            story.end = story.end or time.monotonic()
            story.changes = list(self._tables.changes)
            story.seen = sorted(noticed(self._lab, story.begin), key=lambda seen: seen.at)
            self._tables.close()
        return story

    # --- steps ---

    async def _step(self, step: Step) -> None:
        act = step.fault or step.recover
        if act is not None:
            kind = "fault" if step.fault else "recovery"
            at = time.monotonic()
            if act.verb == "power_off":
                for name in act.what.of(self._lab.topology):
                    self._tables.close(name)
            text = await asyncio.to_thread(acts.do, self._lab, act)
            self.story.marks.append(Mark(at, kind, text))
            self._tell(self._since(at), f"{kind}: {text}")
            if act.verb == "power_on":
                self._tables.open(act.what.of(self._lab.topology))
        elif step.wait is not None:
            await asyncio.sleep(step.wait)
        elif step.tables is not None:
            if await self._expected(step.tables, self._drill.patience, "the tables are as expected"):
                self.story.settled.append(time.monotonic())
        elif step.steady is not None:
            await self._expected(self._scene.steady, step.steady, "every table is as before")

    async def _expected(self, expected: Expected, patience: float, text: str) -> bool:
        begun = time.monotonic()
        wrong = await self._wait(expected, patience)
        found = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        found = found or f"after {time.monotonic() - begun:.2f} s"
        self.story.met.append(Expectation(f"{text} within {patience:g} s", not wrong, found))
        self._tell(self._since(time.monotonic()), f"{text}: {found}" if not wrong else f"NOT {text}: {found}")
        return not wrong

    async def _until(self, expected: Expected, patience: float, when: str) -> None:
        wrong = await self._wait(expected, patience)
        if wrong:
            raise LabError(f"{when}, the lab is not steady: {'; '.join(wrong[:5])}")

    async def _wait(self, expected: Expected, patience: float) -> list[str]:
        """What is still not so after ``patience``; empty as soon as all is."""
        deadline = time.monotonic() + patience
        while wrong := self._scene.differences(expected, self._tables.now()):
            if time.monotonic() >= deadline:
                return wrong
            await asyncio.sleep(0.05)
        return []

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
        elif not self._ending:  # whoever asks nothing loses nothing: that must not look well
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
    """What agents and routers wrote of something that went wrong. A node that is off has noticed nothing."""
    found: list[Seen] = []
    for node in lab.nodes.values():
        for log, pattern in (("/var/log/agent.log", _AGENT), ("/var/log/frr/frr.log", _FRR)):
            for at, line in _lines(node, log, since):
                match = pattern.match(line)
                if match and (pattern is _FRR or _NOTICED.search(match[1])):
                    found.append(Seen(at, node.name, match[1][:200]))
    return found


def _lines(node: Node, log: str, since: float) -> Iterator[tuple[float, str]]:
    """From the last back to the first since then: what comes before an older line was written yesterday, not today."""
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
    """Seconds since a clock last showed that: the logs say no more, and nodes' clocks are UTC, whatever ours are."""
    then = datetime.combine(now.date(), datetime.strptime(clock, "%H:%M:%S.%f").time(), now.tzinfo)
    return (now - then).total_seconds() % 86400
