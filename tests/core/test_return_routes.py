"""The return routes: what of the kernel's word is news."""

from __future__ import annotations

from anycast_agent.core import events as ev
from anycast_agent.core.model import ReturnRoute, prefix_of
from anycast_agent.core.parts.return_routes import ReturnRoutes
from tests.support.parts import PartBench

A, B = "192.0.2.53", "192.0.2.80"
GOOD, BAD = ReturnRoute(usable=True, evidence="via 198.51.100.0"), ReturnRoute(usable=False, evidence="no route")


def test_only_the_prefix_whose_return_route_changed_is_touched() -> None:
    """The kernel tells all of them at each change: two thousand prefixes are not decided anew for one."""
    bench = PartBench()
    bench.install(ReturnRoutes(bench.board))
    bench.post(ev.ReturnRoutesSeen({A: GOOD, B: GOOD}))
    assert bench.board.take_touched().prefixes == {prefix_of(A), prefix_of(B)}
    bench.post(ev.ReturnRoutesSeen({A: GOOD, B: GOOD}))
    assert not bench.board.is_touched
    bench.post(ev.ReturnRoutesSeen({A: GOOD, B: BAD}))
    assert bench.board.take_touched().prefixes == {prefix_of(B)}
    bench.post(ev.ReturnRoutesSeen({A: GOOD}))
    assert bench.board.take_touched().prefixes == {prefix_of(B)}
