"""A Docker engine on this machine, and containerlab: asked through their own command lines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.net.lab import LabError

LAB, NODE, TOPOLOGY, VARIANT = "containerlab", "clab-node-name", "clab-topo-file", "lab-variant"
"""Labels of a container: containerlab's own, and the one that our topology adds."""

ANSWERS_WITHIN = 20.0
"""An engine that has not answered by then is not asked any longer. Seconds."""

DEPLOYS_WITHIN = 300.0

PACKAGE = "containerlab is not installed (0.69 or later): https://containerlab.dev/install"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a lab, as the engine tells it. ``pid``: its PID 1, as the host counts; 0 while it is stopped."""

    node: str
    name: str
    pid: int
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    health: str
    """The engine's word for its health, with the output of the last check if that failed; empty without a check."""


def there() -> bool:
    """True if an engine answers on this machine."""
    return shutil.which("docker") is not None and _docker("version", check=False).returncode == 0


def labs() -> list[str]:
    """The names of labs that have containers, whether they run or not."""
    told = _docker("ps", "--all", "--filter", f"label={LAB}", "--format", f'{{{{.Label "{LAB}"}}}}').stdout
    return sorted(set(told.split()))


def containers(lab: str) -> dict[str, Container]:
    """By node. Raises LabError."""
    ids = _docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LAB}={lab}").stdout.split()
    if not ids:
        return {}
    found = [_container(one) for one in json.loads(_docker("inspect", *ids).stdout)]
    return {container.node: container for container in found}


def _container(told: Mapping[str, Any]) -> Container:
    state, config, name = told["State"], told["Config"], told["Name"].lstrip("/")
    pid = int(state["Pid"]) if state["Running"] else 0
    if pid and not _ours(pid, told["Id"]):
        raise LabError(f"{name}: the engine counts processes apart from this machine: run anycast-lab where it runs")
    environment = dict(word.split("=", 1) for word in config["Env"] or () if "=" in word)
    return Container(config["Labels"][NODE], name, pid, environment, config["Labels"], _health(state))


def _ours(pid: int, identity: str) -> bool:
    try:
        return identity in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _health(state: Mapping[str, Any]) -> str:
    health = state.get("Health") or {"Status": "none"}
    if health["Status"] in ("none", "healthy"):
        return "healthy" if health["Status"] == "healthy" else ""
    said = (health.get("Log") or [{}])[-1].get("Output", "").strip()
    return f"{health['Status']}: {said.splitlines()[-1]}" if said else str(health["Status"])


def _docker(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=ANSWERS_WITHIN)
    except FileNotFoundError:
        raise LabError("docker is not installed: apt-get install -y docker.io") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"the Docker engine has not answered after {ANSWERS_WITHIN:g} s") from None
    if check and done.returncode != 0:
        raise LabError(f"docker {words[0]}: {done.stderr.strip()}")
    return done


def check_containerlab() -> None:
    if shutil.which("containerlab") is None:
        raise LabError(PACKAGE)


def containerlab(topology: Path, lab: str, variant: str, *words: str, nodes: Sequence[str] = ()) -> None:
    """Run a verb of containerlab for a lab. Raises LabError, with the end of its output."""
    check_containerlab()
    chosen = [word for node in nodes for word in ("--node", node)]
    try:
        done = subprocess.run(
            ["containerlab", *words, "--topo", str(topology), "--name", lab, *chosen],
            cwd=topology.parent, env={**os.environ, "ANYCAST_LAB_VARIANT": variant},
            capture_output=True, text=True, timeout=DEPLOYS_WITHIN,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LabError(f"containerlab {' '.join(words)} has not ended after {DEPLOYS_WITHIN:g} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"containerlab {' '.join(words)}: status {done.returncode}: {' / '.join(said[-3:])}")
