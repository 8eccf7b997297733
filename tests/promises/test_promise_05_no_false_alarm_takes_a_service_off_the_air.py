"""Promise 5.

No false alarm, bad configuration or hang, however many nodes it hits at once, takes a service with a last resort off
the air while a node that has its address lives.
"""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core.model import Config, Prefix, address_of
from tests.conftest import examples
from tests.support import ends
from tests.support.agent import DEAD_MAN, SLACK, Scene, addresses_of, configuration, play, prefix_in
from tests.support.agent import V4 as REAL_V4
from tests.support.agent import V6 as REAL_V6
from tests.support.netns import needs_root
from tests.support.world import LEAF1, LEAF2, V4, V6, World, check, config, cover, service

COVER4, COVER6 = "192.0.2.52/31", "2001:db8:53::52/127"
COVERS = (cover(COVER4, V4), cover(COVER6, V6))

# --- 1. several nodes, in virtual time ------------------------------------------------------------------------


@dataclass
class Site:
    """Nodes of one service behind the same routers."""

    nodes: list[World]

    def run(self, seconds: float) -> None:
        for node in self.nodes:
            node.run(seconds)

    def served(self, prefix: Prefix) -> bool:
        """Whether each router leads, by longest match, to nodes that all have the address."""
        return all(self._led_by(leaf, prefix) for leaf in (LEAF1, LEAF2))

    def _led_by(self, leaf: str, prefix: Prefix) -> bool:
        address = ip_address(address_of(prefix))
        offers = [(key.prefix, node) for node in self.nodes for key in node.router if key.neighbor == leaf]
        matching = [(ip_network(p).prefixlen, node) for p, node in offers if address in ip_network(p)]
        longest = max((length for length, _ in matching), default=None)
        chosen = [node for length, node in matching if length == longest]
        return bool(chosen) and all(str(address) in node.addresses for node in chosen)


def good() -> Config:
    return config(service("dns", covers=COVERS))


def bad() -> list[Config]:
    """Valid, and wrong: a check that nothing meets, one that counts at once, one beside it."""
    strict = tuple(check(prefix=p, fall=1, timeout=0.1) for p in (V4, V6))
    return [
        config(service("dns", covers=COVERS, checks=(check("wrong"),))),
        config(service("dns", covers=COVERS, checks=strict)),
        config(service("dns", covers=COVERS, checks=(*strict, check("wrong")))),
    ]


KINDS = ("outcome", "hangs", "killed", "reload", "starts", "heals")
ALARM = st.tuples(st.sampled_from(KINDS), st.booleans(), st.integers(0, 11), st.sampled_from((0.0, 0.3, 2.5, 40.0)))
OUTCOMES = (ends.REFUSED, ends.TIMEOUT, ends.NOT_RUN)


def strike(node: World, kind: str, number: int) -> None:
    """One false alarm, at one node."""
    if kind == "outcome":
        node.outcomes["dns"] = OUTCOMES[number % len(OUTCOMES)]
    elif kind == "hangs":
        node.hangs.add("dns")
    elif kind == "killed" and node.engine is not None:
        node.kill()
    elif kind == "reload" and node.engine is not None:
        node.outcomes["dns/wrong"] = ends.BAD_STATUS
        node.offer(bad()[number % 3], force=True)
    elif kind == "starts" and node.engine is None:
        node.start(good())
    elif kind == "heals":
        node.outcomes.clear()
        node.hangs.clear()


@settings(max_examples=examples(40))
@given(st.lists(ALARM, max_size=12))
def test_no_story_of_false_alarms_takes_the_service_off_the_air(story: list[tuple[str, bool, int, float]]) -> None:
    """Failing checks, agents that die or start again, bad configurations: at one node, or at all of them at once."""
    site = Site([World(), World(), World()])
    for node in site.nodes:
        node.start(good())
        node.until(lambda w: len(w.router) == 8, 10)
    for kind, everywhere, number, pause in story:
        for node in site.nodes if everywhere else site.nodes[number % 3 :][:1]:
            strike(node, kind, number)
        while pause >= 0.0:
            site.run(min(pause, 0.5) or 0.001)
            for prefix in (V4, V6):
                assert site.served(prefix), f"{prefix} is off the air after {kind}"
            pause = pause - 0.5


