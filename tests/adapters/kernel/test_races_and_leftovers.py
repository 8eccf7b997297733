"""The kernel adapter where it is tempted to be wrong: races, leftovers, other people's addresses, failing parts."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pyroute2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.model import AddressMode, AddressState, Family, ReturnRouteRule
from tests.adapters.kernel.watcher import OURS, THEIRS, V4, V6, Watcher, _ids, batch, config, here, inside, ip_in, shown
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth

pytestmark = [needs_root, pytest.mark.root]


@asynccontextmanager
async def storm(name: str, lines: list[str]) -> AsyncIterator[None]:
    """The same changes over and over, while the body runs."""
    over = asyncio.Event()

    async def rage() -> None:
        while not over.is_set():
            await asyncio.to_thread(batch, name, lines)

    raging = asyncio.create_task(rage())
    try:
        yield
    finally:
        over.set()
        await raging


# --- full reports ---


def test_reports_asked_for_at_once_are_each_complete(tmp_path: Path) -> None:
    """Each full report holds every address, however many are under way: what is not in one counts as gone."""
    prefixes = [f"198.51.{100 + n // 250}.{n % 250 + 1}/32" for n in range(500)]

    async def work(watcher: Watcher, name: str) -> None:
        await asyncio.to_thread(batch, name, [f"addr add {p} dev lo" for p in prefixes])
        for _ in range(20):
            watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
            await asyncio.sleep(0.002)
        await watcher.until(lambda: any(len(r.addresses) == 500 for r in watcher.reports()[1:]))
        watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
        said = len(watcher.reports())
        await watcher.until(lambda: len(watcher.reports()) > said)
        assert {len(r.addresses) for r in watcher.reports()[1:]} == {500}

    inside(tmp_path, config(*prefixes), work)


def test_a_report_in_the_midst_of_changes_misses_nothing_that_stays(tmp_path: Path) -> None:
    """The kernel marks a dump that changes interrupted: it is read again, not believed."""
    stay = [f"198.51.100.{n}/32" for n in range(1, 250)] + [f"2001:db8::{n:x}/128" for n in range(1, 400)]
    changes = [f"addr {verb} 203.0.113.{n}/32 dev lo" for n in range(1, 200) for verb in ("add", "del")]
    changes += [f"addr {verb} 2001:db8:1::{n:x}/128 dev lo nodad" for n in range(1, 200) for verb in ("add", "del")]

    async def work(watcher: Watcher, name: str) -> None:
        before = [f"addr add 203.0.113.{n}/32 dev lo" for n in range(200, 255)]
        await asyncio.to_thread(batch, name, before + [f"addr add {p} dev lo" for p in stay])
        first = len(watcher.reports()) + 1
        async with storm(name, changes):
            for _ in range(10):
                said = len(watcher.reports())
                watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda said=said: len(watcher.reports()) > said)  # type: ignore[misc]
        assert len(watcher.reports()) > first
        assert {len(r.addresses) for r in watcher.reports()[first:]} == {len(stay)}

    inside(tmp_path, config(*stay), work)


def test_the_safety_net_holds_also_while_something_always_happens(tmp_path: Path) -> None:
    """Full reports come at their time on a node whose routes never rest."""

    async def work(watcher: Watcher, name: str) -> None:
        async with storm(name, [f"link set lo mtu {size}" for size in range(60000, 60500)]):
            await watcher.until(lambda: len(watcher.reports()) >= 4)

    inside(tmp_path, config(), work, resync_every=0.05)


def test_a_broken_socket_for_changes_is_replaced(tmp_path: Path) -> None:
    """The action that finds it broken says so; the next one is done."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        watcher.kernel._changes._sock.close()  # type: ignore[union-attr]
        assert await watcher.add(V6) is not None
        assert await watcher.add(V6) is None
        await watcher.sees(V6, OURS)

    inside(tmp_path, config(), work)


# --- whose an address is ---


