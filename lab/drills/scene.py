"""``lab.yaml``: names for prefixes, the clients and their targets, and the state of a lab in which nothing is wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.source import Where
from lab import documents
from lab.documents import Document
from lab.drills.says import Says
from lab.net.tables import Hops, Table
from lab.net.topology import Topology

STREAMS = ("dns IPv4", "dns IPv6", "http IPv4", "http IPv6")


def _prefix(text: str) -> str:
    return text if text in ("default", "default6") else str(ipaddress.ip_network(text))


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


Expected = dict[str, Annotated[dict[str, tuple[str, ...]], Field(min_length=1)]]
"""The next nodes, by node and set of prefixes."""


class Scene(Document):
    variants: tuple[str, ...] = Field(min_length=1)
    prefixes: dict[str, Annotated[tuple[Annotated[str, AfterValidator(_prefix)], ...], Field(min_length=1)]]
    clients: tuple[str, ...] = Field(min_length=1)
    targets: dict[str, Annotated[str, AfterValidator(_address)]]
    steady: Expected
    says: tuple[Says, ...] = ()
    """Routers say this while nothing is wrong. Kernel tables do not show routes that BGP has not selected."""
    users: dict[str, str] = Field(default_factory=dict)
    """The report's names for the users behind each client."""

    @cached_property
    def known(self) -> frozenset[str]:
        return frozenset(prefix for prefixes in self.prefixes.values() for prefix in prefixes)

    def concerns(self, prefix: str) -> bool:
        return prefix in self.known

    def differences(self, expected: Expected, tables: Mapping[str, Table]) -> list[str]:
        """The differences from the expected state, in words."""
        found = []
        for node, sets in expected.items():
            table = tables.get(node, {})
            for name, hops in sets.items():
                wanted: Hops | None = tuple(sorted(hops)) or None
                for prefix in self.prefixes[name]:
                    if table.get(prefix) != wanted:
                        found.append(f"{node}: {prefix} goes to {say(table.get(prefix))}, not to {say(wanted)}")
        return found

    def problems(self, expected: Expected, topology: Topology) -> list[str]:
        """Names in an expectation that nobody bears."""
        found = []
        for node, sets in expected.items():
            if node not in topology.nodes:
                found.append(f"there is no node {node!r}{did_you_mean(node, topology.nodes)}")
            for name, hops in sets.items():
                if name not in self.prefixes:
                    found.append(f"there are no prefixes {name!r}{did_you_mean(name, self.prefixes)}")
                found += [
                    f"there is no node {hop!r}{did_you_mean(hop, topology.nodes)}"
                    for hop in hops
                    if hop not in topology.nodes and hop != "here"
                ]
        return found


def say(hops: Hops | None) -> str:
    return "nobody" if hops is None else " and ".join(hops)


def load(path: Path, topology: Topology) -> Scene:
    """Raises ConfigError."""
    scene, places = documents.load(path, Scene)
    problems: list[tuple[Where, str]] = [(("steady",), text) for text in scene.problems(scene.steady, topology)]
    for number, says in enumerate(scene.says):
        if says.node not in topology.nodes:
            where: Where = ("says", number)
            problems.append((where, f"there is no node {says.node!r}{did_you_mean(says.node, topology.nodes)}"))
    for client in scene.users:
        if client not in scene.clients:
            problems.append((("users",), f"there is no client {client!r}{did_you_mean(client, scene.clients)}"))
    for client in scene.clients:
        if client not in topology.nodes:
            problems.append((("clients",), f"there is no node {client!r}{did_you_mean(client, topology.nodes)}"))
    if set(scene.targets) != set(STREAMS):
        problems.append((("targets",), f"targets are: {', '.join(STREAMS)}"))
    if problems:
        raise ConfigError(Problem(*documents.place(places, where, str(path)), text) for where, text in problems)
    return scene
