"""An observed value is Known or Unknown: two types, so that one is never shown or used for the other.

Only an event makes a value Known. Unknown carries the last known value: a decision may rest on it for a bounded time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    value: T
    at: float
    """Since when it is this value (monotonic seconds)."""


@dataclass(frozen=True, slots=True)
class Unknown(Generic[T]):
    since: float
    last: T
    """The last known value, or the given value if there is none."""
    at: float = float("-inf")
    """Since when it was that value."""


Observed = Known[T] | Unknown[T]


def last(observed: Known[T] | Unknown[T]) -> T:
    """The value as far as it is known or was known last."""
    return observed.value if isinstance(observed, Known) else observed.last


def observe(before: Known[T] | Unknown[T], value: T, now: float) -> Known[T]:
    """The result of an observation: the instant stays if the value stays."""
    return before if isinstance(before, Known) and before.value == value else Known(value, now)


def doubt(before: Known[T] | Unknown[T], now: float) -> Unknown[T]:
    """The result of losing the observer."""
    return before if isinstance(before, Unknown) else Unknown(now, before.value, before.at)
