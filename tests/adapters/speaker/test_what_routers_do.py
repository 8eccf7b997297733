"""What routers say and do on a session, each told in words: why it ended, what they do not take, what they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, Family, SessionState
from tests.adapters.speaker.harness import LEAF, V4, V6, Agent, BgpPeer, config, leaf, replace, speaking

HOP = Attributes("127.0.0.1")


def _why(agent: Agent) -> str:
    """Of the last end of the session."""
    ends = [e.why for e in agent.posted if isinstance(e, ev.SessionChanged) and e.state is SessionState.DOWN]
    return ends[-1] if ends else ""


def _warning(agent: Agent, subject: str) -> str:
    said = [e.text for e in agent.posted if isinstance(e, ev.Warned) and e.subject == subject]
    return said[-1] if said else ""


@asynccontextmanager
async def _beside(run_dir: Path, peer: BgpPeer, **changes: Any) -> AsyncIterator[Agent]:
    """An agent beside a router that may not behave."""
    agent = Agent(run_dir)
    async with peer:
        try:
            await agent.start(config(replace(leaf(peer), **changes)))
            yield agent
        finally:
            await agent.end()


async def test_a_router_may_ask_for_its_routes_again(tmp_path: Path) -> None:
    """Route refresh (RFC 2918): ``clear … soft in`` after a new policy sees the routes again, and the session stays."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0], V4[1], attributes=HOP)
        await peer.has(V4[0], V4[1])
        assert b"\x02\x00" in peer.heard_open
        before = len(peer.updates)
        peer.refresh()
        again = {V4[0], V4[1]}
        await peer.until(lambda p: again <= {prefix for u in p.updates[before:] for prefix in u.announced})
        assert peer.closed_at == []


@pytest.mark.parametrize("text", ["back at 18:00", "Umzug bis 18 Uhr; " * 12])
async def test_what_the_routers_operator_wrote_is_shown(tmp_path: Path, text: str) -> None:
    """The shutdown communication (RFC 9003), and it stays while the attempts that follow fail."""
    async with speaking(tmp_path) as (agent, peer, _):
        peer.refusing = True
        octets = text.encode()
        peer.notify(6, 2, bytes([len(octets)]) + octets)
        await agent.until(lambda: text.strip() in _why(agent))
        assert _why(agent).startswith("the router ended the session: administratively shut down (6/2)")
        ends = agent.count(ev.SessionChanged)
        await agent.until(lambda: agent.count(ev.SessionChanged) > ends + 1, 30)
        assert text.strip() in _why(agent)
        assert "someone clears it" in _warning(agent, f"session {LEAF}")
        peer.refusing = False
        await agent.until(lambda: _warning(agent, f"session {LEAF}") == "", 40)


async def test_a_hold_time_that_the_router_does_not_accept_is_said_in_words(tmp_path: Path) -> None:
    """2/6, and what to do."""

    class Strict(BgpPeer):
        def _receive(self, kind: int, body: bytes, writer: asyncio.StreamWriter) -> None:
            super()._receive(kind, body, writer)
            self.notify(2, 6)

    async with _beside(tmp_path, Strict()) as agent:
        await agent.until(lambda: "unacceptable hold time (2/6)" in _why(agent))
        assert "hold_time" in _warning(agent, f"session {LEAF}")


async def test_a_router_without_capabilities_is_warned_of(tmp_path: Path) -> None:
    """ExaBGP sends it no route at all, and says nothing of it."""
    async with _beside(tmp_path, BgpPeer(families=None)) as agent:
        await agent.until(lambda: "no capabilities" in _warning(agent, f"families of {LEAF}"))


async def test_a_family_that_the_router_does_not_take_is_named(tmp_path: Path) -> None:
    """Not activated there: only that family has no routes. Once it is, the warning goes."""
    async with _beside(tmp_path, BgpPeer(families=(1,)), families=(Family.IPV4, Family.IPV6)) as agent:
        await agent.until(lambda: "no ipv6 routes" in _warning(agent, f"families of {LEAF}"))
    both = BgpPeer()
    async with _beside(tmp_path, both, families=(Family.IPV4, Family.IPV6)) as agent:
        await agent.put(V4[0], attributes=HOP)
        await agent.put(V6[0], attributes=Attributes("2001:db8::1"))
        await both.has(V4[0], V6[0])
        assert _warning(agent, f"families of {LEAF}") == ""
