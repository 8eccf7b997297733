"""Addresses that people, daemons and the kernel handle beside us: labels, peers, replacing, lifetimes, duplicates."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressState, ReturnRouteRule
from tests.adapters.kernel.watcher import OURS, THEIRS, V4, V6, Watcher, batch, config, here, inside, ip_in, shown
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth

pytestmark = [needs_root, pytest.mark.root]


@pytest.mark.parametrize("how", [("label", "lo:dns"), ("scope", "host"), ("noprefixroute",), ("peer",)])
def test_an_address_of_any_make_is_there_and_theirs(tmp_path: Path, how: tuple[str, ...]) -> None:
    """With a label, a scope, no route of its own, or a peer: it is on the node, and stays when ours would go."""
    words = (V4, *how, "198.51.100.1/32") if how == ("peer",) else (f"{V4}/32", *how)

    async def work(watcher: Watcher, name: str) -> None:
        await ip_in(name, "addr", "add", *words, "dev", "lo")
        await watcher.sees(V4, THEIRS)
        assert await watcher.remove(V4) is None
        assert shown(name, V4)
        assert watcher.last(V4) == THEIRS

    inside(tmp_path, config(), work)


@pytest.mark.parametrize("address", [V4, V6])
def test_an_address_with_a_peer_of_its_own_number_is_another_one(tmp_path: Path, address: str) -> None:
    """Our address as somebody's peer is not on the node."""
    own, bits = ("198.51.100.1", 32) if address == V4 else ("2001:db8:1::1", 128)

    async def work(watcher: Watcher, name: str) -> None:
        await ip_in(name, "addr", "add", own, "peer", f"{address}/{bits}", "dev", "lo")
        watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
        await watcher.until(lambda: len(watcher.reports()) > 1)
        assert watcher.last(address) is None
        assert await watcher.add(address) is None
        await watcher.sees(address, OURS)
        assert await watcher.remove(address) is None
        await watcher.sees(address, None)

    inside(tmp_path, config(), work)


@pytest.mark.parametrize(("address", "bits"), [(V4, 32), (V6, 128)])
def test_an_address_that_somebody_replaces_is_theirs(tmp_path: Path, address: str, bits: int) -> None:
    """ip address replace takes our mark off: the node never lacks the address, and we do not remove it any more."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(address) is None
        await watcher.sees(address, OURS)
        said = len(watcher.posted)
        await ip_in(name, "addr", "replace", f"{address}/{bits}", "dev", "lo")
        watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
        reports = len(watcher.reports())
        await watcher.until(lambda: len(watcher.reports()) > reports)
        assert not [e for e in watcher.posted[said:] if isinstance(e, ev.AddressSeen) and e.state is None]
        assert watcher.last(address) == THEIRS
        assert await watcher.remove(address) is None
        assert shown(name, address)

    inside(tmp_path, config(), work, marks=True)


def test_an_address_whose_lifetime_ends_is_seen_to_go(tmp_path: Path) -> None:
    """A DHCP client's, or a daemon's that gives addresses for a time."""

    async def work(watcher: Watcher, name: str) -> None:
        await ip_in(name, "addr", "add", f"{V4}/32", "dev", "lo", "valid_lft", "1", "preferred_lft", "1")
        await watcher.sees(V4, THEIRS)
        await watcher.sees(V4, None)

    inside(tmp_path, config(), work)


def test_a_duplicate_is_not_usable(tmp_path: Path) -> None:
    """IPv6 found the address of somebody else's making on the link: it is there, and nobody is answered."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0", leaf, "nic0")
        for name in (node, leaf):
            for where in ("all", "nic0"):
                sysctl(name, f"net.ipv6.conf.{where}.accept_dad", "1")
        ip("-n", leaf, "addr", "add", f"{V6}/128", "dev", "nic0", "nodad")

        async def work() -> None:
            async with Watcher(tmp_path, config()) as watcher:
                await ip_in(node, "addr", "add", f"{V6}/128", "dev", "nic0")
                await watcher.sees(V6, AddressState("nic0", ours=False, usable=False))
                await watcher.until(lambda: "dadfailed" in str(_flags(node)))
                assert watcher.last(V6) == AddressState("nic0", ours=False, usable=False)
                # Ours, beside it on the loopback, is not asked for on the link.
                assert await watcher.add(V6) is None
                await watcher.sees(V6, OURS)
                assert (V6, 128) in here(node)

        run_inside(node, work)


def _flags(name: str) -> str:
    return subprocess.run(["ip", "-n", name, "-6", "addr", "show"], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("rule", [ReturnRouteRule.DEFAULT, ReturnRouteRule.ANY])
def test_two_thousand_routes_at_once_lose_nothing(tmp_path: Path, rule: ReturnRouteRule) -> None:
    """More than the socket holds: afterwards addresses and return routes are as the kernel has them."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up1", leaf, "down1")
        ip("-n", node, "addr", "add", "198.51.100.1/30", "dev", "up1")
        lines = [f"route add 10.{n // 250}.{n % 250}.0/24 via 198.51.100.2" for n in range(2000)]
        lines += [f"addr add {V4}/32 dev lo", "route add default via 198.51.100.2"]

        async def work() -> None:
            async with Watcher(tmp_path, config(return_route=rule), receive_buffer=4096) as watcher:
                for verb, there, usable in (("add", THEIRS, True), ("del", None, None)):
                    await asyncio.to_thread(batch, node, [line.replace(" add ", f" {verb} ") for line in lines])
                    await watcher.sees(V4, there)
                    if usable:
                        await watcher.until(lambda: watcher.returns(V4) is True)

        run_inside(node, work)
