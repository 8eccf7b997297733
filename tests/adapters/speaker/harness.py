"""A speaker client with a real ExaBGP and a raw BGP peer on loopback, and what it posted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, Config, Neighbor, RouteKey, Service, Tier, Will
from anycast_agent.speaker.client import SpeakerClient
from tests.support.bgp import BgpPeer
from tests.support.until import PATIENCE, until

V4 = tuple(f"192.0.2.{n}/32" for n in range(1, 201))
V6 = tuple(f"2001:db8:53::{n:x}/128" for n in range(1, 101))
LEAF = "leaf1"
_ids = itertools.count(1)


def leaf(peer: BgpPeer, name: str = LEAF, **changes: Any) -> Neighbor:
    values: dict[str, Any] = {"local_address": "127.0.0.1", "router_id": "198.51.100.1", "port": peer.port, **changes}
    return Neighbor(name, peer.address, peer.asn, 65101, **values)


def config(*neighbors: Neighbor, dead_man: float = 5.0, adopt_for: float = 30.0) -> Config:
    keys = {RouteKey(n.name, p): Attributes() for n in neighbors for p in (*V4, *V6)}
    service = Service("all", (*V4, *V6), (), attributes={Tier.FULL: keys, Tier.DEGRADED: keys})
    return Config(
        "edge1", "ams", {n.name: n for n in neighbors}, {"all": service}, dead_man=dead_man, adopt_for=adopt_for
    )


@dataclass
class Agent:
    """One agent process, as far as the speaker can tell."""

    run_dir: Path
    owned: bool = True
    posted: list[ev.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._news = asyncio.Event()
        self.client = SpeakerClient(self._post, self.run_dir, owned=self.owned)
        self._run: asyncio.Task[None] | None = None
        self._heartbeats: asyncio.Task[None] | None = None

    def _post(self, event: ev.Event) -> None:
        self.posted.append(event)
        self._news.set()

    async def start(self, conf: Config, *, beats: bool = True) -> None:
        self._run = asyncio.create_task(self._supervised())
        if beats:
            self._heartbeats = asyncio.create_task(self._beating())
        await self.configure(conf)
        await self.until(lambda: self.count(ev.SpeakerSynced) > 0)

    async def configure(self, conf: Config) -> None:
        ended = await self.ask(act.ConfigureSpeaker(next(_ids), conf, ()))
        assert ended.error is None, ended.error

    async def _supervised(self) -> None:
        while True:
            try:
                await self.client.run()
            except Exception as error:
                self._post(ev.AdapterFailed("speaker", str(error)))
            await asyncio.sleep(0.05)

    async def _beating(self) -> None:
        while True:
            self.client.execute(act.Heartbeat())
            await asyncio.sleep(0.1)

    async def quiet(self) -> None:
        """No more beats, and the pipe has nothing of ours left to read."""
        assert self._heartbeats is not None
        self._heartbeats.cancel()
        await asyncio.gather(self._heartbeats, return_exceptions=True)
        assert (await self.ask(act.ExtendDeadMan(next(_ids), 0.0))).error is None

    async def ask(self, action: Any, deadline: float = PATIENCE) -> Any:
        """Execute an action; its end."""
        self.client.execute(action)
        found: list[Any] = []

        def ended() -> bool:
            found[:] = [e for e in self.posted if getattr(e, "action", None) == action.id]
            return bool(found)

        await self.until(ended, deadline)
        return found[0]

    async def put(self, *prefixes: str, attributes: Attributes | None = None, **changes: Any) -> None:
        neighbor, will = changes.get("neighbor", LEAF), changes.get("will", Will.WITHDRAW)
        ended = await self.ask(act.PutRoutes(next(_ids), neighbor, prefixes, attributes or Attributes(), will))
        assert ended.error is None, ended.error

    async def drop(self, *prefixes: str, neighbor: str = LEAF) -> None:
        ended = await self.ask(act.DropRoutes(next(_ids), tuple(RouteKey(neighbor, p) for p in prefixes)))
        assert ended.error is None, ended.error

    async def confirm(self, *prefixes: str, neighbor: str = LEAF) -> None:
        ended = await self.ask(act.ConfirmRoutes(next(_ids), tuple(RouteKey(neighbor, p) for p in prefixes)))
        assert ended.error is None, ended.error

    async def until(self, condition: Callable[[], bool], deadline: float = PATIENCE) -> None:
        await until(condition, lambda: self.posted[-5:], deadline, self._news)

    def count(self, kind: type) -> int:
        return sum(isinstance(e, kind) for e in self.posted)

    def found(self) -> dict[RouteKey, ev.RouteFound]:
        """The last replay."""
        last = max(i for i, e in enumerate(self.posted) if isinstance(e, ev.SpeakerSynced))
        began = max((i for i, e in enumerate(self.posted[:last]) if isinstance(e, ev.SpeakerConnected)), default=0)
        return {e.key: e for e in self.posted[began:last] if isinstance(e, ev.RouteFound)}

    async def die(self) -> None:
        """kill -9, as the pipe sees it: the connection is gone, and no word was said."""
        await self._cancel()
        await self.client.close(hand_over=True)

    async def end(self) -> None:
        await self._cancel()
        await self.client.close(hand_over=False)

    async def _cancel(self) -> None:
        tasks = [t for t in (self._run, self._heartbeats) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def speaking(run_dir: Path, **changes: Any) -> AsyncIterator[tuple[Agent, BgpPeer, Config]]:
    """An agent whose session with a peer is up; ExaBGP has ended when it is left."""
    async with BgpPeer() as peer:
        conf = config(leaf(peer), **changes)
        agent = Agent(run_dir)
        try:
            await agent.start(conf)
            await peer.until(lambda p: p.established)
            yield agent, peer, conf
        finally:
            await agent.end()
            # An agent of a test that died leaves its ExaBGP; another one takes it over, and ends it.
            last = Agent(run_dir)
            last.client._process.attach()
            await last.client._process.kill()


__all__ = ["LEAF", "V4", "V6", "Agent", "BgpPeer", "config", "leaf", "replace", "speaking"]
