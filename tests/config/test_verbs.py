"""validate, schema and plan, as they are typed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from anycast_agent.cli.main import main
from tests.support.configs import BASE, DNS, LEAF, changed, written


def test_the_same_from_the_command_line(tmp_path: Path) -> None:
    """validate: 0 and a word, or 1 and the problems."""
    good, bad = written(tmp_path, BASE), tmp_path / "bad.yaml"
    bad.write_text("node: {}\n")
    run = [sys.executable, "-m", "anycast_agent.cli.main", "validate", "--config"]
    assert subprocess.run([*run, str(good)], capture_output=True, check=False).returncode == 0
    done = subprocess.run([*run, str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bad.yaml:1:1: 'bgp' is missing" in done.stderr


def test_validate_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and every problem with its place; exit 0 and what there is."""
    path = written(tmp_path, changed(((*LEAF, "hold_time"), 2)))
    assert main(["validate", "--config", str(path), "--output", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["valid"] is False
    assert {"file", "line", "column", "message"} == set(said["problems"][0])
    assert main(["validate", "--config", str(written(tmp_path, BASE)), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True


def test_validate_takes_the_file_as_plan_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --config, or without: one verb is not stricter about it than the other."""
    assert main(["validate", str(written(tmp_path, BASE))]) == 0
    assert capsys.readouterr().out.startswith("valid: ")
    assert main(["validate", str(tmp_path / "none.yaml")]) == 1
    assert "none.yaml:1:1: cannot be read" in capsys.readouterr().err


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    """What an editor reads."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_plan_says_what_is_withdrawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 where nothing is, 1 where something is."""
    (tmp_path / "old").mkdir()
    old = written(tmp_path / "old", BASE)
    new = written(tmp_path, changed(((*DNS, "attributes"), {"med": 5})))
    assert main(["plan", "--config", str(new), "--against", str(old)]) == 0
    assert "med" in capsys.readouterr().out
    new = written(tmp_path, changed(((*DNS, "prefixes"), ["192.0.2.53/32"])))
    assert main(["plan", "--config", str(new), "--against", str(old), "--output", "json"]) == 1
    assert any(
        c["withdraws"] and "2001:db8:53::53/128" in c["name"] for c in json.loads(capsys.readouterr().out)["changes"]
    )


def _ended(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_every_verb_of_the_list_has_a_parser_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """The list is written beside the verbs; each of them explains itself, and a word that is none is answered with it."""
    assert _ended("--help") == 0
    listed = set(re.findall(r"^ {4}([a-z]+)\b", capsys.readouterr().out, re.MULTILINE))
    assert _ended("no-verb") == 2
    said = capsys.readouterr().err
    assert all(verb in said for verb in listed)
    assert listed >= {"run", "speaker", "validate", "schema", "plan", "probe", "check", "status", "why", "handover"}
    for verb in listed:
        assert _ended(verb, "--help") == 0
        assert capsys.readouterr().out.startswith(f"usage: anycast-agent {verb} ")


LIGHT = """
import sys
from anycast_agent.cli.main import main
for words in (["--version"], ["--help"], ["run", "--help"], ["status", "--socket", "/nowhere"]):
    try:
        main(words)
    except SystemExit:
        pass
print("loaded:", *(name for name in ("pydantic", "ruamel", "aiohttp", "pyroute2") if name in sys.modules))
"""


def test_what_is_asked_often_imports_no_library() -> None:
    """The list of verbs, and ``status`` in a loop of somebody's monitoring."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
