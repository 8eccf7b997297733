"""Blackhole routes of covers against real netlink, in namespaces of their own."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import CoverState, KernelConfig, ReturnRouteRule
from anycast_agent.core.parts.blackholes import BATCH
from tests.adapters.kernel.watcher import V4, V6, Watcher, _ids, batch, config, inside, ip_in
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth

pytestmark = [needs_root, pytest.mark.root]

COVER4, COVER6 = "192.0.2.52/31", "2001:db8:53::52/127"
COVERS = (COVER4, COVER6)
IP_RECVERR = 11
OURS, THEIRS, NONE = CoverState(True, True), CoverState(True, False), CoverState(False, False)


def with_covers(*covers: str, **changes: Any) -> KernelConfig:
    return config(covers=frozenset(covers or COVERS), **changes)


def last(watcher: Watcher, cover: str) -> CoverState | None:
    """What was last said of a cover."""
    for event in reversed(watcher.posted):
        if isinstance(event, ev.CoverSeen) and event.prefix == cover:
            return event.state
        if isinstance(event, ev.KernelSeen):
            return event.covers.get(cover)
    return None


async def sees(watcher: Watcher, cover: str, state: CoverState | None) -> None:
    await watcher.until(lambda: last(watcher, cover) == state)


async def add(watcher: Watcher, *covers: str) -> dict[str, str]:
    return dict((await watcher.ask(act.AddBlackholes(next(_ids), covers or COVERS))).errors)


async def remove(watcher: Watcher, *covers: str) -> dict[str, str]:
    return dict((await watcher.ask(act.RemoveBlackholes(next(_ids), covers or COVERS))).errors)


def routes(name: str) -> list[tuple[str, str, str]]:
    """(type, prefix, protocol) of the main table's routes for the covers, as iproute2 says."""
    found = []
    for family in ("-4", "-6"):
        text = subprocess.run(["ip", "-n", name, family, "-j", "route", "show"], check=True, capture_output=True).stdout
        found += [(r.get("type", "unicast"), r["dst"], r.get("protocol", "")) for r in json.loads(text or b"[]")]
    return [r for r in found if r[1] in COVERS]


def test_blackholes_are_added_marked_as_ours_and_removed(tmp_path: Path) -> None:
    """Both families; once more changes nothing, and what has gone is no error."""

    async def work(watcher: Watcher, name: str) -> None:
        assert watcher.reports()[0].covers == {COVER4: NONE, COVER6: NONE}
        assert await add(watcher) == {}
        for cover in COVERS:
            await sees(watcher, cover, OURS)
        assert routes(name) == [("blackhole", COVER4, "172"), ("blackhole", COVER6, "172")]
        assert await add(watcher) == {}
        assert await remove(watcher) == {}
        for cover in COVERS:
            await sees(watcher, cover, NONE)
        assert routes(name) == []
        assert await remove(watcher) == {}

    inside(tmp_path, with_covers(), work)


def test_what_an_earlier_run_left_is_known_as_ours_and_can_be_removed(tmp_path: Path) -> None:
    """A new process, for which no last resort is configured any more, sees the route and whose it is."""

    async def work(watcher: Watcher, name: str) -> None:
        await add(watcher)
        await ip_in(name, "route", "add", "blackhole", "203.0.113.0/24")
        async with Watcher(tmp_path, config()) as second:
            assert second.reports()[0].covers == dict.fromkeys(COVERS, OURS)
            assert await remove(second) == {}
            for cover in COVERS:
                await second.until(lambda cover=cover: last(second, cover) in (NONE, None))
            assert routes(name) == []

    inside(tmp_path, with_covers(), work)


def test_a_blackhole_that_is_removed_by_hand_is_seen_at_once(tmp_path: Path) -> None:
    """The netlink event itself is the report, also where the loopback interface takes it away."""

    async def work(watcher: Watcher, name: str) -> None:
        await add(watcher)
        await ip_in(name, "route", "del", "blackhole", COVER4)
        await sees(watcher, COVER4, NONE)
        await ip_in(name, "link", "set", "lo", "down")
        await ip_in(name, "link", "set", "lo", "up")
        await watcher.until(lambda: (last(watcher, COVER6) == OURS) is (("blackhole", COVER6, "172") in routes(name)))
        assert await add(watcher) == {}
        for cover in COVERS:
            await sees(watcher, cover, OURS)

    inside(tmp_path, with_covers(), work)


def test_someone_elses_blackhole_serves_and_stays_theirs(tmp_path: Path) -> None:
    """It is seen as what it is, adding ours is no error, and it is never removed."""

    async def work(watcher: Watcher, name: str) -> None:
        for cover in COVERS:
            await ip_in(name, "route", "add", "blackhole", cover)
            await sees(watcher, cover, THEIRS)
        assert await add(watcher) == {}
        assert await remove(watcher) == {}
        assert [kind for kind, _, _ in routes(name)] == ["blackhole", "blackhole"]
        assert last(watcher, COVER4) == THEIRS

    inside(tmp_path, with_covers(), work)


