"""The units under a real systemd, booted in namespaces of its own, with a router beside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.bgp import BgpPeer
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth

REPOSITORY = Path(__file__).parents[2]
PREFIX = "192.0.2.80/32"
_SYSTEM_PYTHON = Path("/usr/bin/python3")


def _why_not() -> str:
    if not Path("/lib/systemd/systemd").exists():
        return "needs systemd (package systemd-sysv or systemd)"
    version = subprocess.run([_SYSTEM_PYTHON, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True,
                             text=True, check=False)  # fmt: skip
    if version.stdout.strip() != str(sys.version_info[:2]):
        return f"needs /usr/bin/python3 to be of the version of this environment, {sys.version_info[:2]}"
    return ""


pytestmark = [
    needs_root,
    pytest.mark.root,
    pytest.mark.skipif(bool(_why_not()), reason=_why_not()),
    pytest.mark.timeout(180),
]

CONFIG = """
node: {name: node, site: here}
agent: {dead_man: 5s, control_socket: /run/anycast-agent/control.sock}
bgp:
  local_as: 65101
  router_id: 198.51.100.1
  neighbors:
    leaf: {address: 198.51.100.0, remote_as: 65011}
services:
  web:
    prefixes: [192.0.2.80/32]
    checks:
      page: {type: http, port: 8080, interval: 500ms, rise: 2}
      # The agent has CAP_NET_ADMIN; what its checks run has not.
      powerless:
        {type: exec, command: [/bin/grep, -q, 'CapPrm:.0*$', /proc/self/status], interval: 500ms, rise: 1}
"""

TARGET = """[Unit]
Requires=basic.target
After=basic.target
"""
WEB = """[Unit]
Description=the service that is announced
[Service]
ExecStart=/usr/bin/python3 -m http.server 8080 --directory /run
ExecStop=/bin/sh -c 'date +%%s%%N > /run/anycast-agent/web-stopped'
"""
DROP_IN = """[Unit]
After=web.service
"""
PYTHONPATH = """[Service]
Environment=PYTHONPATH=/opt/anycast-agent/src:/opt/anycast-agent/lib
"""


def _etc(folder: Path) -> None:
    """What lies over the machine's own /etc."""
    units = folder / "systemd" / "system"
    units.mkdir(parents=True)
    for unit in (REPOSITORY / "configs" / "systemd").glob("*.service"):
        shutil.copy(unit, units)
        (units / f"{unit.name}.d").mkdir()
        (units / f"{unit.name}.d" / "python.conf").write_text(PYTHONPATH)
    (units / "anycast-agent.service.d" / "10-services.conf").write_text(DROP_IN)
    (units / "anycast-test.target").write_text(TARGET)
    (units / "web.service").write_text(WEB)
    # What would reach beyond the namespaces is left out.
    for name in (
        "systemd-sysctl",
        "systemd-modules-load",
        "systemd-udevd",
        "systemd-udev-trigger",
        "systemd-timesyncd",
    ):
        (units / f"{name}.service").symlink_to("/dev/null")
    (folder / "sysusers.d").mkdir()
    shutil.copy(
        REPOSITORY / "configs" / "systemd" / "anycast-agent.sysusers", folder / "sysusers.d" / "anycast-agent.conf"
    )
    (folder / "anycast-agent").mkdir()
    (folder / "anycast-agent" / "agent.yaml").write_text(CONFIG)


class Node:
    """A booted systemd, asked from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = 0

    async def run(self, *words: str, check: bool = True) -> str:
        enter = ["nsenter", "--target", str(self.pid), "--all", *words]
        done = await asyncio.to_thread(subprocess.run, enter, capture_output=True, text=True, timeout=60, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{await self.journal()}"
        return done.stdout.strip()

    async def journal(self) -> str:
        words = ["nsenter", "--target", str(self.pid), "--all", "journalctl", "--no-pager", "-n", "60"]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout

    async def main_pid(self, unit: str) -> int:
        """The unit's main process, as a process id outside of the namespace."""
        inside = await self.run("systemctl", "show", "-P", "MainPID", unit)
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                text = status.read_text()
                line = next((row for row in text.splitlines() if row.startswith("NSpid:")), "")
                same = os.readlink(status.parent / "ns" / "pid") == os.readlink(f"/proc/{self.pid}/ns/pid")
                if same and line.split()[-1] == inside:
                    return int(status.parent.name)
        raise AssertionError(f"{unit} has no process")


