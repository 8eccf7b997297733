"""The speaker against a real ExaBGP and a raw BGP peer."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, RouteKey, SessionState, Will
from tests.adapters.speaker.harness import LEAF, V4, V6, Agent, BgpPeer, config, leaf, speaking
from tests.support.agent import exabgp_of


async def test_a_route_is_announced_and_withdrawn_with_all_its_attributes(tmp_path: Path) -> None:
    """Every attribute arrives as it was given; taken and sent are two events."""
    attributes = Attributes(
        med=70, as_path=(65101, 65101, 65101), communities=("65535:0", "65000:7"),
        large_communities=("65101:1:2",), extended_communities=("target:65000:1",),
    )  # fmt: skip
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0], V4[1], attributes=attributes)
        await peer.has(V4[0], V4[1])
        path = peer.table[V4[0]]
        assert path.as_path == (65101, 65101, 65101)
        assert (path.med, path.communities, path.large_communities) == (70, ("65000:7", "65535:0"), ("65101:1:2",))
        assert path.extended_communities == ("0002fde800000001",)
        await agent.put(V6[0], attributes=Attributes(next_hop="2001:db8::1"))
        await peer.has(V4[0], V4[1], V6[0])
        assert peer.table[V6[0]].as_path == (65101,)
        await agent.until(lambda: any(isinstance(e, ev.RoutesSent) and V6[0] in e.announced for e in agent.posted))
        await agent.drop(V4[0])
        await peer.has(V4[1], V6[0])
        await agent.until(lambda: any(isinstance(e, ev.RoutesSent) and V4[0] in e.withdrawn for e in agent.posted))


async def test_interleaved_changes_to_one_prefix_always_end_right(tmp_path: Path) -> None:
    """Random bursts, as fast as answers come, over several prefixes at once: the last word is on the wire."""
    rng = random.Random(53)

    async def burst(agent: Agent, prefix: str, peer: BgpPeer, steps: int) -> int | None:
        med: int | None = None
        for _ in range(steps):
            if rng.random() < 0.4:
                await agent.drop(prefix)
                med = None
            else:
                med = rng.randrange(4)
                await agent.put(prefix, attributes=Attributes(med=med))
        return med

    async with speaking(tmp_path) as (agent, peer, _):
        for _ in range(12):
            steps = rng.randrange(1, 7)
            ends = await asyncio.gather(*(burst(agent, p, peer, steps) for p in V4[:6]))
            wanted = {p: med for p, med in zip(V4, ends, strict=False) if med is not None}
            await peer.until(lambda p, w=wanted: {k: v.med for k, v in p.table.items()} == w)


async def test_without_beats_the_routes_go_unless_their_will_is_to_stay(tmp_path: Path) -> None:
    """The dead-man's switch: what a dead agent leaves is withdrawn after dead_man, and no sooner."""
    async with speaking(tmp_path, dead_man=1.0) as (agent, peer, _):
        await agent.put(V4[0])
        await agent.put(V4[1], will=Will.KEEP)
        await peer.has(V4[0], V4[1])
        died = asyncio.get_running_loop().time()
        await agent.die()
        gone = await peer.has(V4[1])
        assert 0.7 < gone - died < 2.5


async def test_a_restarted_agent_finds_all_and_changes_nothing_on_the_wire(tmp_path: Path) -> None:
    """A new agent within the dead-man's time: the ledger is replayed, confirmed, and not one UPDATE is sent."""
    async with speaking(tmp_path, dead_man=2.0, adopt_for=2.0) as (agent, peer, conf):
        await agent.put(V4[0], V4[1], attributes=Attributes(med=5))
        await agent.put(V6[0], attributes=Attributes(next_hop="2001:db8::1"))
        await peer.has(V4[0], V4[1], V6[0])
        await agent.until(lambda: any(isinstance(e, ev.RoutesSent) and V6[0] in e.announced for e in agent.posted))
        updates = len(peer.updates)
        await agent.die()
        second = Agent(tmp_path)
        await second.start(conf)
        found = second.found()
        assert found[RouteKey(LEAF, V4[0])] == ev.RouteFound(
            RouteKey(LEAF, V4[0]), Attributes(med=5), Will.WITHDRAW, sent=True, confirmed=False
        )
        assert any(isinstance(e, ev.SessionChanged) and e.state is SessionState.UP for e in second.posted)
        await second.confirm(V4[0], V6[0])
        # What nobody confirms goes after adopt_for, although the new agent beats.
        await peer.has(V4[0], V6[0])
        assert [u for u in peer.updates[updates:] if u.announced] == []
        await second.end()


async def test_a_crash_loop_does_not_keep_a_route(tmp_path: Path) -> None:
    """Agents that come, beat and die again without a verdict: the adoption clock runs on across them."""
    async with speaking(tmp_path, dead_man=5.0, adopt_for=1.5) as (agent, peer, conf):
        await agent.put(V4[0])
        await peer.has(V4[0])
        began = asyncio.get_running_loop().time()
        await agent.die()
        while peer.table:
            assert asyncio.get_running_loop().time() - began < 4.0
            crashing = Agent(tmp_path)
            await crashing.start(conf)
            await crashing.die()


