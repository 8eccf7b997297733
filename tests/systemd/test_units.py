"""The units as systemd's own tools see them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anycast_agent.cli.run_verb import EXIT_CONFIG, EXIT_FAILED

UNITS = Path(__file__).parents[2] / "configs" / "systemd"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)")


def copies(folder: Path) -> list[Path]:
    """The units, with a program that is there in place of the one that is not installed here."""
    found = []
    for unit in sorted(UNITS.glob("*.service")):
        copy = folder / unit.name
        copy.write_text(unit.read_text().replace("/opt/anycast-agent/bin/anycast-agent", "/bin/true"))
        found.append(copy)
    return found


@needs_systemd
def test_the_units_verify_clean(tmp_path: Path) -> None:
    """systemd-analyze verify has not a word to say."""
    units = [str(u) for u in copies(tmp_path)]
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_the_units_are_exposed_by_no_more_than_two(tmp_path: Path) -> None:
    """systemd-analyze security, of 10."""
    for unit in copies(tmp_path):
        words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        assert level is not None, done.stdout
        assert float(level[1]) <= 2.0


def test_restart_hands_over_and_stop_has_its_time() -> None:
    """The agent's unit says by which signal, and gives a stop more time than the agent takes for it."""
    text = (UNITS / "anycast-agent.service").read_text()
    assert "RestartKillSignal=SIGUSR2\n" in text
    assert "KillSignal=SIGTERM\n" in text
    stop = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert stop is not None
    assert int(stop[1]) > 20


@pytest.mark.parametrize("unit", ["agent", "speaker"])
def test_a_busy_node_leaves_them_their_share(unit: str) -> None:
    """Ten times that of what else runs, of processor and disk: a starved agent cannot tell who is well."""
    text = (UNITS / f"anycast-{unit}.service").read_text()
    assert {"CPUWeight=1000", "IOWeight=1000"} <= set(text.splitlines())


def test_what_hangs_is_killed_at_once() -> None:
    """A stopped process does not take SIGABRT, which is systemd's own; it would wait for TimeoutStopSec then."""
    for unit in UNITS.glob("*.service"):
        assert "\nWatchdogSignal=SIGKILL\n" in unit.read_text(), unit.name


def test_the_speaker_outlives_the_agent() -> None:
    """No dependency through which systemd ends it with the agent, be it after a crash: the sessions would go."""
    text = "".join(unit.read_text() for unit in UNITS.glob("*.service"))
    assert not re.search(
        r"^(PropagatesStopTo|StopPropagatedFrom|PartOf|BindsTo|Requires|StopWhenUnneeded)=", text, re.M
    )


def test_no_unit_is_given_up() -> None:
    """However often a start fails: systemd's own limit would leave the node down after a fault that has passed.

    Only a configuration that is wrong, with none that was good before, does not pass by itself.
    """
    for unit in UNITS.glob("*.service"):
        prevented = re.findall(r"^RestartPreventExitStatus=(.*)$", unit.read_text(), re.MULTILINE)
        assert [str(EXIT_CONFIG) in words.split() for words in prevented] == [True], unit.name
        assert str(EXIT_FAILED) not in prevented[0].split(), unit.name
        assert "\nStartLimitIntervalSec=0\n" in unit.read_text().partition("[Service]")[0], unit.name
        assert "\nRestart=always\n" in unit.read_text(), unit.name
