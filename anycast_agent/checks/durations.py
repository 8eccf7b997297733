"""Durations as people write them: ``500ms``, ``2s``, ``5m``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def shown(value: Any) -> str:
    """A value as it is written in YAML, in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple | dict):
        return "a list" if not isinstance(value, dict) else "keys with values"
    text = repr(value)
    return text if len(text) <= 60 else text[:58] + "…'"


def duration(value: Any) -> float:
    """Seconds, of ``500ms``, ``2s``, ``5m``, ``1h`` or ``1d``; 0 needs no unit.

    A bare number is refused: people who come from one tool mean seconds by it, from another milliseconds.
    """
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is not None:
        seconds = float(match[1]) * _UNITS[match[2]]
    elif value == 0 and not isinstance(value, bool):
        seconds = 0.0
    elif isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
        raise ValueError(f"a duration has a unit: write {value}s or {value}ms")
    else:
        raise ValueError(f"a duration reads 500ms, 2s or 5m, not {shown(value)}")
    if not 0 <= seconds <= 86400 * 7:
        raise ValueError("a duration is 0 to 7 days")
    return seconds


def written_duration(seconds: float) -> str:
    """A duration as it is written, in the largest unit that leaves a whole number."""
    milliseconds = round(seconds * 1000)
    for unit in ("d", "h", "m", "s"):
        if milliseconds and milliseconds % (size := round(_UNITS[unit] * 1000)) == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


SPAN = {"type": "string", "pattern": r"^(0|[1-9]\d*)(\.\d+)?(ms|s|m|h|d)$"}
Duration = Annotated[float, BeforeValidator(duration), WithJsonSchema({"anyOf": [{"const": 0}, SPAN]})]
