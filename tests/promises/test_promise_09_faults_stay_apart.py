"""Promise 9.

One service's fault changes no other service's routes, and delays no other service's checks.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import actions as act
from anycast_agent.core.model import AddressState, RouteKey, address_of
from tests.conftest import examples
from tests.support import ends
from tests.support.agent import HTTP_PORT, Scene, configuration, play
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import V6 as REAL_V6
from tests.support.netns import needs_root
from tests.support.world import V4, V6, World, check, config, service

BAD, GOOD = "192.0.2.80/32", (V4, V6)

# --- 1. the core, in virtual time -----------------------------------------------------------------------------

FAULTS = (
    "refused", "timeout", "not_run", "hang", "well", "address_removed", "address_taken", "kernel_error",
    "speaker_error",
)  # fmt: skip

OUTCOMES = {"refused": ends.REFUSED, "timeout": ends.TIMEOUT, "not_run": ends.NOT_RUN}


def fault(world: World, kind: str) -> None:
    """Something that befalls the bad service alone."""
    address = address_of(BAD)
    match kind:
        case "refused" | "timeout" | "not_run":
            world.outcomes["bad"] = OUTCOMES[kind]
        case "hang":
            world.hangs.add("bad")
        case "well":
            world.outcomes.clear()
            world.hangs.clear()
        case "address_removed":
            world.set_address(address, None)
        case "address_taken":
            world.set_address(address, AddressState("lo", ours=False))
        case "kernel_error":
            world.kernel_errors ^= {address}
        case "speaker_error":
            # A withdrawal that ExaBGP refuses is another matter: then the neighbor loses all routes, on purpose.
            world.put_errors ^= {BAD}


def story(faults: list[tuple[str, float]], calm: bool) -> World:
    world = World()
    world.start(config(service("good", GOOD), service("bad", (BAD,), checks=(check(prefix=BAD), check("own")))))
    world.run(3.0)
    for kind, pause in faults:
        if not calm:
            fault(world, kind)
        world.run(pause)
    world.run(5.0)
    return world


def of_good(world: World) -> tuple[list[tuple[float, str, RouteKey]], list[tuple[float, act.CheckKey]]]:
    updates = [u for u in world.updates if u[2].prefix in GOOD]
    probes = [(at, a.key) for at, a in world.actions if isinstance(a, act.RunProbe) and a.key.service == "good"]
    return updates, probes


@settings(max_examples=examples(80))
@given(st.lists(st.tuples(st.sampled_from(FAULTS), st.sampled_from((0.0, 0.3, 1.5, 6.0))), max_size=10))
def test_what_befalls_one_service_is_not_seen_in_another(faults: list[tuple[str, float]]) -> None:
    """The same story with and without the faults: the good service has its UPDATEs and probes at the same instants."""
    assert of_good(story(faults, calm=False)) == of_good(story(faults, calm=True))


def test_a_check_that_hangs_for_ever_delays_none() -> None:
    """Not even one of the same service."""
    world = World(hangs={"dns/stuck"})
    world.start(config(service("dns", (V4,), checks=(check("stuck"), check("answers", prefix=V4)))))
    world.run(30.0)
    runs = [at for at, a in world.actions if isinstance(a, act.RunProbe) and a.key.check == "answers"]
    assert max(b - a for a, b in itertools.pairwise(runs)) < 1.01
    stuck = [at for at, a in world.actions if isinstance(a, act.RunProbe) and a.key.check == "stuck"]
    assert all(b - a >= 2.5 for a, b in itertools.pairwise(stuck)), "one at a time, given up in its time"


def test_a_thousand_failures_at_once_do_not_delay_a_probe_of_the_rest() -> None:
    """499 services fail in the same second; the one that is well is probed on time, and its routes stay."""
    services = [service(f"s{n}", (f"203.0.113.{n}/32" if n < 256 else f"198.51.100.{n - 256}/32",)) for n in range(499)]
    world = World(outcomes={})
    world.start(config(service("good", GOOD), *services))
    world.until(lambda w: len(w.router) == 2 * 499 + 4, 10)
    at = len(world.updates)
    world.outcomes = {f"s{n}": ends.REFUSED for n in range(499)}
    world.until(lambda w: len(w.router) == 4, 3.0)
    world.run(2.0)
    runs = [t for t, a in world.actions if isinstance(a, act.RunProbe) and a.key == act.CheckKey("good", "answers", V4)]
    late = runs[-6:]
    assert max(b - a for a, b in itertools.pairwise(late)) < 1.01
    assert {u[1] for u in world.updates[at:] if u[2].prefix in GOOD} == set()


# --- 2. the real parts: a process, ExaBGP, netlink, a router --------------------------------------------------


def probes(status: dict[str, Any], service: str) -> dict[str, int]:
    """How many of its first check's ended so."""
    return dict(status["services"][service]["checks"][0]["probes"])


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_really_a_service_that_hangs_takes_no_other_with_it(tmp_path: Path) -> None:
    """One hangs and is withdrawn; the other, asked at the same pace meanwhile, keeps its routes to the letter."""
    other = "192.0.2.81/32"
    values = configuration(tmp_path)
    web = values["services"]["web"]
    port = {"port": {"type": "tcp", "port": HTTP_PORT, "interval": "200ms", "rise": 2}}
    values["services"]["apart"] = {**web, "prefixes": [other], "checks": port}

    async def story(s: Scene) -> None:
        await s.peer.has(REAL_V4, REAL_V6, other)
        updates = len(s.peer.updates)
        await s.service.become("hanging")
        await s.peer.has(other)
        well = probes(await s.agent.status(), "apart")["ok"]
        hung = probes(await s.agent.status(), "web")["timeout"]
        status = await s.agent.until(lambda status: probes(status, "web")["timeout"] >= hung + 10, 60)
        assert probes(status, "apart")["ok"] >= well + 10  # while ten hung, each for a whole interval
        assert not any(other in (*u.announced, *u.withdrawn) for u in s.peer.updates[updates:])

    play(tmp_path, story, values)


