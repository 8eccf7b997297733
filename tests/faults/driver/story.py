"""A story: a way to set the node up, and a list of faults. Played, judged, and made shorter where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.driver.faults import TABLE, alive, lift, reload
from tests.faults.driver.judge import AGREES_WITHIN, WELL_WITHIN, Judge
from tests.faults.driver.stage import Stage, on_stage

PAUSES = (0.0, 0.3, 1.0, 3.0)
"""After a fault. Seconds."""
STORY_WITHIN = 300.0


@dataclass(frozen=True)
class Step:
    fault: str
    n: int
    pause: int


@dataclass(frozen=True)
class Story:
    steps: tuple[Step, ...]
    external: bool = False
    """ExaBGP is a service of its own."""
    local_addresses: bool = False
    """``local_address`` is written for each neighbor."""

    def __str__(self) -> str:
        """As ``--story`` takes it."""
        steps = [[s.fault, s.n, s.pause] for s in self.steps]
        return json.dumps({"external": self.external, "local_addresses": self.local_addresses, "steps": steps})

    @classmethod
    def parse(cls, text: str) -> Story:
        values = json.loads(text)
        steps = tuple(Step(str(fault), int(n), int(pause)) for fault, n, pause in values["steps"])
        return cls(steps, bool(values["external"]), bool(values["local_addresses"]))


SETUPS = ((False, False), (True, False), (False, True), (True, True), (False, False))
"""Whether ExaBGP is a service of its own, and whether local addresses are written: most is as it comes."""


def stories_of(seed: int) -> list[Story]:
    """A few stories, in which each fault is played once."""
    chance = random.Random(seed)
    names = chance.sample(sorted(TABLE), len(TABLE))
    hands = [names[start :: len(SETUPS)] for start in range(len(SETUPS))]
    return [
        Story(tuple(_step(name, chance) for name in hand), *setup) for hand, setup in zip(hands, SETUPS, strict=True)
    ]


def _step(name: str, chance: random.Random) -> Step:
    return Step(name, chance.randrange(24), chance.randrange(len(PAUSES)))


def play(story: Story, folder: Path, tally: Counter[str]) -> None:
    """AssertionError where a promise did not hold, with the story."""

    async def inside(stage: Stage) -> None:
        judge = Judge(stage, tally)
        stage.start()
        watchers = [asyncio.create_task(judge.watch()), asyncio.create_task(judge.observe())]
        try:
            async with asyncio.timeout(STORY_WITHIN):
                await judge.agrees(WELL_WITHIN, well=True)
                await _faults(stage, story, judge, tally)
                await judge.agrees(AGREES_WITHIN, well=False)
                await _mended(stage, judge)
        except (AssertionError, TimeoutError) as error:
            said = str(error) or f"not over after {STORY_WITHIN:g} s; last: {judge.found}"
            raise AssertionError(f"{said}\n--- log of the agent ---\n{stage.agent.log()[-4000:]}") from None
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    on_stage(
        folder,
        inside,
        external=story.external,
        local_addresses=story.local_addresses,
        deadline=STORY_WITHIN + 60,
    )


async def _faults(stage: Stage, story: Story, judge: Judge, tally: Counter[str]) -> None:
    for step in story.steps:
        await TABLE[step.fault](stage, step.n)
        tally[f"fault: {step.fault}"] += 1
        await asyncio.sleep(PAUSES[step.pause])
        assert not judge.failure, judge.failure


async def _mended(stage: Stage, judge: Judge) -> None:
    """All faults lifted: all is well, without a person; and what was written last can be put into force."""
    values = stage.truth.variants[-1]
    stage.agent.write(values)
    stage.truth.broken_file = False
    await lift(stage)
    await _ready(stage)
    assert await reload(stage, values), "a good file was refused, with no fault left"
    stage.truth.hampered = False
    stage.truth.changed()
    await judge.agrees(WELL_WITHIN, well=True)


async def _ready(stage: Stage) -> None:
    """Wait for the agent, and start it where it has ended for want of what it needed, as systemd would."""
    end = time.monotonic() + WELL_WITHIN
    while time.monotonic() < end:
        if not alive(stage):
            stage.start()
        with contextlib.suppress(OSError, ValueError, TimeoutError):
            if (await asyncio.wait_for(stage.agent.status(), 5))["ready"]:
                return
        await asyncio.sleep(0.2)
    raise AssertionError(f"not ready {WELL_WITHIN:g} s after all faults were lifted")


def failure_of(story: Story, tally: Counter[str], log: Path | None = None) -> str:
    """Play it in a folder of its own; what was wrong, or nothing. ``log``: where the agent's whole log is to go."""
    with tempfile.TemporaryDirectory(prefix="anycast-story-") as folder:
        Path(folder).chmod(0o755)
        try:
            play(story, Path(folder), tally)
        except (AssertionError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            if log is not None and (Path(folder) / "agent.log").exists():
                shutil.copy(Path(folder) / "agent.log", log)
        return ""


def shorter(story: Story, fails: Callable[[Story], bool]) -> Story:
    """Delta debugging (Zeller): ever smaller parts are left out, as long as what is left fails still."""
    steps, parts = list(story.steps), 2
    while len(steps) > 1:
        size = max(1, len(steps) // parts)
        for start in range(0, len(steps), size):
            rest = steps[:start] + steps[start + size :]
            if rest and fails(replace(story, steps=tuple(rest))):
                steps, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(steps), 2 * parts)
    return replace(story, steps=tuple(steps))
