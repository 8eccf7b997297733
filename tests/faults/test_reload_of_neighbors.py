"""A reload that touches one neighbor, with local addresses left to the kernel: the others go on, withdrawals first.

ExaBGP makes new neighbor objects at a reload, and they know no local address. Both ways of starting the speaker.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent import HTTP_PORT, V4, V6, Agent, Service, configuration, external_speaker
from tests.support.bgp import BgpPeer
from tests.support.netns import namespaces, needs_root, run_inside

pytestmark = [needs_root, pytest.mark.root, pytest.mark.timeout(120)]

TWO: dict[str, Any] = {
    "four": {"address": "127.0.0.2", "remote_as": 65011},
    "six": {"address": "::1", "remote_as": 65012},
}
THIRD: dict[str, Any] = {"address": "127.0.0.3", "remote_as": 65013}
RELOADS = {
    "added": (TWO, {**TWO, "third": THIRD}),
    "removed": ({**TWO, "third": THIRD}, TWO),
    "changed": ({**TWO, "third": THIRD}, {**TWO, "third": {**THIRD, "hold_time": 12}}),
}


def _values(folder: Path, neighbors: dict[str, Any]) -> dict[str, Any]:
    check = {"type": "http", "port": HTTP_PORT, "interval": "200ms", "rise": 2}
    checks = {"hold_down": {"initial": "100ms"}, "linger": "200ms", "checks": {"page": check}}
    services = {
        "four": {"prefixes": [V4], "neighbors": ["four"], **checks},
        "six": {"prefixes": [V6], "neighbors": ["six"], **checks},
    }
    return configuration(folder, neighbors=neighbors, services=services)


def _play(folder: Path, reload: str, external: bool, fault: str) -> None:
    before, after = RELOADS[reload]

    async def story() -> None:
        agent, service = Agent(folder), Service()
        agent.write(_values(folder, before))
        await service.start()
        async with (
            BgpPeer("127.0.0.2", 179, 65011) as four,
            BgpPeer("::1", 179, 65012) as six,
            external_speaker(agent) if external else contextlib.nullcontext(),
        ):
            agent.start()
            try:
                await four.has(V4, deadline=30)
                await six.has(V6, deadline=30)
                agent.write(_values(folder, after))
                answer = await agent.ask(verb="reload")
                assert answer["ok"], answer
                if fault == "service":
                    await service.become("gone")
                else:
                    agent.kill(signal.SIGTERM if fault == "stop" else signal.SIGKILL)
                await four.has(deadline=10)
                await six.has(deadline=10)
                assert not external or (four.closed_at, six.closed_at) == ([], []), "withdrawn, not lost"
                if fault == "service":
                    await service.become("well")
                    await four.has(V4, deadline=10)
                    await six.has(V6, deadline=10)
            except BaseException:
                print(agent.log()[-4000:])
                raise
            finally:
                await agent.close()
                await service.close()

    with namespaces("node") as (namespace,):
        run_inside(namespace, story, 100)


@pytest.mark.parametrize("external", [False, True], ids=["child", "external"])
@pytest.mark.parametrize("reload", RELOADS)
def test_a_service_that_dies_after_a_reload_is_withdrawn_and_comes_back(
    tmp_path: Path, reload: str, external: bool
) -> None:
    """At the neighbors that did not change, in both families."""
    _play(tmp_path, reload, external, "service")


@pytest.mark.parametrize("fault", ["stop", "kill"])
def test_a_stop_and_the_dead_mans_switch_withdraw_after_a_reload(tmp_path: Path, fault: str) -> None:
    """With a speaker of its own, which lives on: the sessions stand, and the routes are gone."""
    _play(tmp_path, "added", True, fault)
