"""More faults of the speaker: what is under way when something breaks, against a real ExaBGP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, RouteKey, SessionState, Will
from tests.adapters.speaker.hands import HEAD, clocks_pass, exabgp, pipe, raw
from tests.adapters.speaker.harness import LEAF, V4, V6, Agent, BgpPeer, config, leaf, replace, speaking
from tests.support.agent import fill
from tests.support.until import until, wait_until


async def test_an_agent_that_hands_over_may_take_its_time(tmp_path: Path) -> None:
    """Extended, the dead-man's switch waits; the next agent finds all; nothing was on the wire."""
    async with speaking(tmp_path, dead_man=0.6, adopt_for=5.0) as (agent, peer, conf):
        await agent.put(V4[0])
        await peer.has(V4[0])
        assert (await agent.ask(act.ExtendDeadMan(9002, 20.0))).error is None
        updates = len(peer.updates)
        await agent.die()
        await clocks_pass(tmp_path, 1.0)  # longer than dead_man
        assert V4[0] in peer.table
        second = Agent(tmp_path)
        await second.start(conf)
        assert RouteKey(LEAF, V4[0]) in second.found()
        await second.confirm(V4[0])
        assert peer.updates[updates:] == []
        await second.die()
        # Handed over is handed over: the next death is a death.
        await peer.has(deadline=5)


@pytest.mark.parametrize("story", [(0, 500, 0), (0, None), (0, 500, None), (500, 0, None, 0), (1, None, 2, None)])
async def test_changes_while_the_session_is_down_end_right(tmp_path: Path, story: tuple[int | None, ...]) -> None:
    """ExaBGP sends what waited by attributes and not in order: the last word is said again once the session is up."""
    async with speaking(tmp_path) as (agent, peer, _):
        peer.drop()
        await agent.until(lambda: _last_state(agent) is SessionState.DOWN)
        for med in story:
            await (agent.drop(V4[0]) if med is None else agent.put(V4[0], attributes=Attributes(med=med)))
        await agent.put(V4[1])
        await peer.until(lambda p: len(p.opened_at) == 2 and p.established and V4[1] in p.table, 30)
        wanted = {V4[0]: story[-1], V4[1]: None} if story[-1] is not None else {V4[1]: None}
        await peer.until(lambda p: {k: v.med for k, v in p.table.items()} == wanted)
        # What was taken back is told of by the router only: the last UPDATE that names the prefix is the right one.
        await agent.put(V4[2])
        await peer.until(lambda p: V4[2] in p.table)
        assert {k: v.med for k, v in peer.table.items()} == {**wanted, V4[2]: None}


def _last_state(agent: Agent) -> SessionState | None:
    states = [e.state for e in agent.posted if isinstance(e, ev.SessionChanged)]
    return states[-1] if states else None


async def test_what_was_under_way_when_the_agent_died_goes_too(tmp_path: Path) -> None:
    """A put that ExaBGP has and has not answered, and one that waits behind it: neither outlives the dead agent."""
    async with speaking(tmp_path, dead_man=0.6, adopt_for=60.0) as (agent, peer, _):
        os.kill(exabgp(agent), signal.SIGSTOP)
        agent.client.execute(act.PutRoutes(7001, LEAF, (V4[0],), Attributes(), Will.WITHDRAW))
        agent.client.execute(act.PutRoutes(7002, LEAF, (V4[1],), Attributes(), Will.WITHDRAW))
        await agent.quiet()  # the pipe has read them; ExaBGP cannot
        await agent.die()
        await clocks_pass(tmp_path, 1.0)  # the dead-man's switch has fired
        os.kill(exabgp(agent), signal.SIGCONT)
        await peer.until(lambda p: any(V4[0] in u.withdrawn for u in p.updates), 10)
        second = Agent(tmp_path)
        await second.start(config(leaf(peer), dead_man=0.6, adopt_for=60.0))
        assert second.found() == {}
        assert peer.table == {}
        await second.die()


