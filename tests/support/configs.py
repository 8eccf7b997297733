"""A configuration for tests to change, and what is said of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from ruamel.yaml import YAML

from anycast_agent.checks import table
from anycast_agent.config import ConfigError, load

BASE: dict[str, Any] = {
    "node": {"name": "edge1", "site": "ams"},
    "bgp": {
        "local_as": 65101,
        "router_id": "198.51.100.1",
        "neighbors": {
            "leaf4": {"address": "198.51.100.0", "remote_as": 65011},
            "leaf6": {"address": "2001:db8::", "remote_as": 65011},
        },
    },
    "services": {
        "dns": {
            "prefixes": ["192.0.2.53/32", "2001:db8:53::53/128"],
            "checks": {"answers": {"type": "dns", "name": "example.org"}},
        }
    },
}
DNS = ("services", "dns")
ANSWERS = (*DNS, "checks", "answers")
LEAF = ("bgp", "neighbors", "leaf4")
V4, V6 = "192.0.2.53/32", "2001:db8:53::53/128"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
"""Whatever may stand in a file."""


def changed(*changes: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    """The base with values put in at their places; None takes one out."""
    values = copy.deepcopy(BASE)
    for where, value in changes:
        target = values
        for word in where[:-1]:
            target = target.setdefault(word, {})
        if value is None:
            target.pop(where[-1], None)
        else:
            target[where[-1]] = value
    return values


def written(folder: Path, values: dict[str, Any]) -> Path:
    """The values as a file."""
    path = folder / "agent.yaml"
    with path.open("w") as file:
        YAML(typ="safe").dump(values, file)
    return path


def problems(folder: Path, *changes: tuple[tuple[str, ...], Any]) -> list[str]:
    """The messages of the base with these changes, which must be refused."""
    with pytest.raises(ConfigError) as caught:
        load(written(folder, changed(*changes)))
    return [p.message for p in caught.value.problems]


KINDS = ", ".join(table.OURS)
"""As messages list them."""
