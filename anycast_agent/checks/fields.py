"""The base of all models of the configuration: unknown keys are refused, and a number is a number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticKnownError

_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_REAL = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?")


def an_address(text: str) -> str:
    """Canonical text of an IP address. Raises ValueError."""
    return str(ip_address(text))


def a_regex(text: str) -> str:
    """Raises ValueError where it does not compile."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return text


def a_regex_of_bytes(text: str) -> str:
    """Some that are good for text are not for bytes, \\u0031 for one."""
    try:
        re.compile(a_regex(text).encode())
    except re.error as error:
        raise ValueError(f"not a regular expression over bytes: {error}") from error
    return text


IpText = Annotated[str, AfterValidator(an_address)]
Regex = Annotated[str, AfterValidator(a_regex), Field(max_length=1000)]
RegexOfBytes = Annotated[str, AfterValidator(a_regex_of_bytes), Field(max_length=1000)]
Port = Annotated[int, Field(ge=1, le=65535)]


@dataclass(frozen=True, slots=True)
class Form:
    """In the ``Annotated`` of a field: the sentence for every problem with its form."""

    text: str
    below: bool = False
    """It also covers the values below."""


class Written(BaseModel):
    """A mapping of the configuration.

    pydantic takes ``true`` for 1 and the text ``0120`` for 120. Nobody means that, so both are refused here, for every
    field that holds a number and has no rule of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = _numbers(cls).get(info.field_name or "")
        if kind is not None:
            for one in value if isinstance(value, list | tuple) else (value,):
                _refuse_what_is_no_number(one, kind)
        return value


def _refuse_what_is_no_number(value: Any, kind: type) -> None:
    if isinstance(value, str):
        fits = (_WHOLE if kind is int else _REAL).fullmatch(value) is not None
    else:
        fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if value is not None and not fits:
        raise PydanticKnownError("int_type" if kind is int else "float_type")


@lru_cache(maxsize=128)
def _numbers(model: type[BaseModel]) -> dict[str, type]:
    """The fields that hold numbers and have no validator of their own before pydantic's."""
    found = {}
    for name, field in model.model_fields.items():
        kind = _plain(field.annotation, field.metadata)
        if kind in (int, float):
            found[name] = kind
    return found


def _plain(annotation: Any, metadata: Any = ()) -> Any:
    """The type behind ``Annotated``, ``| None`` and lists; None where a validator judges the raw value."""
    if any(isinstance(m, BeforeValidator) for m in metadata):
        return None
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _plain(inner, more)
    if origin in (Union, UnionType):
        kinds = [a for a in get_args(annotation) if a is not type(None)]
        return _plain(kinds[0]) if len(kinds) == 1 else None
    if origin in (tuple, list):
        return _plain(get_args(annotation)[0])
    return annotation


@lru_cache(maxsize=128)
def forms(model: type[BaseModel]) -> dict[str, Form]:
    """The forms of a model's fields, by their keys; those of the models below included."""
    found: dict[str, Form] = {}
    for name, field in model.model_fields.items():
        for form in (m for m in field.metadata if isinstance(m, Form)):
            found[field.alias or name] = form
        for below in models_in(field.annotation):
            found = forms(below) | found
    return found


def models_in(annotation: Any) -> set[type[BaseModel]]:
    """The models that a field of this type may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*(models_in(inner) for inner in get_args(annotation)))
