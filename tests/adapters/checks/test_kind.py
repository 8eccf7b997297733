"""What a kind of check may be, and what becomes of a probe that is at fault itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from anycast_agent.checks.kind import MAX_CODES, Kind, Params, stateless
from anycast_agent.checks.outcomes import OK, Code
from anycast_agent.checks.waiting import waited_for, waiting
from anycast_agent.core.outcome import Evidence, Measure


class NoParams(Params):
    """None."""


async def well(params: NoParams, target: Any) -> Any:
    return OK


def kind(**changes: Any) -> Kind[NoParams]:
    values: dict[str, Any] = {
        "name": "x", "params": NoParams, "own_target": lambda params: True, "outcomes": (), "open": stateless(well)
    }  # fmt: skip
    return Kind(**{**values, **changes})


def code(word: str) -> Code:
    return Code(word, Evidence.DEFINITE, "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Not a word"}, "name"),
        ({"params": dict}, "params"),
        ({"own_target": True}, "functions"),
        ({"open": None}, "functions"),
        ({"outcomes": ("refused",)}, "tuple of Code"),
        ({"outcomes": (code("ok"),)}, "'ok' stands there twice"),
        ({"outcomes": (code("a"), code("a"))}, "'a' stands there twice"),
        ({"outcomes": (code('a"b'),)}, "at most 32 letters"),
        ({"outcomes": (code("a" * 33),)}, "at most 32 letters"),
        ({"outcomes": tuple(code(f"a{n}") for n in range(MAX_CODES))}, f"at most {MAX_CODES}"),
        ({"numbers": ("lag",)}, "tuple of Measure"),
        ({"numbers": (Measure("lag", "s", ""), Measure("lag", "bytes", ""))}, "'lag' stands there twice"),
    ],
)
def test_a_kind_that_is_not_sound_is_refused(changes: dict[str, Any], said: str) -> None:
    """Its words are values of labels: few, short, and each once. What is wrong is said."""
    with pytest.raises((ValueError, TypeError), match=said):
        kind(**changes)


def test_every_kind_has_the_rows_that_all_share() -> None:
    """A probe that is good, late, not made, or broken, whatever else it may be."""
    words = [c.word for c in kind(outcomes=(code("a"),)).codes]
    assert words == ["ok", "timeout", "not_run", "broken", "a"]


async def cancelled_in(inner: Callable[[], Any]) -> str:
    """What a probe waited for when its time was over."""
    try:
        async with asyncio.timeout(0.01):
            await inner()
    except TimeoutError:
        return waited_for()
    raise AssertionError("it has ended")


async def test_what_a_probe_waits_for_is_known_when_its_time_is_over() -> None:
    """The innermost reason; none before, after, or after an error that was caught."""

    async def inside() -> None:
        with waiting("the outer"), waiting("the inner"):
            await asyncio.sleep(60)

    async def after() -> None:
        with waiting("one"):
            pass
        try:
            with waiting("two"):
                raise OSError("it could not be")
        except OSError:
            await asyncio.sleep(60)

    assert await asyncio.create_task(cancelled_in(inside)) == "the inner"
    assert await asyncio.create_task(cancelled_in(after)) == ""
