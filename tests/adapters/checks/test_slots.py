"""Slots: what one service uses up, the others do not miss."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_agent.checks.slots import Slots


@pytest.mark.parametrize(("shared", "greedy", "each"), [(32, 1, 17), (32, 2, 12), (32, 3, 9), (4, 1, 3), (0, 5, 1)])
def test_a_greedy_service_leaves_others_what_they_need(shared: int, greedy: int, each: int) -> None:
    """One gets half of the shared slots, two a third each …; and whoever has none always gets one."""
    slots = Slots(shared)
    for _ in range(100):
        for name in range(greedy):
            slots.try_take(f"greedy{name}")
    assert {slots.held(f"greedy{name}") for name in range(greedy)} <= {each, each + 1}
    assert all(slots.try_take(f"other{n}") for n in range(500))


@given(st.integers(0, 6), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_what_was_given_back_is_there_again(shared: int, story: list[tuple[str, bool]]) -> None:
    """However slots are taken and given back: never more than there are, and all of them at the end."""
    slots, held = Slots(shared), dict.fromkeys("abc", 0)
    for service, take in story:
        if take:
            held[service] += slots.try_take(service)
        elif held[service]:
            slots.give_back(service)
            held[service] -= 1
        assert slots.total == sum(held.values()) <= shared + sum(count > 0 for count in held.values())
        assert all(slots.held(name) == count for name, count in held.items())
    for service, count in held.items():
        for _ in range(count):
            slots.give_back(service)
    taken = 0
    while slots.try_take("a"):
        taken += 1
    assert taken == 1 + (shared + 1) // 2


async def test_who_waits_is_served_in_order_and_one_service_does_not_hold_up_another() -> None:
    """A slot that comes free goes to who may have it; within a service, to who came first."""
    slots, order = Slots(0), list[str]()
    release = asyncio.Event()

    async def hold(service: str, name: str) -> None:
        async with slots.one(service):
            order.append(name)
            await release.wait()

    async def work(service: str, name: str) -> None:
        async with slots.one(service):
            order.append(name)
            await asyncio.sleep(0)

    held = asyncio.create_task(hold("a", "a0"))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(work("a", f"a{n}")) for n in (1, 2, 3)]
    await asyncio.sleep(0)
    await asyncio.gather(*(work("b", f"b{n}") for n in range(3)))
    assert order == ["a0", "b0", "b1", "b2"]
    release.set()
    await asyncio.gather(held, *waiting)
    assert order[4:] == ["a1", "a2", "a3"]
    assert slots.total == 0


@pytest.mark.parametrize("turns", range(4))
async def test_who_leaves_takes_no_slot_with_him(turns: int) -> None:
    """Cancelled before, in the moment in which, and after the slot is given."""
    slots = Slots(0)
    assert slots.try_take("a")

    async def work() -> None:
        async with slots.one("a"):
            await asyncio.sleep(0)

    leaving, staying = asyncio.create_task(work()), asyncio.create_task(work())
    await asyncio.sleep(0)
    slots.give_back("a")
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, 5)
    assert slots.total == 0


async def test_all_who_wait_may_leave_in_the_moment_in_which_a_slot_comes_free() -> None:
    """As at a timeout that all of them share with who holds the slots."""
    slots = Slots(1)

    async def work() -> None:
        async with slots.one("a"):
            await asyncio.sleep(60)

    tasks = [asyncio.create_task(work()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    assert slots.total == 0
    assert slots.try_take("a")
