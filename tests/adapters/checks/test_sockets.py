"""A probe of an anycast address never leaves the node."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from anycast_agent.checks.http import HttpParams
from anycast_agent.checks.tcp import TcpParams
from tests.support.netns import ip, namespaces, needs_root, run_inside, sysctl, veth
from tests.support.probes import prober


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("source", [None, "198.51.100.1"])
def test_a_probe_of_the_anycast_address_never_leaves_the_node(source: str | None) -> None:
    """With the address gone, another node that has it would answer well: the probe is not made instead."""
    with namespaces("here", "there") as (here, there):
        veth(here, "nic0", there, "nic0")
        ip("-n", here, "addr", "add", "198.51.100.1/30", "dev", "nic0")
        ip("-n", there, "addr", "add", "198.51.100.2/30", "dev", "nic0")
        ip("-n", here, "route", "add", "default", "via", "198.51.100.2")
        for node in (here, there):
            ip("-n", node, "addr", "add", "192.0.2.53/32", "dev", "lo")

        async def work() -> None:
            server = subprocess.Popen(
                ["ip", "netns", "exec", there, sys.executable, "-m", "http.server", "80", "--bind", "192.0.2.53"],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            local = await asyncio.start_server(lambda r, w: w.close(), "192.0.2.53", 80)
            try:
                async with prober() as ask:
                    tcp = TcpParams(port=80, source=source)
                    assert (await ask(tcp, prefix="192.0.2.53/32")).outcome.code == "ok"
                    local.close()
                    await asyncio.to_thread(ip, "-n", here, "addr", "del", "192.0.2.53/32", "dev", "lo")
                    free = TcpParams(port=80, target="192.0.2.53")
                    end = time.monotonic() + 10
                    while (await ask(free)).outcome.code != "ok":  # unpinned, it is the other node that answers
                        assert time.monotonic() < end
                    assert (await ask(tcp, prefix="192.0.2.53/32", timeout=0.5)).outcome.code != "ok"
                    http = HttpParams(source=source)
                    assert (await ask(http, prefix="192.0.2.53/32", timeout=0.5)).outcome.code != "ok"
            finally:
                server.kill()
                server.wait()

        run_inside(here, work)


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("nonlocal_bind", ["0", "1"])
def test_a_probe_with_a_source_of_its_own_never_leaves_the_node_over_ipv6(nonlocal_bind: str) -> None:
    """Also where addresses that are not there can be bound to, as is usual beside VRRP and load balancers."""
    with namespaces("here", "there") as (here, there):
        veth(here, "nic0", there, "nic0")
        sysctl(here, "net.ipv6.ip_nonlocal_bind", nonlocal_bind)
        ip("-n", here, "addr", "add", "2001:db8:1::1/64", "dev", "nic0")
        ip("-n", there, "addr", "add", "2001:db8:1::2/64", "dev", "nic0")
        ip("-n", here, "-6", "route", "add", "default", "via", "2001:db8:1::2")
        ip("-n", there, "addr", "add", "2001:db8:53::53/128", "dev", "lo")

        async def work() -> None:
            server = subprocess.Popen(
                ["ip", "netns", "exec", there, sys.executable, "-m", "http.server", "80", "--bind", "2001:db8:53::53"],
                stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                async with prober() as ask:
                    end = time.monotonic() + 10
                    while (await ask(TcpParams(port=80, target="2001:db8:53::53"))).outcome.code != "ok":
                        assert time.monotonic() < end
                    pinned = [TcpParams(port=80, source="2001:db8:1::1"), HttpParams(source="2001:db8:1::1")]
                    for params in pinned:
                        gone = await ask(params, prefix="2001:db8:53::53/128", timeout=0.5)
                        assert (gone.outcome.code, gone.outcome.detail) == (
                            "not_run",
                            "the address is not on this node",
                        )
                    await asyncio.to_thread(ip, "-n", here, "addr", "add", "2001:db8:53::53/128", "dev", "lo")
                    local = await asyncio.start_server(lambda r, w: w.close(), "2001:db8:53::53", 80)
                    assert (await ask(pinned[0], prefix="2001:db8:53::53/128")).outcome.code == "ok"
                    local.close()
            finally:
                server.kill()
                server.wait()

        run_inside(here, work)
