"""The drills that every run of the tests makes, on real FRR, with the agent of this repository.

The bound on tables is wide here: when a router installs what it has learned is up to the machine. Withdrawals and losses
are asserted as they stand. A drill on an overloaded machine neither passes nor fails: it is run again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lab.net.namespaces.lab import take_down
from tests.lab.drills.running import NAME, REPO, SCENE, chosen, drilled, judged, wrong_with
from tests.lab.needs import needs_lab


@cache
def results(name: str) -> dict[str, Any]:
    """All of a variant's drills in the lab that is up, judged; by name."""
    return drilled(name, "--ci", "--variant", "bfd")


def test_the_set_covers_what_fails_and_what_is_planned() -> None:
    """A service, the agent, ExaBGP, a node, a leaf, a site; a node and a site withdrawn; each variant."""
    names = set(chosen("bfd"))
    assert names >= {"service-500", "service-killed", "agent-killed", "exabgp-killed", "node-power", "leaf-uplinks"}
    assert names >= {"node-withdrawn", "site-withdrawn", "site-power"}
    assert all("site-power" in chosen(variant) for variant in SCENE.variants)


@needs_lab
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", chosen("bfd"))
def test_a_drill_ends_as_it_should(name: str, up: str) -> None:
    """Every expectation of its file."""
    result = judged(up, "bfd", results(up)[name])
    assert not wrong_with(result), result["told"]


@needs_lab
@pytest.mark.timeout(150)
def test_a_drill_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    """In the middle of the fault: its lab goes, and its traffic with it; the exit code says so. SIGTERM comes as SIGINT."""
    name = f"{NAME}-i"
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "--name", name, "drill", "node-power", "--report", str(tmp_path)],
        cwd=REPO, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        assert any("fault:" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130 and told.endswith("anycast-lab: interrupted\n") and "Traceback" not in told
        assert not take_down(name)
    finally:
        process.kill()
        take_down(name)
