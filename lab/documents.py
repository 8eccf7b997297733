"""YAML files that people write for the lab, read into models; every problem with its file, line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.source import Places, Where, parse, read


class Document(BaseModel):
    """Part of a file: unknown keys are refused, by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class OneOf(Document):
    """Exactly one key, with something under it: a key alone would do and expect nothing, and say nothing of it."""

    @model_validator(mode="after")
    def _one(self) -> OneOf:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"one of: {', '.join(type(self).model_fields)}")
        if getattr(self, self.key) is None:
            raise ValueError(f"{self.key}: nothing stands under it")
        return self

    @property
    def key(self) -> str:
        return next(iter(self.model_fields_set))


D = TypeVar("D", bound=Document)


def load(path: Path, model: type[D]) -> tuple[D, Places]:
    """Raises ConfigError with all that is wrong, each where it stands."""
    if not path.is_file():
        raise ConfigError([Problem(str(path), 1, 1, "there is no such file")])
    return parsed(read(path), str(path), model)


def parsed(text: str, name: str, model: type[D]) -> tuple[D, Places]:
    """Raises ConfigError, whose text calls the file ``name``."""
    values, places = parse(text, name)
    try:
        return model.model_validate(values), places
    except ValidationError as error:
        raise ConfigError(
            Problem(*place(places, tuple(d["loc"]), name), _say(values, tuple(d["loc"]), d["type"], d["msg"], model))
            for d in error.errors()
            # A list that is short only of its items that are wrong, which are told themselves, is not told as well.
            if not (d["type"] == "too_short" and len(d["input"]) >= d["ctx"]["min_length"])
        ) from None


def place(places: Places, where: Where, file: str) -> tuple[str, int, int]:
    """The place of a value. If the value is missing, the place of the mapping that lacks it."""
    while where and where not in places:
        where = where[:-1]
    return places.get(where, (file, 1, 1))


def _say(values: Any, where: Where, kind: str, message: str, model: type[BaseModel]) -> str:
    last = next((part for part in reversed(where) if isinstance(part, str)), "")  # a list's item is told by its list
    if kind == "extra_forbidden":
        known = {name for m in _models(model) for name in _keys(m)}
        return f"unknown key {last!r}" + did_you_mean(last, known)
    if kind == "missing":
        return f"{last!r} is missing" if last == where[-1] else f"{last}: too few"
    if kind == "too_short":
        return f"{last}: at least one"
    if kind in ("model_type", "dict_type"):
        return (f"{last}: " if last else "") + "here go keys, each with what belongs to it"
    message = message.removeprefix("Value error, ")
    return message if kind == "value_error" else f"{last}: {message[:1].lower()}{message[1:]}"


def _keys(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and those it is made of."""
    found: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += [m for field in one.model_fields.values() for m in _inside(field.annotation)]
    return found


def _inside(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in _inside(part)]
