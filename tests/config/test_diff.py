"""What one configuration changes against another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_agent.config import load
from anycast_agent.config.diff import changes
from anycast_agent.core.model import Config
from tests.conftest import examples
from tests.support.configs import BASE, DNS, V4, V6, changed, written


def _config(tmp: Path, *at: tuple[tuple[str, ...], Any]) -> Config:
    return load(written(tmp, changed(*at))).config


def test_nothing_changes_where_nothing_differs(tmp_path: Path) -> None:
    """A plan against itself is empty."""
    assert changes(_config(tmp_path), _config(tmp_path)) == []


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ((*DNS, "tiers"), {"degraded": {"prepend": 5}}),
        ((*DNS, "prefixes"), [V6, V4]),
        (("bgp", "router_id"), "198.51.100.77"),
        (("node",), {"name": "edge2"}),
    ],
)
def test_a_plan_is_empty_only_where_nothing_differs(tmp_path: Path, where: tuple[str, ...], value: Any) -> None:
    """Also what shows only while a shared check fails is a change."""
    old, new = load(written(tmp_path, BASE)).config, load(written(tmp_path, changed((where, value)))).config
    assert old != new
    assert changes(old, new)


def test_an_attribute_is_replaced_and_no_session_is_reset(tmp_path: Path) -> None:
    """A MED names the routes and the attribute; no neighbor is touched, nothing is withdrawn."""
    found = changes(_config(tmp_path), _config(tmp_path, ((*DNS, "attributes"), {"med": 5})))
    assert {c.what for c in found} == {"route"}
    assert any("med" in c.text for c in found)
    assert not any(c.withdraws for c in found)


def test_a_service_that_goes_is_withdrawn_and_refused(tmp_path: Path) -> None:
    """All that is announced would go: the plan says what a reload would."""
    old = _config(tmp_path)
    service = BASE["services"]["dns"] | {"prefixes": ["192.0.2.99/32"]}
    new = _config(tmp_path, (DNS, None), (("services", "other"), service))
    found = changes(old, new)
    assert {c.name for c in found if c.what == "route" and c.withdraws} == {
        "192.0.2.53/32 at leaf4",
        "2001:db8:53::53/128 at leaf6",
    }
    assert any(c.what == "reload" and c.name == "refused" for c in found)


@given(st.sampled_from(["require", "enabled", "observe_only", "linger", "will"]), st.booleans())
@settings(max_examples=examples(20))
def test_a_field_of_a_service_is_named(tmp_path_factory: pytest.TempPathFactory, field: str, backwards: bool) -> None:
    """What differs in a service shows, in whichever direction it changes."""
    other: dict[str, Any] = {"require": "any", "enabled": False, "observe_only": True, "linger": "2s", "will": "keep"}
    folder = tmp_path_factory.mktemp("diff")
    pair = [_config(folder), _config(folder, ((*DNS, field), other[field]))]
    old, new = reversed(pair) if backwards else pair
    assert any(c.what == "service" and c.text.startswith(f"{field}: ") for c in changes(old, new))
