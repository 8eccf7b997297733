"""The engine takes any event in any order, with ids and names of nothing: it never raises, and it always gets on."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.core import events as ev
from anycast_agent.core.actions import Exit, RunProbe
from anycast_agent.core.engine import Engine
from anycast_agent.core.life import Life
from anycast_agent.core.requests import Request
from tests.conftest import examples
from tests.support.any_events import (
    EVENTS,
    RARE,
)
from tests.support.faults import configs

MAX_ACTIONS = 40
"""In one turn, for the few services of these configurations: probes, addresses, routes, and one of each other kind."""


def test_every_event_has_a_handler_and_is_among_those_drawn_here() -> None:
    """A new kind of event cannot be forgotten: neither by the engine nor by this file."""
    kinds = set(ev.Event.__args__)
    handled = kinds - {ev.Asked} | set(get_args(Request))  # a request is handed to those that are bound to its own kind
    assert handled <= Engine(0.0).board.kinds
    drawn = {type(_an_example(kind)) for kind in EVENTS.original_strategies}
    assert drawn == kinds


def _an_example(strategy: st.SearchStrategy[ev.Event]) -> ev.Event:
    found: list[ev.Event] = []

    @settings(max_examples=1, database=None)
    @given(strategy)
    def draw(event: ev.Event) -> None:
        found.append(event)

    draw()
    return found[0]


@settings(max_examples=examples(400))
@given(st.lists(st.tuples(EVENTS, st.sampled_from((0.0, 0.01, 0.5, 3.0, 20.0))), max_size=60), st.booleans())
def test_any_event_in_any_order_is_survived(story: list[tuple[ev.Event, float]], owns_speaker: bool) -> None:
    """No exception, a bounded number of actions a turn, a snapshot at any time, and no turn that is due for ever."""
    now, ends = 100.0, 0
    engine = Engine(now, owns_speaker=owns_speaker)
    engine.handle(ev.ConfigOffered(configs()[0]), now)
    for event, pause in story:
        if isinstance(event, RARE):
            ends += 1
            if ends < 3:
                continue
        engine.handle(event, now)
        _settle(engine, now)
        engine.snapshot(now)
        now += pause
    for _ in range(50):
        deadline = engine.deadline()
        if deadline is None:
            break
        assert deadline > now or _gets_on(engine, now)
        now = max(now, deadline)
        _settle(engine, now)


def _settle(engine: Engine, now: float) -> None:
    output = engine.settle(now)
    assert len(output.actions) <= MAX_ACTIONS
    ids = [a.id for a in output.actions if hasattr(a, "id")]
    assert len(ids) == len(set(ids))
    keys = [a.key for a in output.actions if isinstance(a, RunProbe)]
    assert len(keys) == len(set(keys)), "one probe a check"
    if any(isinstance(a, Exit) for a in output.actions):
        assert engine.parts.life.state is Life.ENDED
        assert isinstance(output.actions[-1], Exit), "after the exit, nothing"


def _gets_on(engine: Engine, now: float) -> bool:
    """Whether turns at one instant come to an end."""
    for _ in range(3):
        engine.settle(now)
        deadline = engine.deadline()
        if deadline is None or deadline > now:
            return True
    return False
