"""The exercises of containerlab/README.md do what it says: their commands are run as they stand there."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.drills import exercise
from lab.net.namespaces.lab import NamespaceLab
from lab.net.tables import Tables
from tests.lab.drills.readme import EXERCISES, REPO, SECTIONS
from tests.lab.drills.running import ATTEMPTS, ENVIRONMENT, FOLDER, SCENE, TOPOLOGY, lab
from tests.lab.needs import needs_lab

CHECKS = exercise.load_all(FOLDER / "exercises", TOPOLOGY, SCENE)


def test_every_check_belongs_to_an_exercise_of_the_readme_and_there_are_eight_at_least() -> None:
    """Each with a goal, steps and what to expect."""
    files = {path.stem for path in (REPO / "containerlab" / "exercises").glob("*.yaml")}
    assert files == {check for _, check, _ in SECTIONS if check} and len(SECTIONS) >= 8
    assert all("**Goal:**" in text and "**Expect:**" in text for _, _, text in SECTIONS)


@needs_lab
@pytest.mark.timeout(240)
def test_no_check_of_a_fault_holds_while_nothing_is_wrong(up: str) -> None:
    """Each asks for tables that are not there before the exercise; `check` says so with its exit code."""
    running = NamespaceLab.running(up)

    async def tables_now() -> dict[str, list[str]]:
        tables = Tables(running.topology, running.nodes, SCENE.concerns)
        tables.open(running.nodes)
        try:
            return {name: SCENE.differences(one.tables, tables.now()) for name, one in CHECKS.items()}
        finally:
            tables.close()

    assert [name for name, differs in asyncio.run(tables_now()).items() if not differs] == ["backbone", "who-answers"]
    assert lab("check", "backbone", "--within", "0").returncode == 1  # it asks the routers


@needs_lab
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_works_as_it_is_written(name: str, up: str, tmp_path: Path) -> None:
    """Its check holds after its steps, and everything is as before once it is put back."""
    for block in EXERCISES[name]:
        script = "set -e\n" + block.replace("/tmp/", f"{tmp_path}/")
        for _ in range(ATTEMPTS):
            done = subprocess.run(
                ["bash", "-c", script], env=ENVIRONMENT, cwd=REPO, capture_output=True, text=True, timeout=180
            )
            if "overloaded: " not in done.stderr:
                break
        else:
            pytest.skip("the machine was too busy to judge times by")
        assert done.returncode == 0, done.stdout + done.stderr


@needs_lab
@pytest.mark.timeout(120)
def test_an_ipv6_route_that_changes_is_replaced_in_one_step(up: str, tmp_path: Path) -> None:
    """Deleted and added again, as zebra does unless told otherwise, what comes in between is lost."""
    prefixes = ("default", "2001:db8:53::53", "2001:db8:53::80")  # a neighbor has known a second way to each
    heard = tmp_path / "routes"

    def until(condition: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + 40
        while not condition("\n" + heard.read_text()):
            assert time.monotonic() < deadline, heard.read_text()
            time.sleep(0.05)

    def change(word: str) -> bool:
        return lab("exec", "fra-border", "ip", "-6", "route", word, "blackhole", "2001:db8:ffff::/64").returncode == 0

    watch = ["anycast-lab", "exec", "fra-border", "ip", "-6", "monitor", "route"]
    with heard.open("w") as file, subprocess.Popen(watch, env=ENVIRONMENT, cwd=REPO, stdout=file) as watching:
        try:
            until(lambda told: change("replace") and "2001:db8:ffff::" in told)  # it listens
            assert lab("do", "cut: {links: [[ams-border, fra-border]]}").returncode == 0
            until(lambda told: all(f"\n{prefix} " in told for prefix in prefixes))
        finally:
            watching.terminate()
            assert lab("do", "mend: {links: [[ams-border, fra-border]]}").returncode == 0 and change("del")
    told = heard.read_text()
    assert not any(f"Deleted {prefix} " in told for prefix in prefixes), told
