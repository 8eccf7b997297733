"""The lazy heap of timers against the simplest thing that is right: a dictionary and a scan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.timers import Timers

KEYS = st.integers(0, 5)
AT = st.integers(0, 20).map(float)
STEP = st.one_of(
    st.tuples(st.just("set"), KEYS, AT), st.tuples(st.just("cancel"), KEYS, AT), st.tuples(st.just("due"), KEYS, AT)
)


@given(st.lists(STEP, max_size=300))
def test_timers_are_as_a_dictionary_that_is_scanned(steps: list[tuple[str, int, float]]) -> None:
    """Set, moved, cancelled, fired: the same deadline, and the same keys due, in the order of their instants."""
    timers, model = Timers(), dict[int, float]()
    for what, key, at in steps:
        if what == "set":
            timers.set(key, at)
            model[key] = at
        elif what == "cancel":
            timers.cancel(key)
            model.pop(key, None)
        else:
            due = list(timers.due(at))
            expected = {k: t for k, t in model.items() if t <= at}
            assert sorted(due) == sorted(expected)
            assert [expected[k] for k in due] == sorted(expected.values())
            model = {k: t for k, t in model.items() if t > at}
        assert timers.deadline() == min(model.values(), default=None)
        assert [timers.get(k) for k in range(6)] == [model.get(k) for k in range(6)]


def test_a_timer_that_is_moved_for_ever_does_not_grow_the_heap() -> None:
    """Dead entries are cleared away long before their own instant."""
    timers = Timers()
    for number in range(10_000):
        timers.set("stale", 1000.0 + number)
    assert len(timers._heap) < 200
    assert timers.deadline() == 1000.0 + 9_999


def test_a_timer_that_is_set_again_while_it_fires_is_due_at_the_next_turn() -> None:
    """The turn takes what is due when it begins, so that one that sets itself to now cannot hold it up."""
    timers = Timers()
    timers.set("a", 1.0)
    fired = list(timers.due(1.0))
    timers.set("a", 1.0)
    assert fired == ["a"]
    assert timers.deadline() == 1.0
