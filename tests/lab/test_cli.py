"""``anycast-lab``, as it is typed: what it says, and what it exits with, where there is no lab or the words are wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from lab.drills import exercise, scene
from lab.net import topology
from lab.net.cgroups import PREFIX, mounted
from lab.net.namespaces.lab import ROOT
from tests.support.netns import needs_root

REPO = Path(__file__).parents[2]
CLAB = REPO / "containerlab"
NAME = f"test-cli-{os.getpid()}"

GOOD = ("passed", "overloaded")
"""The verdicts of a drill with which nothing is wrong, on whatever machine."""

TINY = """
name: tiny
topology:
  defaults: {kind: linux, network-mode: none, cmd: sleep 1000, group: all}
  nodes: {a: {}, b: {}}
  links:
    - endpoints: ["a:eth1", "b:eth1"]
"""
SCENE = """
variants: [one, two]
prefixes: {x: [192.0.2.53/32]}
clients: [a]
steady: {}
targets: {dns IPv4: 192.0.2.0, dns IPv6: "2001:db8::", http IPv4: 192.0.2.0, http IPv6: "2001:db8::"}
"""


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With a name that no lab bears, unless the words give one."""
    return subprocess.run(
        [sys.executable, "-m", "lab", *words], cwd=REPO, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ANYCAST_LAB_NAME": NAME, **environment},
    )  # fmt: skip


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A topology of two nodes, with a scene, a drill and an exercise."""
    (tmp_path / "drills").mkdir()
    (tmp_path / "exercises").mkdir()
    (tmp_path / "lab.yaml").write_text(SCENE)
    (tmp_path / "drills" / "wait.yaml").write_text("title: Nothing happens\nsteps: [{wait: 1s}]\nci: [two]\n")
    (tmp_path / "drills" / "look.yaml").write_text("title: Somebody looks\nsteps: [{steady: 1s}]\n")
    (tmp_path / "exercises" / "say.yaml").write_text(
        "title: It says so\nsays: [{node: a, command: [hostname], has: [a], lacks: [c]}]\n"
    )
    path = tmp_path / "t.clab.yml"
    path.write_text(TINY)
    return path


# --- what is asked without a lab ---


def test_drills_and_exercises_are_listed_by_name_with_their_titles() -> None:
    """Every one, and in which variants the tests make a drill; for which nothing has to run."""
    done = typed("drill", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert set(lines) == {path.stem for path in (CLAB / "drills").glob("*.yaml")}
    assert lines["site-power"] == "A whole datacenter loses power  [ci: bfd, hold]"
    assert lines["backbone-cut"] == "The backbone between the sites is cut"
    done = typed("check", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    top = topology.load(CLAB / "anycast.clab.yml", {})
    known = exercise.load_all(CLAB / "exercises", top, scene.load(CLAB / "lab.yaml", top))
    assert dict(line.split(maxsplit=1) for line in done.stdout.splitlines()) == {n: e.title for n, e in known.items()}


def test_a_topology_without_drills_lists_none(tiny: Path) -> None:
    """That is no error."""
    shutil.rmtree(tiny.parent / "drills")
    shutil.rmtree(tiny.parent / "exercises")
    for verb in ("drill", "check"):
        done = typed("--topology", str(tiny), verb, "--list")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_without_an_exercise_says_which_there_are() -> None:
    """As wrong usage."""
    done = typed("check")
    assert done.returncode == 2 and done.stdout == typed("check", "--list").stdout


def test_the_graph_is_an_svg_on_standard_output_or_in_a_file(tmp_path: Path) -> None:
    """The same."""
    done, path = typed("graph"), tmp_path / "g.svg"
    assert done.returncode == 0 and done.stdout.startswith("<svg")
    assert typed("graph", "--out", str(path)).returncode == 0
    assert path.read_text().strip() == done.stdout.strip()
    done = typed("graph", "--out", str(tmp_path / "none" / "g.svg"))
    assert done.returncode == 1 and "anycast-lab: " in done.stderr and "Traceback" not in done.stderr


# --- wrong words: 2 ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: VERB"),
        (["dril"], "invalid choice: 'dril'"),
        (["drill", "--output", "xml"], "invalid choice: 'xml'"),
        (["drill", "--slack", "much"], "invalid float value: 'much'"),
        (["drill"], "which drill? anycast-lab drill --list, or --all"),
        (["drill", "site-pwer"], "there is no drill 'site-pwer' (did you mean 'site-power'?)"),
        (["drill", "no-such.yaml"], "no-such.yaml:1:1: there is no such file"),
        (["drill", "site-power", "--variant", "hodl"], "there is no variant 'hodl' (did you mean 'hold'?)"),
        (["drill", "site-power", "--rootfs", "router"], "--rootfs reads GROUP=DIR"),
        (["check", "backbnoe"], "there is no exercise 'backbnoe' (did you mean 'backbone'?)"),
        (["do"], "required: ACT"),
        (["do", "explode: {}"], "ACT:1:1: unknown key 'explode'"),
        (["do", "power_off: {nodes: [ams-leaf9]}"], "there is no node 'ams-leaf9' (did you mean 'ams-leaf"),
        (["--topology", "no-such.yml", "graph"], "no-such.yml:1:1: there is no such file"),
    ],
)  # fmt: skip
def test_wrong_words_exit_with_2_and_say_what_is_right(words: list[str], said: str) -> None:
    """Without root, and without a lab."""
    done = typed(*words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""


@needs_root
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "../x", "down"], "--name has letters, digits, '-' and '_', 32 at most, not '../x'"),
        (["--name", "x" * 33, "status"], "--name has letters"),
        (["--name", "-x y", "up"], "--name has letters"),
        (["--name", "x y", "drill", "site-power"], "--name has letters"),
        (["up", "--variant", "hodl"], "there is no variant 'hodl' (did you mean 'hold'?)"),
        (["up", "--rootfs", "router"], "--rootfs reads GROUP=DIR, and DIR holds a root file system, not 'router'"),
        (["up", "--rootfs", "router=/etc"], "--rootfs reads GROUP=DIR, and DIR holds a root file system, not 'router=/etc'"),
        (["up", "--rootfs", "router="], "--rootfs reads GROUP=DIR"),
        (["up", "--rootfs", "ruoter=/"], "--rootfs: there is no group 'ruoter' (did you mean 'router'?)"),
        (["exec", "ams-edge1"], "which command? anycast-lab exec NODE COMMAND…"),
    ],
)  # fmt: skip
def test_words_that_nothing_can_be_started_with_exit_with_2_and_start_nothing(words: list[str], said: str) -> None:
    """They are read before the first node is."""
    done = typed(*words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (ROOT / NAME).exists() and not (mounted() / f"{PREFIX}{NAME}").exists()


def test_a_file_that_is_wrong_exits_with_2_whatever_is_asked(tiny: Path) -> None:
    """With the place; also where another drill was asked for."""
    (tiny.parent / "drills" / "bad.yaml").write_text("title: x\nsteps:\n  - wiat: 3s\n")
    (tiny.parent / "exercises" / "bad.yaml").write_text("title: x\n")
    for words, said in (
        (["drill", "wait"], "bad.yaml:3:5: unknown key 'wiat'"), (["drill", "--list"], "bad.yaml:3:5: unknown key 'wiat'"),
        (["check", "say"], "bad.yaml:1:1: an exercise whose check asks for nothing cannot fail"),
    ):  # fmt: skip
        done = typed("--topology", str(tiny), *words)
        assert done.returncode == 2 and said in done.stderr and done.stdout == "", done.stderr
    (tiny.parent / "lab.yaml").unlink()
    done = typed("--topology", str(tiny), "drill", "--list")
    assert done.returncode == 2 and "lab.yaml:1:1: there is no such file" in done.stderr


# --- no lab, or another's: 1 ---


@needs_root
@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["status", "--output", "json"], ["exec", "ams-edge1", "true"], ["shell", "ams-edge1"],
        ["do", "power_off: {site: ams}"], ["check", "node"], ["traffic", "--seconds", "1"],
    ],
)  # fmt: skip
def test_what_needs_a_lab_says_that_none_of_that_name_is_up(words: list[str]) -> None:
    """And which there are, or how to get one."""
    done = typed(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"anycast-lab: no lab named {NAME} is up" in done.stderr
    assert "there is: " in done.stderr or done.stderr.endswith(": anycast-lab up\n")


@needs_root
def test_down_of_what_is_not_there_is_done_already() -> None:
    """By the name of the environment, or of the command; and no lock is left behind."""
    done = typed("down")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"no lab named {NAME} was up\n")
    done = typed("--name", f"{NAME}-2", "down")
    assert done.returncode == 0 and f"no lab named {NAME}-2 was up" in done.stderr
    assert not list(Path("/run").glob(f"{PREFIX}{NAME}*"))


@needs_root
def test_a_state_that_cannot_be_read_is_said_with_what_to_do() -> None:
    """As after a disk that was full; `down` clears it away."""
    folder = ROOT / NAME
    folder.mkdir(parents=True)
    try:
        (folder / "state.json").write_text("{")
        done = typed("status")
        assert done.returncode == 1 and "state.json cannot be read" in done.stderr
        assert f"anycast-lab --name {NAME} down" in done.stderr
    finally:
        done = typed("down")
    assert done.returncode == 0 and not folder.exists()


@needs_root
@pytest.mark.parametrize("words", [["up"], ["down"], ["drill", "wait"], ["do", "power_off: {nodes: [a]}"]])
def test_two_are_not_at_work_on_one_name(tiny: Path, words: list[str]) -> None:
    """The second is told; the lock stays the first's, and another name is free."""
    lock = Path("/run") / f"{PREFIX}{NAME}.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            done = typed("--topology", str(tiny), *words)
            assert done.returncode == 1 and done.stdout == ""
            assert f"another anycast-lab is at work on {NAME}: wait for it, or give another --name" in done.stderr
            assert lock.exists() and typed("--name", f"{NAME}-2", "down").returncode == 0
        finally:
            lock.unlink()
    assert typed("down").returncode == 0


