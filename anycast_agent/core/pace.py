"""The cap on probes in flight, and whether the agent gets enough processor time.

The shell reports the lateness of its own loop. It caps the probes in flight, as loss caps TCP's window: each late
report halves the probes in flight, and each quiet step grows the cap by half. A loop that is on time has, in effect,
no cap: services that hang cost no processor time, and take no probe from the others.

While the loop is late, the agent is *starved*. A missing answer is then nobody's fault: a timeout is no evidence, and
verdicts do not expire, for a bounded time.
"""

from __future__ import annotations

CAP_FIRST = 32
"""Before the first report: a start asks everything at once."""
CAP_LEAST, MAX_CAP = 4, 4096
STEP = 0.25
GROWTH = 1.5
"""The length of a quiet step, in which the cap grows once. Seconds."""

LATE_SHARE = 0.25
"""A report is late from this share of lost time on; a timeout is no evidence from this share of its own time on."""
CALM = 3.0
"""Starvation ends after this time without a late report: each check has had its turn by then. Seconds."""
KEPT_FOR = 60.0
"""The time beyond its freshness for which a verdict is kept while the agent is starved. Seconds."""


class Pace:
    def __init__(self, now: float) -> None:
        self._cap = float(CAP_FIRST)
        self._since = now
        self._late_at: float | None = None
        self.share = 0.0
        """The instant of the last late report."""
        self.starved_since: float | None = None

    def report(self, lost: float, over: float, in_flight: int, now: float) -> None:
        """The shell could not look at its events for ``lost`` of the last ``over`` seconds."""
        share = lost / over if over > 0 else 0.0
        if share < LATE_SHARE:
            return
        self._cap = max(CAP_LEAST, min(self.cap(now), in_flight) / 2)
        self._since = self._late_at = now
        self.share = min(1.0, share)
        if self.starved_since is None:
            self.starved_since = now

    def cap(self, now: float) -> int:
        """The cap on probes in flight."""
        steps = min(50.0, max(0.0, now - self._since) / STEP)
        return int(min(MAX_CAP, self._cap * GROWTH**steps))

    def calm_at(self) -> float | None:
        """When starvation ends if no late report comes; None where there is none."""
        return None if self._late_at is None or self.starved_since is None else self._late_at + CALM

    def settle(self, now: float) -> bool:
        """True if starvation ends now."""
        calm_at = self.calm_at()
        if calm_at is None or now < calm_at:
            return False
        self.starved_since = None
        return True
