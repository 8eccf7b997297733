"""JSON Schema of the YAML, for editors and for people."""

from __future__ import annotations

from typing import Any

from anycast_agent.checks.registry import KINDS
from anycast_agent.config.models import CheckModel, RootModel
from anycast_agent.config.types import SPAN, written_duration


def schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a whole configuration, the parameters of each type of check included."""
    whole = RootModel.model_json_schema()
    common = CheckModel.model_json_schema()
    checks = []
    for kind, params in KINDS.items():
        own = params.model_json_schema(by_alias=True)
        whole["$defs"].update(own.pop("$defs", {}))
        if "headers" in own.get("properties", {}):  # written as a mapping; the parameters keep pairs
            own["properties"]["headers"] = {"type": "object", "additionalProperties": {"type": "string"}}
        checks.append(
            {
                "title": f"{kind} check",
                "description": own.get("description", ""),
                "type": "object",
                "additionalProperties": False,
                "properties": {**common["properties"], **own.get("properties", {}), "type": {"const": kind}},
                "required": ["type", *own.get("required", [])],
            }
        )
    service = whole["$defs"]["ServiceModel"]["properties"]
    service["checks"]["additionalProperties"] = {"oneOf": checks}
    whole["patternProperties"] = {"^x-": {}}
    _write_durations(whole)
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return whole


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
