"""A topology in containerlab's file format, as far as the lab supports it.

https://containerlab.dev/manual/topo-def-file: a key that is not supported here is refused by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from anycast_agent.config.problems import ConfigError, Problem, did_you_mean
from anycast_agent.config.source import Places, Where
from lab import documents
from lab.documents import Document

_VARIABLE = re.compile(r"\$\{(\w+)(?::?=([^}]*))?\}")

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
"""It becomes a host name, a directory and a control group."""


def _endpoint(text: str) -> str:
    if not re.fullmatch(r"[^\s:]+:[^\s:/]{1,15}", text):
        raise ValueError(f"an endpoint reads node:interface, not {text!r}")
    return text


KINDS = ("linux", "frr", "nokia_srlinux", "arista_ceos")
"""Kinds of nodes. Namespaces run linux alone; the others are containerlab's."""


FORWARD_BY_KERNEL = ("linux", "frr")
"""Kinds whose tables the lab reads. The others forward by tables of their own, and are managed from outside."""


class Healthcheck(Document):
    """As Docker has it: seconds, and a command as ``[CMD, word…]`` or ``[CMD-SHELL, line]``."""

    test: tuple[str, ...] = Field(min_length=2)
    start_period: int = Field(0, alias="start-period")
    interval: int = 30
    timeout: int = Field(30, ge=1)
    retries: int = 3

    @field_validator("test")
    @classmethod
    def _known(cls, test: tuple[str, ...]) -> tuple[str, ...]:
        if test[0] not in ("CMD", "CMD-SHELL") or (test[0] == "CMD-SHELL" and len(test) != 2):
            raise ValueError("a health check reads [CMD, word…] or [CMD-SHELL, line]")
        return test

    @property
    def command(self) -> tuple[str, ...]:
        return self.test[1:] if self.test[0] == "CMD" else ("sh", "-c", self.test[1])


class FrrExtras(Document):
    daemons: tuple[str, ...] = ()


class Extras(Document):
    frr: FrrExtras | None = None


class NodeFile(Document):
    """The keys of a node, of a kind and of the defaults, as containerlab names them."""

    kind: str = ""
    image: str = ""
    cmd: str = ""
    group: str = ""
    network_mode: str = Field("", alias="network-mode")
    restart_policy: str = Field("", alias="restart-policy")
    binds: tuple[str, ...] = ()
    exec: tuple[str, ...] = ()
    env: dict[str, str | int | float] = Field(default_factory=dict)
    sysctls: dict[str, str | int] = Field(default_factory=dict)
    labels: dict[str, str | int] = Field(default_factory=dict)
    healthcheck: Healthcheck | None = None
    # For kinds that containerlab alone runs.
    type: str = ""
    startup_config: str = Field("", alias="startup-config")
    enforce_startup_config: bool = Field(False, alias="enforce-startup-config")
    extras: Extras | None = None
    tmpfs: dict[str, str] = Field(default_factory=dict)


class Mgmt(Document):
    """containerlab's management network: namespaces have none."""

    network: str = ""
    bridge: str = ""
    ipv4_subnet: str = Field("", alias="ipv4-subnet")
    ipv6_subnet: str = Field("", alias="ipv6-subnet")
    mtu: int | None = None
    external_access: bool = Field(True, alias="external-access")
    skip_when_unused: bool = Field(False, alias="skip-when-unused")


class LinkFile(Document):
    endpoints: tuple[Annotated[str, AfterValidator(_endpoint)], Annotated[str, AfterValidator(_endpoint)]]
    mtu: int = Field(1500, ge=1280, le=9216)


class TopologyPart(Document):
    defaults: NodeFile = NodeFile()
    kinds: dict[str, NodeFile] = Field(default_factory=dict)
    groups: dict[str, NodeFile] = Field(default_factory=dict)
    nodes: dict[Name, NodeFile | None] = Field(min_length=1)
    links: tuple[LinkFile, ...] = ()


class TopologyFile(Document):
    name: Name
    prefix: str | None = None
    mgmt: Mgmt | None = None
    topology: TopologyPart


@dataclass(frozen=True, slots=True)
class Node:
    """A node, with the values of its group, its kind and the defaults."""

    name: str
    kind: str
    image: str
    cmd: str
    group: str
    binds: tuple[tuple[Path, str, bool], ...]
    """(on the host, in the node, read-only)"""
    exec: tuple[str, ...]
    env: Mapping[str, str]
    sysctls: Mapping[str, str]
    labels: Mapping[str, str]
    healthcheck: Healthcheck | None = None
    restart_policy: str = ""


@dataclass(frozen=True, slots=True)
class End:
    node: str
    interface: str


@dataclass(frozen=True, slots=True)
class Link:
    a: End
    b: End
    mtu: int = 1500

    @property
    def ends(self) -> tuple[End, End]:
        return self.a, self.b


@dataclass(frozen=True, slots=True)
class Topology:
    name: str
    path: Path
    nodes: Mapping[str, Node]
    links: tuple[Link, ...]
    mgmt: bool = False
    """The file says something of a management network."""
    _far: Mapping[End, End] = field(repr=False, compare=False, default_factory=dict)

    def far_end(self, node: str, interface: str) -> End | None:
        """The other end of a node's interface; None for an interface that is not a link's."""
        return self._far.get(End(node, interface))

    def between(self, one: str, other: str) -> list[Link]:
        return [link for link in self.links if {end.node for end in link.ends} == {one, other}]

    def node(self, name: str) -> Node:
        """Raises LookupError, with the name that was likely meant."""
        if name not in self.nodes:
            raise LookupError(f"there is no node {name!r} in {self.path.name}{did_you_mean(name, self.nodes)}")
        return self.nodes[name]


