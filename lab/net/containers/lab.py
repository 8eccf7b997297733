"""A lab of containers that containerlab has deployed: the same drills run on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.net import links, topology
from lab.net.cgroups import Cell, of_process
from lab.net.containers import engine
from lab.net.containers.engine import Container
from lab.net.lab import Lab, LabError, Teller, quiet
from lab.net.node import Node, NodeError, variables
from lab.net.topology import FORWARD_BY_KERNEL, Topology


class ContainerNode(Node):
    def __init__(self, spec: topology.Node) -> None:
        super().__init__(spec)
        self._container: Container | None = None
        self._cell: Cell | None = None

    def recall(self, container: Container) -> None:
        """Take over the engine's view of the container. A silenced one has had its power cut."""
        self._container, self._cell = container, None
        self.keeper = self.init = container.pid
        if container.pid:
            try:
                self._cell = of_process(container.pid)
            except LookupError as error:
                raise LabError(f"{self.name}: {error}") from None
            if links.silenced(self):
                self.init = 0

    @property
    def group(self) -> Cell:
        if self._cell is None:
            raise NodeError(f"{self.name} is off")
        return self._cell

    def environment(self) -> dict[str, str]:
        own = self._container.environment if self._container else {}
        return {"LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/root", **own, **self.spec.env}

    def health(self) -> str:
        return self._container.health if self._container and self.init else ""

    def cut_power(self) -> None:
        """Frozen and silenced, to its neighbors it has no power. Were it stopped, its links would go down."""
        self.group.freeze(True)
        self.init = 0

    def processes(self, name: str = "") -> list[int]:
        return super().processes(name) if self._cell else []


class ContainerLab(Lab):
    runtime = "docker"

    def __init__(self, top: Topology, name: str, variant: str) -> None:
        self.topology, self.name, self.variant = top, name, variant
        self._nodes = {spec.name: ContainerNode(spec) for spec in top.nodes.values()}
        for spec in top.nodes.values():
            if spec.kind not in FORWARD_BY_KERNEL:
                raise LabError(
                    f"{spec.name} is of kind {spec.kind!r}: the lab reads the kernel's tables, and this kind "
                    "forwards by its own; use containerlab alone for this topology"
                )

    @property
    def nodes(self) -> Mapping[str, ContainerNode]:
        return self._nodes

    @classmethod
    def running(cls, name: str) -> ContainerLab:
        """The lab of that name that has containers. Raises LabError."""
        found = engine.containers(name)
        if not found:
            known = engine.labs()
            raise LabError(
                f"containerlab runs no lab named {name}"
                + (f"; there is: {', '.join(known)}" if known else ": anycast-lab --runtime docker up")
            )
        labels = next(iter(found.values())).labels
        variant = labels.get(engine.VARIANT, "")
        top = topology.load(Path(labels[engine.TOPOLOGY]), variables(variant))
        lab = cls(top, name, variant)
        lab._refresh(found)
        return lab

    def _refresh(self, found: Mapping[str, Container]) -> None:
        if set(found) != set(self._nodes):
            raise LabError(f"{self.topology.path} has other nodes than {self.name} was deployed with: deploy it again")
        for name, container in found.items():
            self._nodes[name].recall(container)

    def _containerlab(self, *words: str, nodes: Iterable[str] = ()) -> None:
        engine.containerlab(self.topology.path, self.name, self.variant, *words, nodes=list(nodes))

    def up(self, tell: Teller = quiet) -> None:
        if engine.containers(self.name):
            raise LabError(f"a lab named {self.name} is there already: anycast-lab --name {self.name} down")
        if self.name != self.topology.name:
            raise LabError(
                f"containerlab destroys a lab by the name in its file: without --name, it is {self.topology.name}; "
                "for a second lab, copy the file and change its name"
            )
        tell("containerlab deploy")
        try:
            self._containerlab("deploy")
            self._refresh(engine.containers(self.name))
        except BaseException:
            if engine.containers(self.name):
                self.down()
            raise

    def down(self) -> None:
        for node in self._nodes.values():
            if node.keeper and node.group.frozen:
                node.group.freeze(False)  # what is frozen cannot be stopped
        self._containerlab("destroy", "--cleanup")
        if left := engine.containers(self.name):
            names = " ".join(sorted(one.name for one in left.values()))
            raise LabError(f"containerlab has said that it destroyed {self.name}, and left: docker rm --force {names}")

    def power_off(self, names: Iterable[str], *, links_up: bool = True) -> None:
        nodes = [self._nodes[name] for name in names]
        for node in nodes:
            if not node.init:
                raise NodeError(f"{node.name} is off")
            ends = self.ends(node.name)
            if not links_up:
                links.set_up(node, [end.interface for end in ends], up=False)
            links.silence(node, ends)
        for node in nodes:
            node.cut_power()

    def power_on(self, names: Iterable[str]) -> None:
        """containerlab stops and starts it, keeps its links, and runs its ``exec`` again."""
        nodes = [self._nodes[name] for name in names]
        for node in nodes:
            if node.init:
                raise NodeError(f"{node.name} is on already")
        engine.check_containerlab()
        cut = [node for node in nodes if node.keeper]
        for node in cut:
            node.group.freeze(False)  # still silenced: nobody hears how it ends
        stopped = [node.name for node in nodes if not node.keeper]
        if cut:
            self._containerlab("restart", nodes=[node.name for node in cut])
        if stopped:
            self._containerlab("start", nodes=stopped)
        found = engine.containers(self.name)
        for node in nodes:
            node.recall(found[node.name])
            if not node.init:
                raise NodeError(
                    f"{node.name}: containerlab has started it, and it has ended: docker logs {found[node.name].name}"
                )
