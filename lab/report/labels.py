"""The places of the words at a chart's marks: none covers another or is crossed by a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LANES = 5
NARROWEST = 270.0
"""The width of a chart on a telephone, in pixels. Words do not grow, so what fits there fits everywhere."""
_LETTER, _GAP = 6.9, 5.0


@dataclass(frozen=True, slots=True)
class Label:
    text: str
    share: float
    """The place of its line: 0 at the left, 1 at the right."""
    lane: int
    """0 is the top; the line goes down from it."""
    left: bool
    """The words stand left of the line."""

    @property
    def extent(self) -> tuple[float, float]:
        at, width = self.share * NARROWEST, len(self.text) * _LETTER + _GAP
        return (at - width, at) if self.left else (at, at + width)


def place(wanted: Sequence[tuple[float, str]]) -> list[Label | None]:
    """A label for each mark, from left to right; None without room, or where the same was said just before."""
    placed: list[Label] = []
    found: list[Label | None] = []
    for share, text in wanted:
        label = None if _said(text, share, placed) else _first_free(text, share, placed)
        found.append(label)
        if label is not None:
            placed.append(label)
    return found


def _said(text: str, share: float, placed: Sequence[Label]) -> bool:
    return any(p.text == text and abs(share - p.share) * NARROWEST < len(text) * _LETTER for p in placed)


def _first_free(text: str, share: float, placed: Sequence[Label]) -> Label | None:
    tries = [Label(text, share, lane, left) for left in (False, True) for lane in range(LANES)]
    return next((label for label in tries if _fits(label, placed)), None)


def _fits(label: Label, placed: Sequence[Label]) -> bool:
    begin, end = label.extent
    if begin < -_GAP or end > NARROWEST + _GAP:
        return False
    return not any(_collide(label, other) or _crosses(label, other) or _crosses(other, label) for other in placed)


def _collide(one: Label, other: Label) -> bool:
    return one.lane == other.lane and one.extent[0] < other.extent[1] and other.extent[0] < one.extent[1]


def _crosses(one: Label, other: Label) -> bool:
    """True if the line of ``one`` runs through the words of ``other``, which begin a little off their own line."""
    begin, end = other.extent
    shift = -2.0 if other.left else 2.0
    return one.lane <= other.lane and begin + shift < one.share * NARROWEST < end + shift
