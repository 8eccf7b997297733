"""Services and their checks, as they are written."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.models.routes import AttributesModel, TiersModel
from anycast_agent.config.types import Duration, PrefixText


class AtLeast(Model):
    at_least: int = Field(ge=1)


class HoldDownModel(Model):
    """How long a recovered service waits before it is announced again."""

    initial: Duration = Field(2.0, description="After a single fall.")
    maximum: Duration = Field(60.0, description="However often it fell.")
    half_life: Duration = Field(120.0, description="After so long, half of the falls are forgotten.")


class CheckModel(Model):
    """What every check has, beside the parameters of its type."""

    type: str
    interval: Duration = 1.0
    timeout: Duration | None = Field(
        None, description="Over everything. By default 1s, or the interval if that is less."
    )
    fast_interval: Duration | None = Field(
        None,
        description="While the verdict is about to change; how soon after a change at another of the service's prefixes"
        " this one is asked, too. By default a tenth of the interval, at least 50ms.",
    )
    rise: int = Field(3, ge=1, le=1000, description="Successes in a row until it is up.")
    fall: int = Field(2, ge=1, le=1000, description="Failures in a row until it is down.")
    jitter: float = Field(0.1, ge=0, le=0.5, description="The share of an interval by which a probe may come early.")
    doubt_window: Duration | None = Field(
        None, description="How long doubtful outcomes must last to count. By default (fall - 1) intervals."
    )
    fresh_for: Duration | None = Field(
        None, description="After so long without a conclusive probe the verdict is stale. By default three rounds."
    )
    scope: Literal["local", "shared"] = Field(
        "local",
        description="local: this replica, may withdraw; shared: what every site has in common, may only degrade.",
    )


class ServiceModel(Model):
    """What users reach."""

    prefixes: tuple[PrefixText, ...] = Field(min_length=1, description="Host routes: IPv4 /32, IPv6 /128.")
    checks: dict[str, dict[str, Any]] = Field(min_length=1, description="By name. One at least of scope local.")
    require: Literal["all", "any"] | AtLeast = Field("all", description="How many of the local checks must be up.")
    attributes: AttributesModel = Field(default_factory=AttributesModel)
    tiers: TiersModel = Field(default_factory=TiersModel)
    neighbors: tuple[str, ...] | None = Field(None, description="By default all.")
    enabled: bool = Field(True, description="false: announce nothing.")
    observe_only: bool = Field(False, description="Check and decide, announce nothing.")
    hold_down: HoldDownModel = Field(default_factory=HoldDownModel)
    linger: Duration = Field(1.0, description="How long an address stays after its withdrawal.")
    will: Literal["withdraw", "keep"] = Field("withdraw", description="What becomes of a route if the agent dies.")
