"""What is made of an engine's and containerlab's words: programs of those names stand for them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.net import runtimes, topology
from lab.net.containers import engine
from lab.net.containers.lab import ContainerLab
from lab.net.lab import LabError
from tests.support.netns import needs_root

TINY = """
name: tiny
topology:
  defaults: {kind: linux, network-mode: none, cmd: sleep 1000, labels: {lab-variant: bfd}}
  nodes: {a: {}}
"""


@pytest.fixture
def clab(tmp_path: Path) -> Path:
    path = tmp_path / "t.clab.yml"
    path.write_text(TINY)
    return path


@pytest.fixture
def told(clab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What `docker inspect` will tell of the one container there is; it is written when `docker` is asked."""
    labels = {engine.LAB: "tiny", engine.NODE: "a", engine.TOPOLOGY: str(clab), engine.VARIANT: "bfd"}
    state: dict[str, Any] = {"Running": False, "Pid": 0}
    container = {"Id": "c0ffee", "Name": "/clab-tiny-a", "State": state, "Config": {"Env": ["A=b=c"], "Labels": labels}}
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(
        f'#!/bin/sh\ncase "$1" in\n  version) ;;\n  ps) case "$*" in *Label*) echo tiny ;; *label=*=tiny*) echo c0ffee ;; esac ;;\n'
        f"  inspect) cat {tmp_path}/inspect.json ;;\nesac\n"
    )
    (folder / "containerlab").write_text("#!/bin/sh\nexit 0\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write() -> None:
        (tmp_path / "inspect.json").write_text(json.dumps([container]))

    write()
    yield {"state": state, "write": write}


def test_a_container_is_told_with_its_environment_and_health(told: dict[str, Any]) -> None:
    """An unhealthy one with the last line of what its check said; one without a check says nothing."""
    one = engine.containers("tiny")["a"]
    assert (one.name, one.pid, one.environment, one.health) == ("clab-tiny-a", 0, {"A": "b=c"}, "")
    assert engine.containers("other") == {} and engine.labs() == ["tiny"]
    told["state"]["Health"] = {"Status": "unhealthy", "Log": [{"Output": "old"}, {"Output": "curl:\n503 no\n"}]}
    told["write"]()
    assert engine.containers("tiny")["a"].health == "unhealthy: 503 no"
    told["state"]["Health"] = {"Status": "healthy", "Log": []}
    told["write"]()
    assert engine.containers("tiny")["a"].health == "healthy"


def test_an_engine_on_another_machine_is_refused(told: dict[str, Any]) -> None:
    """Its numbers of processes are somebody else's here: what is done to the node must not be done to them."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            told["state"].update(Running=True, Pid=process.pid)
            told["write"]()
            with pytest.raises(LabError, match="clab-tiny-a: the engine counts processes apart from this machine"):
                engine.containers("tiny")
        finally:
            process.kill()


def test_a_stopped_lab_is_found_and_off(told: dict[str, Any]) -> None:
    """By its labels alone, with the variant that it was deployed as."""
    assert runtimes.of("tiny") == "docker" and runtimes.of("other") == ""
    lab = runtimes.running("tiny")
    assert (lab.runtime, lab.variant, lab.nodes["a"].init, lab.nodes["a"].processes()) == ("docker", "bfd", 0, [])


def test_a_destroy_that_leaves_containers_is_not_believed(told: dict[str, Any]) -> None:
    """containerlab 0.79 destroys by the name in the file, and ends with 0 where the lab was deployed under another."""
    with pytest.raises(LabError, match="and left: docker rm --force clab-tiny-a"):
        ContainerLab.running("tiny").down()


def test_another_name_than_the_files_is_refused_before_anything_is_deployed(told: dict[str, Any], clab: Path) -> None:
    """For the same reason."""
    with pytest.raises(LabError, match="without --name, it is tiny; for a second lab, copy the file"):
        ContainerLab(topology.load(clab, {}), "other", "bfd").up()


@needs_root
def test_without_an_engine_namespaces_are_all_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And who asks for docker by name is told what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runtimes.of("tiny") == ""
    with pytest.raises(LabError, match="docker is not installed"):
        runtimes.of("tiny", "docker")