async def test_a_frozen_agent_that_is_still_connected_has_no_routes(tmp_path: Path) -> None:
    """SIGSTOP of the agent while its put waits for ExaBGP: connected is not alive."""
    async with speaking(tmp_path, dead_man=0.6, adopt_for=60.0) as (agent, peer, _), raw(tmp_path) as frozen:
        os.kill(exabgp(agent), signal.SIGSTOP)
        put = {"op": "put", "neighbor": peer.address, "head": HEAD, "will": "withdraw"}
        for n in range(3):
            frozen.send(id=n, prefixes=[V4[n]], **put)
        await clocks_pass(tmp_path, 1.0)  # no word more from it
        os.kill(exabgp(agent), signal.SIGCONT)
        await peer.until(lambda p: any(V4[0] in u.withdrawn for u in p.updates) and not p.table, 10)
        assert "overtaken" in (await frozen.answer())["error"]


async def test_a_withdrawal_does_not_wait_for_a_big_announcement(tmp_path: Path) -> None:
    """Between two of its lines: the last prefix announced comes after the withdrawal."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[199])
        await peer.has(V4[199])
        agent.client.execute(act.PutRoutes(7003, LEAF, V4[:190], Attributes(), Will.WITHDRAW))
        await agent.drop(V4[199])
        await peer.has(*V4[:190])
        withdrawn = next(n for n, u in enumerate(peer.updates) if V4[199] in u.withdrawn)
        assert V4[189] in {p for u in peer.updates[withdrawn:] for p in u.announced}


async def test_a_withdrawal_overtakes_the_announcement_it_takes_back(tmp_path: Path) -> None:
    """Put and drop of the same 200 prefixes in one breath: nothing is left, and both end."""
    async with speaking(tmp_path) as (agent, peer, _):
        agent.client.execute(act.PutRoutes(7004, LEAF, V4[:190], Attributes(), Will.WITHDRAW))
        await agent.drop(*V4[:190])
        await agent.until(lambda: any(isinstance(e, ev.RoutesDone) and e.action == 7004 for e in agent.posted))
        await agent.put(V4[199])
        await peer.has(V4[199])


async def test_no_request_ends_the_pipe(tmp_path: Path) -> None:
    """Numbers out of bounds, deep nesting, scopes, digits of other scripts, settings that have gone: all refused."""
    async with speaking(tmp_path) as (agent, peer, _), raw(tmp_path) as hostile:
        put = {"op": "put", "neighbor": peer.address, "head": HEAD, "prefixes": [V4[0]]}
        for wrong in (
            {**put, "neighbor": "fe80::1%x\nshutdown"},
            {**put, "neighbor": "fe80::1%é"},
            {**put, "head": "attributes next-hop self med ٣ nlri"},
            {**put, "head": "attributes next-hop self extended-community [ shutdown ] nlri"},
            {**put, "will": "x" * 1000},
            {"op": "extend", "seconds": "nan"},
            {"op": "drop", "keys": 5},
            {"op": "drop", "keys": [[1]]},
        ):
            assert await hostile.refused(**wrong)
        for line in (b'{"op": "drop", "id": 1e999, "keys": []}', b"[" * 100_000, b'{"op": "hello", "versions": 3}'):
            hostile.line(line)
            assert (await hostile.answer())["error"]
        (tmp_path / "pipe.json").write_text("{")
        assert await hostile.refused(op="reload")
        assert len(peer.opened_at) == 1
        assert agent.count(ev.SpeakerSynced) == 1


async def test_an_agent_that_was_replaced_does_not_take_the_speaker_back(tmp_path: Path) -> None:
    """Two agents at once do not throw each other out for ever: the one that began later keeps it."""
    async with speaking(tmp_path) as (agent, peer, conf):
        second = Agent(tmp_path)
        await second.start(conf)
        await agent.until(lambda: sum("newer agent" in str(e) for e in agent.posted) > 3)
        assert second.count(ev.SpeakerLost) == 0
        await second.put(V4[0])
        await peer.has(V4[0])
        await second.die()
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)


async def test_a_session_that_a_router_latched_is_warned_of(tmp_path: Path) -> None:
    """NOTIFICATION 6/1, maximum number of prefixes reached (RFC 4486), and the router stays away; back: mended."""
    async with speaking(tmp_path) as (agent, peer, _):
        peer.refusing = True
        peer.notify(6, 1)
        subject = f"session {LEAF}"
        await agent.until(lambda: "maximum number of prefixes" in _warning(agent, subject))
        peer.refusing = False
        await agent.until(lambda: _warning(agent, subject) == "", 40)


async def test_a_router_in_another_as_is_warned_of(tmp_path: Path) -> None:
    """The wrong AS in its OPEN: ExaBGP ends the session with 2/2 (RFC 4271, 6.2)."""
    async with BgpPeer(asn=65099) as peer:
        agent = Agent(tmp_path)
        try:
            await agent.start(config(replace(leaf(peer), remote_as=65011)))
            await agent.until(lambda: "bad peer AS" in _warning(agent, f"session {LEAF}"))
        finally:
            await agent.end()


def _warning(agent: Agent, subject: str) -> str:
    texts = [e.text for e in agent.posted if isinstance(e, ev.Warned) and e.subject == subject]
    return texts[-1] if texts else ""


async def test_a_respawned_pipe_reads_every_attribute_as_it_was(tmp_path: Path) -> None:
    """Well-known communities, extended ones, bandwidth, AS path, next hop: confirmed as found, nothing on the wire."""
    attributes = Attributes(
        next_hop="192.0.2.77",
        med=0,
        as_path=(65101, 4200000001),
        communities=("65000:7", "65535:0", "65535:666", "65535:65281"),
        large_communities=("65101:0:4294967295",),
        extended_communities=("target:65000:1", "origin:65000:2", "target:192.0.2.1:5", "bandwidth:65000:1250000"),
    )
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0], attributes=attributes)
        await peer.has(V4[0])
        await agent.until(lambda: agent.count(ev.RoutesSent) > 0)
        updates = len(peer.updates)
        os.kill(pipe(agent), signal.SIGKILL)
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)
        found = agent.found()[RouteKey(LEAF, V4[0])]
        assert found.attributes is not None
        assert set(found.attributes.extended_communities) == set(attributes.extended_communities)
        assert replace(found.attributes, extended_communities=()) == replace(attributes, extended_communities=())
        assert found.sent
        await agent.put(V4[0], attributes=attributes)  # in other words or not: it is the same route, and was sent
        assert len(peer.updates) == updates
        agent.client.execute(act.Resync(ev.Source.SPEAKER, "test"))
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 2)
        assert agent.found()[RouteKey(LEAF, V4[0])].sent


async def test_a_neighbor_that_is_taken_out_takes_its_routes_with_it(tmp_path: Path) -> None:
    """The ledger forgets them, tells of it, and does not tell the next agent of the session either."""
    async with speaking(tmp_path) as (agent, peer, conf), BgpPeer("127.0.0.2", asn=65012) as other:
        await agent.configure(config(leaf(peer), leaf(other, "leaf2")))
        await other.until(lambda p: p.established, 20)
        await agent.put(V4[1], neighbor="leaf2")
        await other.has(V4[1])
        await agent.configure(conf)
        await agent.until(lambda: agent.count(ev.RoutesDropped) > 0)
        second = Agent(tmp_path)
        await second.start(conf)
        assert second.found() == {}
        assert {e.neighbor for e in second.posted if isinstance(e, ev.SessionChanged)} == {LEAF}
        await second.die()


async def test_a_neighbor_with_another_name_keeps_its_session(tmp_path: Path) -> None:
    """The routes it has are dropped under either name."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        await agent.configure(config(leaf(peer, "spine1")))
        await agent.put(V4[1], neighbor="spine1")
        await agent.drop(V4[0], neighbor="spine1")
        await peer.has(V4[1])
        assert len(peer.opened_at) == 1


