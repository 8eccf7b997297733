"""What the tests of drills and exercises share: the files, `anycast-lab` as it is typed, and verdicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.drills import drill, scene
from lab.drills.result import Load
from lab.net import topology
from lab.net.namespaces.lab import take_down

REPO = Path(__file__).parents[3]
FOLDER = REPO / "containerlab"
TOPOLOGY = topology.load(FOLDER / "anycast.clab.yml", {})
SCENE = scene.load(FOLDER / "lab.yaml", TOPOLOGY)
DRILLS = {path.stem: drill.load(path, TOPOLOGY, SCENE) for path in sorted((FOLDER / "drills").glob("*.yaml"))}

NAME = f"test-lab-{os.getpid()}"
"""The lab in which drills and exercises run one after the other."""

ENVIRONMENT = {
    **os.environ,
    "ANYCAST_LAB_NAME": NAME,
    "PATH": f"{REPO / 'scripts'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
}
SLACK = 4.0

ATTEMPTS = 4
"""So often a drill is run on an overloaded machine, before it is left out."""


def chosen(variant: str) -> list[str]:
    """The drills that every run of the tests makes."""
    return [name for name, one in DRILLS.items() if variant in one.ci]


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["anycast-lab", *words], env=ENVIRONMENT, cwd=REPO, capture_output=True, text=True, timeout=150
    )


def drilled(name: str, *words: str) -> dict[str, Any]:
    """Drills in a lab that is up, or else in one of their own, which is gone afterwards; results by name."""
    words = ("drill", *words, "--slack", str(SLACK), "--output", "json", "--report", str(REPO / "build" / name))
    mine = not Path("/run/anycast-lab", name).exists()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lab", "--name", name, *words],
            cwd=REPO, capture_output=True, text=True, timeout=560,
        )  # fmt: skip
        assert done.returncode in (0, 1) and done.stdout, done.stderr
    finally:
        if mine:
            take_down(name)
    return {result["drill"]: result | {"told": done.stderr} for result in json.loads(done.stdout)}


def judged(lab_name: str, variant: str, result: dict[str, Any]) -> dict[str, Any]:
    """A result that may be believed: what failed while the machine was overloaded is run again, a few times."""
    for _ in range(ATTEMPTS - 1):
        if result["passed"] or not (result["load"] and Load(**result["load"]).overloaded):
            break
        result = drilled(lab_name, result["drill"], "--variant", variant)[result["drill"]]
    if result["verdict"] == "overloaded":
        pytest.skip(f"the machine was too busy to judge times by, {ATTEMPTS} times: {result['load']}")
    return result


def wrong_with(result: dict[str, Any]) -> list[str]:
    """What was not as its drill expects."""
    missed = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
    return missed + [result["problem"]] * bool(result["problem"])
