"""The files of a configuration: what cannot be read, and what a file may cost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from anycast_agent.config import ConfigError, load
from anycast_agent.core.model import RouteKey, Tier


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "agent.yaml:2:1: 'a' stands here again; first on line 1"),
        ("a: [1\n", "agent.yaml:2:1: not YAML: "),
        ("a: !!python/object:os.system x\n", "is not allowed"),
        ("x" * (1 << 20) + "y", "over 1 MiB: split it into conf.d/*.yaml"),
        ("[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("- 1\n", "the top level holds words and what they mean"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, message: str) -> None:
    """Duplicate keys, broken YAML, tags, a huge file, deep nesting."""
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "agent.yaml")
    assert message in str(caught.value)


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """Nine lines that stand for a billion values cost nothing."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{chr(c)}: &{chr(c)} [{', '.join([f'*{chr(c - 1)}'] * 9)}]" for c in range(ord("b"), ord("k"))]
    (tmp_path / "agent.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="alias bomb"):
        load(tmp_path / "agent.yaml")


def test_not_utf8_missing_and_unreadable(tmp_path: Path) -> None:
    """What cannot be read is said, with the file's name."""
    (tmp_path / "agent.yaml").write_bytes(b"node:\n  name: \xff\n")
    with pytest.raises(ConfigError, match="agent.yaml:2:9: not UTF-8"):
        load(tmp_path / "agent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_links_that_go_round_and_folders(tmp_path: Path) -> None:
    """A symlink loop and a directory are clear errors with the file's name."""
    loop, folder = tmp_path / "loop.yaml", tmp_path / "folder.yaml"
    loop.symlink_to(loop)
    folder.mkdir()
    for path in (loop, folder):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems[0].file == str(path)
        assert "cannot be read" in str(caught.value)


def test_a_fifo_in_a_files_place_holds_nothing_up(tmp_path: Path) -> None:
    """Read as a file it would block the thread of each reload for ever."""
    os.mkfifo(tmp_path / "agent.yaml")
    with pytest.raises(ConfigError, match="is no regular file"):
        load(tmp_path / "agent.yaml")


def test_nesting_is_refused_while_it_is_read(tmp_path: Path) -> None:
    """The scanner's work grows with the square of the depth: 100,000 brackets would take it a quarter of an hour."""
    (tmp_path / "agent.yaml").write_text("[" * 100_000)
    began = time.monotonic()
    with pytest.raises(ConfigError, match="nested deeper than 50 levels"):
        load(tmp_path / "agent.yaml")
    assert time.monotonic() - began < 60


def test_yaml_is_1_2(tmp_path: Path) -> None:
    """``off`` is a word, not a boolean; 65000:1 is a community, not a number to the base of 60."""
    values = tmp_path / "agent.yaml"
    values.write_text(
        "node: {name: edge1, return_route: off}\n"
        "bgp: {local_as: 65101, router_id: 198.51.100.1, neighbors: {l: {address: 198.51.100.0, remote_as: 1}}}\n"
        "services: {s: {prefixes: [192.0.2.1/32], checks: {c: {type: tcp, port: 1}},"
        " attributes: {communities: [65000:1]}}}\n"
    )
    config = load(values).config
    assert config.return_route == "off"
    assert config.services["s"].attributes[Tier.FULL][RouteKey("l", "192.0.2.1/32")].communities == ("65000:1",)