@asynccontextmanager
async def booted(work: Path, namespace: str) -> AsyncIterator[Node]:
    _etc(work / "etc")
    packages = next(p for p in site.getsitepackages() if p.endswith("site-packages"))
    boot = Path(__file__).with_name("boot.sh")
    with (work / "boot.log").open("wb") as log:
        node = Node(subprocess.Popen([boot, work, namespace, REPOSITORY, packages], stdout=log, stderr=log))
    group = _cgroup(node.process.pid)
    try:
        async with asyncio.timeout(30):
            while not await _is_running(node):
                assert node.process.poll() is None, (work / "boot.log").read_text()
                await asyncio.sleep(0.05)
        await node.run("systemctl", "start", "web.service")
        yield node
    finally:
        node.process.kill()
        node.process.wait()
        await asyncio.to_thread(_remove_cgroup, group)


async def _is_running(node: Node) -> bool:
    children = Path(f"/proc/{node.process.pid}/task/{node.process.pid}/children").read_text().split()
    if not children:
        return False
    node.pid = int(children[0])
    return await node.run("systemctl", "is-system-running", check=False) in ("running", "degraded")


def _cgroup(pid: int) -> Path:
    unified = Path("/sys/fs/cgroup/unified")
    return (unified if unified.is_dir() else Path("/sys/fs/cgroup")) / f"aa-test-{pid}"


def _remove_cgroup(group: Path) -> None:
    """Leaves first; the kernel needs a moment until their processes are gone."""
    end = time.monotonic() + 10
    while group.exists() and time.monotonic() < end:
        for folder in sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            group.rmdir()


Story = Callable[[Node, BgpPeer], Coroutine[Any, Any, None]]


def play(work: Path, story: Story) -> None:
    with namespaces("node", "leaf") as (node_ns, leaf_ns):
        veth(node_ns, "up0", leaf_ns, "down0")
        ip("-n", node_ns, "addr", "add", "198.51.100.1/31", "dev", "up0")
        ip("-n", leaf_ns, "addr", "add", "198.51.100.0/31", "dev", "down0")
        ip("-n", node_ns, "route", "add", "default", "via", "198.51.100.0")

        async def inside() -> None:
            async with BgpPeer("198.51.100.0", 179, 65011) as peer, booted(work, node_ns) as node:
                try:
                    await story(node, peer)
                except BaseException:
                    print(await node.journal())
                    raise

        run_inside(leaf_ns, inside, deadline=150)


PROGRAM = (
    "env",
    "PYTHONPATH=/opt/anycast-agent/src:/opt/anycast-agent/lib",
    "/opt/anycast-agent/bin/anycast-agent",
)


async def write_config(node: Node, text: str) -> None:
    await node.run("sh", "-c", f"cat > /etc/anycast-agent/agent.yaml <<'END'\n{text}\nEND")


async def started(node: Node, peer: BgpPeer) -> None:
    await node.run("systemctl", "start", "anycast-agent.service")
    await peer.has(PREFIX, deadline=30)


