"""Where a story is played: a node with two uplinks, its services, its agent and ExaBGP, and the routers behind them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.driver import configs
from tests.faults.driver.configs import ADDRESSES, ASES, HOLD_TIME, OURS, PORTS, PREFIXES, Values
from tests.faults.driver.truth import Truth
from tests.support.agent import Agent, Service, is_alive
from tests.support.bgp import BgpPeer
from tests.support.netns import enter, ip, namespaces, run_inside, sysctl, veth

CLONE_NEWNS, MS_REC, MS_SLAVE = 0x20000, 0x4000, 0x80000
DISK = "256k"
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def standing_in(namespace: str) -> Iterator[None]:
    """Sockets that the thread makes meanwhile are the namespace's."""
    with Path("/proc/thread-self/ns/net").open() as home:
        enter(namespace)
        try:
            yield
        finally:
            assert _libc.setns(home.fileno(), 0) == 0


class Router(BgpPeer):
    """A raw router in a namespace of its own. Unlike its parent it has a hold timer (RFC 4271, 6.5)."""

    def __init__(self, name: str, namespace: str) -> None:
        super().__init__(ADDRESSES[name], 179, ASES[name[:5]], hold_time=HOLD_TIME)
        self.name, self._namespace = name, namespace
        self._heard_at = time.monotonic()
        self._held_up: asyncio.StreamWriter | None = None

    async def listen(self) -> None:
        with standing_in(self._namespace):
            listener = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, self.port))
        self._server = await asyncio.start_server(self._accept, sock=listener)
        if not self._tasks:
            self._tasks.add(asyncio.create_task(self._watch_the_hold_timer()))

    @property
    def answers(self) -> bool:
        """Whether a session can be had with it."""
        return self._server is not None and not self.refusing

    @property
    def deaf(self) -> bool:
        """It reads nothing: its table is of some time ago."""
        return self._held_up is not None and self._held_up is self._writer

    def go_deaf(self) -> None:
        if self._writer is not None:
            self._held_up = self._writer
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def hear_again(self) -> None:
        if self.deaf and self._writer is not None and not self._writer.transport.is_closing():
            self._writer.transport.resume_reading()  # type: ignore[attr-defined]
        self._held_up, self._heard_at = None, time.monotonic()

    def _receive(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        self._heard_at = time.monotonic()
        super()._receive(kind, body, writer)

    async def _watch_the_hold_timer(self) -> None:
        while True:
            await asyncio.sleep(0.2)
            if self.established and not self.deaf and time.monotonic() > self._heard_at + self.hold_time:
                self.notify(4, 0)
                self.drop()


@dataclass
class Stage:
    """The real parts, and how each is disturbed. What is done is noted in ``truth``."""

    folder: Path
    namespace: str
    external: bool
    """ExaBGP is a service of its own, which is started again when it ends, as systemd would."""
    values: Values
    """The base of all configurations."""
    routers: dict[str, Router]
    agent: Agent
    services: dict[str, Service]
    truth: Truth
    background: list[asyncio.Task[Any]] = field(default_factory=list)
    """What goes on until it is lifted: readers that hammer, and such."""
    _speaker: subprocess.Popen[bytes] | None = None
    _supervisor: asyncio.Task[None] | None = None

    # --- processes ---

    def start(self) -> None:
        if self.external and self._supervisor is None:
            self._supervisor = asyncio.create_task(self._keep_a_speaker())
        self.agent.start()
        self.truth.agent_runs, self.truth.asked_to_end = True, False
        self.touched()

    def touched(self) -> None:
        self.truth.disturbed()
        self.truth.changed()

    async def _keep_a_speaker(self) -> None:
        words = [sys.executable, "-m", "anycast_agent.cli.main", "speaker", "--config", str(self.agent.config)]
        with (self.folder / "speaker.log").open("ab") as log:
            while True:
                self._speaker = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
                while self._speaker.poll() is None:
                    await asyncio.sleep(0.05)
                self.touched()
                await asyncio.sleep(0.2)

    def pipes(self) -> list[int]:
        """The pipes that live in the namespace."""
        here = os.stat("/proc/thread-self/ns/net").st_ino
        return [pid for pid, words in _processes(here) if b"anycast_agent.speaker.pipe" in words]

    def exabgp(self) -> int:
        """The parent of the pipe."""
        return next(iter(_parents(self.pipes())), 0)

    # --- the node ---

    def ip(self, *words: str) -> None:
        """What may fail, as the thing is in that state already."""
        subprocess.run(["ip", "-n", self.namespace, *words], capture_output=True, check=False)

    def addresses(self) -> list[str]:
        """Those on the loopback, but for its own."""
        shown = subprocess.run(
            ["ip", "-n", self.namespace, "-o", "addr", "show", "dev", "lo"], capture_output=True, text=True, check=True
        ).stdout
        found = [line.split()[3] for line in shown.splitlines() if " inet" in line]
        whole = [a if "/" in a else f"{a}/{128 if ':' in a else 32}" for a in found]
        return sorted(a for a in whole if a not in ("127.0.0.1/8", "::1/128"))

    def wire_uplink(self, leaf: str) -> None:
        """What the node's network configuration does when the link is there: addresses and default routes."""
        device = f"up{leaf[-1]}"
        self.ip("link", "set", device, "up")
        for name, length in ((f"{leaf}-v4", 31), (f"{leaf}-v6", 64)):
            self.ip("addr", "replace", f"{OURS[name]}/{length}", "dev", device, *(["nodad"] if length == 64 else []))
        for family, there in self.truth.default_routes.items():
            if there and leaf == "leaf1":
                self.default_route(family)

    def default_route(self, family: str) -> None:
        via = ADDRESSES["leaf1-v6" if family == "ipv6" else "leaf1-v4"]
        self.ip("-6" if family == "ipv6" else "-4", "route", "replace", "default", "via", via, "dev", "up1")

    @property
    def filler(self) -> Path:
        return self.folder / "disk" / "full"

    # --- the end ---

    async def quiet(self) -> None:
        """End what goes on in the background. Until Python 3.12, ``wait_for`` can lose a cancellation: it is said again."""
        while self.background:
            for task in self.background:
                task.cancel()
            await asyncio.wait(self.background, timeout=0.5)
            self.background = [task for task in self.background if not task.done()]

    async def close(self) -> None:
        await self.quiet()
        if self._supervisor is not None:
            self._supervisor.cancel()
        self.filler.unlink(missing_ok=True)
        for pid in [*self.pipes(), *_parents(self.pipes())]:
            _signal(pid, signal.SIGCONT)
        await self.agent.close()
        if self._speaker is not None:
            _signal(self._speaker.pid, signal.SIGKILL)
            self._speaker.wait()
        for pid in {*self.pipes(), *_parents(self.pipes())}:
            _signal(pid, signal.SIGKILL)


def _processes(netns: int) -> Iterator[tuple[int, bytes]]:
    """The living of a network namespace, with their command lines."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if (entry / "ns/net").stat().st_ino == netns and is_alive(int(entry.name)):
                    yield int(entry.name), (entry / "cmdline").read_bytes()


def _parents(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            found.append(int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]))
    return [pid for pid in found if pid > 1]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.asynccontextmanager
async def _stage(folder: Path, node: str, leaves: list[str], external: bool, local: bool) -> AsyncIterator[Stage]:
    """Inside of the node's namespace: everything, and an agent that is not started yet."""
    _mount_disk(folder)
    agent = Agent(folder, arguments=("--speaker", "external") if external else ())
    values = configs.base(folder, local_addresses=local)
    agent.write(values)
    peers = {name: Router(name, leaves[int(name[4]) - 1]) for name in ADDRESSES}
    services = {name: Service(port=PORTS[name]) for name in PREFIXES}
    stage = Stage(folder, node, external, values, peers, agent, services, Truth([values]))
    for leaf in ("leaf1", "leaf2"):
        stage.wire_uplink(leaf)
    try:
        for each in (*services.values(),):
            await each.start()
        for router in peers.values():
            await router.listen()
        yield stage
    finally:
        await stage.close()
        for router in peers.values():
            await router.close()
        for each in services.values():
            await each.close()


def _mount_disk(folder: Path) -> None:
    """A small file system for the directories that are written to, seen by this thread and its children only."""
    assert _libc.unshare(CLONE_NEWNS) == 0
    assert _libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None) == 0
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=755", "tmpfs", disk], check=True)


def on_stage(
    folder: Path,
    play: Callable[[Stage], Coroutine[Any, Any, None]],
    *,
    external: bool = False,
    local_addresses: bool = False,
    deadline: float = 300.0,
) -> None:
    """Play something on a stage of its own; nothing of it is left."""
    with namespaces("node", "leaf1", "leaf2") as (node, *leaves):
        for n, leaf in enumerate(leaves, 1):
            veth(node, f"up{n}", leaf, "edge")
            for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                sysctl(leaf, name, "1")  # what has no route is told so, and not left to wait
            for name, length in ((f"leaf{n}-v4", 31), (f"leaf{n}-v6", 64)):
                ip("-n", leaf, "addr", "add", f"{ADDRESSES[name]}/{length}", "dev", "edge")

        async def inside() -> None:
            async with _stage(folder, node, leaves, external, local_addresses) as stage:
                await play(stage)

        run_inside(node, inside, deadline)
