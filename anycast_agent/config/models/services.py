"""Services and their checks, as they are written."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from anycast_agent.checks.durations import Duration
from anycast_agent.checks.fields import Form
from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.models.routes import AttributesModel, TiersModel
from anycast_agent.config.types import LastResort, PrefixText


class AtLeast(Model):
    at_least: int = Field(ge=1)


class HoldDownModel(Model):
    """The wait before a recovered service is announced again."""

    initial: Duration = Field(2.0, description="The wait after a single fall.")
    maximum: Duration = Field(60.0, description="The longest wait, however often the service fell.")
    half_life: Duration = Field(120.0, description="After so long, a fall counts half.")


class CheckModel(Model):
    """The keys of every check, beside the parameters of its type."""

    type: str
    interval: Duration = 1.0
    timeout: Duration | None = Field(
        None, description="For the whole probe. The default is 1s, or the interval if that is shorter."
    )
    fast_interval: Duration | None = Field(
        None,
        description="The interval while the verdict is about to change, and the delay before the service's other "
        "prefixes are probed as well. The default is a tenth of the interval, at least 50ms.",
    )
    rise: int = Field(3, ge=1, le=1000, description="Successes in a row until the check is up.")
    fall: int = Field(2, ge=1, le=1000, description="Failures in a row until the check is down.")
    jitter: float = Field(0.1, ge=0, le=0.5, description="A probe may come early by this share of the interval.")
    doubt_window: Duration | None = Field(
        None, description="Doubtful outcomes count after so long. The default is (fall - 1) intervals."
    )
    fresh_for: Duration | None = Field(
        None, description="The verdict is stale after so long without a conclusive probe. The default is three rounds."
    )
    scope: Literal["local", "shared"] = Field(
        "local",
        description="local: about this replica, may withdraw its routes; shared: about something that all sites share, "
        "may only degrade them.",
    )


class ServiceModel(Model):
    """A service that users reach."""

    prefixes: tuple[PrefixText, ...] = Field(min_length=1, description="Host routes: IPv4 /32, IPv6 /128.")
    checks: dict[str, dict[str, Any]] = Field(
        min_length=1, description="The checks by name. At least one has scope local."
    )
    require: Annotated[
        Literal["all", "any"] | AtLeast, Form("require: write all, any, or {at_least: n}", below=True)
    ] = Field("all", description="The local checks that must be up.")
    attributes: AttributesModel = Field(default_factory=AttributesModel)
    tiers: TiersModel = Field(default_factory=TiersModel)
    neighbors: tuple[str, ...] | None = Field(
        None, description="The names of the neighbors that the routes go to. The default is all of them."
    )
    enabled: bool = Field(True, description="false: announce nothing.")
    observe_only: bool = Field(False, description="Check and decide, but announce nothing.")
    hold_down: HoldDownModel = Field(default_factory=HoldDownModel)
    linger: Duration = Field(1.0, description="An address stays on the node for so long after its route was withdrawn.")
    local_consumers: Literal["follow", "always", "off"] = Field(
        "off",
        description="Where this node's own packets to the prefix go while it is not announced and its address stays. "
        "follow: to another replica, while a router offers the very prefix from another node; always: to the routers, "
        "for routers that send a default route only; off: to this node.",
    )
    will: Literal["withdraw", "keep"] = Field(
        "withdraw", description="What the speaker does with a route if the agent dies."
    )
    last_resort: LastResort = Field(
        False,
        description="A shorter prefix that is announced whatever the checks say, and stays if the agent dies: routers "
        "use it only where no node announces the longer one. true: a /31 or a /127 around each prefix; or prefixes, "
        "/24 to /31 and /48 to /127, with every prefix of the service inside one of them. The rest of it is discarded "
        "on the node. never: there is none, on purpose, because a wrong answer is worse than none.",
    )
