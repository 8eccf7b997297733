"""A topology in containerlab's file format: the part of it that network namespaces can be.

https://containerlab.dev/manual/topo-def-file: what is not supported here is refused by name, never left out in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

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
    prefix: str = ""
    topology: TopologyPart


@dataclass(frozen=True, slots=True)
class Node:
    """A node, with what its group, its kind and the defaults give it."""

    name: str
    image: str
    cmd: str
    group: str
    binds: tuple[tuple[Path, str, bool], ...]
    """(on the host, in the node, read-only)"""
    exec: tuple[str, ...]
    env: Mapping[str, str]
    sysctls: Mapping[str, str]
    labels: Mapping[str, str]


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
        return Topology(self._file.name, self._path, nodes, links, far)

    def _problem(self, where: Where, message: str) -> None:
        self._problems.append(Problem(*documents.place(self._places, where, str(self._path)), message))

    def _node(self, name: str, own: NodeFile) -> Node:
        part, where = self._file.topology, ("topology", "nodes", name)
        kind = own.kind or part.defaults.kind
        if kind != "linux":
            self._problem((*where, "kind"), f"kind {kind!r}: only linux nodes run in network namespaces")
        group = own.group or part.kinds.get(kind, NodeFile()).group or part.defaults.group
        if group and part.groups and group not in part.groups:
            self._problem((*where, "group"), f"no group {group!r}{did_you_mean(group, part.groups)}")
        # containerlab's order: a node's own, then its group's, its kind's, the defaults.
        layers = [own, part.groups.get(group, NodeFile()), part.kinds.get(kind, NodeFile()), part.defaults]
        mode = _first(layers, "network_mode")
        if mode != "none":
            self._problem(
                (*where, "network-mode"), f"network-mode {mode or 'bridge'!r}: only none has no network but the links"
            )
        return Node(
            name,
            self._filled(where, _first(layers, "image")),
            self._filled(where, _first(layers, "cmd")),
            group,
            tuple(self._bind(where, text) for layer in reversed(layers) for text in layer.binds),
            tuple(self._filled(where, text) for text in next((layer.exec for layer in layers if layer.exec), ())),
            {k: self._filled(where, str(v)) for k, v in _merged(layers, "env").items()},
            {k: str(v) for k, v in _merged(layers, "sysctls").items()},
            {k: str(v) for k, v in _merged(layers, "labels").items()},
        )

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


def _merged(layers: list[NodeFile], key: str) -> dict[str, Any]:
    return {k: v for layer in reversed(layers) for k, v in getattr(layer, key).items()}
