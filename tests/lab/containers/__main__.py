"""``make containerlab``: the lab as containerlab deploys it, from deploy to destroy. As root; some ten minutes.

Deploys, waits for health, runs five drills and every exercise of the README, stops and starts a node, destroys, and looks for
what is left. Figures go into build/containerlab. Without containerlab or an engine it says what is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.net.runtimes import of
from lab.net.topology import load
from tests.lab.drills.readme import EXERCISES, REPO

FOLDER = REPO / "build" / "containerlab"
DRILLS = ("service-500", "agent-killed", "link-cut", "node-frozen", "node-power")
OLDEST = (0, 69)
"""The first containerlab that knows ``groups``."""

EDGE_IMAGE = "anycast-lab/edge:latest"
HEALTHY_WITHIN = 180.0
NODE = "ams-edge1"


class FailedError(Exception):
    """A step did not do what it should; the message says what it said."""


@dataclass
class Run:
    name: str
    topology: Path
    figures: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{REPO / 'scripts'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "ANYCAST_LAB_NAME": self.name, "ANYCAST_LAB_RUNTIME": "docker", "PATH": path}

    def typed(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=REPO, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def lab(self, *words: str) -> str:
        done = self.typed("anycast-lab", "--topology", str(self.topology), *words)
        if done.returncode != 0:
            raise FailedError(f"anycast-lab {' '.join(words)}: {(done.stderr + done.stdout).strip()[-1500:]}")
        return done.stdout

    def step(self, title: str, work: Callable[[], str]) -> None:
        """One line: how long it took, and what came of it. What fails is told, and the rest is still done."""
        begun = time.monotonic()
        try:
            said = work()
        except (FailedError, subprocess.TimeoutExpired) as error:
            self.failed.append(title)
            said = f"FAILED: {error}"
        took = time.monotonic() - begun
        self.figures[title] = {"seconds": round(took, 1), "said": said}
        print(f"{took:6.1f} s  {title}: {said}", flush=True)


def main(words: list[str]) -> int:
    topology = Path(words[0]).resolve() if words else REPO / "containerlab" / "anycast.clab.yml"
    missing = lacking(load(topology).name)
    if missing:
        print("\n".join(["make containerlab cannot run here:", *missing]), file=sys.stderr)
        return 2
    run = Run(load(topology).name, topology)
    FOLDER.mkdir(parents=True, exist_ok=True)
    before = traces()
    run.figures["versions"] = versions()
    try:
        run.step("deploy, and converge", lambda: deployed(run))
        if not run.failed:
            run.step("health", lambda: healthy(run))
            for name in DRILLS:
                run.step(f"drill {name}", lambda name=name: drilled(run, name))  # type: ignore[misc]
            for name in EXERCISES:
                run.step(f"exercise {name}", lambda name=name: exercised(run, name))  # type: ignore[misc]
            run.step(f"containerlab stop and start of {NODE}", lambda: stopped_and_started(run))
    finally:
        run.step("destroy", lambda: run.lab("down") or "done")
        run.step("leftovers", lambda: left(before))
    (FOLDER / "figures.json").write_text(json.dumps(run.figures, indent=1) + "\n", encoding="utf-8")
    print(f"{FOLDER / 'figures.json'}" + (f"; failed: {', '.join(run.failed)}" if run.failed else "; all as it should"))
    return 1 if run.failed else 0


# --- before ---


def lacking(name: str) -> list[str]:
    found = []
    if os.geteuid() != 0:
        found.append("root: sudo make containerlab")
    if not shutil.which("containerlab"):
        found.append("containerlab, 0.69 or later: https://containerlab.dev/install")
    elif _version() < OLDEST:
        found.append(
            f"containerlab 0.69 or later; here is {'.'.join(map(str, _version()))}: containerlab version upgrade"
        )
    if not shutil.which("docker"):
        found.append("a Docker engine: apt-get install -y docker.io")
    elif not _ok("docker", "version"):
        found.append("a Docker engine that runs: systemctl start docker, or set DOCKER_HOST")
    elif not _ok("docker", "image", "inspect", EDGE_IMAGE):
        found.append(f"the edges' image: docker build -f containerlab/edge/Dockerfile -t {EDGE_IMAGE} .")
    elif there := of(name):
        found.append(f"an end of the lab {name} that is up ({there}): anycast-lab --name {name} down")
    return found


def _ok(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, timeout=60).returncode == 0


def _version() -> tuple[int, int]:
    told = subprocess.run(["containerlab", "version"], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"version:\s*v?(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def versions() -> dict[str, str]:
    engine = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, timeout=60
    ).stdout.strip()
    return {"containerlab": ".".join(map(str, _version())), "docker": engine, "kernel": os.uname().release}


def traces() -> set[str]:
    """What containerlab and the engine can leave behind: containers, networks, interfaces, parked namespaces, folders."""
    found = set()
    for what, words in (
        ("container", ["docker", "ps", "--all", "--format", "{{.Names}}"]),
        ("network", ["docker", "network", "ls", "--format", "{{.Name}}"]),
        ("interface", ["ip", "-o", "link"]),
    ):
        told = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.splitlines()
        found |= {f"{what} {line.split()[1] if what == 'interface' else line}" for line in told}
    for folder in (Path("/run/netns"), REPO / "containerlab"):
        found |= {str(path) for path in folder.glob("*clab*") if not path.name.endswith(".yml")}
    return found


# --- steps ---


def deployed(run: Run) -> str:
    run.lab("up")
    return "steady"


def healthy(run: Run) -> str:
    """Of the engine: `docker ps` shows the same."""
    deadline = time.monotonic() + HEALTHY_WITHIN
    while True:
        nodes = json.loads(run.typed("anycast-lab", "status", "--output", "json").stdout)["nodes"]
        ill = {name: one["health"] for name, one in nodes.items() if one["health"] not in ("", "healthy")}
        if not ill:
            return f"{sum(one['health'] == 'healthy' for one in nodes.values())} of {len(nodes)} have a check, and are well"
        if time.monotonic() > deadline:
            raise FailedError(f"not healthy after {HEALTHY_WITHIN:g} s: {ill}")
        time.sleep(1)


def drilled(run: Run, name: str) -> str:
    words = ["anycast-lab", "drill", name, "--slack", "4", "--output", "json", "--report", str(FOLDER / name)]
    done = run.typed(*words)
    try:
        result = json.loads(done.stdout)[0]
    except (ValueError, IndexError):
        raise FailedError(done.stderr[-1500:]) from None
    run.figures[f"figures of {name}"] = result["figures"]
    if result["verdict"] == "failed":
        missed = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
        raise FailedError("; ".join([*missed, result["problem"]]))
    return f"{result['verdict']}; {result['noticed']}"


def exercised(run: Run, name: str) -> str:
    for block in EXERCISES[name]:
        done = run.typed("bash", "-c", f"set -e\n{block.replace('/tmp/', f'{FOLDER}/')}")
        if done.returncode != 0 and "overloaded: " in done.stderr:
            return "the machine was too busy to judge times by"
        if done.returncode != 0:
            raise FailedError((done.stdout + done.stderr).strip()[-1500:])
    return "as the README says"


BESIDE = """\
title: A node is stopped and started by containerlab, beside this
steps: [{wait: 60s}]
expect: [{no_loss: {client: client2}}, {loss: {within: 200ms, times: 3, total: 600ms, client: client1}}]
"""
"""containerlab takes a node's links away before it stops it: what is on its way then may be lost."""


