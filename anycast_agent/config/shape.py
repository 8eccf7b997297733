"""From plain values to the models. One mistake hides no other: wrong values are cut out, and the rest is validated."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from anycast_agent.checks.fields import forms
from anycast_agent.config import report as words
from anycast_agent.config.hints import CHECK, Pattern, check_keys, keys_of, kind_meant, shapes, unknown_key
from anycast_agent.config.models import RootModel
from anycast_agent.config.report import Report
from anycast_agent.config.source import Where

MAX_PRUNED = 8
"""Wrong values are cut out, and the rest is validated again, at most so often."""
_GONE = object()

RENAMED: dict[tuple[Pattern, str], str] = {(("node",), "way_back"): "return_route"}
"""Keys by the names that they had in earlier versions. They are read, with a warning."""


def with_known_keys(values: Any, report: Report, pattern: Pattern = (), where: Where = ()) -> Any:
    """A copy in which every key is known. An unknown key with a clear meaning is read under the right key, so that the
    values below it are judged as well. Any other is left out. Both are problems."""
    if not isinstance(values, dict):
        return values
    kind = kind_meant(str(values.get("type", ""))) if pattern == CHECK else None
    known = _known(pattern, kind)
    if known is None:
        return {name: with_known_keys(v, report, (*pattern, "*"), (*where, name)) for name, v in values.items()}
    read: dict[str, Any] = {}
    for key, value in values.items():
        name = key
        if (pattern, key) in RENAMED and RENAMED[pattern, key] not in values:
            name = RENAMED[pattern, key]
            report.warning((*where, key), f"{key} is called {name} by now; write {name}")
            report.moved((*where, key), (*where, name))
        elif key not in known:
            hint = unknown_key(key, pattern, kind)
            report.problem((*where, key), f"unknown key {key!r}{hint.text}")
            if hint.key is None or hint.key in values or hint.key in read:
                report.cut((*where, key))
                continue
            name = hint.key
            report.moved((*where, key), (*where, name))
        inner = (*pattern, name)
        below = inner in shapes() or (*inner, "*") in shapes() or (*inner, "*") == CHECK
        read[name] = with_known_keys(value, report, inner, (*where, name)) if below else value
    return read


def _known(pattern: Pattern, kind: str | None) -> set[str] | None:
    """The keys of a mapping with fixed keys; None for one with names."""
    if pattern == CHECK:
        return check_keys(kind)
    model = shapes().get(pattern)
    return None if model is None else keys_of(model)


def shaped(values: Any, report: Report) -> RootModel | None:
    """The whole configuration. Wrong values are left out, so that the rest shows its problems as well."""
    rest = values
    for _ in range(MAX_PRUNED):
        try:
            return RootModel.model_validate(rest)
        except ValidationError as error:
            found = words.details(error)
            if rest is values:
                for detail in found:
                    report.problem(*words.said(detail, values, forms(RootModel)))
            for detail in found:
                report.cut(tuple(detail["loc"]))
            rest = _without(rest, [tuple(detail["loc"]) for detail in found])
            if rest is None:
                return None
    return None


def _without(values: Any, places: Iterable[Where]) -> Any:
    """A copy without the values at these places; if one is missing, without the mapping that lacks it. None if that
    leaves nothing."""
    values = copy.deepcopy(values)
    for place in places:
        parent: Any = None
        last: str | int = ""
        node = values
        for word in place:
            inside = (isinstance(node, dict) and word in node) or (
                isinstance(node, list) and isinstance(word, int) and word < len(node)
            )
            if not inside:
                break
            parent, last, node = node, word, node[word]
        if parent is None:
            return None
        parent[last] = _GONE
    return _swept(values)


def _swept(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _swept(v) for k, v in value.items() if v is not _GONE}
    return [_swept(v) for v in value if v is not _GONE] if isinstance(value, list) else value
