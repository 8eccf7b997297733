"""The drills that every run of the tests makes, on real FRR, with the agent of this repository.

The bound on tables is wide here: when a router installs what it has learned is up to the machine. Withdrawals and losses
are asserted as they stand. A drill on an overloaded machine neither passes nor fails: it is left out, and says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lab.drills import drill, scene
from lab.net import topology
from lab.net.namespaces.lab import take_down
from tests.lab.needs import needs_lab

REPO = Path(__file__).parents[3]
FOLDER = REPO / "containerlab"
NAME = f"test-drills-{os.getpid()}"
TOPOLOGY = topology.load(FOLDER / "anycast.clab.yml", {})
SCENE = scene.load(FOLDER / "lab.yaml", TOPOLOGY)
DRILLS = {path.stem: drill.load(path, TOPOLOGY, SCENE) for path in sorted((FOLDER / "drills").glob("*.yaml"))}
CHOSEN = [(variant, name) for variant in SCENE.variants for name, one in DRILLS.items() if variant in one.ci]
SLACK = 4.0


@cache
def results(variant: str) -> dict[str, Any]:
    """All of a variant's drills in one lab, judged; by name."""
    words = ["drill", "--ci", "--variant", variant, "--slack", str(SLACK), "--output", "json"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lab", "--name", NAME, *words, "--report", str(REPO / "build" / f"drills-{variant}")],
            cwd=REPO, capture_output=True, text=True, timeout=560,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
    finally:
        take_down(NAME)
    return {result["drill"]: result | {"told": done.stderr} for result in json.loads(done.stdout)}


def test_the_set_covers_what_fails_and_what_is_planned() -> None:
    """A service, the agent, ExaBGP, a node, a leaf, a site; a node and a site withdrawn; each variant."""
    names = {name for _, name in CHOSEN}
    assert names >= {"service-500", "service-killed", "agent-killed", "exabgp-killed", "node-power", "leaf-uplinks"}
    assert names >= {"node-withdrawn", "site-withdrawn"} and {("bfd", "site-power"), ("hold", "site-power")} <= set(
        CHOSEN
    )


@needs_lab
@pytest.mark.timeout(580)
@pytest.mark.parametrize(("variant", "name"), CHOSEN)
def test_a_drill_ends_as_it_should(variant: str, name: str) -> None:
    """Every expectation of its file."""
    result = results(variant)[name]
    if result["verdict"] == "overloaded":
        pytest.skip(f"the machine was too busy to judge times by: {result['load']}")
    wrong = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
    assert not wrong and not result["problem"], "\n".join([*wrong, result["problem"], result["told"]])


@needs_lab
@pytest.mark.timeout(90)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_interrupted_leaves_nothing(number: int, tmp_path: Path) -> None:
    """In the middle of the fault: its lab goes, and its traffic with it; the exit code says so."""
    name = f"{NAME}-{number}"
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "--name", name, "drill", "node-power", "--report", str(tmp_path)],
        cwd=REPO, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert any("fault:" in line for line in process.stderr)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 130 and told.endswith("anycast-lab: interrupted\n") and "Traceback" not in told
        assert not take_down(name)
    finally:
        process.kill()
        take_down(name)
