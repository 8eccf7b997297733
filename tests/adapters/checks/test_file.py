"""file checks: real files, in every state."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from anycast_agent.checks.aside import MAX_CALLS, Aside
from anycast_agent.checks.file import FileParams
from anycast_agent.checks.outcomes import CannotProbeError
from tests.support.netns import needs_root
from tests.support.probes import prober


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A fresh file, one of an hour ago, a large one, a folder, a link, a named pipe."""
    for name, text in (("fresh", "state: well\n"), ("old", "state: well\n"), ("large", "x" * 70_000 + "state: well")):
        (tmp_path / name).write_text(text)
    hour_ago = time.time() - 3600
    os.utime(tmp_path / "old", (hour_ago, hour_ago))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("fresh")
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "params", "outcome", "detail"),
    [
        ("fresh", {}, "ok", "s old"),
        ("fresh", {"younger_than": "1m"}, "ok", ""),
        ("fresh", {"contains": "well"}, "ok", ""),
        ("link", {"contains": "well"}, "ok", ""),
        ("folder", {}, "ok", ""),
        ("pipe", {}, "ok", ""),
        ("gone", {"state": "absent"}, "ok", ""),
        ("fresh/below", {"state": "absent"}, "ok", ""),
        ("gone", {}, "missing", "gone is not there"),
        ("fresh/below", {}, "missing", "is not there"),
        ("broken", {}, "missing", "is not there"),
        ("fresh", {"state": "absent"}, "present", "fresh is there"),
        ("old", {"younger_than": "59m"}, "old", "old is 3600 s old, not 3540 s at most"),
        ("fresh", {"contains": "sick"}, "bad_content", "without 'sick'"),
        ("large", {"contains": "well"}, "bad_content", "without 'well' in its first 65536 bytes"),
        ("folder", {"contains": "x"}, "not_run", "cannot be read: it is not a file"),
        ("pipe", {"contains": "x"}, "not_run", "cannot be read: it is not a file"),
    ],
)
async def test_outcomes(here: Path, name: str, params: dict[str, Any], outcome: str, detail: str) -> None:
    """What a file is, is definite; what cannot be read says nothing, and a named pipe holds nobody up."""
    async with prober() as ask:
        end = await ask(FileParams(path=str(here / name), **params))
        assert (end.outcome.code, detail in end.outcome.detail) == (outcome, True), end


async def test_age_and_size_are_measured(here: Path) -> None:
    """Also where the file is too old; a file of the future is new."""
    ahead = time.time() + 3600
    os.utime(here / "fresh", (ahead, ahead))
    async with prober() as ask:
        old = await ask(FileParams(path=str(here / "old"), younger_than="1m"))
        new = await ask(FileParams(path=str(here / "fresh"), younger_than="1m"))
    numbers = {n.measure.name: n.value for n in old.outcome.numbers}
    assert (3599 < numbers["age"] < 3700, numbers["size"]) == (True, 12.0)
    assert (new.outcome.code, new.outcome.numbers[0].value) == ("ok", 0.0)


@needs_root
@pytest.mark.root
def test_a_file_that_the_agent_may_not_read_says_nothing(here: Path) -> None:
    """As another user, who may not even enter the folder."""
    here.chmod(0o700)
    code = """
import asyncio, os, sys
from anycast_agent.checks.file import FileAsker, FileParams
from anycast_agent.checks.kind import Target
from anycast_agent.checks.shared import Shared
os.setuid(65534)
print(asyncio.run(FileAsker(Shared()).probe(FileParams(path=sys.argv[1]), Target("s", "c"))).code.word)
"""
    done = subprocess.run([sys.executable, "-c", code, str(here / "fresh")], capture_output=True, text=True, timeout=60)
    assert done.stdout == "not_run\n", done.stderr


@pytest.mark.parametrize(
    "values",
    [{"path": "relative"}, {"path": "/a\0b"}, {"path": "/a", "state": "absent", "contains": "x"}, {},
     {"path": "/a", "younger_than": 5}, {"path": "/a", "contains": ""}],
)  # fmt: skip
def test_parameters_are_checked_when_they_are_read(values: dict[str, Any]) -> None:
    """A relative path has no meaning in a daemon."""
    with pytest.raises(ValidationError):
        FileParams(**values)


async def test_calls_that_hang_are_few_and_keep_nobody_waiting(here: Path) -> None:
    """As on a file system that does not answer: a service's own calls are bounded, and another's are made."""
    aside, opened = Aside(), str(here / "pipe")

    def hang() -> bytes:
        with open(opened, "rb") as pipe:  # nobody writes
            return pipe.read()

    tasks = [asyncio.create_task(aside.run("bad", hang)) for _ in range(MAX_CALLS * 2)]
    async with asyncio.timeout(20):
        assert await aside.run("good", lambda: 3) == 3
        done, hanging = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while len(hanging) > MAX_CALLS // 2 + 1:
            done, hanging = await asyncio.wait(tasks, timeout=0.05)
    assert {type(task.exception()) for task in done} == {CannotProbeError}
    assert "calls of this service hang already" in str(done.pop().exception())
    for task in hanging:  # the probe's time is over; then its call ends after all
        task.cancel()
    async with asyncio.timeout(20):
        while aside._slots.total:
            with open(os.open(opened, os.O_RDWR | os.O_NONBLOCK), "wb"):
                await asyncio.sleep(0.01)
