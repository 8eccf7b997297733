"""Programs, certificates and secrets that a configuration names: looked for on the node, and not elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from anycast_agent.cli.main import main
from anycast_agent.config import ConfigError, load


def configuration(folder: Path, check: dict[str, Any], neighbor: dict[str, Any] | None = None) -> Path:
    path = folder / "agent.yaml"
    values = {
        "bgp": {
            "local_as": 65101,
            "router_id": "198.51.100.1",
            "neighbors": {"leaf1": {"address": "198.51.100.0", "remote_as": 65011, **(neighbor or {})}},
        },
        "services": {"web": {"prefixes": ["192.0.2.80/32"], "checks": {"it": check}}},
    }
    with path.open("w") as file:
        YAML(typ="safe").dump(values, file)
    return path


def script(folder: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> str:
    path = folder / "check"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def missing(path: Path) -> list[str]:
    return [problem.message for problem in load(path).missing]


def test_a_program_that_can_be_run_is_not_mentioned(tmp_path: Path) -> None:
    """A script whose interpreter is there."""
    assert missing(configuration(tmp_path, {"type": "exec", "command": [script(tmp_path)]})) == []


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("#!/bin/sh\n", 0o644, "DIR/check is not executable: chmod +x DIR/check"),
        ("#!/bin/no-such-shell -x\n", 0o755, "DIR/check cannot be run: its first line names '/bin/no-such-shell', which does not exist"),
        ("#!/bin/sh\r\n", 0o755, "DIR/check cannot be run: its first line names '/bin/sh\\r', which does not exist"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_be_run(tmp_path: Path, text: str, mode: int, message: str) -> None:
    """Each reason in its own words."""
    path = configuration(tmp_path, {"type": "exec", "command": [script(tmp_path, text, mode)]})
    assert missing(path) == [message.replace("DIR", str(tmp_path))]


def test_a_program_that_is_no_file(tmp_path: Path) -> None:
    """A folder, and a name that does not exist."""
    path = configuration(tmp_path, {"type": "exec", "command": [str(tmp_path)]})
    assert missing(path) == [f"{tmp_path} cannot be run: it is not a file"]
    path = configuration(tmp_path, {"type": "exec", "command": [f"{tmp_path}/none"]})
    assert missing(path) == [f"{tmp_path}/none cannot be run: no such file or directory"]


def test_a_certificate_that_is_missing(tmp_path: Path) -> None:
    """A file that a check of https names is looked for as a program is."""
    check = {"type": "http", "scheme": "https", "ca_file": f"{tmp_path}/ca.pem"}
    assert missing(configuration(tmp_path, check)) == [f"{tmp_path}/ca.pem cannot be read: no such file or directory"]


def test_what_one_check_lacks_refuses_no_configuration(tmp_path: Path) -> None:
    """The agent runs it: the other services must not suffer for it."""
    loaded = load(configuration(tmp_path, {"type": "exec", "command": [f"{tmp_path}/none"]}))
    assert loaded.config.services["web"].keys


def test_validate_refuses_what_this_machine_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its place, and with the way out for a file that is for another machine."""
    path = configuration(tmp_path, {"type": "exec", "command": [f"{tmp_path}/none"]})
    assert main(["validate", str(path)]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path}/none cannot be run: no such file or directory" in said
    assert "if it is for another machine: validate --elsewhere" in said
    assert main(["validate", str(path), "--output", "json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["valid"], len(answer["problems"])) == (False, 1)
    assert main(["validate", str(path), "--elsewhere"]) == 0


def test_a_file_for_another_machine_is_valid_without_its_secrets(tmp_path: Path) -> None:
    """Passwords stand on the node alone; that their path is absolute can be told anywhere."""
    tcp = {"type": "tcp", "port": 80}
    path = configuration(tmp_path, tcp, {"password_file": f"{tmp_path}/none"})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)
    assert load(path, elsewhere=True).config.neighbors["leaf1"].password_file == f"{tmp_path}/none"
    with pytest.raises(ConfigError, match="absolute path"):
        load(configuration(tmp_path, tcp, {"password_file": "secret"}), elsewhere=True)
