"""How much the agent may ask at once, and whether it gets enough processor time to ask at all.

The shell reports how late its own loop was. Probes in flight are capped by that, as TCP caps what it sends by loss:
each late report halves what is in flight, and the cap grows again by the half in each quiet step. A loop that is on
time has, in effect, no cap: services that hang cost no processor time, and take no probe from the others.

While the loop is late, the agent is *starved*. What it did not see then is nobody's fault: a timeout is no evidence,
and verdicts do not expire, for a bounded time.
"""

from __future__ import annotations

CAP_FIRST = 32
"""Before the first report: a start asks everything at once."""
CAP_LEAST, CAP_MOST = 4, 4096
STEP = 0.25
GROWTH = 1.5
"""By so much the cap grows in each quiet step. Seconds."""

LATE_SHARE = 0.25
"""A report is late from this share of lost time on; a timeout is no evidence from this share of its own time on."""
CALM = 3.0
"""Starvation is over after so long without a late report: by then, each check had its turn. Seconds."""
KEPT_FOR = 60.0
"""How long beyond its freshness a verdict is kept while the agent is starved. Seconds."""


class Pace:
    def __init__(self, now: float) -> None:
        self._cap = float(CAP_FIRST)
        self._since = now
        self._late_at: float | None = None
        self.share = 0.0
        """Of the last late report."""
        self.starved_since: float | None = None

    def report(self, lost: float, over: float, in_flight: int, now: float) -> None:
        """Of the last ``over`` seconds, the shell could not look at its events for ``lost``."""
        share = lost / over if over > 0 else 0.0
        if share < LATE_SHARE:
            return
        self._cap = max(CAP_LEAST, min(self.cap(now), in_flight) / 2)
        self._since = self._late_at = now
        self.share = min(1.0, share)
        if self.starved_since is None:
            self.starved_since = now

    def cap(self, now: float) -> int:
        """How many probes may be in flight."""
        steps = min(50.0, max(0.0, now - self._since) / STEP)
        return int(min(CAP_MOST, self._cap * GROWTH**steps))

    def calm_at(self) -> float | None:
        """When starvation ends if no late report comes; None where there is none."""
        return None if self._late_at is None or self.starved_since is None else self._late_at + CALM

    def settle(self, now: float) -> bool:
        """Whether starvation ends now."""
        calm_at = self.calm_at()
        if calm_at is None or now < calm_at:
            return False
        self.starved_since = None
        return True