@needs_root
def test_what_was_seen_is_reported_also_where_the_lab_cannot_go_on(tiny: Path, tmp_path: Path) -> None:
    """The second drill breaks what the next lab would be started with; nothing is left of either."""
    (tmp_path / "boot").write_text("true\n")
    tiny.write_text(TINY.replace("group: all}", "group: all, binds: ['boot:/lab/boot'], exec: [sh /lab/boot]}"))
    (tmp_path / "drills" / "zap.yaml").write_text(
        "title: It breaks\nbefore: 0s\nafter: 0s\npatience: 0s\nsteps:\n"
        "  - fault: {run: {nodes: [a], command: [sh, -c, 'echo exit 3 > /lab/boot']}}\n  - tables: {a: {x: [b]}}\n"
        "effect: [{lost: {at_least: 1}}]\nexpect: [{no_loss: {}}]\nobjective: {restore: 1s}\n"
    )
    shutil.copy(tmp_path / "drills" / "zap.yaml", tmp_path / "drills" / "zip.yaml")
    report = tmp_path / "report"
    done = typed("--topology", str(tiny), "drill", "look", "zap", "zip", "--report", str(report))
    assert done.returncode == 1 and "sh /lab/boot: status 3" in done.stderr, done.stderr
    assert f"the drills that ended are in {report}/report.html" in done.stderr
    results = json.loads((report / "results.json").read_text())["results"]
    assert [r["drill"] for r in results] == ["look", "zap"] and results[0]["verdict"] in GOOD
    assert results[1]["verdict"] == "failed"
    assert not (ROOT / NAME).exists() and not (mounted() / f"{PREFIX}{NAME}").exists()


