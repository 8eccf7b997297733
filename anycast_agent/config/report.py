"""Problems in words, each at its place. pydantic's errors are told in the words of the configuration, not of Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from anycast_agent.checks.durations import shown
from anycast_agent.checks.fields import Form
from anycast_agent.config.problems import Problem
from anycast_agent.config.source import Places, Where

WORDS: dict[str, str] = {
    "int_type": "a whole number belongs here, not {given}",
    "int_parsing": "a whole number belongs here, not {given}",
    "int_parsing_size": "a whole number belongs here, not {given}",
    "int_from_float": "a whole number belongs here, not {given}",
    "float_type": "a number belongs here, not {given}",
    "float_parsing": "a number belongs here, not {given}",
    "finite_number": "a number belongs here, not {given}",
    "bool_type": "true or false belongs here, not {given}",
    "bool_parsing": "true or false belongs here, not {given}",
    "string_type": "text belongs here, not {given}",
    "string_unicode": "text belongs here, not {given}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "too_long": "at most {max_length:,} entries",
    "too_short": "at least {min_length} entry",
    "greater_than": "more than {gt}, not {given}",
    "greater_than_equal": "at least {ge}, not {given}",
    "less_than": "less than {lt}, not {given}",
    "less_than_equal": "at most {le}, not {given}",
    "string_pattern_mismatch": "{given} does not have the form that belongs here",
    "literal_error": "{expected} belongs here, not {given}",
    "tuple_type": "a list belongs here, not {given}",
    "dict_type": "each entry has a name here, NAME: {{…}}, not {given}",
    "model_type": "keys belong here, each with its value, not {given}",
    "path_type": "a path belongs here, not {given}",
}
"""The words for each type of pydantic's errors. A test finds out which types can occur."""


class Report:
    """Collects problems and warnings, each with its place."""

    def __init__(self, places: Places, file: str) -> None:
        self._places = places
        self._file = file
        self._moved: dict[Where, Where] = {}
        self._cut: set[Where] = set()
        self._above_cuts: set[Where] = set()
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        """The configuration can be run in spite of these."""
        self.missing: list[Problem] = []
        """Files that this machine does not have, or cannot use."""

    def problem(self, where: Where, message: str) -> None:
        self.problems.append(self._at(where, message))

    def warning(self, where: Where, message: str) -> None:
        self.warnings.append(self._at(where, message))

    def lacks(self, where: Where, message: str) -> None:
        self.missing.append(self._at(where, message))

    def checked(self, where: Where, check: Callable[[Any], Any], value: Any) -> None:
        """A problem, if the check raises ValueError."""
        try:
            check(value)
        except ValueError as error:
            self.problem(where, str(error))

    def cut(self, where: Where) -> None:
        """The value there is wrong and is left out. Problems that follow from its absence are not reported."""
        self._cut.add(where)
        self._above_cuts.update(where[:length] for length in range(len(where)))

    def sound(self, where: Where) -> bool:
        """True if nothing was cut out there, above or below."""
        return where not in self._above_cuts and not any(where[:n] in self._cut for n in range(len(where) + 1))

    def moved(self, old: Where, new: Where) -> None:
        """A value under a wrong key is read under the right one. Its problems are still reported at its own place."""
        self._moved[new] = old

    def _at(self, where: Where, message: str) -> Problem:
        """The position of the place, or of the nearest one above it that is in a file."""
        where = self._written(where)
        for length in range(len(where), -1, -1):
            if (place := self._places.get(where[:length])) is not None:
                return Problem(*place, message)
        return Problem(self._file, 1, 1, message)

    def _written(self, where: Where) -> Where:
        for length in range(len(where) if self._moved else 0, 0, -1):
            if (old := self._moved.get(where[:length])) is not None:
                return self._written((*old, *where[length:]))
        return where


def details(error: ValidationError) -> list[ErrorDetails]:
    """The details of an error, without ``too short`` for a list that is short only because an item of it is wrong."""
    found = error.errors(include_url=False)
    places = [d["loc"] for d in found]
    return [
        d
        for d in found
        if d["type"] != "too_short" or not any(p != d["loc"] and p[: len(d["loc"])] == d["loc"] for p in places)
    ]


def said(detail: ErrorDetails, value: Any, forms: Mapping[str, Form]) -> tuple[Where, str]:
    """The place of a problem within the validated value, and its words."""
    where, kind = tuple(detail["loc"]), detail["type"]
    if kind == "missing":
        return where, f"{str(where[-1])!r} is missing"
    if kind == "extra_forbidden":
        return where, f"unknown key {str(where[-1])!r}"
    if kind in ("value_error", "assertion_error"):
        return _there(where, value), detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    where = _there(where, value)
    key = next((str(part) for part in reversed(where) if isinstance(part, str)), "")
    if (form := forms.get(key)) is not None and (form.below or where[-1] == key):
        return where, form.text
    item = f", entry {where[-1] + 1}" if where and isinstance(where[-1], int) else ""
    return where, f"{key}{item}: {_words(kind, detail)}" if key else _words(kind, detail)


def _words(kind: str, detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    given = detail["input"]
    text = WORDS.get(kind, "{given} does not belong here").format(
        given=shown(given), **{k: v.replace("'", "") if k == "expected" else v for k, v in context.items()}
    )
    if kind == "string_type" and isinstance(given, int | float):
        text += f"; in quotes it is text: '{shown(given)}'"
    if kind == "tuple_type" and isinstance(given, str | int) and not isinstance(given, bool):
        text += f": write [{given}]"
    return text


def _there(where: Where, value: Any) -> Where:
    """The place without its last parts that are no keys: pydantic names the options of a union as if they were."""
    for length, part in enumerate(where):
        in_list = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
        if not in_list and not (isinstance(value, dict) and part in value):
            return where[:length]
        value = value[part]
    return where