@pytest.mark.parametrize("marks", [True, False])
def test_an_address_that_was_there_stays_theirs_also_for_the_next_run(tmp_path: Path, marks: bool) -> None:
    """Asked to add what somebody else has added, we do not come to own it: not in the kernel, not in the record."""

    async def work(watcher: Watcher, name: str) -> None:
        await ip_in(name, "addr", "add", f"{V4}/32", "dev", "lo")
        assert await watcher.add(V4) is None  # before its event is necessarily heard
        async with Watcher(tmp_path, config(), marks=marks) as second:
            assert second.reports()[0].addresses == {V4: THEIRS}
            assert await second.remove(V4) is None
        assert shown(name, V4)

    inside(tmp_path, config(), work, marks=marks)


def test_the_record_forgets_what_has_gone(tmp_path: Path) -> None:
    """Ours, taken away from outside, then added by somebody: from then on it is theirs."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        await watcher.sees(V4, OURS)
        await ip_in(name, "addr", "del", f"{V4}/32", "dev", "lo")
        await watcher.sees(V4, None)
        await ip_in(name, "addr", "add", f"{V4}/32", "dev", "lo")
        await watcher.sees(V4, THEIRS)
        assert await watcher.remove(V4) is None
        assert shown(name, V4)

    inside(tmp_path, config(), work, marks=False)


def test_a_record_of_another_boot_or_container_claims_nothing(tmp_path: Path) -> None:
    """The file outlives the addresses: in a new network namespace, what it names is somebody else's."""

    async def adds(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None

    inside(tmp_path, config(), adds, marks=False)
    with namespaces("later") as (name,):
        ip("-n", name, "addr", "add", f"{V4}/32", "dev", "lo")

        async def body() -> None:
            async with Watcher(tmp_path, config(), marks=False) as watcher:
                assert watcher.reports()[0].addresses == {V4: THEIRS}

        run_inside(name, body)


def test_the_same_address_on_two_interfaces_is_told_apart(tmp_path: Path) -> None:
    """Ours goes, theirs stays, whichever is asked for; then theirs is what is seen."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0", leaf, "nic0")
        ip("-n", node, "addr", "add", f"{V4}/32", "dev", "nic0")

        async def work() -> None:
            async with Watcher(tmp_path, config()) as watcher:
                assert watcher.last(V4) == AddressState("nic0", ours=False)
                assert await watcher.add(V4) is None
                other = await watcher.ask(act.RemoveAddresses(next(_ids), (V4,), "nic0"))
                assert not other.errors
                assert (V4, 32) in here(node, "nic0")
                assert await watcher.remove(V4) is None
                assert (V4, 32) not in here(node)
                await watcher.sees(V4, AddressState("nic0", ours=False))

        run_inside(node, work)


def test_the_same_address_with_two_lengths_is_told_apart(tmp_path: Path) -> None:
    """Somebody's /24 beside our /32: when theirs goes, ours is still there, and the other way round."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        await watcher.sees(V4, OURS)
        await ip_in(name, "addr", "add", f"{V4}/24", "dev", "lo")
        await ip_in(name, "addr", "del", f"{V4}/24", "dev", "lo")
        await ip_in(name, "addr", "add", f"{V6}/128", "dev", "lo")
        await watcher.sees(V6, THEIRS)  # what was before it has been heard by now
        assert watcher.last(V4) == OURS
        await ip_in(name, "addr", "add", f"{V4}/24", "dev", "lo")
        assert await watcher.remove(V4) is None
        await watcher.sees(V4, THEIRS)
        assert [length for address, length in here(name) if address == V4] == [24]

    inside(tmp_path, config(), work)


@pytest.mark.parametrize("marks", [True, False])
def test_removed_means_gone_also_straight_after_it_was_added(tmp_path: Path, marks: bool) -> None:
    """An answer without an error is true the moment it comes, in whatever order it was asked."""

    async def work(watcher: Watcher, name: str) -> None:
        for _ in range(20):
            first, second = next(_ids), next(_ids)
            watcher.kernel.execute(act.AddAddresses(first, (V4,), "lo"))
            watcher.kernel.execute(act.RemoveAddresses(second, (V4,), "lo"))
            await watcher.until(lambda s=second: ev.AddressesRemoved(s) in watcher.posted)  # type: ignore[misc]
            assert (V4, 32) not in here(name)

    inside(tmp_path, config(), work, marks=marks)


def test_a_removal_during_a_report_is_done(tmp_path: Path) -> None:
    """A report under way does not make the adapter forget what is there."""
    prefixes = [f"2001:db8::{n:x}/128" for n in range(1, 600)]

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        await asyncio.to_thread(batch, name, [f"addr add {p} dev lo" for p in prefixes])
        for _ in range(10):
            assert await watcher.add(V4) is None
            await watcher.sees(V4, OURS)
            watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
            await asyncio.sleep(0.01)
            assert await watcher.remove(V4) is None
            assert (V4, 32) not in here(name)

    inside(tmp_path, config(), work)


_STEPS = st.tuples(st.sampled_from(["ours+", "ours-", "theirs+", "theirs-", "restart"]), st.sampled_from([V4, V6]))


@pytest.mark.parametrize("marks", [True, False])
def test_random_hands_on_one_address(tmp_path: Path, marks: bool) -> None:
    """Whatever we and others do in turn: what others added we never remove, what is seen in the end is the truth."""
    with namespaces("k") as (name,):

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(st.lists(_STEPS, max_size=10))
        def story(steps: list[tuple[str, str]]) -> None:
            batch(name, [f"addr del {V4}/32 dev lo", f"addr del {V6}/128 dev lo"], check=False)
            run_inside(name, lambda: _play(tmp_path, name, steps, marks))

        story()


async def _play(state_dir: Path, name: str, steps: list[tuple[str, str]], marks: bool) -> None:
    owner: dict[str, AddressState | None] = {V4: None, V6: None}
    async with Watcher(state_dir, config(), marks=marks) as watcher:
        for step, address in steps:
            words = (f"{address}/{128 if ':' in address else 32}", "dev", "lo")
            if step == "restart":
                async with Watcher(state_dir, config(), marks=marks) as next_run:
                    assert next_run.reports()[0].addresses == {a: s for a, s in owner.items() if s is not None}
            elif step == "ours+":
                assert await watcher.add(address) is None
                owner[address] = owner[address] or OURS
            elif step == "ours-":
                assert await watcher.remove(address) is None
                owner[address] = THEIRS if owner[address] == THEIRS else None
            elif step == "theirs+" and owner[address] is None:
                await ip_in(name, "addr", "add", *words, *(["nodad"] if ":" in address else []))
                owner[address] = THEIRS
            elif step == "theirs-" and owner[address] is not None:
                await ip_in(name, "addr", "del", *words)
                owner[address] = None
            await watcher.sees(address, owner[address])
        on_node = {address for address, _ in here(name)}
        assert on_node & {V4, V6} == {a for a, s in owner.items() if s is not None}


# --- the record, for kernels that cannot mark ---


@contextmanager
def full_disk(at: Path) -> Iterator[Path]:
    """A file system with room for the first record and no more, once ``filler`` is written."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def test_a_full_disk_is_an_error_and_the_earlier_record_stands(tmp_path: Path) -> None:
    """What cannot be written down is not added; what was written down before is still there and still ours."""
    with full_disk(tmp_path / "state") as state:

        async def work(watcher: Watcher, name: str) -> None:
            assert await watcher.add(V4) is None
            before = (state / "addresses.json").read_bytes()
            with pytest.raises(OSError, match="No space"):
                (state / "filler").write_bytes(b"x" * 65536)
            assert "No space left" in str(await watcher.add(V6))
            assert (state / "addresses.json").read_bytes() == before
            assert not shown(name, V6)
            (state / "filler").unlink()
            assert await watcher.add(V6) is None
            assert sorted(json.loads((state / "addresses.json").read_text())["addresses"]) == [V4, V6]

        inside(state, config(), work, marks=False)


def test_a_record_that_cannot_be_read_is_kept_aside_and_told(tmp_path: Path) -> None:
    """A broken file is no reason to announce nothing: the addresses are managed, and a person finds what was there."""
    record = tmp_path / "addresses.json"
    record.write_text("{garbage")

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        assert shown(name, V4)
        (told,) = [e.text for e in watcher.posted if isinstance(e, ev.Warned) and e.subject == "record of addresses"]
        assert "addresses.json.broken" in told

    inside(tmp_path, config(), work, marks=False)
    assert (tmp_path / "addresses.json.broken").read_text() == "{garbage"
    assert "addresses" in json.loads(record.read_text())


# --- interfaces ---


def test_an_interface_that_is_deleted_and_made_again_is_the_same_to_us(tmp_path: Path) -> None:
    """Its number differs, its name does not: it is seen to go and to come, and addresses go on it as before."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "any0", leaf, "any0")

        async def work() -> None:
            conf = config(interface="any0")
            async with Watcher(tmp_path, conf) as watcher:
                await watcher.until(lambda: watcher.reports()[-1].links.get("any0") is True or _link(watcher, "any0"))
                add = act.AddAddresses(next(_ids), (V4,), "any0")
                assert not (await watcher.ask(add)).errors
                said = len(watcher.posted)
                await ip_in(node, "link", "del", "any0")
                await watcher.until(lambda: ev.LinkSeen("any0", up=False) in watcher.posted[said:])
                await watcher.sees(V4, None)
                await asyncio.to_thread(veth, node, "any0", leaf, "any0")
                await watcher.until(lambda: _link(watcher, "any0"))
                add = act.AddAddresses(next(_ids), (V4,), "any0")
                assert not (await watcher.ask(add)).errors
                await watcher.sees(V4, AddressState("any0", ours=True))

        run_inside(node, work)


def _link(watcher: Watcher, name: str) -> bool | None:
    """What was last said of a link."""
    for event in reversed(watcher.posted):
        if isinstance(event, ev.LinkSeen) and event.interface == name:
            return event.up
        if isinstance(event, ev.KernelSeen):
            return event.links.get(name)
    return None


def test_an_address_comes_with_the_state_of_its_interface(tmp_path: Path) -> None:
    """On an interface that was of no interest before, the state of the link is told as well."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0", leaf, "nic0")

        async def work() -> None:
            async with Watcher(tmp_path, config(address_mode=AddressMode.VERIFY)) as watcher:
                await ip_in(node, "addr", "add", f"{V4}/32", "dev", "nic0")
                await watcher.sees(V4, AddressState("nic0", ours=False))
                await watcher.until(lambda: _link(watcher, "nic0") is True)
                await ip_in(leaf, "link", "set", "nic0", "down")
                await watcher.until(lambda: _link(watcher, "nic0") is False)

        run_inside(node, work)


def test_a_duplicate_or_tentative_ipv6_address_is_not_usable(tmp_path: Path) -> None:
    """What duplicate address detection has not passed, or has refused, cannot be announced (RFC 4862)."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0", leaf, "nic0")
        for name in (node, leaf):
            sysctl(name, "net.ipv6.conf.all.accept_dad", "1")
            sysctl(name, "net.ipv6.conf.nic0.accept_dad", "1")
        ip("-n", leaf, "addr", "add", f"{V6}/128", "dev", "nic0", "nodad")

        async def work() -> None:
            async with Watcher(tmp_path, config()) as watcher:
                await ip_in(node, "addr", "add", f"{V6}/128", "dev", "nic0")
                await watcher.sees(V6, AddressState("nic0", ours=False, usable=False))
                await watcher.until(lambda: bool(_addr_flag(node, "dadfailed")))
                assert watcher.last(V6) == AddressState("nic0", ours=False, usable=False)

        run_inside(node, work)


