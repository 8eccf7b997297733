"""The YAML that is read: merge keys, tabs, characters, and what a few lines may cost."""

from __future__ import annotations

from typing import Any

import pytest

from anycast_agent.config.problems import ConfigError
from anycast_agent.config.source import parse

D = "d: &d {x: 1, y: 2}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (D + "m: {<<: *d, y: 3}\n", {"y": 3, "x": 1}),
        (D + "m: {y: 3, <<: *d}\n", {"y": 3, "x": 1}),
        (D + "e: &e {y: 5, z: 6}\nm: {<<: [*e, *d]}\n", {"x": 1, "y": 5, "z": 6}),
        (D + "e: &e {<<: *d, z: 6}\nm: {<<: *e, x: 7}\n", {"x": 7, "y": 2, "z": 6}),
        ("m: {<<: {x: 1}}\n", {"x": 1}),
        ("m: {'<<': 1}\n", {"<<": 1}),
    ],
)
def test_merge_keys(text: str, value: Any) -> None:
    """What stands in the mapping goes first, then the earlier of several sources. In quotes it is a key."""
    assert parse(text, "f")[0]["m"] == value


def test_what_is_merged_is_reported_where_it_stands() -> None:
    """That is the line to mend."""
    assert parse(D + "m: {<<: *d}\n", "f")[1]["m", "x"] == ("f", 1, 8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("m: {<<: 3}\n", "f:1:9: << takes the keys of another mapping: write <<: *ANCHOR"),
        ("m: {<<: [[1]]}\n", "f:1:10: << takes the keys of another mapping: write <<: *ANCHOR"),
        ("m: {<<: {a: 1}, <<: {b: 1}}\n", "f:1:17: '<<' stands here again; first on line 1"),
        ("m: &m {<<: *m, a: 1}\n", "f:1:4: nested deeper than 50 levels"),
        ('a: "\\ud800"\n', "f:1:4: U+D800 is no character"),
        ("a: 1\nb: x\x07y\n", "f:2:5: the control character U+0007 stands here: YAML allows none"),
        ("a: 0890\n", "f:1:4: write 890, or '0890' in quotes where it is text: a leading 0 means octal to many YAML readers"),
        ("a: [-07, 0_17]\n", "f:1:5: write -7, or '-07' in quotes where it is text: a leading 0 means octal to many YAML readers\n"
         "f:1:10: write 17 or 15, or '0_17' in quotes where it is text: a leading 0 means octal to many YAML readers"),
    ],
)  # fmt: skip
def test_refused(text: str, said: str) -> None:
    """With the place, and with what to write."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "f")
    assert str(caught.value) == said


def test_merging_without_end_is_refused() -> None:
    """A few lines of empty mappings that merge one another stand for as many as a bomb of values does."""
    lines = ["a: &a {}"]
    lines += [f"{chr(c)}: &{chr(c)} {{<<: [{', '.join([f'*{chr(c - 1)}'] * 9)}]}}" for c in range(ord("b"), ord("k"))]
    with pytest.raises(ConfigError, match="alias bomb"):
        parse("\n".join(lines), "f")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 0x10\n", 16),
        ("a: 0o17\n", 15),
        ("a: 0\n", 0),
        ("a: '0120'\n", "0120"),
        ("a: 1:30\n", "1:30"),
        ("a: no\n", "no"),
    ],
)
def test_scalars_of_yaml_1_2(text: str, value: Any) -> None:
    """A number in another base says so; ``no`` and 1:30 are text."""
    assert parse(text, "f")[0]["a"] == value


@pytest.mark.parametrize(
    "text",
    [
        "a: b\t# c\n",
        "a:\tb\n",
        "a: b\t\n",
        "\t# c\na: b\n",
        "\n\t\na: b\n",
        "a: 'b'\t# c\n",
        "a: \tb\n",
        "? a\t\n: b\n",
    ],
)
def test_a_tab_that_does_not_indent_is_a_space(text: str) -> None:
    """Before a comment, after a colon, on an empty line (YAML 1.2, 6.2)."""
    assert parse(text, "f")[0] == {"a": "b"}


@pytest.mark.parametrize("text", ["\ta: b\n", "a:\n\tb: c\n", "a:\n  b: 1\n\t c: 2\n", "-\ta: b\n  c: d\n"])
def test_a_tab_that_indents_is_refused(text: str) -> None:
    """How wide it is, nobody can tell."""
    with pytest.raises(ConfigError):
        parse(text, "f")
