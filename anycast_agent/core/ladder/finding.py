"""A row's answer."""

from __future__ import annotations

from dataclasses import dataclass

from anycast_agent.core.model import Reason, Tier


@dataclass(frozen=True, slots=True)
class Finding:
    """A denial where ``tier`` is None, else the permission to announce as that tier."""

    reason: Reason
    evidence: str
    """The evidence, for people."""
    remedy: str
    """The condition that would change it, for people."""
    tier: Tier | None = None
    until: float | None = None
    """When time alone changes it (monotonic), if so."""

    @property
    def allow(self) -> bool:
        return self.tier is not None


def deny(reason: Reason, evidence: str, remedy: str, until: float | None = None) -> Finding:
    return Finding(reason, evidence, remedy, until=until)


def allow(tier: Tier, reason: Reason, evidence: str, remedy: str, until: float | None = None) -> Finding:
    return Finding(reason, evidence, remedy, tier, until)
