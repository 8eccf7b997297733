"""The main file and conf.d as one tree of values: services and neighbors come from every file, the rest from the main
one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from anycast_agent.config.problems import ConfigError, Problem
from anycast_agent.config.source import MAX_FILES, Places, Where, parse

_MAY_BE_EMPTY = frozenset({"node", "agent", "services"})
_SHARED: tuple[Where, ...] = (("services",), ("bgp", "neighbors"))
"""Sections that every file may add to."""


def drop_ins(path: Path) -> list[Path]:
    """The files in conf.d beside the main file, in order. Raises ConfigError."""
    folder = path.parent / "conf.d"
    try:
        visible = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError([Problem(str(folder), 1, 1, f"cannot be read: {error.strerror or error}", True)]) from None
    if missed := [p for p in visible if p.suffix in (".yml", ".YAML", ".YML")]:
        # If it were skipped in silence, its services would never be announced.
        text = "only *.yaml is read here: rename it"
        raise ConfigError([Problem(str(p), 1, 1, text) for p in missed])
    found = [p for p in visible if p.suffix == ".yaml"]
    if len(found) > MAX_FILES:
        raise ConfigError([Problem(str(folder), 1, 1, f"more than {MAX_FILES:,} files")])
    return found


def merged(files: Iterable[Path], text: Callable[[Path], str]) -> tuple[dict[str, Any], Places]:
    """The values of all files, and the place of each. The first file is the main one. Raises ConfigError."""
    values: dict[str, Any] = {}
    places: Places = {}
    problems: list[Problem] = []
    for number, path in enumerate(files):
        try:
            value, where = parse(text(path), str(path))
        except ConfigError as error:
            problems += error.problems
            continue
        if not isinstance(value, dict):
            problems.append(Problem(str(path), 1, 1, "the top level holds words and what they mean"))
        elif number == 0:
            values, places = _with_empty_sections(_without_extensions(value)), where
        else:
            problems += _add(values, places, _without_extensions(value), where)
    if problems:
        raise ConfigError(problems)
    return values, places


def _without_extensions(values: dict[str, Any]) -> dict[str, Any]:
    """``x-…`` keys at the top level hold shared anchors. They are not part of the configuration."""
    return {key: value for key, value in values.items() if not key.startswith("x-")}


def _with_empty_sections(values: dict[str, Any]) -> dict[str, Any]:
    """``services:`` with nothing below it means that they stand in conf.d."""
    values = {k: {} if v is None and k in _MAY_BE_EMPTY else v for k, v in values.items()}
    bgp = values.get("bgp")
    if isinstance(bgp, dict) and "neighbors" in bgp and bgp["neighbors"] is None:
        values["bgp"] = {**bgp, "neighbors": {}}
    return values


def _add(values: dict[str, Any], places: Places, added: dict[str, Any], where: Places) -> list[Problem]:
    """Add the services and neighbors of one file of conf.d."""
    problems = _of_the_main_file(added, where)
    for base in _SHARED:
        entries = _at(added, base)
        if entries is not None and not isinstance(entries, dict):
            problems.append(Problem(*where[base], f"{'.'.join(map(str, base))} holds names and what they are"))
            continue
        target = _section(values, base)
        if target is None:
            continue  # the validation of the main file reports that the section is no mapping
        for name, entry in (entries or {}).items():
            if name in target:
                first = places[*base, name]
                problems.append(Problem(*where[*base, name], f"{name!r} stands in {first[0]}:{first[1]} already"))
            target[name] = entry
        places.update({k: v for k, v in where.items() if k[: len(base)] == base and len(k) > len(base)})
    return problems


def _of_the_main_file(added: dict[str, Any], where: Places) -> list[Problem]:
    """The keys of a drop-in that only the main file may have."""
    bgp = added.get("bgp")
    keys: list[Where] = [(key,) for key in added if key not in ("services", "bgp")]
    keys += [("bgp", key) for key in (bgp if isinstance(bgp, dict) else ()) if key != "neighbors"]
    problems = [
        Problem(*where[key], f"in conf.d only services and bgp.neighbors may stand, not {'.'.join(map(str, key))!r}")
        for key in keys
    ]
    if bgp is not None and not isinstance(bgp, dict):
        problems.append(Problem(*where["bgp",], "bgp holds neighbors: and what they are"))
    return problems


def _at(values: Any, where: Where) -> Any:
    for word in where:
        values = values.get(word) if isinstance(values, dict) else None
    return values


def _section(values: dict[str, Any], base: Where) -> dict[str, Any] | None:
    """The mapping at this place, created if missing; None if the place has another value."""
    for word in base:
        inner = values.setdefault(str(word), {})
        if not isinstance(inner, dict):
            return None
        values = inner
    return values
