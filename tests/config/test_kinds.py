"""The kinds of checks: imported when they are named, and followed by everything that lists, explains or reads them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.configs import ANSWERS, changed, written

ROOT = Path(__file__).parents[2]
QOTD = ROOT / "tests/packages/anycast-check-qotd/anycast_check_qotd.py"
HEAVY = ("aiohttp", "yarl", "dns", "ssl", "asyncio", "subprocess")


def python(code: str, *arguments: str, path: Path = ROOT) -> str:
    """What a Python of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": str(path)}, cwd=path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


LOADS = f"""
import sys
from pathlib import Path
from anycast_agent.config import load
for path in sys.argv[1:]:
    load(Path(path))
print(*(name for name in {HEAVY} if name in sys.modules))
"""


def test_to_read_a_configuration_imports_no_protocol() -> None:
    """Neither a library of one, nor TLS, nor a loop."""
    assert python(LOADS).split() == []


@pytest.mark.parametrize(
    ("check", "needs"),
    [({"type": "tcp", "port": 53}, set()), ({"type": "dns", "name": "example.org"}, {"dns"}),
     ({"type": "http"}, {"aiohttp", "yarl"})],
)  # fmt: skip
def test_a_protocol_is_imported_when_a_check_of_it_is_read(
    tmp_path: Path, check: dict[str, object], needs: set[str]
) -> None:
    """And no other one's library."""
    path = written(tmp_path, changed((ANSWERS, check)))
    found = set(python(LOADS, str(path)).split())
    assert found & {"aiohttp", "yarl", "dns"} == needs


FOLLOWED = """
import json, sys
from pathlib import Path
from anycast_agent import config
from anycast_agent.config.hints import kind_meant, unknown_key, CHECK
from anycast_agent.config.reference import render
from anycast_agent.config.schema import schema
def problems(path):
    try:
        return [c.codes for c in config.load(Path(path)).config.services["dns"].checks]
    except config.ConfigError as error:
        return [problem.message for problem in error.problems]
print(json.dumps({
    "problems": [problems(path) for path in sys.argv[1:]],
    "meant": kind_meant("Quote-Of-The-Day"),
    "key": unknown_key("contain", CHECK, "qotd").text,
    "in the reference": "A check of `type: qotd`" in render(),
    "in the schema": "qotd check" in json.dumps(schema()),
}))
"""


def test_a_new_kind_of_ours_is_a_file_and_a_line(tmp_path: Path) -> None:
    """In a copy of the package: validation, hints, reference, schema and the verb ``probe`` know it by these two."""
    shutil.copytree(ROOT / "anycast_agent", tmp_path / "anycast_agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(QOTD, tmp_path / "anycast_agent/checks/qotd.py")
    table = tmp_path / "anycast_agent/checks/table.py"
    line = '    "qotd": "anycast_agent.checks.qotd:KIND",\n}\nGROUP'
    text = table.read_text()
    assert text.count("}\nGROUP") == 1
    table.write_text(text.replace("}\nGROUP", line))

    files = []
    for number, check in enumerate(({"type": "qotd"}, {"type": "qotd", "port": 0}, {"type": "qotd", "ports": 1})):
        folder = tmp_path / str(number)
        folder.mkdir()
        files.append(str(written(folder, changed((ANSWERS, check)))))
    found = json.loads(python(FOLLOWED, *files, path=tmp_path))
    codes = ["ok", "timeout", "not_run", "broken", "refused", "reset", "unreachable", "bad_answer", "silent"]
    assert found == {
        "problems": [[codes] * 2, ["port: at least 1, not 0"], ["unknown key 'ports' (did you mean 'port'?)"]],
        "meant": "qotd",
        "key": " (did you mean 'contains'?)",
        "in the reference": True,
        "in the schema": True,
    }
    target = written(tmp_path, changed((ANSWERS, {"type": "qotd", "target": "127.0.0.1", "port": 1})))
    verb = [sys.executable, "-m", "anycast_agent.cli.main", "probe", "dns", "--config", str(target)]
    done = subprocess.run(verb, env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True,
                          text=True, timeout=60, check=False)  # fmt: skip
    assert (done.returncode, "refused" in done.stdout) == (1, True), done