@needs_root
def test_a_run_is_kept_by_its_date_with_the_verdicts_for_a_pipeline(tiny: Path, tmp_path: Path) -> None:
    """Twice: two dated folders, and a page over both; with who started it, what ran, and how busy the machine was."""
    kept, junit = tmp_path / "kept", tmp_path / "new" / "junit.xml"
    for _ in range(2):
        done = typed(
            "--topology", str(tiny), "drill", "look", "--keep", str(kept), "--junit", str(junit), "--slack", "3"
        )
        assert "look: " in done.stderr and "the machine was " in done.stderr, done.stderr
    runs = sorted(path for path in kept.iterdir() if path.is_dir())
    assert len(runs) == 2 and all((run / "report.html").exists() for run in runs)
    assert all(run.name in (kept / "index.html").read_text() for run in runs)
    data = json.loads((runs[1] / "results.json").read_text())
    assert data["about"]["started by"].endswith(f" on {os.uname().nodename}") and "ExaBGP" in data["about"]
    assert data["about"]["slack"].startswith("3: ")
    (result,) = data["results"]
    assert result["verdict"] in GOOD and result["slack"] == 3 and result["load"]["cores"] == os.cpu_count()
    (case,) = ET.parse(junit).getroot().iter("testcase")
    assert (case.get("name"), case.get("classname")) == ("look", "drills.one")


