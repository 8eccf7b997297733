"""Regular expressions over what a service has said: matched apart, and without harm to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os

import pytest

from anycast_agent.checks import spawner
from anycast_agent.checks.matching import MAX_MATCHERS, Matcher
from anycast_agent.checks.waiting import waited_for

EVIL, FOREVER = "(a+)+b", b"a" * 60


def children() -> set[int]:
    return set(spawner.children_of(os.getpid()))


async def test_patterns_of_one_service_take_no_process_that_another_needs() -> None:
    """Twenty of one service that never end; another's are matched meanwhile. Those that wait say for whom."""
    matcher, before = Matcher(), children()

    async def ask() -> str:
        try:
            await matcher.found(EVIL, FOREVER, "bad", as_text=False)
        except asyncio.CancelledError:
            return waited_for()
        raise AssertionError("it was found out")

    tasks = [asyncio.create_task(ask()) for _ in range(20)]
    try:
        await asyncio.sleep(0)
        for _ in range(10):
            async with asyncio.timeout(20):
                assert await matcher.found("^o+k$", b"ok", "good", as_text=True)
    finally:
        for task in tasks:
            task.cancel()
        said = set(await asyncio.gather(*tasks, return_exceptions=True))
        await matcher.close()
    assert said == {
        "the pattern takes too long to match",
        "3 answers of this service take too long to look through already",
    }
    assert children() == before


async def test_processes_that_nobody_needs_are_ended() -> None:
    """However many services needed one at once."""
    matcher, before = Matcher(), children()
    try:
        async with asyncio.timeout(60):
            found = await asyncio.gather(*(matcher.found("^o+k$", b"ok", f"s{n}", as_text=True) for n in range(20)))
            assert all(found)
            while len(children() - before) > MAX_MATCHERS:
                with contextlib.suppress(ChildProcessError):
                    await matcher.found("^o+k$", b"ok", "s", as_text=True)
    finally:
        await matcher.close()
    assert children() == before


@pytest.mark.parametrize(
    ("pattern", "said", "found"), [("^a+$", b"aaa", True), ("^a+$", b"b", False), ("b", b"ab", True)]
)
async def test_a_pattern_is_found_or_not(pattern: str, said: bytes, found: bool) -> None:
    """In text and in bytes alike."""
    matcher = Matcher()
    try:
        for as_text in (True, False):
            assert await matcher.found(pattern, said, "s", as_text=as_text) is found
    finally:
        await matcher.close()


async def test_large_json_is_read_apart() -> None:
    """Nine megabytes: the loop goes round meanwhile; what is at the pointer is what a small text would say."""
    matcher = Matcher()
    said = json.dumps({"rows": [{"n": n, "text": "x" * 60} for n in range(100_000)], "up": True}).encode()
    assert len(said) > 8_000_000
    try:
        for pointer, found in [
            ("/up", {"value": True}),
            ("/rows/99999/n", {"value": 99999}),
            ("/rows/100000", {"nothing": True}),
        ]:
            rounds, asked = 0, asyncio.create_task(matcher.json_at(pointer, said, "s"))
            while not asked.done():
                rounds += 1
                await asyncio.sleep(0.001)
            assert await asked == found
            assert rounds > 10
        large = await matcher.json_at("/rows", said, "s")
        assert large["large"].startswith('[{"n": 0')
        assert "error" in await matcher.json_at("/rows", said[:-1], "s")
        assert "error" in await matcher.json_at("/a", b"[" * 200_000, "s")
    finally:
        await matcher.close()
