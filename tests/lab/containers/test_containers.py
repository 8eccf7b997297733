"""Drills, exercises and verbs on containers: a Docker engine of the test's own, and containers as containerlab makes them.

Not proven here is what containerlab does itself: deploy, start, stop, restart, destroy. `make containerlab` runs those.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.net import topology
from tests.lab.containers.engine import REPO, Engine, deploy, running
from tests.lab.needs import needs_engine

pytestmark = [needs_engine, pytest.mark.timeout(290)]

TOPOLOGY = REPO / "containerlab" / "anycast.clab.yml"
NAME = f"test-docker-{os.getpid()}"
CONVERGES_WITHIN = 60.0
SLACK = "4"
"""As for the drills of namespaces: when a router installs what it has learned is up to the machine."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The path is short: a socket's has 107 characters at the most."""
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    try:
        with running(folder) as engine:
            deploy(engine, NAME, topology.load(TOPOLOGY, {}))
            deadline = time.monotonic() + CONVERGES_WITHIN
            while (done := typed(engine, "status")).returncode != 0:
                assert time.monotonic() < deadline, done.stdout + done.stderr
            yield engine
    finally:
        shutil.rmtree(folder)


def typed(engine: Engine, *words: str) -> subprocess.CompletedProcess[str]:
    """No back end is named: the labels say whose lab it is."""
    path = ":".join(folder for folder in os.environ["PATH"].split(":") if not Path(folder, "containerlab").exists())
    return subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=REPO, capture_output=True, text=True, timeout=200,
        env={**os.environ, "ANYCAST_LAB_NAME": NAME, "DOCKER_HOST": engine.host, "PATH": path},
    )  # fmt: skip


def done(engine: Engine, *words: str) -> str:
    ended = typed(engine, *words)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def nodes(engine: Engine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(typed(engine, "status", "--output", "json").stdout)
    assert found["runtime"] == "docker" and found["variant"] == "bfd"
    return dict(found["nodes"])


def test_the_engine_tells_the_health_of_routers_and_edges(engine: Engine) -> None:
    """Once each is well; a client has no check."""
    deadline = time.monotonic() + 60
    while {one["health"] for name, one in nodes(engine).items() if "client" not in name} != {"healthy"}:
        assert time.monotonic() < deadline, nodes(engine)
    assert nodes(engine)["client1"]["health"] == "" and all(one["on"] for one in nodes(engine).values())


def test_a_router_logs_and_saves_what_it_was_told(engine: Engine) -> None:
    """Its files are its own: they were bound read-only once, and FRR could do neither."""
    assert "[OK]" in done(engine, "exec", "ams-leaf1", "vtysh", "-c", "write memory")
    assert "Up" in done(engine, "exec", "ams-leaf1", "grep", "ADJCHANGE", "/var/log/frr/frr.log")


def test_drills_are_judged_on_containers(engine: Engine, tmp_path: Path) -> None:
    """A command in a container, and a container that freezes: each costs something, and is over in time."""
    words = ["drill", "service-500", "node-frozen", "--slack", SLACK, "--output", "json", "--report", str(tmp_path)]
    ended = typed(engine, *words)
    found = {result["drill"]: result for result in json.loads(ended.stdout)}
    assert set(found) == {"service-500", "node-frozen"}
    for result in found.values():
        wrong = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
        assert result["verdict"] == "overloaded" or not wrong, "\n".join([*wrong, result["problem"], ended.stderr])
    assert json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize(
    ("check", "fault", "recovery"),
    [
        ("who-answers", "", ""),
        ("agent-hung", "freeze: {nodes: [ams-edge1], process: anycast-agent}", "thaw: {nodes: [ams-edge1], process: anycast-agent}"),
        ("uplinks", "cut: {links: [[ams-leaf1, ams-border]]}", "mend: {links: [[ams-leaf1, ams-border]]}"),
    ],
)  # fmt: skip
def test_exercises_are_checked_on_containers(engine: Engine, check: str, fault: str, recovery: str) -> None:
    """Nothing of it before the fault, and all as before after the recovery."""
    if fault:
        assert typed(engine, "check", check, "--within", "0").returncode == 1
        done(engine, "do", fault)
    done(engine, "check", check)
    if recovery:
        done(engine, "do", recovery)
        done(engine, "check", "who-answers")


def test_a_host_tool_serves_a_node_that_has_none(engine: Engine) -> None:
    """What every node has to offer: ping, mtr, tcpdump and dig; here the containers have this machine's."""
    done(engine, "exec", "ams-leaf1", "ping", "-c", "1", "-W", "2", "198.51.100.136")
    assert "ams-edge" in done(engine, "exec", "client1", "dig", "+short", "@192.0.2.53", "whoami.example", "TXT")


def test_an_edge_that_is_stopped_withdraws_and_ends_in_time(engine: Engine, tmp_path: Path) -> None:
    """SIGTERM, as containerlab and Docker send it. It was killed after two minutes, and its routes went with its sessions.

    Plain Docker takes a stopped container's links away: ams-edge2's are not needed any more in this module.
    """
    name, log = f"clab-{NAME}-ams-edge2", tmp_path / "agent.log"
    begun = time.monotonic()
    engine.docker("stop", "--time", "60", name)
    took = time.monotonic() - begun
    engine.docker("cp", f"{name}:/var/log/agent.log", str(log))
    assert engine.docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    assert took < 40 and "agent: ends: stopped" in log.read_text(), log.read_text()[-500:]
    assert not nodes(engine)["ams-edge2"]["on"]


def test_power_goes_as_in_namespaces_and_comes_back_by_containerlab_alone(engine: Engine) -> None:
    """Without it, the reason is said. The node is off until then: frozen, and silent to its neighbors."""
    done(engine, "do", "power_off: {nodes: [ams-leaf2]}")
    assert not nodes(engine)["ams-leaf2"]["on"] and nodes(engine)["ams-leaf1"]["on"]
    assert "ams-leaf2 is off" in typed(engine, "exec", "ams-leaf2", "true").stderr
    refused = typed(engine, "do", "power_on: {nodes: [ams-leaf2]}")
    assert refused.returncode == 1 and "containerlab is not installed (0.69 or later)" in refused.stderr
    assert not nodes(engine)["ams-leaf2"]["on"]


def test_what_containers_cannot_do_is_refused_with_the_reason(engine: Engine) -> None:
    """A root file system is an image's there, and only containerlab deploys and destroys."""
    for words, said in (
        (
            ["--runtime", "docker", "--name", "x", "up", "--rootfs", "router=/"],
            "a container's files come from the image",
        ),
        (["--runtime", "docker", "--name", "x", "up"], "copy the file and change its name"),
        (["--runtime", "docker", "--name", "x", "status"], f"containerlab runs no lab named x; there is: {NAME}"),
        (["down"], "containerlab is not installed"),
    ):
        refused = typed(engine, *words)
        assert refused.returncode == 1 and said in refused.stderr, refused.stderr