async def test_a_pipe_that_dies_forgets_nothing(tmp_path: Path) -> None:
    """kill -9 of the pipe: ExaBGP starts another, which asks what is there; nothing changes on the wire."""
    async with speaking(tmp_path) as (agent, peer, _):
        attributes = Attributes("127.0.0.1", med=9, communities=("65000:1", "65000:2"))
        await agent.put(V4[0], V4[1], attributes=attributes)
        await peer.has(V4[0], V4[1])
        await agent.until(lambda: agent.count(ev.RoutesSent) > 0)  # nothing is on its way to the pipe
        updates = len(peer.updates)
        os.kill(_pipe_pid(agent), signal.SIGKILL)
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)
        found = agent.found()
        assert found[RouteKey(LEAF, V4[0])].attributes == attributes
        assert not found[RouteKey(LEAF, V4[0])].confirmed
        assert agent.count(ev.SpeakerLost) == 1
        await agent.confirm(V4[0], V4[1])
        assert len(peer.updates) == updates
        await agent.drop(V4[0])
        await peer.has(V4[1])


async def test_a_pipe_that_dies_in_the_middle_of_an_event_is_survived_too(tmp_path: Path) -> None:
    """ExaBGP then gives up its peers for good: that is noticed, it is started again, and the session comes back."""
    async with speaking(tmp_path) as (agent, peer, _):
        for n in range(3):
            await agent.put(V4[n])
            os.kill(_pipe_pid(agent), signal.SIGKILL)
            synced = agent.count(ev.SpeakerSynced)
            await agent.until(lambda n=synced: agent.count(ev.SpeakerSynced) > n)
        await agent.until(lambda: agent.found() is not None and _settled(agent, peer), 40)


def _settled(agent: Agent, peer: BgpPeer) -> bool:
    return peer.established and {k.prefix for k in agent.found()} == set(peer.table)


def _pipe_pid(agent: Agent) -> int:
    connected = [e for e in agent.posted if isinstance(e, ev.SpeakerConnected)]
    return int(connected[-1].pipe.split()[1].rstrip(","))


async def test_a_frozen_exabgp_shows_in_the_answers_to_beats(tmp_path: Path) -> None:
    """SIGSTOP of ExaBGP: the pipe still answers, and says for how long ExaBGP has not."""
    async with speaking(tmp_path) as (agent, _, _):
        pid = exabgp_of(tmp_path)
        os.kill(pid, signal.SIGSTOP)
        await agent.until(lambda: any(isinstance(e, ev.SpeakerAnswered) and e.exabgp_age > 1.0 for e in agent.posted))
        os.kill(pid, signal.SIGCONT)
        answered = len(agent.posted)
        await agent.until(
            lambda: any(isinstance(e, ev.SpeakerAnswered) and e.exabgp_age < 0.5 for e in agent.posted[answered:])
        )


async def test_a_killed_exabgp_is_started_again(tmp_path: Path) -> None:
    """kill -9 of ExaBGP: the session is gone, the loss is told, another one comes up with an empty ledger."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        pid = exabgp_of(tmp_path)
        os.kill(pid, signal.SIGKILL)
        await agent.until(lambda: agent.count(ev.SpeakerLost) == 1 and agent.count(ev.SpeakerSynced) == 2)
        assert agent.found() == {}
        await peer.until(lambda p: len(p.opened_at) == 2)


async def test_a_restarted_router_has_the_routes_again(tmp_path: Path) -> None:
    """The session comes back by itself, and so do the routes; sent is reported anew."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        await peer.close()
        await agent.until(
            lambda: any(isinstance(e, ev.SessionChanged) and e.state is SessionState.DOWN for e in agent.posted)
        )
        told = len(agent.posted)
        await peer.listen()
        await peer.has(V4[0], deadline=30)
        await agent.until(lambda: any(isinstance(e, ev.RoutesSent) for e in agent.posted[told:]))


async def test_a_neighbor_that_is_added_or_removed_leaves_the_others_alone(tmp_path: Path) -> None:
    """Reload, verified: a new session comes up, a removed one closes, the third never notices."""
    async with speaking(tmp_path) as (agent, peer, conf), BgpPeer("127.0.0.2", asn=65012) as other:
        await agent.put(V4[0])
        await peer.has(V4[0])
        second = leaf(other, "leaf2")
        await agent.configure(config(leaf(peer), second))
        await other.until(lambda p: p.established, 20)
        await agent.put(V4[1], neighbor="leaf2")
        await other.has(V4[1])
        await agent.drop(V4[1], neighbor="leaf2")
        await agent.configure(conf)
        await other.until(lambda p: not p.established, 20)
        assert len(peer.opened_at) == 1
        assert set(peer.table) == {V4[0]}


async def test_two_hundred_prefixes_go_in_bulk(tmp_path: Path) -> None:
    """More prefixes than a line holds: all arrive, in few UPDATEs, and all go."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(*V4)
        await peer.has(*V4)
        assert len(peer.updates) < 20
        await agent.drop(*V4)
        await peer.has()