@needs_root
@pytest.mark.root
@pytest.mark.timeout(180)
def test_really_programs_and_patterns_that_hang_starve_no_other_service(tmp_path: Path) -> None:
    """Twenty programs of several services, and a service's regular expressions at eight addresses, do not end: who has
    a program or a pattern that does is probed on, and keeps its routes."""
    attributes = {"next_hop": "198.51.100.1"}
    flag = tmp_path / "well"
    program = ["/bin/sh", "-c", f"test -e {flag} && exit 0; exec sleep 100"]
    slow = {"interval": "3s", "timeout": "3s", "fast_interval": "300ms", "rise": 1}
    page = {"type": "http", "port": HTTP_PORT, "interval": "500ms", "rise": 1}
    services = {
        f"hangs{n}": {
            "prefixes": [f"192.0.2.{10 + 2 * n + i}/32" for i in range(2)],
            "attributes": attributes,
            "checks": {f"c{i}": {**slow, "type": "exec", "command": program} for i in range(2)},
        }
        for n in range(10)
    }
    services["evil"] = {
        "prefixes": [f"192.0.2.{100 + n}/32" for n in range(8)],
        "attributes": attributes,
        "checks": {"page": {**page, "regex": "^(ok|(a+)+)$"}},
    }
    well = {
        "program": ("192.0.2.201/32", {"type": "exec", "command": ["/bin/true"], "interval": "500ms", "rise": 1}),
        "pattern": ("192.0.2.202/32", {**page, "regex": "^.*(k|b)!?$"}),
    }
    for name, (prefix, values) in well.items():
        services[name] = {"prefixes": [prefix], "attributes": attributes, "checks": {"c": values}}

    async def story(s: Scene) -> None:
        s.service.body = lambda local: b"ok"
        flag.write_text("")
        await s.peer.until(lambda peer: len(peer.table) == 30, 40)
        updates = len(s.peer.updates)
        status = await s.agent.status()
        before = {name: status["services"][name]["checks"][0]["probes"]["ok"] for name in well}
        flag.unlink()
        s.service.body = lambda local: b"a" * 60 + b"!" if local.startswith("192.0.2.10") else b"ok"
        # All that hangs is withdrawn, and goes on to hang for more than a round.
        await s.peer.until(lambda peer: len(peer.table) == 2, 60)
        await s.agent.until(
            lambda status: all(
                status["services"][name]["checks"][0]["probes"]["ok"] > count + 30 for name, count in before.items()
            ),
            60,
        )
        kept = {prefix for prefix, _ in well.values()}
        assert not any(kept & {*u.announced, *u.withdrawn} for u in s.peer.updates[updates:])

    play(tmp_path, story, configuration(tmp_path, services=services), deadline=170)
