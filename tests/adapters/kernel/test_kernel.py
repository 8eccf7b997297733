"""The kernel adapter against real netlink, in namespaces of its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressMode, ReturnRouteRule
from tests.adapters.kernel.watcher import OURS, THEIRS, V4, V6, Watcher, _ids, config, inside, shown
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth

pytestmark = [needs_root, pytest.mark.root]


@pytest.mark.parametrize("marks", [True, False])
def test_addresses_are_added_marked_as_ours_and_removed(tmp_path: Path, marks: bool) -> None:
    """Host routes on lo; IPv6 without duplicate detection, and never chosen as a source. Both ways of marking."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        assert await watcher.add(V6) is None
        await watcher.sees(V4, OURS)
        await watcher.sees(V6, OURS)
        assert shown(name, V4)["prefixlen"] == 32
        assert shown(name, V6)["nodad"]
        assert shown(name, V6)["preferred_life_time"] == 0
        assert await watcher.add(V4) is None  # again: it is there
        assert await watcher.remove(V4) is None
        assert await watcher.remove(V6) is None
        await watcher.sees(V4, None)
        await watcher.sees(V6, None)
        assert await watcher.remove(V4) is None  # again: it has gone

    inside(tmp_path, config(), work, marks=marks)


@pytest.mark.parametrize("marks", [True, False])
def test_what_an_earlier_run_left_is_known_as_ours(tmp_path: Path, marks: bool) -> None:
    """A new process sees the address as ours, also when it is no longer configured."""

    async def work(watcher: Watcher, name: str) -> None:
        await watcher.add(V4)
        async with Watcher(tmp_path, config("198.51.100.1/32"), marks=marks) as second:
            assert second.reports()[0].addresses == {V4: OURS}

    inside(tmp_path, config(), work, marks=marks)


def test_someone_elses_address_is_seen_and_never_removed(tmp_path: Path) -> None:
    """An address that was there stays theirs, whether we are asked to add it or to remove it."""

    async def work(watcher: Watcher, name: str) -> None:
        await asyncio.to_thread(ip, "-n", name, "addr", "add", f"{V4}/32", "dev", "lo")
        await watcher.sees(V4, THEIRS)
        assert await watcher.add(V4) is None
        assert await watcher.remove(V4) is None
        assert shown(name, V4)
        assert watcher.last(V4) == THEIRS

    inside(tmp_path, config(), work)


def test_an_address_removed_by_hand_is_seen_at_once(tmp_path: Path) -> None:
    """The netlink event itself is the report."""

    async def work(watcher: Watcher, name: str) -> None:
        await watcher.add(V6)
        await watcher.sees(V6, OURS)
        await asyncio.to_thread(ip, "-n", name, "addr", "del", f"{V6}/128", "dev", "lo")
        await watcher.sees(V6, None)
        await asyncio.to_thread(ip, "-n", name, "link", "set", "lo", "down")
        await watcher.until(lambda: ev.LinkSeen("lo", up=False) in watcher.posted)

    inside(tmp_path, config(), work)


def test_without_the_right_to_it_the_error_says_what_to_do(tmp_path: Path) -> None:
    """IPv6 switched off, and an interface that is not there."""

    async def work(watcher: Watcher, name: str) -> None:
        await asyncio.to_thread(sysctl, name, "net.ipv6.conf.lo.disable_ipv6", "1")
        assert "disable_ipv6=0" in str(await watcher.add(V6))
        errors = (await watcher.ask(act.AddAddresses(next(_ids), (V4,), "nic9"))).errors
        assert errors == {V4: "there is no interface nic9; see node.interface"}

    inside(tmp_path, config(), work)


def test_after_an_overrun_the_report_is_right(tmp_path: Path) -> None:
    """More events than the socket holds: a full report follows, and it is the truth."""

    async def work(watcher: Watcher, name: str) -> None:
        lines = "".join(f"addr add 192.0.2.{n}/32 dev lo\naddr del 192.0.2.{n}/32 dev lo\n" for n in range(1, 250))
        lines += f"addr add {V4}/32 dev lo\n"
        # The loop is held up while it happens, as it would be on a busy node.
        subprocess.run(["ip", "-n", name, "-batch", "-"], input=lines.encode(), check=True)
        await watcher.until(lambda: len(watcher.reports()) > 1)
        await watcher.sees(V4, THEIRS)

    inside(tmp_path, config(), work, receive_buffer=2048)


