"""A whole agent as its users run it: a process of its own, real ExaBGP, a real service, a raw router, real netlink."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anycast_agent import holding
from tests.support.bgp import BgpPeer
from tests.support.netns import namespaces, run_inside
from tests.support.until import PATIENCE, until

V4, V6 = "192.0.2.80/32", "2001:db8:80::80/128"
HTTP_PORT = 8080
DEAD_MAN, ADOPT_FOR = 2.0, 4.0
"""As ``configuration`` has them. Seconds."""
SLACK = 1.5
"""Beyond what is promised, on a machine that does other things too. Seconds."""


@dataclass
class Service:
    """An HTTP service on every address of the namespace, that behaves as it is told."""

    how: str = "well"
    """well, failing, hanging, dripping, garbage, huge, or gone."""
    body: Callable[[str], bytes] = lambda local: b"ok"
    """What it says when it is well, by the address that is asked."""
    port: int = HTTP_PORT
    _servers: list[asyncio.Server] = field(default_factory=list)
    _open: set[asyncio.Task[Any]] = field(default_factory=set)

    async def start(self) -> None:
        for host in ("0.0.0.0", "::"):
            self._servers.append(await asyncio.start_server(self._serve, host, self.port, backlog=1024))

    async def become(self, how: str) -> None:
        was, self.how = self.how, how
        if how == "gone":
            await self.close()
        elif was == "gone":
            await self.start()

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in list(self._open):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await self._answer(writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        if self.how == "hanging":
            await asyncio.sleep(3600)
        elif self.how == "dripping":
            writer.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while True:
                writer.write(b"d")
                await writer.drain()
                await asyncio.sleep(0.05)
        elif self.how == "garbage":
            writer.write(b"\x00\xff\x13\x37 what is this\r\n\r\n")
        elif self.how == "huge":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
            for _ in range(160):
                writer.write(b"x" * 65536)
                await writer.drain()
        else:
            status = b"500 Bad" if self.how == "failing" else b"200 OK"
            body = self.body(writer.get_extra_info("sockname")[0])
            head = b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            writer.write(b"HTTP/1.1 " + status + head + body)
        await writer.drain()


def configuration(folder: Path, **changes: Any) -> dict[str, Any]:
    """One service in both families, at one neighbor; quick checks. ``agent``, ``check`` and ``services`` change it."""
    check = {
        "type": "http",
        "port": HTTP_PORT,
        "interval": "200ms",
        "rise": 2,
        "contains": "ok",
        **changes.get("check", {}),
    }
    services = changes.get("services") or {
        "web": {
            "prefixes": [V4, V6],
            "attributes": {"next_hop": ["198.51.100.1", "2001:db8::1"]},
            "hold_down": {"initial": "100ms"},
            "linger": "200ms",
            "checks": {"page": check},
        }
    }
    return {
        "node": {"name": "edge1", "site": "ams", "return_route": "off", **changes.get("node", {})},
        "agent": {
            "run_dir": str(folder / "run"),
            "state_dir": str(folder / "state"),
            "control_socket": str(folder / "control.sock"),
            "dead_man": "2s",
            "adopt_for": "4s",
            "stop_within": "10s",
            **changes.get("agent", {}),
        },
        "bgp": {
            "local_as": 65101,
            "router_id": "198.51.100.1",
            "neighbors": changes.get("neighbors")
            or {
                "leaf": {
                    "address": "127.0.0.2",
                    "local_address": "127.0.0.1",
                    "remote_as": 65011,
                    "families": ["ipv4", "ipv6"],
                }
            },
        },
        "services": services,
    }


@dataclass
class Agent:
    """The agent's process, asked and disturbed from outside."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    stderr: int | None = None
    """In place of the log."""
    arguments: tuple[str, ...] = ()
    """Of ``run``, beside the configuration."""
    python: str = sys.executable
    _run_number: int = 0

    @property
    def config(self) -> Path:
        return self.folder / "agent.yaml"

    def write(self, values: dict[str, Any]) -> None:
        self.config.write_text(json.dumps(values, indent=1))  # JSON is YAML

    def start(self) -> None:
        """A new process; what an earlier one left is there."""
        self._run_number += 1
        words = [self.python, "-m", "anycast_agent.cli.main", "run", "--config", str(self.config), *self.arguments]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=self.stderr or log,
                env={**os.environ, **self.environment},
            )

    def log(self) -> str:
        return (self.folder / "agent.log").read_text(errors="replace")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait()

    async def ends(self, deadline: float = PATIENCE) -> int:
        assert self.process is not None
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), deadline)

    def exabgp(self) -> int:
        """ExaBGP's process id."""
        return exabgp_of(self.folder / "run")

    def pipe(self) -> int:
        """The pipe's process id: ExaBGP's only child."""
        parent = self.exabgp()
        return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])

    async def ask(self, **request: Any) -> dict[str, Any]:
        """One request over the control socket."""
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "control.sock"), limit=64 << 20)
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 60))
            return answer
        finally:
            writer.close()

    async def status(self) -> dict[str, Any]:
        return dict((await self.ask(verb="status"))["data"])

    async def why(self, prefix: str = V4) -> dict[str, Any]:
        """Of one prefix: its shape, and the checks that it rests on."""
        (found,) = (await self.ask(verb="why", prefix=prefix))["data"]["prefixes"]
        return {**found["prefix"], "checks": found["checks"]}

    async def until(self, condition: Callable[[dict[str, Any]], bool], deadline: float = PATIENCE) -> dict[str, Any]:
        """Ask for the status until the condition holds."""
        last: dict[str, Any] = {}

        async def asked() -> dict[str, Any]:
            nonlocal last
            with contextlib.suppress(OSError, ValueError):
                last = await self.status()
                if condition(last):
                    return last
            return {}

        return await until(asked, lambda: f"{json.dumps(last, indent=1)[:4000]}\n{self.log()[-3000:]}", deadline)

    async def close(self) -> None:
        """End it, and the ExaBGP that it started."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                await self.ends(12)
            except TimeoutError:
                self.kill()
        with contextlib.suppress(OSError, LookupError):
            os.kill(self.exabgp(), signal.SIGKILL)


@contextlib.asynccontextmanager
async def external_speaker(agent: Agent) -> AsyncIterator[subprocess.Popen[bytes]]:
    """``anycast-agent speaker`` in a process of its own, which the agent does not start."""
    agent.arguments = ("--speaker", "external")
    words = [sys.executable, "-m", "anycast_agent.cli.main", "speaker", "--config", str(agent.config)]
    with (agent.folder / "speaker.log").open("ab") as log:
        speaker = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield speaker
    finally:
        speaker.kill()
        await asyncio.to_thread(speaker.wait)


@dataclass
class Scene:
    """What a story plays with."""

    agent: Agent
    peer: BgpPeer
    service: Service
    namespace: str

    async def announced(self, deadline: float = PATIENCE) -> float:
        return await self.peer.has(V4, V6, deadline=deadline)

    async def withdrawn(self, deadline: float = PATIENCE) -> float:
        return await self.peer.has(deadline=deadline)


@contextlib.asynccontextmanager
async def scene(folder: Path, namespace: str, values: dict[str, Any] | None = None) -> AsyncIterator[Scene]:
    """Inside of a namespace: the service, the router, and an agent that is not started yet."""
    agent = Agent(folder)
    agent.write(values or configuration(folder))
    service = Service()
    await service.start()
    try:
        async with BgpPeer("127.0.0.2", 179, 65011) as peer:
            try:
                yield Scene(agent, peer, service, namespace)
            except BaseException:
                print(agent.log()[-6000:])
                raise
            finally:
                await agent.close()
    finally:
        await service.close()


def play(
    folder: Path,
    story: Callable[[Scene], Coroutine[Any, Any, None]],
    values: dict[str, Any] | None = None,
    *,
    deadline: float = 100.0,
) -> None:
    """Play a story in a namespace of its own, in a thread, with an agent that has announced."""
    with namespaces("node") as (namespace,):

        async def inside() -> None:
            async with scene(folder, namespace, values) as s:
                s.agent.start()
                await story(s)

        run_inside(namespace, inside, deadline)


# --- what a status says -------------------------------------------------------------------------------------


def prefix_in(status: dict[str, Any], prefix: str) -> dict[str, Any]:
    return next(p for s in status["services"].values() for p in s["prefixes"] if p["prefix"] == prefix)


def reason_in(status: dict[str, Any], prefix: str) -> str:
    return str(prefix_in(status, prefix)["reason"])


def routes_in(status: dict[str, Any]) -> list[dict[str, Any]]:
    return [r for s in status["services"].values() for p in s["prefixes"] for r in p["routes"]]


def exabgp_of(run_dir: Path) -> int:
    """The process that holds a run directory as its ExaBGP. Raises LookupError where none does."""
    lock = holding.open_file(run_dir / "exabgp.lock", make=False)
    try:
        pid = holding.holder(lock)
    finally:
        os.close(lock)
    if not pid:
        raise LookupError(f"no ExaBGP runs for {run_dir}")
    return pid


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def addresses_of(s: Scene) -> str:
    """The namespace's addresses, as iproute2 shows them."""
    done = subprocess.run(["ip", "-n", s.namespace, "-o", "addr"], capture_output=True, text=True, check=True)
    return done.stdout


def fill(pipe: int) -> None:
    """Until a pipe takes nothing more; who else writes to it waits."""
    own = os.open(f"/proc/self/fd/{pipe}", os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(own, b"x" * size)
    os.close(own)