@pytest.mark.parametrize("seed", range(6))
async def test_bursts_with_resets_of_the_session_between_them_end_right(tmp_path: Path, seed: int) -> None:
    """Random changes to several prefixes at once while the router resets the session at random: the wire ends right."""
    rng = random.Random(seed)
    wanted: dict[str, int] = {}

    async def change(agent: Agent, prefix: str) -> None:
        for _ in range(rng.randrange(1, 5)):
            if rng.random() < 0.4:
                await agent.drop(prefix)
                wanted.pop(prefix, None)
            else:
                wanted[prefix] = rng.randrange(3)
                await agent.put(prefix, attributes=Attributes(med=wanted[prefix]))

    async with speaking(tmp_path) as (agent, peer, _):
        for _ in range(6):
            changes = asyncio.gather(*(change(agent, p) for p in V4[:5]))
            await asyncio.sleep(rng.random() * 0.02)
            peer.drop()
            await changes
            await peer.until(lambda p: p.established, 30)
            await agent.put(V4[9], attributes=Attributes(med=len(peer.opened_at)))
            await peer.until(lambda p: {k: v.med for k, v in p.table.items() if k != V4[9]} == wanted, 15)


def signatures_refused() -> int:
    """Segments that the kernel has dropped for a TCP MD5 signature that is not the right one."""
    names, values = (line.split() for line in Path("/proc/net/netstat").read_text().splitlines()[:2])
    return int(dict(zip(names, values, strict=True))["TCPMD5Failure"])


