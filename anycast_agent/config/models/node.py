"""The node and the agent's process, as they are written."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from anycast_agent.checks.durations import Duration
from anycast_agent.checks.fields import Written as Model
from anycast_agent.config.types import InterfaceName


class LocalConsumersModel(Model):
    """How this node's own packets are sent to another replica: by policy rules before the kernel's table local."""

    table: int = Field(88, ge=1, le=252, description="The routing table for them. Nobody else may use it.")
    interfaces: tuple[Annotated[str, Field(max_length=15, pattern=r"^[^\s/]+$")], ...] = Field(
        (), max_length=16, description="Bridges of containers whose packets go the same way."
    )
    mark: int | None = Field(
        None, ge=1, le=0xFFFFFFFF, description="Packets with this firewall mark stay on the node, as the agent's do."
    )


class NodeModel(Model):
    """This machine."""

    name: str = Field(
        default_factory=lambda: socket.gethostname().partition(".")[0],
        description="The default is the name of the host.",
    )
    site: str = Field("", description="The datacenter of the node.")
    interface: InterfaceName = Field("lo", description="The interface that the anycast addresses are added to.")
    addresses: Literal["manage", "verify", "unmanaged"] = Field(
        "manage",
        description="manage: the agent adds and removes the anycast addresses; verify: another program does, and the "
        "agent checks that they are there; unmanaged: the agent does not look at them.",
    )
    return_route: Literal["default", "any", "off"] = Field(
        "default",
        description="The return route that replies from an anycast address need: a usable one to what is outside, a "
        "usable one to anything off this node, or none is asked for. The kernel says, with its policy rules; it is "
        "asked without a firewall mark.",
    )
    local_consumers: LocalConsumersModel = Field(default_factory=LocalConsumersModel)


class ApiModel(Model):
    listen: str = Field(
        "127.0.0.1:9179",
        description="Read only: pages, JSON, metrics. 0.0.0.0:9179 is every IPv4 address of the node, [::]:9179 every "
        "IPv6 one: whoever reaches them can read everything.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names under which it may be asked, beside addresses, localhost and node.name; *.example.org is "
        "every name below example.org.",
    )


class AgentModel(Model):
    dead_man: Duration = Field(
        5.0,
        description="After so long without a heartbeat of the agent, the speaker follows the will of each service.",
    )
    adopt_for: Duration = Field(
        30.0, description="How long a route of an earlier run stays announced while its checks have no verdict."
    )
    keep_for: Duration = Field(
        86_400.0,
        description="How long the routes of a service with will: keep stay announced without a heartbeat of an agent.",
    )
    stop_within: Duration = Field(20.0, description="A clean stop takes at most so long.")
    exec_slots: int = Field(
        32,
        ge=0,
        le=10_000,
        description="Programs of exec checks that run at once on the node, beside one for each service. A service takes"
        " no more of them than it leaves free.",
    )
    api: ApiModel = Field(default_factory=ApiModel)
    control_socket: Path = Field(
        Path("/run/anycast-agent/control.sock"), description="The commands that change something use this socket."
    )
    run_dir: Path = Field(Path("/run/anycast-agent"), description="A folder that the agent and the speaker share.")
    state_dir: Path = Field(Path("/var/lib/anycast-agent"), description="A folder whose content survives a reboot.")
