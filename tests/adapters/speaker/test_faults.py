"""The speaker under faults and hostile input: a real ExaBGP, its pipe, and a raw BGP peer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import anycast_agent
from anycast_agent import holding
from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import Attributes, RouteKey, SessionState, Will
from anycast_agent.speaker.exabgp import Paths
from tests.adapters.speaker.hands import HEAD, exabgp, pipe, raw
from tests.adapters.speaker.harness import LEAF, V4, V6, Agent, BgpPeer, config, leaf, speaking
from tests.support.agent import is_alive
from tests.support.until import until


def status(pid: int, field: str) -> str:
    return Path(f"/proc/{pid}/status").read_text().split(f"{field}:")[1].splitlines()[0].strip()


def modes(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mode & 0o777 for p in folder.iterdir()}


async def ends(*pids: int, deadline: float = 15.0) -> None:
    await until(lambda: not any(is_alive(pid) for pid in pids), f"{pids} still live", deadline)


def session_down(agent: Agent) -> bool:
    return any(isinstance(e, ev.SessionChanged) and e.state is SessionState.DOWN for e in agent.posted)


# --- what the pipe does not pass on ---


async def test_what_is_not_on_the_list_is_not_passed_on(tmp_path: Path) -> None:
    """Other prefixes, commands, neighbors' names and words of ExaBGP are refused, each with its reason; it lives on."""
    async with speaking(tmp_path) as (_, peer, _), raw(tmp_path) as pipe_:
        neighbor = peer.address
        put = {"op": "put", "neighbor": neighbor, "head": HEAD, "will": "withdraw"}
        assert "list of prefixes" in await pipe_.refused(**put, prefixes=["203.0.113.7/32"])
        assert "list of prefixes" in await pipe_.refused(**put, prefixes=["192.0.2.0/24"])
        assert "list of prefixes" in await pipe_.refused(**put, prefixes=[V4[0] + "\nshutdown"])
        assert "head" in await pipe_.refused(**{**put, "head": "attributes next-hop self\nshutdown"}, prefixes=[V4[0]])
        assert "refused" in await pipe_.refused(**{**put, "neighbor": "192.0.2.1 shutdown"}, prefixes=[V4[0]])
        assert "operation" in await pipe_.refused(op="shutdown")
        assert "missing" in await pipe_.refused(op="put")
        pipe_.line(b"\xff\xfe not ascii")
        assert (await pipe_.answer())["error"]
        pipe_.line(b"[1, 2")
        assert (await pipe_.answer())["error"]
        pipe_.send(id=1, **put, prefixes=[V4[0]])
        assert (await pipe_.answer())["error"] is None
        await peer.has(V4[0])
        assert len(peer.opened_at) == 1


async def test_a_line_of_10_mb_is_not_held(tmp_path: Path) -> None:
    """Over 1 MiB without an end: disconnected; another agent is served as ever."""
    async with speaking(tmp_path) as (agent, _, _):
        async with raw(tmp_path) as pipe_:
            with contextlib.suppress(ConnectionError):
                for _ in range(10):
                    pipe_.writer.write(b"x" * (1 << 20))
                    await asyncio.wait_for(pipe_.writer.drain(), 10)
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(10):
                    while await pipe_.reader.read(1 << 16):
                        pass
        synced = agent.count(ev.SpeakerSynced)
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > synced or agent.count(ev.SpeakerLost) == 0)
        peak = int(status(pipe(agent), "VmHWM").split()[0])
        assert peak < 60_000


async def test_the_newest_agent_has_the_speaker(tmp_path: Path) -> None:
    """Two at once: the later takes over with all routes, and the earlier is told that it has lost it."""
    async with speaking(tmp_path) as (agent, peer, conf):
        await agent.put(V4[0])
        await peer.has(V4[0])
        second = Agent(tmp_path)
        await second.start(conf)
        await agent.until(lambda: agent.count(ev.SpeakerLost) > 0)
        assert RouteKey(LEAF, V4[0]) in second.found()
        await second.die()


# --- frozen and killed parts ---


