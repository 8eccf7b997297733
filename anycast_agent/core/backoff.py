"""When something that failed is tried again: after ``first`` seconds, then twice as long each time, up to ``most``."""

from __future__ import annotations

from dataclasses import dataclass, field

NEVER = float("-inf")


@dataclass(slots=True)
class Backoff:
    first: float
    most: float
    failed_at: float = NEVER
    wait: float = field(default=0.0)
    """The wait after the last failure; 0 before any."""

    def failed(self, now: float) -> None:
        self.wait = self.first if self.failed_at == NEVER else min(self.most, 2 * self.wait)
        self.failed_at = now

    def reset(self) -> None:
        """The attempt succeeded, or the next one is for something else."""
        self.failed_at, self.wait = NEVER, 0.0

    def until(self, limit: float = float("inf")) -> float:
        """From when on it may be tried again, in monotonic seconds. ``limit``: it never waits longer than that."""
        return self.failed_at + min(self.wait, limit)
