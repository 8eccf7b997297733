"""A lab, of either back end: the nodes and links of a topology, and their power."""

from __future__ import annotations

import fcntl
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from lab.net.cgroups import PREFIX, mounted
from lab.net.node import Node
from lab.net.topology import End, Link, Topology

HOST = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux", "unshare": "util-linux"}
"""The runner itself needs these: program → Debian's package."""

NEEDED = HOST | {
    "/usr/lib/frr/frrinit.sh": "frr", "bird": "bird2", "unbound": "unbound", "nginx": "nginx-light",
}  # fmt: skip
"""Nodes of namespaces run these too, where they have no root file system of their own."""

Teller = Callable[[str], None]


class LabError(RuntimeError):
    """The lab cannot go on. The message says why and what to do."""


def quiet(_: str) -> None:
    pass


class Lab(ABC):
    """The calls of drills, exercises and the command line on a lab that is up."""

    runtime: ClassVar[str]
    """The back end's name, as ``--runtime`` takes it."""

    topology: Topology
    name: str
    variant: str

    @property
    @abstractmethod
    def nodes(self) -> Mapping[str, Node]: ...

    @abstractmethod
    def up(self, tell: Teller = quiet) -> None:
        """Start everything. If that fails, nothing is left. Raises LabError, NodeError."""

    @abstractmethod
    def down(self) -> None:
        """Nothing is left."""

    @abstractmethod
    def power_off(self, names: Iterable[str], *, links_up: bool = True) -> None:
        """Pull the plug. With ``links_up``, the neighbors' ports see nothing, as behind a switch."""

    @abstractmethod
    def power_on(self, names: Iterable[str]) -> None:
        """A cold boot. The neighbors lose the carrier for some milliseconds. Raises LabError, NodeError."""

    def ends(self, name: str) -> list[End]:
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


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Only one process changes a lab at a time. Raises LabError."""
    lock = Path("/run") / f"{PREFIX}{name}.lock"
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A lab that has just ended has removed the file. The name may stand for another file by now.
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
