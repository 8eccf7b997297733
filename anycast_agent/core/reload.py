"""The share guard: a reload that withdraws more than it can mean is refused."""

from __future__ import annotations

from collections.abc import Iterable

from anycast_agent.core.model import Config, RouteKey


def withdrawn_by(config: Config, announced: Iterable[RouteKey]) -> list[RouteKey]:
    """The announced routes that the configuration no longer has."""
    keeps = {
        key for s in config.services.values() if s.enabled and not s.observe_only for key in s.keys
    }  # fmt: skip
    return sorted(key for key in announced if key not in keeps)


def refusal(config: Config, announced: Iterable[RouteKey]) -> tuple[str, ...]:
    """The reasons why the reload is refused, a line each; empty if it is not.

    More than half of the announced routes is more likely a mistake than a plan: in the known outages, one refresh of
    the configuration withdrew everything.
    """
    announced = list(announced)
    lost = withdrawn_by(config, announced)
    if not lost or 2 * len(lost) <= len(announced):
        return ()
    head = f"it would withdraw {len(lost)} of {len(announced)} announced routes; use --force if that is meant"
    return (head, *(f"withdraws {key.prefix} from {key.neighbor}" for key in lost))