def _addr_flag(name: str, flag: str) -> bool:
    text = subprocess.run(["ip", "-n", name, "-j", "addr", "show", "nic0"], check=True, capture_output=True).stdout
    return any(i.get(flag) for link in json.loads(text) for i in link.get("addr_info", ()))


def test_lo_down_takes_the_ipv6_address_and_says_so(tmp_path: Path) -> None:
    """The kernel flushes IPv6 addresses from a link that is set down, and keeps IPv4 ones."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        assert await watcher.add(V6) is None
        await watcher.sees(V6, OURS)
        await ip_in(name, "link", "set", "lo", "down")
        await watcher.sees(V6, None)
        await watcher.until(lambda: _link(watcher, "lo") is False)
        assert watcher.last(V4) == OURS
        await ip_in(name, "link", "set", "lo", "up")
        await watcher.until(lambda: _link(watcher, "lo") is True)

    inside(tmp_path, config(), work)


def test_an_unmanaged_node_stays_unwatched_until_the_configuration_says_otherwise(tmp_path: Path) -> None:
    """Nothing is posted of links or addresses; the next configuration is answered in full."""

    async def work(watcher: Watcher, name: str) -> None:
        await ip_in(name, "addr", "add", f"{V4}/32", "dev", "lo")
        await ip_in(name, "link", "set", "lo", "down")
        await ip_in(name, "link", "set", "lo", "up")
        said = len(watcher.posted)
        watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
        await watcher.until(lambda: len(watcher.posted) > said)
        assert all(isinstance(e, ev.KernelSeen | ev.Warned) for e in watcher.posted)
        said = len(watcher.reports())
        watcher.kernel.execute(act.WatchKernel(config()))
        await watcher.until(lambda: len(watcher.reports()) > said)
        assert watcher.reports()[-1].addresses == {V4: THEIRS}

    inside(tmp_path, config(address_mode=AddressMode.UNMANAGED), work)


# --- return routes ---


@contextmanager
def uplinks() -> Iterator[tuple[str, str]]:
    """A node with two uplinks, 198.51.100.4/30 and .8/30, 2001:db8:1::/64 and 2001:db8:2::/64."""
    with namespaces("node", "leaf") as (node, leaf):
        for n in (1, 2):
            veth(node, f"up{n}", leaf, f"down{n}")
            ip("-n", node, "addr", "add", f"198.51.100.{4 * n + 1}/30", "dev", f"up{n}")
            ip("-n", node, "addr", "add", f"2001:db8:{n}::1/64", "dev", f"up{n}", "nodad")
        for prefix in (f"{V4}/32", f"{V6}/128"):
            ip("-n", node, "addr", "add", prefix, "dev", "lo")
        yield node, leaf


def _way(watcher: Watcher, family: Family) -> bool | None:
    return watcher.returns(V4 if family is Family.IPV4 else V6)


Step = tuple[str, ...]
_LOST: dict[str, tuple[Family, list[Step], list[Step]]] = {
    "removed": (
        Family.IPV4,
        [("node", "route", "add", "default", "via", "198.51.100.6")],
        [("node", "route", "del", "default")],
    ),
    "removed IPv6": (
        Family.IPV6,
        [("node", "-6", "route", "add", "default", "via", "2001:db8:1::2")],
        [("node", "-6", "route", "del", "default")],
    ),
    "IPv4 over an IPv6 next hop (RFC 8950)": (
        Family.IPV4,
        [("node", "-4", "route", "add", "default", "via", "inet6", "fe80::2", "dev", "up1")],
        [("leaf", "link", "set", "down1", "down")],
    ),
    "its carrier is lost": (
        Family.IPV6,
        [("node", "-6", "route", "add", "default", "via", "2001:db8:1::2")],
        [("leaf", "link", "set", "down1", "down")],
    ),
    "its interface is set down: the kernel flushes it without a word": (
        Family.IPV4,
        [("node", "route", "add", "default", "via", "198.51.100.6")],
        [("node", "link", "set", "up1", "down")],
    ),
    "its interface loses its address: the kernel flushes it without a word": (
        Family.IPV4,
        [("node", "route", "add", "default", "via", "198.51.100.6")],
        [("node", "addr", "del", "198.51.100.5/30", "dev", "up1")],
    ),
    "its interface is deleted": (
        Family.IPV4,
        [("node", "route", "add", "default", "via", "198.51.100.6")],
        [("node", "link", "del", "up1")],
    ),
    "replaced by a blackhole": (
        Family.IPV4,
        [("node", "route", "add", "default", "via", "198.51.100.6")],
        [("node", "route", "replace", "blackhole", "default")],
    ),
    "both legs of an ECMP route": (
        Family.IPV6,
        [
            (
                "node",
                "-6",
                "route",
                "add",
                "default",
                "nexthop",
                "via",
                "2001:db8:1::2",
                "nexthop",
                "via",
                "2001:db8:2::2",
            )
        ],
        [("leaf", "link", "set", "down1", "down"), ("leaf", "link", "set", "down2", "down")],
    ),
    "its nexthop object is deleted": (
        Family.IPV4,
        [
            ("node", "nexthop", "add", "id", "7", "via", "198.51.100.6", "dev", "up1"),
            ("node", "route", "add", "default", "nhid", "7"),
        ],
        [("node", "nexthop", "del", "id", "7")],
    ),
    "its nexthop object is turned into a blackhole": (
        Family.IPV6,
        [
            ("node", "nexthop", "add", "id", "7", "via", "2001:db8:1::2", "dev", "up1"),
            ("node", "-6", "route", "add", "default", "nhid", "7"),
        ],
        [("node", "-6", "nexthop", "replace", "id", "7", "blackhole")],
    ),
    "all of its nexthop group": (
        Family.IPV4,
        [
            ("node", "nexthop", "add", "id", "7", "via", "198.51.100.6", "dev", "up1"),
            ("node", "nexthop", "add", "id", "8", "via", "198.51.100.10", "dev", "up2"),
            ("node", "nexthop", "add", "id", "9", "group", "7/8"),
            ("node", "route", "add", "default", "nhid", "9"),
        ],
        [("leaf", "link", "set", "down1", "down"), ("leaf", "link", "set", "down2", "down")],
    ),
}


def _stories() -> Iterator[tuple[str, str]]:
    for story, (_, come, _) in _LOST.items():
        yield story, "1"
        if any("nexthop" in step[1:2] for step in come):  # the setting is of no account to any other
            yield story, "0"


@pytest.mark.parametrize(("story", "compat"), list(_stories()))
def test_a_default_route_is_lost(tmp_path: Path, story: str, compat: str) -> None:
    """However it goes, it is seen: also where the kernel sends no word of the route itself, and with nexthop objects
    that routes name by number only (nexthop_compat_mode 0)."""
    family, come, go = _LOST[story]
    with uplinks() as (node, leaf):
        sysctl(node, "net.ipv4.nexthop_compat_mode", compat)
        where = {"node": node, "leaf": leaf}

        async def work() -> None:
            async with Watcher(tmp_path, config(return_route=ReturnRouteRule.DEFAULT)) as watcher:
                assert _way(watcher, family) is False
                for place, *words in come:
                    await ip_in(where[place], *words)
                await watcher.until(lambda: _way(watcher, family) is True)
                *spare, last = go
                for place, *words in spare:
                    await ip_in(where[place], *words)
                    watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                    said = len(watcher.reports())
                    await watcher.until(lambda said=said: len(watcher.reports()) > said)  # type: ignore[misc]
                    assert _way(watcher, family) is True, "one leg is left"
                place, *words = last
                await ip_in(where[place], *words)
                await watcher.until(lambda: _way(watcher, family) is False)

        run_inside(node, work)


def test_any_return_route_is_one_that_leaves_the_node(tmp_path: Path) -> None:
    """Not the route to the anycast address itself, nor one that refuses; a connected network is enough."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "any0", leaf, "any0")
        ip("-n", node, "route", "add", "unreachable", "198.51.100.0/24")
        ip("-n", node, "route", "add", "blackhole", "2001:db8:9::/48")

        async def work() -> None:
            conf = config(interface="any0", return_route=ReturnRouteRule.ANY)
            async with Watcher(tmp_path, conf) as watcher:
                for address in (V4, V6):
                    assert not (await watcher.ask(act.AddAddresses(next(_ids), (address,), "any0"))).errors
                    await watcher.sees(address, AddressState("any0", ours=True))
                watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda: len(watcher.reports()) > 1)
                assert [watcher.returns(address) for address in (V4, V6)] == [False, False]
                await ip_in(node, "addr", "add", "198.51.100.1/30", "dev", "any0")
                await watcher.until(lambda: _way(watcher, Family.IPV4) is True)
                await ip_in(node, "-6", "route", "add", "2001:db8:8::/48", "via", "fe80::1", "dev", "any0")
                await watcher.until(lambda: _way(watcher, Family.IPV6) is True)

        run_inside(node, work)


