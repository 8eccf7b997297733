"""The routers that the kernel knows on an interface, as its neighbor table marks them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.kernel.routers import RouterWatch
from tests.support.netns import ip, namespaces, needs_root, run_inside, veth
from tests.support.until import until

pytestmark = needs_root


def test_routers_are_told_by_interface_as_they_come_and_go() -> None:
    """Not hosts, nor other links' routers, nor one that no longer answers, nor this node itself; and nothing twice."""
    with namespaces("node", "leaf") as (node, leaf):
        for name in ("up0", "up1"):
            veth(node, name, leaf, f"down-{name}")
        mac = "02:00:00:00:00:0{}"

        def neighbor(verb: str, address: str, interface: str, *flags: str) -> None:
            ip("-n", node, "-6", "neigh", verb, address, "lladdr", mac.format(1), "dev", interface, *flags)

        async def story() -> None:
            events: list[ev.Event] = []
            watch = RouterWatch(events.append, look_every=0.05)
            running = asyncio.create_task(watch.run())
            try:
                neighbor("add", "fe80::9", "up0", "nud", "stale")
                ip("-n", node, "addr", "add", "fe80::7/64", "dev", "up0", "nodad")
                neighbor("add", "fe80::7", "up0", "router", "nud", "stale")
                neighbor("add", "fe80::1", "up0", "router", "nud", "stale")
                neighbor("add", "2001:db8::1", "up0", "router", "nud", "stale")
                neighbor("add", "fe80::2", "up1", "router", "nud", "permanent")
                watch.execute(act.WatchRouters(frozenset({"up0", "up9"})))
                seen = ev.RoutersSeen({"up0": ("fe80::1",), "up9": ()})
                await until(lambda: events == [seen], lambda: events)
                neighbor("replace", "fe80::3", "up0", "router", "nud", "stale")
                await until(
                    lambda: ev.RoutersSeen({"up0": ("fe80::1", "fe80::3"), "up9": ()}) in events, lambda: events
                )
                neighbor("replace", "fe80::1", "up0", "router", "nud", "failed")
                await until(lambda: ev.RoutersSeen({"up0": ("fe80::3",), "up9": ()}) in events, lambda: events)
                told = len(events)
                watch.execute(act.WatchRouters(frozenset({"up1"})))
                await until(lambda: ev.RoutersSeen({"up1": ("fe80::2",)}) in events, lambda: events)
                assert len(events) == told + 1
            finally:
                running.cancel()

        run_inside(node, story)


def test_what_is_not_watched_is_not_read(tmp_path: Path) -> None:
    """Without such a neighbor there is no work, and nothing is told."""

    async def story() -> None:
        events: list[ev.Event] = []
        watch = RouterWatch(events.append, look_every=0.01)
        running = asyncio.create_task(watch.run())
        watch.execute(act.WatchRouters(frozenset()))
        done, _ = await asyncio.wait({running}, timeout=0.2)
        assert (done, events) == (set(), [])
        running.cancel()

    asyncio.run(story())
