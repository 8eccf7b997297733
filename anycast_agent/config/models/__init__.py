"""The configuration as it is written: its keys, each with its default and its meaning."""

from __future__ import annotations

from pydantic import Field

from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.models.neighbors import BgpModel, NeighborModel
from anycast_agent.config.models.node import AgentModel, ApiModel, NodeModel
from anycast_agent.config.models.routes import AttributesModel, TiersModel
from anycast_agent.config.models.services import AtLeast, CheckModel, HoldDownModel, ServiceModel

__all__ = [
    "AgentModel", "ApiModel", "AtLeast", "AttributesModel", "BgpModel", "CheckModel", "HoldDownModel", "NeighborModel",
    "NodeModel", "RootModel", "ServiceModel", "TiersModel",
]  # fmt: skip


class RootModel(Model):
    """The whole configuration, all files together."""

    node: NodeModel = Field(default_factory=NodeModel)
    agent: AgentModel = Field(default_factory=AgentModel)
    bgp: BgpModel
    services: dict[str, ServiceModel] = Field(
        default_factory=dict, max_length=10_000, description="There may be none: files in conf.d come and go."
    )