class _Endless:
    """A socket at which there is always one more route."""

    taken = 0

    def recv(self, _: int) -> bytes:
        self.taken += 1
        if self.taken > 100_000:
            raise ConnectionError("nobody else had a turn")
        route = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 0, 0, 1, 0)
        return struct.pack("=IHHII", 16 + len(route), 24, 0, 0, 0) + route


def test_a_flood_of_routes_lets_go_of_the_loop(tmp_path: Path) -> None:
    """A routing daemon that fills the table does not keep the agent from its turns: the pipe would withdraw all."""

    async def work(watcher: Watcher, name: str) -> None:
        endless: Any = _Endless()
        hearing = asyncio.create_task(watcher.kernel._hear(endless))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not hearing.done()
        assert 0 < endless.taken < 10_000
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)

    inside(tmp_path, config(), work)


def test_a_monitor_that_ends_is_an_error(tmp_path: Path) -> None:
    """run() never ends in silence, and the next call reports in full."""

    async def work(watcher: Watcher, name: str) -> None:
        with pytest.raises(Exception, match="monitor"):
            await watcher.kernel._hear(_closed())

    inside(tmp_path, config(), work)


def _closed() -> Any:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.close()
    return one


def test_a_return_route_is_a_usable_default_route(tmp_path: Path) -> None:
    """It comes, loses one leg, loses both, and comes again by another rule; each family by itself."""
    with namespaces("node", "leaf") as (node, leaf):
        for n in (1, 2):
            veth(node, f"up{n}", leaf, f"down{n}")
            ip("-n", node, "addr", "add", f"198.51.100.{4 * n + 1}/30", "dev", f"up{n}")
        sysctl(node, "net.ipv4.conf.all.ignore_routes_with_linkdown", "1")
        for prefix in (f"{V4}/32", f"{V6}/128"):
            ip("-n", node, "addr", "add", prefix, "dev", "lo")

        async def work() -> None:
            async with Watcher(tmp_path, config(return_route=ReturnRouteRule.DEFAULT)) as watcher:
                assert [watcher.returns(address) for address in (V4, V6)] == [False, False]
                await asyncio.to_thread(
                    ip, "-n", node, "route", "add", "default",
                    "nexthop", "via", "198.51.100.6", "nexthop", "via", "198.51.100.10",
                )  # fmt: skip
                await watcher.until(lambda: watcher.returns(V4) is True)
                await asyncio.to_thread(ip, "-n", leaf, "link", "set", "down1", "down")
                await asyncio.to_thread(ip, "-n", leaf, "link", "set", "down2", "down")
                await watcher.until(lambda: watcher.returns(V4) is False)
                assert watcher.returns(V6) is False

        run_inside(node, work)


def test_an_unmanaged_node_is_not_looked_at(tmp_path: Path) -> None:
    """No address, no link, no route is read."""

    async def work(watcher: Watcher, name: str) -> None:
        assert watcher.reports()[0] == ev.KernelSeen({}, {}, {})

    inside(tmp_path, config(address_mode=AddressMode.UNMANAGED), work)


def test_strict_rp_filter_and_talkative_arp_are_warned_of(tmp_path: Path) -> None:
    """With the line that mends it; on a shared segment only."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0", leaf, "nic0")
        ip("-n", node, "addr", "add", "198.51.100.1/24", "dev", "nic0")
        sysctl(node, "net.ipv4.conf.nic0.rp_filter", "1")

        async def work() -> None:
            async with Watcher(tmp_path, config()) as watcher:
                await watcher.until(lambda: sum(isinstance(e, ev.Warned) for e in watcher.posted) >= 2)
                said = {e.subject: e.text for e in watcher.posted if isinstance(e, ev.Warned)}
                assert "sysctl -w net.ipv4.conf.nic0.rp_filter=2" in said["rp_filter"]
                assert "net.ipv4.conf.nic0.arp_ignore=1" in said["arp"]

        run_inside(node, work)
