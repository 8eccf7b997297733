"""A lab: the nodes and links of a topology, up until it is taken down, whoever started it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.net import links, topology
from lab.net.cgroups import PREFIX, Group, mounted
from lab.net.node import Node, NodeError, variables
from lab.net.topology import Link, Topology

ROOT = Path("/run/anycast-lab")

HOST = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "unshare": "util-linux"}
"""The runner itself needs these: program → Debian's package."""

NEEDED = HOST | {
    "/usr/lib/frr/frrinit.sh": "frr", "bird": "bird2", "unbound": "unbound", "nginx": "nginx-light",
}  # fmt: skip
"""The nodes run these too, where they have no root file system of their own."""


class LabError(RuntimeError):
    """The lab cannot go on; the message says why, and what to do."""


def _quiet(_: str) -> None:
    pass


class Lab:
    def __init__(self, top: Topology, name: str, variant: str, rootfs: Mapping[str, str] | None = None) -> None:
        """``rootfs``: by group, a root file system of its own instead of the host's."""
        self.topology, self.name, self.variant = top, name, variant
        self.folder = ROOT / name
        self.group = Group.of_lab(name)
        self._rootfs = dict(rootfs or {})
        self.nodes = {
            spec.name: Node(spec, self.folder, self.group, self._rootfs.get(spec.group, "/"))
            for spec in top.nodes.values()
        }

    # --- up and down ---

    def up(self, tell: Callable[[str], None] = _quiet) -> None:
        """Start everything. If that fails, nothing is left."""
        if self.folder.exists() or self.group.path.exists():
            raise LabError(
                f"a lab named {self.name} is there already: anycast-lab --name {self.name} down, or give another --name"
            )
        try:
            self.folder.mkdir(parents=True)
            self.group.make()
            self._save()
            tell("network namespaces and links")
            for node in self.nodes.values():
                node.plug()
            links.plug_in(self.topology.links, self.nodes)
            tell(f"{len(self.nodes)} nodes")
            self._boot(self.nodes.values())
        except BaseException:
            self.down()
            raise

    def _boot(self, nodes: Iterable[Node]) -> None:
        nodes = list(nodes)
        for node in nodes:
            node.start()
        for node in nodes:
            node.ready()
        self._save()
        for node in nodes:
            for command in node.spec.exec:
                node.run(_words(command))

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
            ends = self._ends(name)
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
            interfaces = [end.interface for end in self._ends(node.name)]
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

    def _ends(self, name: str) -> list[topology.End]:
        return [end for link in self.topology.links for end in link.ends if end.node == name]

    def link(self, one: str, other: str) -> Link:
        found = self.topology.between(self.node(one).name, self.node(other).name)
        if not found:
            raise LabError(f"there is no link between {one} and {other}")
        return found[0]

    def node(self, name: str) -> Node:
        try:
            self.topology.node(name)
        except LookupError as error:
            raise LabError(str(error)) from None
        return self.nodes[name]

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
    def running(cls, name: str) -> Lab:
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


def _words(command: str) -> list[str]:
    import shlex

    return shlex.split(command)


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


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Only one process changes a lab at a time. Raises LabError."""
    lock = Path("/run") / f"{PREFIX}{name}.lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who has just finished has removed it: another than this may be locked by now.
            ours = lock.exists() and lock.stat().st_ino == os.fstat(file.fileno()).st_ino
        except BlockingIOError:
            ours = False
        if not ours:
            raise LabError(f"another anycast-lab is at work on {name}: wait for it, or give another --name")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def check_host(needed: Mapping[str, str] = NEEDED) -> None:
    """Raises LabError with all that is missing, and how to install it."""
    problems = []
    if os.geteuid() != 0:
        problems.append("root is needed, for namespaces and links: sudo anycast-lab …")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted({package for program, package in needed.items() if not shutil.which(program, path=path)})
    if missing:
        problems.append(
            f"not installed: {' '.join(missing)}; type: apt-get install -y --no-install-recommends {' '.join(missing)}"
        )
    try:
        mounted()
    except LookupError as error:
        problems.append(str(error))
    if problems:
        raise LabError("\n".join(problems))
