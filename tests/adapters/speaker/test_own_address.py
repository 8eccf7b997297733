"""Next hop ``self`` without ExaBGP's own idea of it: the address of each session is known and written."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, Config
from anycast_agent.speaker.pipe.own_address import OwnAddresses
from anycast_agent.speaker.pipe.shell import source_address
from tests.adapters.speaker.harness import V4, V6, Agent, BgpPeer, config, leaf, replace

ONE, OTHER = "192.0.2.201", "192.0.2.202"


# --- which address --------------------------------------------------------------------------------------------


class Kernel:
    """Chooses as it is told."""

    def __init__(self, chosen: str = "") -> None:
        self.chosen = chosen

    def __call__(self, neighbor: str) -> str:
        return self.chosen


def test_before_a_session_it_is_what_the_kernel_would_choose() -> None:
    """And follows it: an uplink that comes, and one that gets another address."""
    kernel = Kernel()
    own = OwnAddresses(kernel)
    assert not own.session("leaf", "down")
    assert own.of("leaf") == ""
    kernel.chosen = ONE
    assert own.session("leaf", "down")
    kernel.chosen = OTHER
    assert own.session("leaf", "connected")
    assert own.of("leaf") == OTHER


def test_a_session_that_is_up_keeps_its_address() -> None:
    """ExaBGP's word goes first; without one, what was known stays; only then the kernel is asked."""
    kernel = Kernel(ONE)
    own = OwnAddresses(kernel)
    assert own.session("leaf", "up", OTHER)
    assert not own.session("leaf", "up")
    assert own.of("leaf") == OTHER
    assert own.session("other", "up")
    assert own.of("other") == ONE


def test_what_was_known_is_not_forgotten_with_the_way() -> None:
    """An uplink that is lost says nothing of the address that the routes were announced with."""
    kernel = Kernel(ONE)
    own = OwnAddresses(kernel)
    own.session("leaf", "down")
    kernel.chosen = ""
    assert not own.session("leaf", "down")
    assert own.of("leaf") == ONE
    own.forget("leaf")
    assert own.of("leaf") == ""


def test_the_kernel_is_asked_without_a_packet() -> None:
    """Of both families; what cannot be reached has no address."""
    assert source_address("127.0.0.9") == "127.0.0.1"
    assert source_address("::1") == "::1"
    assert source_address("not an address") == ""


# --- real ExaBGP, local addresses left to the kernel ----------------------------------------------------------


def _own(agent: Agent, name: str) -> str:
    said = [e.own_address for e in agent.posted if isinstance(e, ev.SessionChanged) and e.neighbor == name]
    return said[-1] or ""


def _config(*peers: tuple[str, BgpPeer], **changes: object) -> Config:
    """Two sessions and more; none has a local address written."""
    return config(*(leaf(peer, name, local_address=None, **changes) for name, peer in peers))


@pytest.mark.parametrize("what", ["added", "removed", "changed"])
async def test_after_a_reload_of_another_neighbor_all_can_be_withdrawn_and_announced(tmp_path: Path, what: str) -> None:
    """ExaBGP made new neighbor objects that know no local address: the other sessions go on as if nothing was."""
    async with BgpPeer() as four, BgpPeer(address="::1") as six, BgpPeer("127.0.0.2") as third:
        agent = Agent(tmp_path)
        two = (("four", four), ("six", six))
        try:
            await agent.start(_config(*two) if what == "added" else _config(*two, ("third", third)))
            await four.until(lambda p: p.established and six.established)
            await agent.until(lambda: (_own(agent, "four"), _own(agent, "six")) == ("127.0.0.1", "::1"))
            await agent.put(V4[0], neighbor="four", attributes=Attributes("127.0.0.1"))
            await agent.put(V6[0], neighbor="six", attributes=Attributes("::1"))
            await four.has(V4[0])
            await six.has(V6[0])
            if what == "removed":
                await agent.configure(_config(*two))
            else:
                conf = _config(*two, ("third", third))
                neighbors = {**conf.neighbors, "third": replace(conf.neighbors["third"], hold_time=12)}
                await agent.configure(replace(conf, neighbors=neighbors))
            await agent.put(V4[1], neighbor="four", attributes=Attributes("127.0.0.1"))
            await agent.put(V6[1], neighbor="six", attributes=Attributes("::1"))
            await four.has(V4[0], V4[1])
            await agent.drop(V4[0], V4[1], neighbor="four")
            await agent.drop(V6[0], V6[1], neighbor="six")
            await four.has()
            await six.has()
            assert (len(four.closed_at), len(six.closed_at)) == (0, 0), "their sessions stood all the time"
        finally:
            await agent.end()


async def test_a_pipe_that_dies_after_a_reload_knows_the_address_again(tmp_path: Path) -> None:
    """ExaBGP says ``None`` by then: what the kernel would choose is told, and the route is found as it was put."""
    async with BgpPeer() as four, BgpPeer("127.0.0.2") as third:
        agent = Agent(tmp_path)
        try:
            await agent.start(_config(("four", four)))
            await four.until(lambda p: p.established)
            await agent.put(V4[0], neighbor="four", attributes=Attributes("127.0.0.1"))
            await agent.configure(_config(("four", four), ("third", third)))
            pid = int([e for e in agent.posted if isinstance(e, ev.SpeakerConnected)][-1].pipe.split()[1].rstrip(","))
            synced = agent.count(ev.SpeakerSynced)
            os.kill(pid, signal.SIGKILL)
            await agent.until(lambda: agent.count(ev.SpeakerSynced) > synced)
            assert _own(agent, "four") == "127.0.0.1"
            assert [f.attributes for f in agent.found().values()] == [Attributes("127.0.0.1")]
            await agent.drop(V4[0], neighbor="four")
            await four.has()
        finally:
            await agent.end()


async def test_an_announcement_that_changes_nothing_stays_sent(tmp_path: Path) -> None:
    """ExaBGP reports no UPDATE for it, and none is needed: that it was sent is told all the same."""
    async with BgpPeer() as peer:
        agent = Agent(tmp_path)
        try:
            await agent.start(_config(("leaf1", peer)))
            await peer.until(lambda p: p.established)
            one, same = ("65000:1", "65000:2"), ("65000:2", "65000:1")
            await agent.put(V4[0], attributes=Attributes("127.0.0.1", communities=one))
            await agent.until(lambda: agent.count(ev.RoutesSent) > 0)
            sent, updates = agent.count(ev.RoutesSent), _told(peer)
            await agent.put(V4[0], attributes=Attributes("127.0.0.1", communities=same))
            await agent.until(lambda: agent.count(ev.RoutesSent) > sent)
            assert _told(peer) == updates
        finally:
            await agent.end()


def _told(peer: BgpPeer) -> int:
    """How many UPDATEs told it of a route: an End-of-RIB may come at any time."""
    return len([u for u in peer.updates if u.announced or u.withdrawn])
