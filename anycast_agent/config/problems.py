"""Problems of a configuration, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One problem. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str
    may_pass: bool = field(default=False, compare=False)
    """The problem may go away by itself: a file cannot be read now, which differs from one that is wrong."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigError(Exception):
    """The configuration is not valid; ``problems`` are in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem], notes: Iterable[str] = ()) -> None:
        """``notes``: lines that a person should read as well."""
        self.problems = tuple(sorted(set(problems)))
        self.notes = tuple(notes)
        super().__init__("\n".join((*map(str, self.problems), *self.notes)))

    @property
    def may_pass(self) -> bool:
        return any(problem.may_pass for problem in self.problems)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)``, or an empty text if no known word is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