def test_a_route_of_another_type_in_its_place_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    """Before ours is there, and put in its place later."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "up0", leaf, "down0")
        ip("-n", node, "addr", "add", "198.51.100.1/30", "dev", "up0")
        ip("-n", node, "route", "add", COVER4, "via", "198.51.100.2")

        async def work() -> None:
            async with Watcher(tmp_path, with_covers(COVER4)) as watcher:
                assert f"ip route show {COVER4}" in (await add(watcher, COVER4))[COVER4]
                assert await remove(watcher, COVER4) == {}
                assert routes(node) == [("unicast", COVER4, "")]
                await ip_in(node, "route", "del", COVER4)
                assert await add(watcher, COVER4) == {}
                await sees(watcher, COVER4, OURS)
                await ip_in(node, "route", "replace", COVER4, "via", "198.51.100.2")
                await sees(watcher, COVER4, NONE)

        run_inside(node, work)


def test_an_address_of_the_node_inside_a_cover_is_told(tmp_path: Path) -> None:
    """One that comes and one that goes; the anycast address itself is none."""

    async def work(watcher: Watcher, name: str) -> None:
        await add(watcher)
        await watcher.add(V4)
        await watcher.add(V6)
        await ip_in(name, "addr", "add", "192.0.2.52/32", "dev", "lo")
        await sees(watcher, COVER4, CoverState(True, True, "192.0.2.52"))
        await ip_in(name, "addr", "del", "192.0.2.52/32", "dev", "lo")
        await sees(watcher, COVER4, OURS)
        assert last(watcher, COVER6) == OURS

    inside(tmp_path, with_covers(), work)


def test_without_the_right_to_it_the_error_says_what_to_do(tmp_path: Path) -> None:
    """IPv6 is switched off."""

    async def work(watcher: Watcher, name: str) -> None:
        await asyncio.to_thread(sysctl, name, "net.ipv6.conf.lo.disable_ipv6", "1")
        errors = await add(watcher)
        assert COVER4 not in errors
        assert errors == {} or errors[COVER6]
        await sees(watcher, COVER4, OURS)

    inside(tmp_path, with_covers(), work)


def test_a_rest_that_is_discarded_does_not_loop(tmp_path: Path) -> None:
    """A router that sends the whole cover to the node gets back what is for the rest, until its hops are used up; with
    the blackhole there is silence. The anycast address itself is reached all the time, and has its return route."""
    with namespaces("node", "leaf", "user") as (node, leaf, user):
        veth(node, "up0", leaf, "down0")
        veth(user, "up0", leaf, "down1")
        ip("-n", user, "addr", "add", "198.51.100.5/30", "dev", "up0")
        ip("-n", leaf, "addr", "add", "198.51.100.6/30", "dev", "down1")
        ip("-n", user, "route", "add", "default", "via", "198.51.100.6")
        ip("-n", node, "addr", "add", "198.51.100.1/30", "dev", "up0")
        ip("-n", leaf, "addr", "add", "198.51.100.2/30", "dev", "down0")
        ip("-n", node, "route", "add", "default", "via", "198.51.100.2")
        ip("-n", leaf, "route", "add", COVER4, "via", "198.51.100.1")
        for name in (node, leaf):
            sysctl(name, "net.ipv4.ip_forward", "1")

        async def answer(address: str) -> int:
            """The error that a datagram to an address comes back with; 0: nothing comes back."""
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
                sock.connect((address, 9))
                sock.send(b"?")
                try:
                    await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 100), 1)
                except TimeoutError:
                    return 0
                except OSError as error:
                    return error.errno or 0
            raise AssertionError("nobody listens there")

        async def asked(address: str) -> int:
            return await asyncio.to_thread(run_inside, user, lambda: answer(address))

        async def work() -> None:
            async with Watcher(tmp_path, with_covers(COVER4, return_route=ReturnRouteRule.DEFAULT)) as watcher:
                await watcher.add(V4)
                await watcher.until(lambda: watcher.returns(V4) is True)
                assert await asked("192.0.2.52") == errno.EHOSTUNREACH  # its hops are used up
                assert await asked(V4) == errno.ECONNREFUSED
                assert await add(watcher, COVER4) == {}
                assert await asked("192.0.2.52") == 0
                assert await asked(V4) == errno.ECONNREFUSED
                assert watcher.returns(V4) is True

        run_inside(node, work)


def test_many_covers_at_once(tmp_path: Path) -> None:
    """Hundreds, as many in an action as there may be, and a full report that has them all."""
    many = tuple(f"192.0.{n // 128}.{n % 128 * 2}/31" for n in range(500))

    async def work(watcher: Watcher, name: str) -> None:
        for at in range(0, len(many), BATCH):
            assert await add(watcher, *many[at : at + BATCH]) == {}
        watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "asked for"))
        await watcher.until(lambda: len(watcher.reports()) > 1)
        assert watcher.reports()[-1].covers == dict.fromkeys(many, OURS)
        batch(name, [f"route del blackhole {cover}" for cover in many[:100]])
        await watcher.until(lambda: sum(last(watcher, cover) == NONE for cover in many) == 100)

    inside(tmp_path, with_covers(*many), work)
