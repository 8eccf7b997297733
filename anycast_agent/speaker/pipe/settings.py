"""The pipe's own settings, as the agent writes them: read at the start and at each reload, so that ExaBGP's own line
for the pipe never changes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from anycast_agent.speaker.pipe.codec import is_announceable

KEEP_FOR = 86_400.0
"""Default of ``keep_for``, for an older agent that does not send it. Seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations in seconds."""

    dead_man: float
    adopt_for: float
    allow: frozenset[str]
    """The prefixes that the pipe passes on."""
    owned: bool
    """The agent started this ExaBGP, which must not outlive it for ever."""
    keep_for: float = KEEP_FOR

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Raises ValueError, TypeError or LookupError for a text that the agent did not write."""
        values = json.loads(text)
        allow = frozenset(p for p in values["allow"] if is_announceable(p))
        keep_for = float(values.get("keep_for", KEEP_FOR))
        return cls(float(values["dead_man"]), float(values["adopt_for"]), allow, bool(values["owned"]), keep_for)