def test_a_table_that_no_rule_leads_to_is_no_return_route(tmp_path: Path) -> None:
    """Its default route carries no reply, whatever else the main table has, until a rule leads to it."""
    with uplinks() as (node, _):
        many = [f"route add 10.{n // 250}.{n % 250}.0/24 via 198.51.100.6" for n in range(5000)]
        batch(node, [*many, "route add default via 198.51.100.6 table 100"])

        async def work() -> None:
            async with Watcher(tmp_path, config(f"{V4}/32", return_route=ReturnRouteRule.DEFAULT)) as watcher:
                assert watcher.returns(V4) is False
                await ip_in(node, "rule", "add", "from", "192.0.2.0/24", "lookup", "100")
                await watcher.until(lambda: watcher.returns(V4) is True)

        run_inside(node, work)


# --- privileges, marks, numbers ---

_UNPRIVILEGED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.adapters.kernel.watcher import V4, OURS, Watcher, config
from anycast_agent.core.model import AddressMode, AddressState

async def main():
    async with Watcher(Path(sys.argv[1]), config(address_mode=AddressMode.VERIFY)) as watcher:
        assert watcher.reports()[0].addresses == {V4: AddressState("lo", ours=False)}, watcher.posted
        print("removed:", await watcher.remove("2001:db8:53::53"))
        print("added:", await watcher.add("2001:db8:53::53"))

