"""Writes docs/states.md from the core's tables. A test says when it was forgotten after a change."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from anycast_agent.core.health import VERDICT_OF, VERDICT_TABLE, Phase
from anycast_agent.core.life import LIFE_TABLE, LINK_TABLE, Life, Link

TARGET = Path(__file__).parent.parent / "docs" / "states.md"

HEAD = """# States

Three things have states and transitions: the verdict of a check, the agent, and its link to the speaker. Whether a
prefix is announced has none: the ladder computes it anew from what is known.

This page is generated from the tables in `anycast_agent/core/` by `python scripts/state_diagrams.py`. An event that is
not drawn at a state leaves that state as it is.
"""

VERDICT_TEXT = """One table for each check. `success` and `failure` are conclusive probes; `risen` and `fallen` are
those that complete `rise` and `fall` (and the doubt window, where outcomes are doubtful); `nothing` is a probe that
could not be made; `expired` is time: nothing conclusive for `fresh_for`. What each state counts as:"""

LIFE_TEXT = """The agent starts by learning its configuration, the kernel and what the speaker holds; only then does it
act on routes. A stop withdraws and cleans up, a hand-over leaves everything as it is."""

LINK_TEXT = """What the speaker holds is known while the link is `synced`; in every other state nothing is put or
dropped."""


def diagram(table: Mapping[tuple[StrEnum, StrEnum], StrEnum], first: StrEnum) -> str:
    """A Mermaid state diagram of the transitions that change the state."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    arrows: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (state, event), after in table.items():
        if after is not state:
            arrows.setdefault((state, after), []).append(event)
    lines += [f"    {state} --> {after}: {', '.join(events)}" for (state, after), events in arrows.items()]
    ends = {state for state, _ in table} - {state for state, _ in arrows}
    lines += [f"    {state} --> [*]" for state in sorted(ends)]
    return "\n".join([*lines, "```"])


def page() -> str:
    """The whole text of docs/states.md."""
    counts = "\n".join(f"- `{phase}`: {verdict}" for phase, verdict in VERDICT_OF.items())
    parts = [
        HEAD,
        "## The verdict of a check\n",
        f"{VERDICT_TEXT}\n\n{counts}\n",
        diagram(VERDICT_TABLE, Phase.UNKNOWN) + "\n",
        "## The agent\n",
        LIFE_TEXT + "\n",
        diagram(LIFE_TABLE, Life.STARTING) + "\n",
        "## The link to the speaker\n",
        LINK_TEXT + "\n",
        diagram(LINK_TABLE, Link.ABSENT) + "\n",
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page())
