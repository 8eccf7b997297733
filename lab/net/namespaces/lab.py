"""A lab of namespaces. It stays up until somebody takes it down."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab.net import links, topology
from lab.net.cgroups import Group
from lab.net.lab import Lab, LabError, Teller, quiet
from lab.net.namespaces.node import NamespaceNode
from lab.net.node import NodeError, variables
from lab.net.topology import Topology

ROOT = Path("/run/anycast-lab")


class NamespaceLab(Lab):
    runtime = "namespaces"

    def __init__(self, top: Topology, name: str, variant: str, rootfs: Mapping[str, str] | None = None) -> None:
        """``rootfs``: by group, a root file system of its own instead of the host's."""
        self.topology, self.name, self.variant = top, name, variant
        self.folder = ROOT / name
        self.group = Group.of_lab(name)
        self._rootfs = dict(rootfs or {})
        self._nodes = {
            spec.name: NamespaceNode(spec, self.folder, self.group, self._rootfs.get(spec.group, "/"))
            for spec in top.nodes.values()
        }

    @property
    def nodes(self) -> Mapping[str, NamespaceNode]:
        return self._nodes

    # --- up and down ---

    def up(self, tell: Teller = quiet) -> None:
        """Start everything. If that fails, nothing is left."""
        _refuse_other_kinds(self.topology)
        if self.folder.exists() or self.group.path.exists():
            raise LabError(
                f"a lab named {self.name} is there already: anycast-lab --name {self.name} down, or give another --name"
            )
        try:
            self.folder.mkdir(parents=True)
            self.group.make()
            self._save()
            for line in differences(self.topology, self._rootfs):
                tell(f"not as containerlab: {line}")
            tell("network namespaces and links")
            for node in self.nodes.values():
                node.plug()
            links.plug_in(self.topology.links, self.nodes)
            tell(f"{len(self.nodes)} nodes")
            self._boot(self.nodes.values())
        except BaseException:
            self.down()
            raise

    def _boot(self, nodes: Iterable[NamespaceNode]) -> None:
        nodes = list(nodes)
        for node in nodes:
            node.start()
        for node in nodes:
            node.ready()
        self._save()
        for node in nodes:
            for command in node.spec.exec:
                node.run(shlex.split(command))

    def down(self) -> None:
        """Nothing is left: no process, namespace, control group, mount or file."""
        self.group.kill()
        for node in self.nodes.values():
            node.reap()
        self.group.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            ROOT.rmdir()
        except OSError:
            pass  # another lab's

    # --- power and links ---

    def power_off(self, names: Iterable[str], *, links_up: bool = True) -> None:
        """Pull the plug. With ``links_up``, the neighbors' ports see nothing, as behind a switch."""
        names = list(names)
        for name in names:
            ends = self.ends(name)
            if links_up:
                links.silence(self.nodes[name], ends)
            else:
                links.set_up(self.nodes[name], [end.interface for end in ends], up=False)
        for name in names:
            self.nodes[name].cut_power()
        self._save()

    def power_on(self, names: Iterable[str]) -> None:
        """A cold boot: nothing of before is left, in the kernel neither.

        The neighbors lose the carrier for some milliseconds: an interface is closed while it moves to a new namespace.
        """
        nodes = [self.nodes[name] for name in names]
        for node in nodes:
            if node.init:
                raise NodeError(f"{node.name} is on already")
            interfaces = [end.interface for end in self.ends(node.name)]
            before, old = node.keeper, node.network
            node.plug()
            try:
                links.move(interfaces, old, node.keeper)
            except BaseException:
                node.keeper = before
                raise
            self._save()
            node.unplug(before)
            links.set_up(node, interfaces)
        self._boot(nodes)

    # --- the state file, for other processes ---

    def _save(self) -> None:
        state = {
            "topology": str(self.topology.path.resolve()),
            "variant": self.variant,
            "rootfs": self._rootfs,
            "nodes": {name: [node.keeper, node.init] for name, node in self.nodes.items()},
        }
        temporary = self.folder / "state.json.new"
        temporary.write_text(json.dumps(state))
        temporary.rename(self.folder / "state.json")

    @staticmethod
    def is_up(name: str) -> bool:
        return _state(name) is not None

    @classmethod
    def running(cls, name: str) -> NamespaceLab:
        """The lab of that name that is up. Raises LabError."""
        state = _state(name)
        if state is None:
            known = names()
            raise LabError(
                f"no lab named {name} is up" + (f"; there is: {', '.join(known)}" if known else ": anycast-lab up")
            )
        top = topology.load(Path(state["topology"]), variables(state["variant"]))
        lab = cls(top, name, state["variant"], state["rootfs"])
        if set(state["nodes"]) != set(lab.nodes):
            raise LabError(f"{top.path} has other nodes than {name} was started with: anycast-lab --name {name} down")
        for node, (keeper, init) in state["nodes"].items():
            lab.nodes[node].recall(keeper, init)
        return lab


def _state(name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((ROOT / name / "state.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise LabError(f"{ROOT / name}/state.json cannot be read ({error}): anycast-lab --name {name} down") from None
    return found


def names() -> list[str]:
    return sorted(path.name for path in ROOT.iterdir()) if ROOT.is_dir() else []


def take_down(name: str) -> bool:
    """Remove what is left of a lab of that name, however it ended. Returns whether there was anything."""
    group, folder = Group.of_lab(name), ROOT / name
    there = group.path.is_dir() or folder.is_dir()
    group.kill()
    group.remove()
    shutil.rmtree(folder, ignore_errors=True)
    if ROOT.is_dir() and not any(ROOT.iterdir()):
        ROOT.rmdir()
    return there


def _refuse_other_kinds(top: Topology) -> None:
    for node in top.nodes.values():
        if node.kind != "linux":
            raise LabError(
                f"{node.name} is of kind {node.kind!r}, and only linux nodes run in network namespaces: "
                f"containerlab deploy -t {top.path}"
            )


def differences(top: Topology, rootfs: Mapping[str, str]) -> list[str]:
    """What containerlab does with this topology, and a lab of namespaces does not."""
    found = ["a node's files are new at each boot; a container keeps them"]
    of_host = sorted({node.image for node in top.nodes.values() if node.image and node.group not in rootfs})
    if of_host:
        found.append(f"the host's programs run, and not the images {', '.join(of_host)} (--rootfs gives others)")
    if any(node.healthcheck for node in top.nodes.values()):
        found.append("health checks run when anycast-lab status asks, and not all the while")
    if any(node.restart_policy for node in top.nodes.values()):
        found.append("no restart-policy: a node that ends stays off")
    if top.mgmt:
        found.append("no management network, whatever mgmt says")
    return found
