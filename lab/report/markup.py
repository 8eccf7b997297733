"""Text and figures, as the lab's pictures and report write them."""

from __future__ import annotations

import re
from html import escape

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document may hold, not even escaped."""


def text(value: object) -> str:
    """Escaped, for an element or a quoted attribute."""
    return escape(printable(value))


def printable(value: object) -> str:
    """The text without characters that XML cannot hold. For a writer that escapes by itself."""
    return _FORBIDDEN.sub("\ufffd", str(value))


def shortened(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1].rstrip() + "…"


def seconds(value: float | None) -> str:
    """A duration in the unit that people use: 0.4 ms, 67 ms, 1.84 s, 120 s. A dash if there is none."""
    if value is None:
        return "–"
    ms = value * 1000
    if round(ms) < 1000:
        return f"{ms:.1f} ms" if 0 < ms < 9.95 else f"{ms:.0f} ms"
    return f"{value:.2f} s" if value < 99.995 else f"{value:.0f} s"


def count(value: int) -> str:
    return f"{value:,}"


def number(value: float) -> str:
    """A coordinate: short, and the same on every machine."""
    return f"{round(value, 2) + 0:g}" if abs(value) < 10_000 else f"{value:.0f}"
