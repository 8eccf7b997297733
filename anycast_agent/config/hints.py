"""The meaning of an unknown key or type: a typing error, a key of another place, or another tool's word."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from anycast_agent.checks import table
from anycast_agent.checks.kind import Kind
from anycast_agent.config.models import CheckModel, RootModel
from anycast_agent.config.words import KEYS, plain

Pattern = tuple[str, ...]
"""A place in any configuration; ``*`` stands for a name: ``('services', '*', 'attributes')``."""

CHECK: Pattern = ("services", "*", "checks", "*")


@dataclass(frozen=True, slots=True)
class Hint:
    text: str
    """The end of the message, after the word; empty if nothing is known."""
    key: str | None = None
    """The meant key, if it belongs to the same mapping."""


@cache
def shapes() -> dict[Pattern, type[BaseModel]]:
    """The model of each mapping with fixed keys, read from the models themselves."""
    return dict(_below((), RootModel))


def _below(at: Pattern, model: type[BaseModel]) -> Iterator[tuple[Pattern, type[BaseModel]]]:
    yield at, model
    for name, field in model.model_fields.items():
        yield from _inside((*at, name), field.annotation)


def _inside(at: Pattern, annotation: Any) -> Iterator[tuple[Pattern, type[BaseModel]]]:
    origin = get_origin(annotation)
    if origin is dict:
        yield from _inside((*at, "*"), get_args(annotation)[1])
    elif origin in (Union, UnionType):
        for option in get_args(annotation):
            yield from _inside(at, option)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _below(at, annotation)


def keys_of(model: type[BaseModel]) -> set[str]:
    """The keys that a mapping may have."""
    return {field.alias or name for name, field in model.model_fields.items()}


def _suggested(model: type[BaseModel]) -> set[str]:
    """The keys without those that exist only to be refused in better words."""
    return {field.alias or name for name, field in model.model_fields.items() if not field.exclude}


def check_keys(kind: str | None) -> set[str]:
    """The keys of a check of this type, or of any type if it is not known."""
    one = usable(kind) if kind is not None else None
    return keys_of(CheckModel).union(*(keys_of(k.params) for k in ([one] if one else table.ours())))


def usable(name: str) -> Kind[Any] | None:
    """The kind of this name; None if there is none, or a package offers it that is broken."""
    try:
        return table.find(name)
    except (table.UnknownKindError, table.BrokenKindError):
        return None


def suggested(pattern: Pattern, kind: str | None = None) -> set[str]:
    """The keys that may be suggested at a place."""
    return check_keys(kind) if pattern == CHECK else _suggested(shapes()[pattern])


@lru_cache(maxsize=1024)
def unknown_key(word: str, pattern: Pattern, kind: str | None = None) -> Hint:
    """The meaning of a key that does not exist at this place."""
    here = suggested(pattern, kind)
    if same := next((key for key in sorted(here) if plain(key) == plain(word)), None):
        return Hint(f" (did you mean {same!r}?)", same)
    if (meant := KEYS.get(plain(word))) is not None:
        return _of_another_tool(meant, here, pattern)
    if found := _elsewhere(word, pattern):
        return Hint(f": it belongs to {found}")
    near = difflib.get_close_matches(word, sorted(here), n=1, cutoff=0.6)
    return Hint(f" (did you mean {near[0]!r}?)", near[0]) if near else Hint("")


def _of_another_tool(meant: str | tuple[str, ...], here: Collection[str], pattern: Pattern) -> Hint:
    options = (meant,) if isinstance(meant, str) else meant
    for option in options:
        if option in here:
            return Hint(f": here it is {option!r}", option)
    for option in options:
        if found := _elsewhere(option, pattern) or _elsewhere(option, ()):
            return Hint(f": here it is {found}")
    return Hint(f": {options[0]}")


def _elsewhere(word: str, pattern: Pattern) -> str:
    """The place below this one, or among the node's own settings, that has a key of this name; empty for none."""
    wanted = plain(word)
    places = [(at, _suggested(model)) for at, model in shapes().items()] + [(CHECK, check_keys(None))]
    below = [(at, keys) for at, keys in places if at[: len(pattern)] == pattern and at != pattern]
    for at, keys in sorted(below, key=lambda place: len(place[0])) + [p for p in places if p[0] in (("node",), ())]:
        for key in sorted(keys):
            if plain(key) == wanted and at != pattern:
                return ".".join("NAME" if part == "*" else part for part in (*at, key))
    return ""


def kind_meant(word: str) -> str | None:
    """The type of check that a word means; None if no type is near."""
    if table.is_known(word):
        return word
    said = plain(word)
    if meant := next((kind.name for kind in table.ours() if said == kind.name or said in kind.aliases), None):
        return meant
    near = difflib.get_close_matches(said, table.names(), n=1, cutoff=0.6)
    return near[0] if near else None