def test_start_reload_restart_and_stop(tmp_path: Path) -> None:
    """Announced; a reload that is refused fails; a restart changes nothing on the wire; a stop withdraws first."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        assert await node.run("systemctl", "is-active", "anycast-speaker.service") == "active"
        status = Path(f"/proc/{await node.main_pid('anycast-speaker.service')}/status").read_text()
        assert "CapEff:\t0000000000000000" in status  # ExaBGP runs without a privilege, and not as root
        assert "Uid:\t0" not in status
        updates = len(peer.updates)
        await node.run("systemctl", "reload", "anycast-agent.service")
        await node.run("sh", "-c", "echo 'bgp: nonsense' > /etc/anycast-agent/agent.yaml")
        refused = await node.run("systemctl", "reload", "anycast-agent.service", check=False)
        assert await node.run("systemctl", "is-active", "anycast-agent.service") == "active", refused
        await node.run("sh", "-c", f"cat > /etc/anycast-agent/agent.yaml <<'END'\n{CONFIG}END")
        before = await node.run("systemctl", "show", "-P", "MainPID", "anycast-agent.service")
        await node.run("systemctl", "restart", "anycast-agent.service")
        assert await node.run("systemctl", "show", "-P", "MainPID", "anycast-agent.service") != before
        # Confirmed by the new agent: what it found it stands behind.
        async with asyncio.timeout(20):
            why = "/opt/anycast-agent/bin/anycast-agent why 192.0.2.80"
            words = ("env", "PYTHONPATH=/opt/anycast-agent/src:/opt/anycast-agent/lib", *why.split())
            while "reason    healthy" not in await node.run(*words, check=False):
                await asyncio.sleep(0.1)
        assert len(peer.updates) == updates
        assert len(peer.opened_at) == 1
        await node.run("systemctl", "disable", "--now", "anycast-agent", "anycast-speaker")
        await peer.until(lambda p: bool(p.closed_at))
        assert peer.updates[-1].withdrawn == (PREFIX,)  # by an UPDATE, and then only the session closed
        async with asyncio.timeout(20):
            while await node.run("systemctl", "is-active", "anycast-speaker.service", check=False) != "inactive":
                await asyncio.sleep(0.1)
        assert PREFIX.partition("/")[0] not in await node.run("ip", "-o", "addr", "show", "lo")

    play(tmp_path, story)


def test_who_stops_the_agent_stops_the_speaker(tmp_path: Path) -> None:
    """Neither a crash nor a hand-over ends the speaker; a stop does, after the withdrawal; a start brings both back."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        first = await node.main_pid("anycast-agent.service")
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(30):
            while await node.run("systemctl", "show", "-P", "NRestarts", "anycast-agent.service") != "1":
                await asyncio.sleep(0.1)
        await until_active(node, "anycast-agent.service", "active")
        await node.run(*PROGRAM, "handover", "--for", "60s")
        await until_active(node, "anycast-agent.service", "inactive")
        assert await node.run("systemctl", "is-active", "anycast-speaker.service") == "active"
        await node.run("systemctl", "start", "anycast-agent.service")
        assert len(peer.opened_at) == 1
        assert not peer.closed_at
        await peer.has(PREFIX)
        await node.run("systemctl", "disable", "--now", "anycast-agent.service")
        await peer.until(lambda p: bool(p.closed_at))
        assert peer.updates[-1].withdrawn == (PREFIX,)
        await until_active(node, "anycast-speaker.service", "inactive")
        await started(node, peer)
        await node.run("systemctl", "stop", "anycast-agent.service")
        await started(node, peer)  # at once: its start comes while the speaker is being stopped
        assert await node.run("systemctl", "is-active", "anycast-speaker.service") == "active"

    play(tmp_path, story)


async def until_active(node: Node, unit: str, state: str) -> None:
    async with asyncio.timeout(30):
        while await node.run("systemctl", "is-active", unit, check=False) != state:
            await asyncio.sleep(0.1)


def test_a_frozen_agent_is_ended_by_the_watchdog(tmp_path: Path) -> None:
    """SIGSTOP: systemd's watchdog ends the agent, and the next one takes over; the session never notices."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        frozen = await node.main_pid("anycast-agent.service")
        os.kill(frozen, signal.SIGSTOP)
        async with asyncio.timeout(30):
            while int(await node.run("systemctl", "show", "-P", "NRestarts", "anycast-agent.service")) < 1:
                await asyncio.sleep(0.1)
        assert await node.main_pid("anycast-agent.service") != frozen
        await peer.has(PREFIX, deadline=30)
        assert len(peer.opened_at) == 1

    play(tmp_path, story)


def test_a_frozen_exabgp_is_ended_by_the_watchdog(tmp_path: Path) -> None:
    """SIGSTOP: the pipe has no answer to pass on, systemd ends the speaker, and the route comes back."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        os.kill(await node.main_pid("anycast-speaker.service"), signal.SIGSTOP)
        await peer.until(lambda p: len(p.opened_at) == 2, 60)
        await peer.has(PREFIX, deadline=30)

    play(tmp_path, story)


def test_a_shutdown_withdraws_before_the_service_stops(tmp_path: Path) -> None:
    """poweroff: the agent, ordered after its services by the drop-in, is stopped before them."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        web = await node.main_pid("web.service")
        await node.run("systemctl", "poweroff", check=False)
        withdrawn = await peer.has()
        assert peer.updates[-1].withdrawn == (PREFIX,)
        assert peer.established or peer.closed_at[-1] >= withdrawn
        async with asyncio.timeout(30):
            while Path(f"/proc/{web}").exists() and node.process.poll() is None:
                await asyncio.sleep(0.01)
        assert time.monotonic() - withdrawn > 0.5  # it lingered: the service answered on after the withdrawal

    play(tmp_path, story)


def test_members_of_the_group_may_ask_and_nobody_else(tmp_path: Path) -> None:
    """A person whose further group is the agent's gets an answer, under the unit's own protections; others do not."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        person = ["setpriv", "--reuid", "4242", "--regid", "4242", "--groups"]
        ask = "env PYTHONPATH=/opt/anycast-agent/src:/opt/anycast-agent/lib /opt/anycast-agent/bin/anycast-agent why"
        group = (await node.run("getent", "group", "anycast-agent")).split(":")[2]
        assert "reason    healthy" in await node.run(*person, group, *ask.split(), PREFIX)
        assert await node.run(*person, "4242", *ask.split(), PREFIX, check=False) == ""

    play(tmp_path, story)