async def test_a_frozen_pipe_is_ended_with_its_exabgp_and_another_takes_its_place(tmp_path: Path) -> None:
    """SIGSTOP of the pipe: no answer to heartbeats; a restart leaves neither of the two behind."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        old_pipe, old_exabgp = pipe(agent), exabgp(agent)
        os.kill(old_pipe, signal.SIGSTOP)
        answered, beats = agent.count(ev.SpeakerAnswered), agent.client._heartbeats
        await agent.until(lambda: agent.client._heartbeats >= beats + 5)
        assert agent.count(ev.SpeakerAnswered) <= answered + 1
        ended = await agent.ask(act.RestartSpeaker(9001, "no answer to heartbeats"))
        assert ended.error is None
        await ends(old_pipe, old_exabgp)
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)
        await peer.until(lambda p: len(p.opened_at) == 2 and p.established)
        await agent.put(V4[1])
        await peer.has(V4[1])


async def test_the_pipe_of_an_exabgp_that_was_restarted_is_connected_to_at_once(tmp_path: Path) -> None:
    """A frozen ExaBGP, whose pipe is well: the restart ends once the next pipe is there, and not in a time-out.

    The client's connecting must never wait for the restart, which waits for a connection. That is a race, so: thrice.
    """
    async with speaking(tmp_path) as (agent, peer, _):
        for n in range(3):
            os.kill(exabgp(agent), signal.SIGSTOP)
            ended = await agent.ask(act.RestartSpeaker(9001 + n, "ExaBGP has not answered the pipe"))
            assert ended.error is None
            await agent.until(lambda n=n: agent.count(ev.SpeakerSynced) == 2 + n)
        await peer.until(lambda p: p.established)


async def test_an_exabgp_that_is_told_to_end_is_started_again(tmp_path: Path) -> None:
    """SIGTERM from outside: it closes without a word, the loss is told, another comes up and takes routes."""
    async with speaking(tmp_path) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        os.kill(exabgp(agent), signal.SIGTERM)
        await agent.until(lambda: agent.count(ev.SpeakerLost) > 0 and agent.count(ev.SpeakerSynced) > 1)
        assert agent.found() == {}
        await peer.until(lambda p: len(p.opened_at) == 2 and p.established)
        await agent.put(V4[0])
        await peer.has(V4[0])


async def test_an_action_ends_although_the_connection_breaks_under_it(tmp_path: Path) -> None:
    """Each ends in exactly one event, with an error, when ExaBGP is killed before it has answered."""
    async with speaking(tmp_path) as (agent, _, _):
        os.kill(exabgp(agent), signal.SIGSTOP)
        actions = [act.PutRoutes(n, LEAF, (V4[n % 90],), Attributes(), Will.WITHDRAW) for n in range(8000, 8020)]
        for action in actions:
            agent.client.execute(action)
        await asyncio.sleep(0.1)
        os.kill(exabgp(agent), signal.SIGKILL)
        await agent.until(lambda: agent.count(ev.RoutesDone) >= len(actions))
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)
        ended = [e for e in agent.posted if isinstance(e, ev.RoutesDone)]
        assert sorted(e.action for e in ended) == [a.id for a in actions]
        assert all(e.error for e in ended)


async def test_a_speaker_that_nobody_comes_back_to_ends(tmp_path: Path) -> None:
    """After the dead-man's switch, an ExaBGP that an agent started does not outlive it for ever."""
    async with speaking(tmp_path, dead_man=0.3) as (agent, peer, _):
        await agent.put(V4[0])
        await peer.has(V4[0])
        pids = pipe(agent), exabgp(agent)
        await agent.die()
        await peer.has(deadline=5)
        await ends(*pids, deadline=25)


async def test_a_clean_end_leaves_nothing(tmp_path: Path) -> None:
    """No process, no file."""
    async with speaking(tmp_path) as (agent, _, _):
        pids = pipe(agent), exabgp(agent)
        await agent.end()
        await ends(*pids)
        assert modes(tmp_path) == {}


# --- configuration ---


async def test_a_neighbor_that_is_away_does_not_keep_a_reload_from_happening(tmp_path: Path) -> None:
    """ExaBGP drops the signal while routes wait for a session: it is asked again until it has the configuration."""
    async with speaking(tmp_path) as (agent, peer, _), BgpPeer("127.0.0.2", asn=65012) as other:
        await agent.put(V4[0])
        await peer.has(V4[0])
        await peer.close()
        await agent.until(lambda: session_down(agent))
        await agent.put(V4[1])
        for _ in range(3):  # the action may end in an error, which the engine answers by asking again
            ended = await agent.ask(act.ConfigureSpeaker(9100 + _, config(leaf(peer), leaf(other, "leaf2")), ()))
            if ended.error is None:
                break
        assert ended.error is None
        await other.until(lambda p: p.established, 20)
        await peer.listen()
        await peer.has(V4[0], V4[1], deadline=40)


