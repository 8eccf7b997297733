"""Probes of other packages that are at fault: nothing is held against the service, and nobody else suffers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from anycast_agent.checks import table
from anycast_agent.checks.prober import Prober
from anycast_agent.core.actions import CheckKey, RunProbe
from anycast_agent.core.events import ProbeFinished
from anycast_agent.core.model import Check
from anycast_agent.core.outcome import Evidence
from tests.support.packages import install, on_the_path
from tests.support.probes import prober

SOURCE = """
import math
STOP = []
def kind_of(name):
    async def probe(params, target):
        match name:
            case "raises": raise ZeroDivisionError("boo")
            case "exits": raise SystemExit(1)
            case "cancels": raise asyncio.CancelledError
            case "own_timeout": raise TimeoutError("mine")
            case "nothing": return None
            case "foreign": return Finding(BAD_ANSWER)
            case "nan": return Finding(OK_CODE, "", (LAG.of(math.nan),))
            case "number": return Finding(OK_CODE, "", (Measure("x", "", "").of(1.0),))
            case "text": return Finding(OK_CODE, 3)
            case "long": return Finding(OK_CODE, "x\\n\\x1b[31m" * 10000, (LAG.of(1.5),))
            case "deaf":
                while not STOP:
                    try:
                        await asyncio.sleep(60)
                    except asyncio.CancelledError:
                        pass
    return kind("fault_" + name, probe)
def cannot_open(shared): raise OSError("boo")
class Closes:
    def __init__(self, shared): pass
    async def probe(self, params, target): return OK
    async def close(self): raise RuntimeError("boo")
def __getattr__(name):
    if name == "opens": return kind("fault_opens", open=cannot_open)
    if name == "closes": return kind("fault_closes", open=Closes)
    return kind_of(name)
"""
NAMES = ("raises", "exits", "cancels", "own_timeout", "nothing", "foreign", "nan", "number", "text", "long", "deaf",
         "opens", "closes")  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A package that offers them all."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "pkg_at_fault", {f"fault_{name}": name for name in NAMES}, SOURCE)
    with on_the_path(folder):
        yield


def parameters(name: str) -> Any:
    return table.find(f"fault_{name}").params()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", "the probe itself failed: ZeroDivisionError: boo"),
        ("exits", "the probe itself failed: SystemExit: 1"),
        ("cancels", "the probe itself failed: CancelledError"),
        ("own_timeout", "the probe itself failed: TimeoutError: mine"),
        ("nothing", "a probe returns a Finding, not NoneType"),
        ("foreign", "'bad_answer' is not in the table of its kind"),
        ("nan", "is not one of its kind's, or not finite"),
        ("number", "is not one of its kind's, or not finite"),
        ("text", "the probe itself failed"),
        ("opens", "the probe itself failed: OSError: boo"),
    ],
)
async def test_a_probe_at_fault_says_so_and_nothing_of_the_service(name: str, said: str) -> None:
    """The agent goes on, and ends each probe in one event."""
    async with prober() as ask:
        for _ in range(2):
            end: ProbeFinished = await ask(parameters(name), kind=f"fault_{name}")
            assert (end.outcome.evidence, end.outcome.code) == (Evidence.NONE, "broken"), end
            assert said in end.outcome.detail


async def test_what_a_probe_says_is_bounded_and_harms_no_terminal() -> None:
    """However much it says. Its number is handed on."""
    async with prober() as ask:
        end: ProbeFinished = await ask(parameters("long"), kind="fault_long")
        assert (end.outcome.code, len(end.outcome.detail) <= 200, end.outcome.detail.isprintable()) == (
            "ok",
            True,
            True,
        )
        assert [(n.measure.name, n.measure.unit, n.value) for n in end.outcome.numbers] == [("lag", "seconds", 1.5)]


async def test_a_probe_that_does_not_end_is_one_and_not_many() -> None:
    """It is cancelled and goes on: its check is told so and gets no second one, the others are probed, and the end of
    the agent is not held up."""
    ends: list[Any] = []
    running = Prober(ends.append)

    def begin(name: str) -> None:
        check = Check(name, f"fault_{name}", parameters(name), 1.0, 0.05, 0.1)
        running.execute(RunProbe(len(ends), CheckKey("s", name), check))

    begin("deaf")
    tasks = asyncio.all_tasks()
    async with asyncio.timeout(20):
        while len(ends) < 3:
            await asyncio.sleep(0.1)
            begin("deaf")
        begin("long")
        while len(ends) < 4:
            await asyncio.sleep(0.01)
        await running.close()
    assert asyncio.all_tasks() == tasks
    assert [end.outcome.code for end in ends] == ["broken", "broken", "broken", "ok"]
    assert ends[0].outcome.detail == "the last probe of this check was cancelled, and has not ended"
    sys.modules["pkg_at_fault"].STOP.append(True)
    for task in tasks - {asyncio.current_task()}:
        task.cancel()
        await asyncio.wait([task], timeout=10)


async def test_a_kind_that_cannot_be_closed_keeps_no_other_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said."""
    async with prober() as ask:
        assert (await ask(parameters("closes"), kind="fault_closes")).outcome.code == "ok"
    assert "closing the probes of Closes: RuntimeError: boo" in capsys.readouterr().err