def stopped_and_started(run: Run) -> str:
    """By containerlab itself, while the clients ask: a drill without a step of its own judges what they lose."""
    (FOLDER / "beside.yaml").write_text(BESIDE, encoding="utf-8")
    words = ["drill", f"{FOLDER}/beside.yaml", "--live", "--output", "json", "--report", f"{FOLDER}/beside"]
    with subprocess.Popen(
        ["anycast-lab", "--topology", str(run.topology), *words], cwd=REPO, env=run.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as asking:  # fmt: skip
        assert asking.stderr is not None
        if not any("answered by" in line for line in asking.stderr):  # the head of the table: all clients ask
            raise FailedError("the clients do not ask")
        took = {verb: by_containerlab(run, verb) for verb in ("stop", "start")}
        out, told = asking.communicate(timeout=180)
    run.lab("check", "who-answers", "--within", "60")
    try:
        result = json.loads(out)[0]
    except (ValueError, IndexError):
        raise FailedError(told[-1500:]) from None
    missed = [f"{e['text']}: {e['found']}" for e in result["expectations"] if not e["met"]]
    if result["verdict"] == "failed":
        raise FailedError("; ".join([*missed, result["problem"]]))
    return (
        f"stop {took['stop']:.1f} s with exit code 0, start {took['start']:.1f} s; {result['verdict']}; "
        f"{result['noticed']}"
    )


def by_containerlab(run: Run, verb: str) -> float:
    begun = time.monotonic()
    done = run.typed("containerlab", verb, "--topo", str(run.topology), "--name", run.name, "--node", NODE)
    took = time.monotonic() - begun
    if done.returncode != 0:
        raise FailedError(f"containerlab {verb}: {done.stderr[-800:]}")
    if verb == "stop":
        told = run.typed("docker", "inspect", "--format", "{{.State.ExitCode}}", f"clab-{run.name}-{NODE}")
        if told.stdout.strip() != "0":
            raise FailedError(f"{NODE} was killed: exit code {told.stdout.strip()}")
    return took


def left(before: set[str]) -> str:
    found = sorted(traces() - before)
    if found:
        raise FailedError(", ".join(found))
    return "nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
