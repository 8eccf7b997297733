"""The schema and the reference, which are made from the models."""

from __future__ import annotations

import json
from pathlib import Path

from anycast_agent.config.reference import render
from anycast_agent.config.schema import schema

ROOT = Path(__file__).parents[2]


def test_the_schema_names_every_check_type() -> None:
    """Editors complete the parameters of each."""
    text = json.dumps(schema())
    assert all(word in text for word in ('"const": "dns"', '"follow_redirects"', '"at_least"', '"command"'))


def test_the_schema_takes_headers_as_they_are_written() -> None:
    """A mapping, as the loader takes them: an editor must not mark it as wrong."""
    checks = schema()["$defs"]["ServiceModel"]["properties"]["checks"]["additionalProperties"]["oneOf"]
    assert [c["properties"]["headers"]["type"] for c in checks if "headers" in c["properties"]] == ["object"]


def test_the_reference_is_current() -> None:
    """Where it is not: python -m anycast_agent.config.reference > docs/configuration.md."""
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == render()


def test_every_key_is_in_the_reference() -> None:
    """Not one that the schema knows is left out, the deprecated trap for passwords apart."""
    page = render()
    definitions = schema()["$defs"]
    keys = {key for d in definitions.values() for key in d.get("properties", {})} - {"password"}
    assert [key for key in sorted(keys) if f"| `{key}` |" not in page and key != "at_least"] == []
