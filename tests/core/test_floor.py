"""What the parts stand on: the board, bindings, back-off, observed values, open actions."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.core.actions import ExtendDeadMan, Heartbeat, RestartSpeaker
from anycast_agent.core.backoff import NEVER, Backoff
from anycast_agent.core.board import Board, Standing
from anycast_agent.core.changes import Told
from anycast_agent.core.events import StopAsked
from anycast_agent.core.life import Life
from anycast_agent.core.observed import Known, Observed, Unknown, doubt, last, observe
from anycast_agent.core.opened import OpenActions, Overdue
from anycast_agent.core.part import on
from anycast_agent.core.timers import Timers

STANDING = Standing(Life.RUNNING, True, (), ())

BINDINGS = """
from anycast_agent.core import events as ev
from anycast_agent.core.part import asked, on
from anycast_agent.core.requests import Asker, HandOver, Reload

def session(event: ev.SessionChanged, now: float) -> None: ...
def address(event: ev.AddressesAdded | ev.AddressesRemoved, now: float) -> None: ...

on(ev.SessionChanged, session)
on(ev.AddressesAdded, address)
on(ev.StopAsked, session)
on(ev.LinkSeen, address)

def reload(request: Reload, by: Asker, now: float) -> None: ...

asked(Reload, reload)
asked(HandOver, reload)
"""


def test_a_handler_that_is_bound_to_the_wrong_event_does_not_pass_mypy(tmp_path: Path) -> None:
    """mypy names the lines of the wrong bindings, and no more: of events, and of requests."""
    file = tmp_path / "bindings.py"
    file.write_text(BINDINGS)
    words = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path), str(file)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    wrong = [int(line.split(":")[1]) for line in said if "bindings.py" in line and "error" in line]
    assert wrong == [11, 12, 17], said


@dataclass(frozen=True)
class Rang:
    """A timer key."""

    number: int


def test_every_handler_of_a_kind_is_called_in_the_order_in_which_it_was_bound() -> None:
    """And none of another kind; what nobody takes is nobody's."""
    board, heard = Board(), list[str]()
    board.bind([on(Rang, lambda e, now: heard.append(f"a{e.number}@{now:g}"))])
    board.bind([on(StopAsked, lambda e, now: heard.append(e.why)), on(Rang, lambda e, now: heard.append("b"))])
    board.post(Rang(1), 5.0)
    board.post(Heartbeat(), 5.0)
    assert heard == ["a1@5", "b"]
    assert board.kinds == {Rang, StopAsked}


def test_what_is_touched_is_looked_at_once_and_also_shown() -> None:
    """A handler has no second thing to remember."""
    board = Board()
    board.touch("p", "q")
    board.touch("p")
    touched = board.take_touched()
    assert (touched.prefixes, touched.everything) == (frozenset({"p", "q"}), False)
    assert not board.take_touched()
    assert board.take_shown({"p": "dns", "q": "web"}) == {"dns", "web"}
    assert board.take_shown({"p": "dns", "q": "web"}) == frozenset()


def test_what_is_only_shown_is_not_looked_at() -> None:
    """Nothing is decided by it."""
    board = Board()
    board.show("p", "of nobody")
    assert not board.is_touched
    assert board.take_shown({"p": "dns"}) == {"dns"}


def test_where_everything_is_touched_every_service_is_shown() -> None:
    """None stands for all of them."""
    board = Board()
    board.touch_all()
    assert board.take_touched().everything
    assert board.take_shown({"p": "dns"}) is None
    assert board.take_shown({"p": "dns"}) == frozenset()


def test_the_output_of_a_turn_is_taken_once() -> None:
    """Actions and changes in the order in which they came."""
    board = Board()
    board.act(Heartbeat())
    board.tell(Told("a", "b"))
    output = board.take_output(STANDING)
    assert (output.actions, output.changes, output.standing) == ((Heartbeat(),), (Told("a", "b"),), STANDING)
    assert board.take_output(STANDING).actions == ()


def test_a_back_off_doubles_up_to_its_bound_and_starts_anew() -> None:
    """Before any failure nothing waits."""
    backoff = Backoff(0.5, 3.0)
    assert backoff.until() == NEVER
    waits = []
    for now in (10.0, 20.0, 30.0, 40.0, 50.0):
        backoff.failed(now)
        waits.append(backoff.until() - now)
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert backoff.until(0.5) == 50.5
    backoff.reset()
    assert backoff.until() == NEVER
    backoff.failed(60.0)
    assert backoff.until() == 60.5


@given(st.lists(st.tuples(st.sampled_from(("observe", "doubt")), st.integers(0, 2))))
def test_only_an_observation_makes_a_value_known(story: list[tuple[str, int]]) -> None:
    """And the last one that was known is kept while it is not; its instant moves only with the value."""
    value: Observed[int] = Unknown(0.0, -1)
    latest = -1
    for now, (what, number) in enumerate(story, 1):
        before = value
        if what == "observe":
            value, latest = observe(value, number, float(now)), number
            same = isinstance(before, Known) and before.value == number
            assert value.at == (before.at if same else now)
        else:
            value = doubt(value, float(now))
            assert value.since == (before.since if isinstance(before, Unknown) else now)
        assert isinstance(value, Known) is (what == "observe")
        assert last(value) == latest


class Opened:
    """Two kinds of actions, and who gave up what."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.opened = OpenActions(self.timers)
        self.given_up: list[tuple[int, float]] = []

    def begin(self, due: float) -> ExtendDeadMan:
        action = ExtendDeadMan(self.opened.new_id(), 1.0)
        return self.opened.begin(action, due, lambda a, now: self.given_up.append((a.id, now)))


def test_an_action_ends_once_and_only_as_what_it_is() -> None:
    """An event that names another kind of action, or one that has ended, is about nothing."""
    bench = Opened()
    action = bench.begin(10.0)
    assert bench.opened.end(action.id, RestartSpeaker) is None
    assert bench.opened.end(action.id, RestartSpeaker, ExtendDeadMan) is action
    assert bench.opened.end(action.id, ExtendDeadMan) is None
    assert (len(bench.opened), bench.timers.deadline()) == (0, None)


def test_an_action_that_does_not_end_is_given_up_by_the_part_that_began_it() -> None:
    """Once; and its end, should it come later, is about nothing."""
    bench = Opened()
    first, second = bench.begin(10.0), bench.begin(20.0)
    assert list(bench.timers.due(10.0)) == [Overdue(first.id)]
    assert bench.opened.give_up(first.id, 10.0) is first
    assert bench.opened.give_up(first.id, 11.0) is None
    assert bench.given_up == [(first.id, 10.0)]
    assert bench.opened.end(first.id, ExtendDeadMan) is None
    assert bench.opened.overdue_total == 1
    bench.opened.postpone(5.0)
    assert bench.timers.get(Overdue(second.id)) == 25.0
