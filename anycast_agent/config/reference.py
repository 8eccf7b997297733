"""The reference of the configuration, docs/configuration.md, written from the schema.

``python -m anycast_agent.config.reference > docs/configuration.md``; a test fails when the page is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from anycast_agent.checks import table
from anycast_agent.checks.durations import SPAN
from anycast_agent.checks.kind import Kind
from anycast_agent.checks.outcomes import COMMON, Code
from anycast_agent.config.schema import schema

_SECTIONS = (
    ("node", "NodeModel"),
    ("node.local_consumers", "LocalConsumersModel"),
    ("agent", "AgentModel"),
    ("agent.api", "ApiModel"),
    ("bgp", "BgpModel"),
    ("bgp.neighbors.NAME", "NeighborModel"),
    ("services.NAME", "ServiceModel"),
    ("services.NAME.attributes", "AttributesModel"),
    ("services.NAME.tiers", "TiersModel"),
    ("services.NAME.hold_down", "HoldDownModel"),
)
_HEAD = """# Configuration

Generated from the models by `python -m anycast_agent.config.reference`; edit their descriptions, not this page.

One file, `/etc/anycast-agent/agent.yaml`, and the `*.yaml` of `conf.d` beside it, which hold `services` and
`bgp.neighbors` only. YAML 1.2, with anchors and merge keys: `x-…` keys at the top level hold what a file shares with
itself (`x-often: &often {interval: 500ms}`, then `<<: *often`). Durations read `500ms`, `2s`, `5m`, `1h`, `1d`; only 0
needs no unit. Secrets stand in files of their own, never here. `anycast-agent validate` says what is wrong, with file,
line and column (`--elsewhere`, where the file is for another machine: the files that it names are not looked for);
`anycast-agent schema` prints the JSON Schema for editors.
"""


def render() -> str:
    """The whole page, Markdown."""
    whole = schema()
    definitions = whole["$defs"]
    parts = [_HEAD]
    for title, name in _SECTIONS:
        parts += _section(f"`{title}`", definitions[name], hide=("password",))
    checks = definitions["ServiceModel"]["properties"]["checks"]["additionalProperties"]["oneOf"]
    common = set.intersection(*(set(check["properties"]) for check in checks))
    shared = {k: v for k, v in checks[0]["properties"].items() if k in common and k in _common_names()}
    shared["type"] = {"enum": [check["properties"]["type"]["const"] for check in checks]}
    parts += _section("`services.NAME.checks.NAME`: every check", {"properties": shared, "required": ["type"]})
    parts += _codes("A probe of any check may end so", COMMON)
    for check in checks:
        own = {k: v for k, v in check["properties"].items() if k not in shared}
        title = f"A check of `type: {check['properties']['type']['const']}`"
        _, _, text = check.get("description", "").partition("\n\n")  # the text after its title
        parts += _section(title, {"description": text, "properties": own, "required": check["required"]})
        parts += _below(own, definitions)
        parts += _ends(table.find(check["properties"]["type"]["const"]))
    return "\n".join(parts)


def _common_names() -> frozenset[str]:
    from anycast_agent.config.models import CheckModel

    return frozenset(CheckModel.model_fields)


def _ends(kind: Kind[Any]) -> Iterator[str]:
    yield from _codes("A probe may also end so", kind.outcomes)
    if kind.numbers:
        yield "What it measures:\n\n| number | unit | meaning |\n|---|---|---|"
        yield from (f"| `{m.name}` | {m.unit} | {_cell(m.meaning)} |" for m in kind.numbers)
        yield ""


def _codes(title: str, codes: Iterable[Code]) -> Iterator[str]:
    yield f"{title}:\n\n| outcome | evidence | meaning |\n|---|---|---|"
    yield from (f"| `{code.word}` | {code.evidence} | {_cell(code.meaning)} |" for code in codes)
    yield ""


def _section(title: str, definition: dict[str, Any], hide: tuple[str, ...] = ()) -> Iterator[str]:
    yield f"## {title}\n"
    if text := definition.get("description"):
        yield f"{text}\n"
    yield from _keys(definition, hide)


def _below(keys: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """The keys of the mappings that a check's keys hold."""
    for key, value in keys.items():
        for option in (value, value.get("items", {}), *value.get("anyOf", ())):
            if "$ref" in option:
                yield f"The keys below `{key}`:\n"
                yield from _keys(definitions[option["$ref"].removeprefix("#/$defs/")])


def _keys(definition: dict[str, Any], hide: tuple[str, ...] = ()) -> Iterator[str]:
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    required = definition.get("required", ())
    for key, value in definition.get("properties", {}).items():
        if key not in hide:
            meaning = value.get("description", "")
            yield f"| `{key}` | {_type(value)} | {_default(key, value, required)} | {_cell(meaning)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(key: str, value: dict[str, Any], required: Any) -> str:
    if key in required:
        return "**required**"
    default = value.get("default")
    return "" if default is None or default == [] else f"`{_cell(json.dumps(default, ensure_ascii=False))}`"


def _type(value: dict[str, Any]) -> str:
    """The type in a few words: ``duration``, ``integer, 1 to 254``, ``list of text``."""
    options = [option for option in value.get("anyOf", ()) if option.get("type") != "null"]
    if SPAN in options:
        return (
            "duration, or whole seconds" if any(option.get("type") == "integer" for option in options) else "duration"
        )
    if options:
        return " or ".join(_type(option) for option in options)
    if "enum" in value or "const" in value:
        return ", ".join(f"`{word}`" for word in value.get("enum", [value.get("const")]))
    if "$ref" in value:
        return "mapping, see below" if value["$ref"].endswith("Model") else "mapping"
    kind = value.get("type", "any")
    if kind == "array":
        return f"list of {_type(value.get('items', {'type': 'text'}))}"
    words = {"string": "text", "object": "mapping", "boolean": "`true`, `false`"}
    return str(words.get(kind, kind)) + _range(value)


def _range(value: dict[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else ""


if __name__ == "__main__":
    print(render(), end="")