asyncio.run(main())
"""


def test_without_cap_net_admin_it_looks_and_says_what_adding_needs(tmp_path: Path) -> None:
    """Verify needs no privilege; adding without CAP_NET_ADMIN says which capability, or which setting."""
    root = str(Path(__file__).parents[3])
    with namespaces("k") as (name,):
        ip("-n", name, "addr", "add", f"{V4}/32", "dev", "lo")
        done = subprocess.run(
            ["ip", "netns", "exec", name, "setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
             sys.executable, "-c", _UNPRIVILEGED, str(tmp_path), root],
            capture_output=True, text=True, timeout=60, cwd=root,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "removed: None" in done.stdout
    assert "added: not permitted: the agent needs CAP_NET_ADMIN, or node.addresses: verify" in done.stdout


def test_the_mark_is_in_the_kernel(tmp_path: Path) -> None:
    """IFA_PROTO is read back from the kernel by another reader than ours."""

    async def work(watcher: Watcher, name: str) -> None:
        assert await watcher.add(V4) is None
        assert await watcher.add(V6) is None
        async with pyroute2.AsyncIPRoute() as reader:
            marks = {m.get_attr("IFA_ADDRESS"): m.get_attr("IFA_PROTO") async for m in await reader.addr("dump")}
        assert (marks[V4], marks[V6]) == (0xAC, 0xAC)

    inside(tmp_path, config(), work)


@pytest.mark.parametrize("marks", [True, False])
def test_two_thousand_addresses_at_once(tmp_path: Path, marks: bool) -> None:
    """Each action ends in its own event, and each address is seen, and goes again."""
    addresses = [f"2001:db8::{n:x}" for n in range(1, 1001)] + [f"10.0.{n // 250}.{n % 250}" for n in range(1000)]
    batches = [tuple(addresses[n : n + 64]) for n in range(0, len(addresses), 64)]

    async def work(watcher: Watcher, name: str) -> None:
        for kind, state in ((act.AddAddresses, OURS), (act.RemoveAddresses, None)):
            for some in batches:
                assert not (await watcher.ask(kind(next(_ids), some, "lo"))).errors
            for address in addresses:
                assert watcher.last(address) == state

    inside(tmp_path, config(*[f"{a}/{128 if ':' in a else 32}" for a in addresses]), work, marks=marks)


def test_of_many_addresses_one_that_fails_fails_alone(tmp_path: Path) -> None:
    """Its error is its own; the others are there."""

    async def work(watcher: Watcher, name: str) -> None:
        await asyncio.to_thread(sysctl, name, "net.ipv6.conf.lo.disable_ipv6", "1")
        other = "192.0.2.80"
        ended = await watcher.ask(act.AddAddresses(next(_ids), (V4, V6, other), "lo"))
        assert ended.errors == {V6: "IPv6 is disabled here: sysctl -w net.ipv6.conf.lo.disable_ipv6=0"}
        assert {a: watcher.last(a) for a in (V4, V6, other)} == {V4: OURS, V6: None, other: OURS}

    inside(tmp_path, config(f"{V4}/32", f"{V6}/128", "192.0.2.80/32"), work)


# --- warnings ---


def test_warnings_are_lines_to_type_and_clear_when_mended(tmp_path: Path) -> None:
    """Also for an interface with a dot in its name; what the warning says to type is what ends it."""
    with namespaces("node", "leaf") as (node, leaf):
        veth(node, "nic0.100", leaf, "nic0")
        ip("-n", node, "addr", "add", "198.51.100.1/24", "dev", "nic0.100")
        ip("netns", "exec", node, "sysctl", "-qw", "net.ipv4.conf.nic0/100.rp_filter=1")

        async def work() -> None:
            async with Watcher(tmp_path, config()) as watcher:
                for _ in range(2):
                    await watcher.until(lambda: _warned(watcher).keys() == {"rp_filter", "arp"})
                    for text in _warned(watcher).values():
                        if text:
                            command = text[text.index("sysctl -w") :].split()
                            await asyncio.to_thread(ip, "netns", "exec", node, *command)
                    watcher.posted.clear()
                    watcher.kernel.execute(act.Resync(ev.Source.KERNEL, "test"))
                await watcher.until(lambda: _warned(watcher) == {"rp_filter": "", "arp": ""})

        run_inside(node, work)


def _warned(watcher: Watcher) -> dict[str, str]:
    return {e.subject: e.text for e in watcher.posted if isinstance(e, ev.Warned)}


# --- the namespaces themselves ---


def test_namespaces_of_a_crashed_run_are_swept() -> None:
    """A process that ends without cleaning up leaves namespaces, which the next run removes."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from tests.support.netns import namespaces\n"
        "with namespaces('left') as (name,):\n    print(name, flush=True); os._exit(1)\n"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, timeout=30, cwd=root)
    left = Path("/run/netns") / done.stdout.strip()
    assert left.name.startswith("aa-test-") and str(os.getpid()) not in left.name
    with namespaces("k") as (mine,):
        assert not left.exists()
        assert (Path("/run/netns") / mine).exists()
    assert not (Path("/run/netns") / mine).exists()