def test_an_agent_that_cannot_start_for_a_while_is_started_in_the_end(tmp_path: Path) -> None:
    """However often a start has failed, systemd tries again: what was in its way may go by itself."""

    async def story(node: Node, peer: BgpPeer) -> None:
        config = "/etc/anycast-agent/agent.yaml"
        await node.run("mv", config, f"{config}.away")
        await node.run("systemctl", "start", "anycast-agent.service", check=False)
        for unit in ("anycast-agent.service", "anycast-speaker.service"):
            async with asyncio.timeout(60):
                while int(await node.run("systemctl", "show", "-P", "NRestarts", unit)) < 7:
                    assert await node.run("systemctl", "show", "-P", "Result", unit) != "start-limit-hit"
                    await asyncio.sleep(0.2)
        await node.run("mv", f"{config}.away", config)
        await peer.has(PREFIX, deadline=30)

    play(tmp_path, story)


def test_a_wrong_configuration_is_not_tried_for_ever(tmp_path: Path) -> None:
    """A first start with a wrong file: both units fail once and say why; mended and started, the node announces."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await write_config(node, CONFIG.replace("services:", "servces:"))
        await node.run("systemctl", "start", "anycast-agent.service", check=False)
        for unit in ("anycast-speaker.service", "anycast-agent.service"):
            async with asyncio.timeout(30):
                while await node.run("systemctl", "is-active", unit, check=False) != "failed":
                    await asyncio.sleep(0.1)
            assert await node.run("systemctl", "show", "-P", "NRestarts", unit) == "0"
        assert "unknown key 'servces' (did you mean 'services'?)" in await node.journal()
        await write_config(node, CONFIG)
        await started(node, peer)

    play(tmp_path, story)


def test_with_broken_files_both_units_go_on_with_what_was_in_force(tmp_path: Path) -> None:
    """systemctl restart changes nothing on the wire; an ExaBGP that is killed comes back with its sessions and routes."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        async with asyncio.timeout(20):
            while "last-good" not in await node.run("ls", "/var/lib/anycast-agent"):
                await asyncio.sleep(0.1)
        await write_config(node, "bgp: nonsense")
        updates = len(peer.updates)
        await node.run("systemctl", "restart", "anycast-agent.service")
        async with asyncio.timeout(30):
            while "reason    healthy" not in await node.run(*PROGRAM, "why", PREFIX, check=False):
                await asyncio.sleep(0.1)
        assert (len(peer.updates), len(peer.opened_at)) == (updates, 1)
        assert "started with what was in force last" in await node.run(*PROGRAM, "status")
        await node.run("systemctl", "kill", "--signal=SIGKILL", "anycast-speaker.service")
        await peer.until(lambda p: len(p.opened_at) == 2, 30)
        await peer.has(PREFIX, deadline=30)

    play(tmp_path, story)


def test_a_hand_over_leaves_the_next_start_to_a_person(tmp_path: Path) -> None:
    """handover --for: the agent stays down while files are changed, past dead_man; started again, no UPDATE was sent."""

    async def story(node: Node, peer: BgpPeer) -> None:
        await started(node, peer)
        updates = len(peer.updates)
        said = await node.run(*PROGRAM, "handover", "--for", "60s")
        assert "start the next agent within 60 s" in said
        ended = time.monotonic()
        async with asyncio.timeout(20):
            while await node.run("systemctl", "is-active", "anycast-agent.service", check=False) != "inactive":
                await asyncio.sleep(0.1)
        await peer.until(lambda _: time.monotonic() > ended + 6, 20)  # longer than dead_man
        assert await node.run("systemctl", "show", "-P", "NRestarts", "anycast-agent.service") == "0"
        await node.run("systemctl", "start", "anycast-agent.service")
        async with asyncio.timeout(20):
            while "reason    healthy" not in await node.run(*PROGRAM, "why", PREFIX, check=False):
                await asyncio.sleep(0.1)
        assert (len(peer.updates), len(peer.opened_at)) == (updates, 1)

    play(tmp_path, story)