@needs_root
def test_a_lab_of_one_variant_is_not_drilled_as_another(tiny: Path, tmp_path: Path) -> None:
    """Up, looked at, drilled, checked and taken down, with what each exits with."""
    at = ["--topology", str(tiny)]
    try:
        assert typed(*at, "up", "--variant", "two").returncode == 0
        done = typed(*at, "status", "--output", "json")
        assert done.returncode == 0 and json.loads(done.stdout)["variant"] == "two"
        done = typed(*at, "drill", "look")
        assert done.returncode == 1
        assert f"{NAME} is up as two, and this runs as one: --variant two, or down first" in done.stderr
        done = typed(*at, "exec", "c", "true")
        assert done.returncode == 2 and "there is no node 'c' in t.clab.yml" in done.stderr
        assert typed(*at, "exec", "a", "--", "sh", "-c", "exit 7").returncode == 7
        assert typed(*at, "exec", "a", "--", "sh", "-c", "kill -9 $$").returncode == 137
        done = typed(*at, "do", "stop: {nodes: [a], process: agent}")
        assert done.returncode == 1 and "anycast-lab: a keeps no agent running: only an edge does" in done.stderr
        done = typed(*at, "check", "say")
        assert (done.returncode, done.stdout) == (
            0,
            "ok      a: hostname: says 'a': yes\nok      a: hostname: does not say 'c': no\n",
        )
        done = typed(*at, "do", "power_off: {nodes: [a]}")
        assert (done.returncode, done.stdout) == (0, "a: power off\n")
        done = typed(*at, "check", "say", "--output", "json")
        assert done.returncode == 1
        assert json.loads(done.stdout) == [{"text": "a: hostname: says", "met": False, "found": "a is off"}]
        for words in (["exec", "a", "true"], ["do", "stop: {nodes: [a], process: agent}"]):
            done = typed(*at, *words)
            assert done.returncode == 1 and "anycast-lab: a is off" in done.stderr
    finally:
        assert typed(*at, "down").returncode == 0
    assert not (ROOT / NAME).exists()


@needs_root
def test_a_program_that_a_node_has_not_is_the_hosts_in_its_network(tiny: Path, tmp_path: Path) -> None:
    """A router's image has no tcpdump: who looks for a fault finds one all the same, and is told whose it is."""
    tool = tmp_path / "bin" / "interfaces"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\ngrep -o 'eth1\\|lo' /proc/self/net/dev; exit 3\n")
    tool.chmod(0o755)
    at = ["--topology", str(tiny)]
    try:
        assert typed(*at, "up").returncode == 0
        done = typed(*at, "exec", "a", "interfaces", PATH=f"{tool.parent}:{os.environ['PATH']}")
        assert (done.returncode, sorted(done.stdout.split())) == (3, ["eth1", "lo"])
        assert "a has no interfaces: the host's runs in its network" in done.stderr
        done = typed(*at, "exec", "a", "interfaces")
        assert done.returncode == 1 and "neither a nor this host has 'interfaces'; scripts/needs lab" in done.stderr
    finally:
        typed("down")
