"""The echoes: which of our routes a router has shown back, for as long as that is known."""

from __future__ import annotations

import pytest

from anycast_agent.core import events as ev
from anycast_agent.core.model import RouteKey, SessionState
from anycast_agent.core.news import ConfigApplied, SessionMoved, SpeakerGone
from anycast_agent.core.parts.echoes import MAX_PATHS, Echoes
from tests.support.parts import PartBench
from tests.support.world import LEAF1, LEAF2, V4, V6, config, service

AS = config().neighbors[LEAF1].local_as
KEY, OTHER = RouteKey(LEAF1, V4), RouteKey(LEAF2, V4)


class Bench(PartBench):
    def __init__(self) -> None:
        super().__init__()
        self.echoes = Echoes(self.board)
        self.install(self.echoes)
        self.post(ConfigApplied(config(), None))

    def see(self, key: RouteKey, path: str = "0.0.0.1", *, by: int = AS) -> None:
        self.post(ev.PathSeen(key.neighbor, key.prefix, path, (65101, by), ()))

    def shown(self, *keys: RouteKey) -> list[bool]:
        return [bool(self.echoes.of(key).paths) for key in keys]


def test_an_echo_is_a_path_that_our_own_as_originates_for_a_prefix_of_ours() -> None:
    """Whatever else routers and pipes say is not kept, and what is kept is bounded."""
    bench = Bench()
    bench.see(KEY, by=65999)
    bench.see(RouteKey(LEAF1, "203.0.113.1/32"))
    bench.see(RouteKey("nobody", V4))
    assert bench.echoes.states == {}
    for n in range(2 * MAX_PATHS):
        bench.see(KEY, f"path {n}")
    assert len(bench.echoes.of(KEY).paths) == MAX_PATHS
    bench.post(ev.PathGone(LEAF1, V4, "path 0"), ev.PathGone(LEAF1, V4, "never seen"), ev.PathGone(LEAF2, V6, "x"))
    assert len(bench.echoes.of(KEY).paths) == MAX_PATHS - 1


@pytest.mark.parametrize(
    ("news", "left"),
    [
        (SpeakerGone("broke"), [False, False]),
        (SessionMoved(LEAF1, SessionState.DOWN), [False, True]),
        (SessionMoved(LEAF1, SessionState.UNKNOWN), [False, True]),
        (SessionMoved(LEAF1, SessionState.UP), [True, True]),
    ],
)
def test_an_echo_goes_with_the_session_that_showed_it(news: object, left: list[bool]) -> None:
    """When it was last seen stays."""
    bench = Bench()
    bench.see(KEY)
    bench.see(OTHER)
    seen = bench.now
    bench.now += 5.0
    bench.post(news)
    assert bench.shown(KEY, OTHER) == left
    assert bench.echoes.of(KEY).at == seen


def test_what_is_no_longer_configured_has_no_echo() -> None:
    """A prefix or a neighbor that went leaves nothing behind, however many reloads there are."""
    bench = Bench()
    for key in (KEY, OTHER, RouteKey(LEAF1, V6)):
        bench.see(key)
    bench.post(ConfigApplied(config(service("dns", (V4,)), neighbors=(LEAF1,)), None))
    assert set(bench.echoes.states) == {KEY}
