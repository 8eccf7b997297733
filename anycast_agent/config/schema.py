"""JSON Schema of the YAML, for editors and for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from anycast_agent.checks import table
from anycast_agent.checks.durations import SPAN, written_duration
from anycast_agent.checks.kind import Kind
from anycast_agent.config.models import CheckModel, RootModel


def schema(kinds: Iterable[Kind[Any]] | None = None) -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole configuration, with the parameters of these kinds of checks: ours."""
    whole = RootModel.model_json_schema()
    common = CheckModel.model_json_schema()
    checks = []
    for kind in table.ours() if kinds is None else kinds:
        own = _own(kind)
        whole["$defs"].update(own.pop("$defs", {}))
        checks.append(
            {
                "title": f"{kind.name} check",
                "description": own.get("description", ""),
                "type": "object",
                "additionalProperties": False,
                "properties": {**common["properties"], **own.get("properties", {}), "type": {"const": kind.name}},
                "required": ["type", *own.get("required", [])],
            }
        )
    service = whole["$defs"]["ServiceModel"]["properties"]
    service["checks"]["additionalProperties"] = {"oneOf": checks}
    whole["patternProperties"] = {"^x-": {}}
    _write_durations(whole)
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return whole


def _own(kind: Kind[Any]) -> dict[str, Any]:
    """The schema of a kind's parameters. The names of the models below are its own: two kinds may have the same."""
    own: dict[str, Any] = kind.params.model_json_schema(by_alias=True, ref_template=f"#/$defs/{kind.name}.{{model}}")
    own["$defs"] = {f"{kind.name}.{name}": below for name, below in own.get("$defs", {}).items()}
    return own


def _write_durations(node: Any) -> None:
    """A default that is a duration, as it is written: a bare number is refused."""
    if isinstance(node, dict):
        options = node.get("anyOf", [])
        if SPAN in options and isinstance(node.get("default"), float):
            node["default"] = written_duration(node["default"])
        for value in node.values():
            _write_durations(value)
    elif isinstance(node, list):
        for value in node:
            _write_durations(value)