def test_without_a_last_resort_the_same_alarm_takes_it_off_the_air() -> None:
    """What the promise is about, and that this test would see it."""
    site = Site([World(), World()])
    for node in site.nodes:
        node.start(config(service("dns")))
        node.until(lambda w: len(w.router) == 4, 10)
        node.outcomes["dns"] = ends.REFUSED
    site.run(10.0)
    assert not site.served(V4)


# --- 2. the whole agent ---------------------------------------------------------------------------------------

REAL_COVER4, REAL_COVER6 = "192.0.2.80/31", "2001:db8:80::80/127"


def covered(folder: Path, **changes: Any) -> dict[str, Any]:
    values = configuration(folder, **changes)
    values["services"]["web"]["last_resort"] = True
    values["services"]["web"]["tiers"] = {"last_resort": {"communities": ["65000:9"]}}
    return values


def blackholes(s: Scene) -> set[tuple[str, str]]:
    """(prefix, protocol) of the node's blackhole routes."""
    found = set()
    for family in ("-4", "-6"):
        words = ["ip", "-n", s.namespace, family, "-j", "route", "show", "type", "blackhole"]
        text = subprocess.run(words, capture_output=True, check=True).stdout
        found |= {(r["dst"], r["protocol"]) for r in json.loads(text or b"[]")}
    return found


OURS = {(REAL_COVER4, "172"), (REAL_COVER6, "172")}
ALL, ONLY_COVERS = (REAL_V4, REAL_V6, REAL_COVER4, REAL_COVER6), (REAL_COVER4, REAL_COVER6)


@needs_root
def test_a_service_that_fails_keeps_its_last_resort_until_the_stop(tmp_path: Path) -> None:
    """Announced with its community, kept while the checks fail, blackholed on the node; all of it gone at the end."""

    async def story(s: Scene) -> None:
        await s.peer.has(*ALL, deadline=30)
        assert "65000:9" in str(s.peer.table[REAL_COVER4])
        assert "65000:9" not in str(s.peer.table[REAL_V4])
        assert blackholes(s) == OURS
        await s.service.become("gone")
        await s.peer.has(*ONLY_COVERS)
        subprocess.run(["ip", "-n", s.namespace, "route", "del", "blackhole", REAL_COVER4], check=True)
        await s.agent.until(lambda status: blackholes(s) == OURS)
        await s.peer.has(*ONLY_COVERS)
        s.agent.kill(signal.SIGTERM)
        assert await s.agent.ends() == 0
        await s.peer.has()
        assert blackholes(s) == set()
        assert REAL_V4.partition("/")[0] not in addresses_of(s)

    play(tmp_path, story, covered(tmp_path))


@needs_root
def test_an_agent_that_hangs_or_dies_leaves_its_last_resort(tmp_path: Path) -> None:
    """The prefixes go within the dead-man's time, the last resort stays; the next agent finds all that is its own."""

    async def story(s: Scene) -> None:
        await s.peer.has(*ALL, deadline=30)
        s.agent.kill(signal.SIGSTOP)
        await s.peer.has(*ONLY_COVERS, deadline=DEAD_MAN + 1 + SLACK)
        s.agent.kill(signal.SIGKILL)
        await s.peer.until(lambda p: p.established, 5)
        assert set(s.peer.table) == set(ONLY_COVERS)
        assert blackholes(s) == OURS
        updates = len(s.peer.updates)
        s.agent.start()
        await s.peer.has(*ALL, deadline=30)
        withdrawn = [w for u in s.peer.updates[updates:] for w in u.withdrawn]
        assert withdrawn == []
        values = covered(tmp_path)
        del values["services"]["web"]["last_resort"], values["services"]["web"]["tiers"]
        s.agent.kill(signal.SIGKILL)
        s.agent.write(values)
        s.agent.start()
        await s.peer.has(REAL_V4, REAL_V6, deadline=30)
        await s.agent.until(lambda status: blackholes(s) == set())
        assert prefix_in(await s.agent.status(), REAL_V4)["state"] == "announced"

    play(tmp_path, story, covered(tmp_path))
