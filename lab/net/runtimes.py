"""The two back ends, and which of them runs a lab of a name."""

from __future__ import annotations

from collections.abc import Mapping

from lab.net.containers import engine
from lab.net.containers.lab import ContainerLab
from lab.net.lab import Lab, LabError
from lab.net.namespaces import lab as namespaces
from lab.net.namespaces.lab import NamespaceLab
from lab.net.topology import Topology

NAMES = (NamespaceLab.runtime, ContainerLab.runtime)


def made(top: Topology, name: str, variant: str, rootfs: Mapping[str, str], runtime: str) -> Lab:
    """A lab that is to be started. Raises LabError."""
    if runtime == ContainerLab.runtime:
        if rootfs:
            raise LabError(
                "--rootfs is for namespaces: a container's files come from the image that the topology names"
            )
        return ContainerLab(top, name, variant)
    return NamespaceLab(top, name, variant, rootfs)


def of(name: str, runtime: str = "") -> str:
    """The back end that runs a lab of that name; empty where none does. Raises LabError where both do."""
    found = []
    if runtime != ContainerLab.runtime and NamespaceLab.is_up(name):
        found.append(NamespaceLab.runtime)
    # Asked for by name, an engine that does not answer is told as an error.
    if runtime == ContainerLab.runtime or (not runtime and engine.there()):
        found += [ContainerLab.runtime] if engine.containers(name) else []
    if len(found) > 1:
        raise LabError(f"two labs named {name} are up: choose with --runtime {' or --runtime '.join(found)}")
    return found[0] if found else ""


def running(name: str, runtime: str = "") -> Lab:
    """The lab of that name that is up. Raises LabError."""
    if (of(name, runtime) or runtime) == ContainerLab.runtime:
        return ContainerLab.running(name)
    return NamespaceLab.running(name)


def take_down(name: str, runtime: str = "") -> bool:
    """Remove what is left of a lab of that name, however it ended. Returns whether there was anything."""
    if runtime != ContainerLab.runtime and namespaces.take_down(name):
        return True
    if (runtime == ContainerLab.runtime or (not runtime and engine.there())) and engine.containers(name):
        ContainerLab.running(name).down()
        return True
    return False