async def test_a_password_is_used_on_the_session(tmp_path: Path) -> None:
    """TCP MD5 (RFC 2385): the session comes up with the right one; with another, it does not while we look."""
    secret = tmp_path / "secret"
    secret.write_text("not so easy; to guess\n")
    async with BgpPeer(password="not so easy; to guess") as peer:
        agent = Agent(tmp_path / "run")
        try:
            await agent.start(config(leaf(peer, password_file=str(secret))))
            await agent.put(V4[0])
            await peer.has(V4[0])
            secret.write_text("wrong\n")
            await agent.configure(config(leaf(peer, password_file=str(secret))))
            await peer.until(lambda p: not p.established)
            tried = signatures_refused()
            await until(lambda: signatures_refused() > tried + 2, "no attempts with the wrong password")
            assert len(peer.opened_at) == 1
        finally:
            await agent.end()


async def test_a_router_may_open_the_session_too(tmp_path: Path) -> None:
    """``listen``: the router connects to us, where our own attempts do not reach it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with BgpPeer("127.0.0.3") as peer:
        peer.refusing = True
        agent = Agent(tmp_path)
        try:
            await agent.start(config(leaf(peer, port=port, listen=True)))
            await agent.put(V4[0])
            peer.refusing = False
            await peer.connect("127.0.0.1", port)
            await peer.has(V4[0])
        finally:
            await agent.end()


async def test_ttl_security_of_one_hop_and_multihop_come_up(tmp_path: Path) -> None:
    """GTSM (RFC 5082) and a TTL of our own: set on the sockets of real sessions, and changed by a reload."""
    async with BgpPeer() as peer:
        agent = Agent(tmp_path)
        try:
            await agent.start(config(leaf(peer, multihop=5)))
            await peer.until(lambda p: p.established)
            conf = (tmp_path / "exabgp.conf").read_text()
            assert "outgoing-ttl 5;" in conf
            await agent.configure(config(leaf(peer, ttl_security=255)))
            await peer.until(lambda p: len(p.opened_at) == 2 and p.established, 20)
            conf = (tmp_path / "exabgp.conf").read_text()
            assert "outgoing-ttl 255;" in conf
            assert "incoming-ttl 1;" in conf
        finally:
            await agent.end()


async def test_ipv6_paths_of_others_are_seen(tmp_path: Path) -> None:
    """Both families: seen, and gone with the session."""
    async with speaking(tmp_path) as (agent, peer, _):
        peer.announce(V6[3], (65011, 65102), "2001:db8::9")
        await agent.until(lambda: any(isinstance(e, ev.PathSeen) and e.prefix == V6[3] for e in agent.posted))
        peer.drop()
        await agent.until(lambda: any(isinstance(e, ev.PathGone) and e.prefix == V6[3] for e in agent.posted))


@pytest.mark.parametrize("stands_still", [False, True])
def test_the_switch_works_where_nobody_reads_what_the_pipe_says(tmp_path: Path, stands_still: bool) -> None:
    """The reader of standard error has ended, or takes no more: the dead agent's route is withdrawn all the same."""
    path, settings = tmp_path / "s", tmp_path / "pipe.json"
    settings.write_text(json.dumps({"dead_man": 0.5, "adopt_for": 30, "allow": [V4[0]], "owned": False}))
    nobody, said = os.pipe()
    if stands_still:
        fill(said)
    else:
        os.close(nobody)
    words = [sys.executable, "-m", "anycast_agent.speaker.pipe", str(path), str(settings)]
    helper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, bufsize=0)
    os.close(said)
    heard: list[bytes] = []

    def exabgp_says_done() -> None:
        assert helper.stdin is not None and helper.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            for line in helper.stdout:
                heard.append(line)
                helper.stdin.write(b"done\n")

    def until_heard(word: bytes) -> None:
        wait_until(lambda: any(word in line for line in heard) or helper.poll() is not None, lambda: heard)
        assert helper.poll() is None

    exabgp = threading.Thread(target=exabgp_says_done)
    exabgp.start()
    try:
        until_heard(b"show adj-rib in")
        with socket.socket(socket.AF_UNIX) as agent:
            agent.connect(str(path))
            put = {"op": "put", "id": 1, "neighbor": "127.0.0.2", "head": HEAD, "will": "withdraw", "prefixes": [V4[0]]}
            for request in ({"op": "hello", "versions": [1], "agent": "a"}, put):
                agent.sendall(json.dumps(request).encode() + b"\n")
            until_heard(b" announce ")
        until_heard(b" withdraw ")
    finally:
        helper.kill()
        exabgp.join()
        helper.communicate()
        if stands_still:
            os.close(nobody)