async def test_a_password_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    """The error says which neighbor and what; the sessions that are there stay."""
    async with speaking(tmp_path) as (agent, peer, conf):
        wrong = config(leaf(peer, password_file=str(tmp_path / "missing")))
        ended = await agent.ask(act.ConfigureSpeaker(9003, wrong, (LEAF,)))
        assert LEAF in ended.error
        assert "missing" in ended.error
        await agent.configure(conf)
        assert len(peer.opened_at) == 1
        (tmp_path / "two lines").write_text("one\ntwo\n")
        wrong = config(leaf(peer, password_file=str(tmp_path / "two lines")))
        assert "one line" in (await agent.ask(act.ConfigureSpeaker(9004, wrong, (LEAF,)))).error


async def test_an_exabgp_that_runs_is_held_up_also_with_a_configuration_that_it_cannot_get(tmp_path: Path) -> None:
    """An agent starts, and a password's file has gone: an error that says so, and the routes of before are not lost."""
    async with speaking(tmp_path, dead_man=2.0) as (agent, peer, conf):
        await agent.put(V4[0])
        await peer.has(V4[0])
        await agent.die()
        later = Agent(tmp_path)
        unreadable = config(leaf(peer, password_file=str(tmp_path / "gone")), dead_man=2.0)
        work = asyncio.create_task(later.start(unreadable))
        with pytest.raises(AssertionError, match="gone"):
            await work
        await later.until(lambda: later.count(ev.SpeakerSynced) > 0)
        assert RouteKey(LEAF, V4[0]) in later.found()
        await later.configure(conf)
        await later.confirm(V4[0])
        assert (len(peer.opened_at), set(peer.table)) == (1, {V4[0]})
        await later.end()


async def test_only_the_speaker_may_read_what_it_is_given(tmp_path: Path) -> None:
    """Configuration, settings and socket: nobody else's."""
    async with speaking(tmp_path):
        assert modes(tmp_path) == dict.fromkeys(("exabgp.conf", "exabgp.lock", "pipe.json", "speaker.sock"), 0o600)


def _check_version(path: str) -> str:
    """What a Python says that finds our package and what is in ``path``, and nothing else."""
    program = "from anycast_agent.speaker import exabgp\ntry: print(exabgp.check_version())\n"
    program += "except exabgp.SpeakerError as e: print('SpeakerError:', e)"
    home = str(Path(anycast_agent.__file__).parent.parent)
    environment = {"PYTHONPATH": os.pathsep.join([home, path])}
    ran = subprocess.run([sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True)
    return ran.stdout + ran.stderr


def test_a_missing_or_old_exabgp_is_named_with_what_to_install(tmp_path: Path) -> None:
    """Before anything is started."""
    assert "SpeakerError: ExaBGP is not installed" in _check_version(str(tmp_path))
    old = tmp_path / "exabgp-4.2.21.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: exabgp\nVersion: 4.2.21\n")
    said = _check_version(str(tmp_path))
    assert "SpeakerError: ExaBGP 4.2.21 is too old" in said
    assert "pip install" in said


