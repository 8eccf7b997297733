"""Requests of people: read from JSON, handled by one part each, and answered exactly once."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from anycast_agent.core import actions as act
from anycast_agent.core import events as ev
from anycast_agent.core.life import Life
from anycast_agent.core.parts.configuration import MAX_LATER, READ_WITHIN
from anycast_agent.core.parts.life import FILES_DUE
from anycast_agent.core.requests import MAX_EXTEND, REQUESTS, Asker, HandOver, RefusedError, Reload, Request
from anycast_agent.speaker.pipe import requests as pipe
from tests.support.world import LEAF1, V4, V6, World, config, service


def test_what_json_asks_for() -> None:
    assert REQUESTS["reload"]({}) == Reload()
    assert REQUESTS["reload"]({"force": True}) == Reload(force=True)
    assert REQUESTS["handover"]({}) == HandOver()
    assert REQUESTS["handover"]({"for": 300}) == HandOver(300.0)
    for value in (-1, float("nan"), float("inf"), "5m", True, [1]):
        with pytest.raises(ValueError, match="not a time in seconds"):
            REQUESTS["handover"]({"for": value})
    with pytest.raises(RefusedError, match="3600 s at the most"):
        REQUESTS["handover"]({"for": MAX_EXTEND + 1})


def test_the_pipe_has_the_same_bound() -> None:
    assert MAX_EXTEND == pipe.MAX_EXTEND


def test_each_request_has_a_name_and_one_part_that_handles_it() -> None:
    world = World()
    world.start(config())
    assert world.engine is not None
    bound = [b.kind for part in world.engine.parts for b in part.handlers()]
    for kind in get_args(Request):
        assert bound.count(kind) == 1, f"{kind.__name__} is not handled by exactly one part"
    assert {get_type_hints(read)["return"] for read in REQUESTS.values()} == set(get_args(Request))


def running() -> World:
    world = World(on_disk=config())
    world.start(config())
    world.until(lambda w: len(w.router) == 4, 5)
    return world


def ask(world: World, request: Request, ticket: int | None = 1, who: str = "root") -> None:
    world.post(ev.Asked(request, Asker(who, ticket)))


def replies(world: World) -> list[tuple[int, bool, str]]:
    return [(a.request, a.ok, a.lines[0]) for _, a in world.actions if isinstance(a, act.Reply)]


def reads(world: World) -> list[act.ReadConfig]:
    return [a for _, a in world.actions if isinstance(a, act.ReadConfig)]


def test_a_reload_reads_the_files_and_says_what_became_of_it() -> None:
    world = running()
    ask(world, Reload())
    world.run(1)
    assert replies(world) == [(1, True, "reloaded")]
    world.on_disk = config(service(prefixes=(V4,), neighbors=(LEAF1,)), neighbors=(LEAF1,))
    ask(world, Reload(), 2)
    world.run(1)
    assert replies(world)[-1][:2] == (2, False)
    assert "use --force if that is meant" in replies(world)[-1][2]
    ask(world, Reload(force=True), 3)
    world.run(3)
    assert replies(world)[-1] == (3, True, "reloaded")
    assert world.announced(V6) == set()


def test_broken_files_change_nothing() -> None:
    world = running()
    world.broken_files = ("agent.yaml:1:1: not YAML",)
    ask(world, Reload())
    world.run(1)
    assert replies(world) == [(1, False, "agent.yaml:1:1: not YAML")]
    assert len(world.router) == 4


def test_reloads_go_one_after_the_other_and_each_is_answered() -> None:
    """Of those that nobody waits for, one that waits is enough: it reads the files as they are then."""
    world = running()
    for ticket in range(1, MAX_LATER + 4):
        ask(world, Reload(), ticket)
    for _ in range(5):
        ask(world, Reload(), None, "SIGHUP")
    assert len(reads(world)) == 1
    world.run(5)
    answered = replies(world)
    assert sorted(t for t, _, _ in answered) == list(range(1, MAX_LATER + 4))
    assert [line for _, ok, line in answered if not ok] == ["too many reloads wait already"] * 2
    assert len(reads(world)) == 1 + MAX_LATER


def test_signals_in_a_row_are_two_reloads_at_most() -> None:
    world = running()
    for _ in range(9):
        ask(world, Reload(), None, "SIGHUP")
    world.run(5)
    assert len(reads(world)) == 2


def test_a_disk_that_does_not_answer_blocks_no_later_reload() -> None:
    world = running()
    read, world._read_config = world._read_config, lambda action: None  # type: ignore[method-assign]
    ask(world, Reload())
    world.run(1)
    world._read_config = read  # type: ignore[method-assign]
    ask(world, Reload(), 2)
    world.run(READ_WITHIN - 2)
    assert replies(world) == []
    world.run(5)
    assert replies(world) == [(2, True, "reloaded")]


def test_reloads_that_wait_are_answered_when_the_agent_ends() -> None:
    world = running()
    ask(world, Reload(), 1)
    ask(world, Reload(), 2)
    world.post(ev.StopAsked("SIGTERM"))
    assert (2, False, "the agent is ending") in replies(world)


def test_a_person_is_refused_a_hand_over_to_broken_files() -> None:
    world = running()
    world.broken_files, world.files_kept = ("agent.yaml:1:1: not YAML",), True
    ask(world, HandOver(60.0))
    world.run(1)
    assert replies(world) == [(1, False, "nothing was done: the next agent could not start from the files")]
    assert world.exit is None
    assert world.engine is not None
    assert world.engine.parts.life.state is Life.RUNNING
    world.broken_files = ()
    ask(world, HandOver(60.0), 2)
    world.run(1)
    assert replies(world)[-1] == (
        2, True, "handing over: start the next agent within 60 s, or the routes are withdrawn"
    )  # fmt: skip
    assert world.exit == act.Exit(0, "handed over", hand_over=True, asked=True)


@pytest.mark.parametrize("kept", [True, False])
def test_a_signal_hands_over_to_broken_files_only_with_a_record(kept: bool) -> None:
    """systemd starts the next agent in any case; without a record it could not start."""
    world = running()
    world.broken_files, world.files_kept = ("agent.yaml:1:1: not YAML",), kept
    ask(world, HandOver(), None, "SIGUSR2")
    world.run(1)
    assert (world.exit is not None) is kept
    if not kept:
        assert world.engine is not None
        warnings = world.engine.snapshot(world.now).warnings
        assert "not handed over" in warnings["hand-over"]


def test_files_that_cannot_be_read_in_time_are_no_reason_to_wait_for_ever() -> None:
    world = running()
    world.post_later = lambda event, delay=0.0: None  # type: ignore[method-assign]
    ask(world, HandOver(60.0))
    world.run(FILES_DUE + 1)
    assert replies(world)[-1][:2] == (1, False)


def test_a_second_hand_over_is_refused() -> None:
    world = running()
    ask(world, HandOver(60.0), 1)
    ask(world, HandOver(60.0), 2)
    world.run(1)
    assert [(t, ok) for t, ok, _ in replies(world)] == [(2, False), (1, True)]