async def test_a_heartbeat_that_waits_while_the_pipe_is_busy_counts(tmp_path: Path) -> None:
    """A long turn of the pipe is not the agent's silence: it reads what waits before it looks at its clocks.

    The pipe is kept busy by a settings' file that takes longer to read than ``dead_man``.
    """
    dead_man, settings = 1.0, tmp_path / "pipe.json"
    async with speaking(tmp_path, dead_man=dead_man) as (_, peer, _), raw(tmp_path) as pipe_:
        pipe_.send(op="put", id=1, neighbor=peer.address, prefixes=[V4[0]], head=HEAD, will="withdraw")
        await pipe_.answer()
        await peer.has(V4[0])
        text, unread = settings.read_bytes(), pipe_.writer.get_extra_info("socket").fileno()
        settings.unlink()
        os.mkfifo(settings)
        pipe_.send(op="reload", id=2)
        writes = await until(lambda: _reader_of(settings), "the pipe does not read its settings")
        pipe_.send(op="beat", n=1)
        await asyncio.sleep(1.3 * dead_man)  # it waits in the socket for longer than the pipe would wait for one
        assert struct.unpack("i", fcntl.ioctl(unread, termios.TIOCOUTQ, b"\0" * 4)) != (0,)
        os.write(writes, text)
        os.close(writes)
        assert (await pipe_.answer())["error"] is None
        for n in range(10):
            pipe_.send(op="beat", n=n)
            await pipe_.answer("beat")
            await asyncio.sleep(0.05)
        assert [update for update in peer.updates if update.withdrawn] == []


def _reader_of(fifo: Path) -> int | None:
    """The end to write to, once somebody reads; it is never 0."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