@pytest.mark.root
async def test_exabgp_gives_up_root(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As root, where another user can enter: ExaBGP and the pipe have no privilege, and outlive a pipe's death.

    Where nobody else can, that is said, by name; the units' own test shows ExaBGP without a privilege in any case.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root")
    run_dir = tmp_path_factory.mktemp("open")
    for folder in (run_dir, *run_dir.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    async with speaking(run_dir) as (agent, peer, _):
        warned = [e for e in agent.posted if isinstance(e, ev.Warned) and e.subject == "speaker user" and e.text]
        if warned:
            assert "ExaBGP runs as root because" in warned[0].text
            assert "enter /" in warned[0].text
            return
        for pid in (exabgp(agent), pipe(agent)):
            assert "0" not in status(pid, "Uid").split()
            assert int(status(pid, "CapEff"), 16) == 0
            assert status(pid, "Groups") == ""
        await agent.put(V4[0])
        await peer.has(V4[0])
        await agent.until(lambda: agent.count(ev.RoutesSent) > 0)
        os.kill(pipe(agent), signal.SIGKILL)
        await agent.until(lambda: agent.count(ev.SpeakerSynced) > 1)
        assert RouteKey(LEAF, V4[0]) in agent.found()


async def test_another_service_of_systemd_is_attached_to_and_told_of_its_health(tmp_path: Path) -> None:
    """``external``: started by somebody else; READY and WATCHDOG come from the pipe, after a round trip with ExaBGP."""
    import socket

    from anycast_agent.speaker import process

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.setblocking(False)
        async with BgpPeer() as peer:
            conf = config(leaf(peer))
            agent = Agent(tmp_path, owned=False)
            paths = Paths(tmp_path)
            run = asyncio.create_task(agent.start(conf))
            async with asyncio.timeout(10):
                while not paths.configuration.exists():  # a file tells nobody
                    await asyncio.sleep(0.02)
            environment = {**process.environment(conf, unit=True), "NOTIFY_SOCKET": str(tmp_path / "notify")}
            lock = holding.open_file(paths.lock, make=True)
            words = process.command(paths, lock)
            child = await asyncio.create_subprocess_exec(*words, env=environment, pass_fds=[lock])
            os.close(lock)
            try:
                await run
                await agent.put(V4[0])
                await peer.has(V4[0])
                said = await _said(notified, "WATCHDOG=1")
                assert said.index("READY=1") < said.index("WATCHDOG=1")
                os.kill(child.pid, signal.SIGSTOP)
                await asyncio.sleep(1.5)
                await _drain(notified)
                await asyncio.sleep(1.5)
                assert await _drain(notified) == ""
                os.kill(child.pid, signal.SIGCONT)
                await _said(notified, "WATCHDOG=1")
                await agent.end()
                assert child.returncode is None, "not ours to end"
            finally:
                child.terminate()
                await child.wait()


async def _drain(notified: Any) -> str:
    said = ""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += notified.recv(4096).decode() + "\n"
    return said


async def _said(notified: Any, what: str) -> str:
    said, end = "", time.monotonic() + 10
    while what not in said:
        assert time.monotonic() < end, said
        said += await _drain(notified)
        await asyncio.sleep(0.05)
    return said


async def test_paths_of_others_are_seen_and_gone(tmp_path: Path) -> None:
    """A router's path for one of our prefixes; one for any other prefix is of no interest."""
    async with speaking(tmp_path) as (agent, peer, _):
        peer.announce("203.0.113.0/24", (65011,), "198.51.100.9")
        peer.announce(V4[3], (65011, 65102), "198.51.100.9")
        await agent.until(lambda: agent.count(ev.PathSeen) == 1)
        seen = next(e for e in agent.posted if isinstance(e, ev.PathSeen))
        assert (seen.neighbor, seen.prefix, seen.as_path) == (LEAF, V4[3], (65011, 65102))
        peer.withdraw(V4[3])
        await agent.until(lambda: agent.count(ev.PathGone) == 1)


async def test_ibgp_carries_local_preference_and_no_as(tmp_path: Path) -> None:
    """To a neighbor in our own AS: the path stays empty, and local preference arrives."""
    async with BgpPeer(asn=65101) as peer:
        agent = Agent(tmp_path)
        try:
            await agent.start(config(leaf(peer)))
            await agent.put(V4[0], attributes=Attributes(local_preference=50))
            await peer.has(V4[0])
            assert peer.table[V4[0]].local_preference == 50
            assert peer.table[V4[0]].as_path == ()
        finally:
            await agent.end()


async def test_an_ipv6_session_carries_both_families_over_one_next_hop(tmp_path: Path) -> None:
    """RFC 8950: IPv4 routes with the session's IPv6 address as next hop."""
    async with BgpPeer("::1", extended_next_hop=True) as peer:
        agent = Agent(tmp_path)
        try:
            neighbor = leaf(peer, local_address="::1", extended_next_hop=True)
            await agent.start(config(neighbor))
            await agent.put(V4[0], attributes=Attributes(next_hop="::1"))
            await agent.put(V6[0])
            await peer.has(V4[0], V6[0])
            assert {p.next_hop for p in peer.table.values()} == {"::1"}
        finally:
            await agent.end()