def load(path: Path, variables: Mapping[str, str] | None = None) -> Topology:
    """Read a topology; ``variables`` (by default the environment) fill in ``${NAME:=default}``. Raises ConfigError."""
    written, places = documents.load(path, TopologyFile)
    return _Reading(path, written, places, os.environ if variables is None else variables).topology()


class _Reading:
    def __init__(self, path: Path, written: TopologyFile, places: Places, variables: Mapping[str, str]) -> None:
        self._path, self._file, self._places, self._variables = path, written, places, variables
        self._problems: list[Problem] = []

    def topology(self) -> Topology:
        part = self._file.topology
        nodes = {name: self._node(name, node or NodeFile()) for name, node in part.nodes.items()}
        links = self._links(nodes)
        if self._problems:
            raise ConfigError(self._problems)
        far = {end: other for link in links for end, other in (link.ends, link.ends[::-1])}
        managed = self._file.mgmt is not None and not self._file.mgmt.skip_when_unused
        return Topology(self._file.name, self._path, nodes, links, managed, far)

    def _problem(self, where: Where, message: str) -> None:
        self._problems.append(Problem(*documents.place(self._places, where, str(self._path)), message))

    def _node(self, name: str, own: NodeFile) -> Node:
        part, where = self._file.topology, ("topology", "nodes", name)
        kind = own.kind or next((group.kind for group in self._groups(own) if group.kind), part.defaults.kind)
        if kind not in KINDS:
            self._problem((*where, "kind"), f"kind {kind!r} is not known here: {', '.join(KINDS)}")
        for key in ("type", "startup_config", "extras", "tmpfs"):
            if kind == "linux" and any(getattr(layer, key) for layer in (own, *self._groups(own), part.defaults)):
                self._problem(where, f"{key.replace('_', '-')}: a node of kind linux has no use for it")
        group = own.group or part.kinds.get(kind, NodeFile()).group or part.defaults.group
        if group and part.groups and group not in part.groups:
            self._problem((*where, "group"), f"no group {group!r}{did_you_mean(group, part.groups)}")
        # containerlab's order: a node's own, its group's, its kind's, the defaults. Lists are joined, defaults first.
        layers = [own, part.groups.get(group, NodeFile()), part.kinds.get(kind, NodeFile()), part.defaults]
        mode = _first(layers, "network_mode")
        if mode != "none" and kind in FORWARD_BY_KERNEL:
            self._problem(
                (*where, "network-mode"), f"network-mode {mode or 'bridge'!r}: only none has no network but the links"
            )
        return Node(
            name,
            kind,
            self._filled(where, _first(layers, "image")),
            self._filled(where, _first(layers, "cmd")),
            group,
            tuple(self._bind(where, text) for text in _joined(layers, "binds")),
            tuple(self._filled(where, text) for text in _joined(layers, "exec")),
            {k: self._filled(where, str(v)) for k, v in _merged(layers, "env").items()},
            {k: str(v) for k, v in _merged(layers, "sysctls").items()},
            {k: self._filled(where, str(v)) for k, v in _merged(layers, "labels").items()},
            next((layer.healthcheck for layer in layers if layer.healthcheck), None),
            _first(layers, "restart_policy"),
        )

    def _groups(self, own: NodeFile) -> list[NodeFile]:
        """Those that can give a kind, as containerlab looks for it."""
        named = (own.group, self._file.topology.defaults.group)
        return [self._file.topology.groups[name] for name in named if name in self._file.topology.groups]

    def _filled(self, where: Where, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            given = self._variables.get(found[1]) or found[2]
            if given is None:
                self._problem(where, f"${{{found[1]}}} is not set in the environment and has no default")
            return given or ""

        return _VARIABLE.sub(value, text)

    def _bind(self, where: Where, text: str) -> tuple[Path, str, bool]:
        parts = self._filled(where, text.replace("__clabNodeName__", str(where[-1]))).split(":")
        if len(parts) not in (2, 3) or not parts[1].startswith("/") or parts[2:] not in ([], ["ro"], ["rw"]):
            self._problem(where, f"a bind reads source:/target[:ro], not {text!r}")
            return self._path, "/", True
        source = (self._path.parent / parts[0]).resolve()
        if not source.exists():
            self._problem(where, f"bind: there is no {source}")
        return source, parts[1], parts[2:] == ["ro"]

    def _links(self, nodes: Mapping[str, Node]) -> tuple[Link, ...]:
        used: set[End] = set()
        links = []
        for number, written in enumerate(self._file.topology.links):
            where = ("topology", "links", number)
            ends = [End(*text.split(":")) for text in written.endpoints]
            for end in ends:
                if end.node not in nodes:
                    self._problem(where, f"no node {end.node!r}{did_you_mean(end.node, nodes)}")
                elif end.interface == "lo":
                    self._problem(where, f"{end.node}:lo cannot be a link's end")
                elif end in used:
                    self._problem(where, f"{end.node}:{end.interface} is used by two links")
                used.add(end)
            links.append(Link(ends[0], ends[1], written.mtu))
        return tuple(links)


def _first(layers: list[NodeFile], key: str) -> str:
    return next((value for layer in layers if (value := getattr(layer, key))), "")


def _joined(layers: list[NodeFile], key: str) -> list[str]:
    """All of a list, each item once."""
    return list(dict.fromkeys(text for layer in reversed(layers) for text in getattr(layer, key)))


def _merged(layers: list[NodeFile], key: str) -> dict[str, Any]:
    return {k: v for layer in reversed(layers) for k, v in getattr(layer, key).items()}
