"""Who speaks with whom, and by which policy: the same in every router's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from containerlab.generate.plan import AS, neighbors, role


@dataclass(frozen=True)
class Session:
    address: str
    remote_as: int
    about: str
    policy: str
    """The route maps' name before -IN and -OUT."""
    most: int
    add_path: bool = False
    default: bool = False


def sessions(node: str, version: int) -> Iterator[Session]:
    for _, far in neighbors(node):
        address = far.four if version == 4 else far.six
        kinds = role(node), role(far.node)
        if kinds == ("leaf", "edge"):
            yield Session(address, AS[far.node], f"{far.node} agent", "EDGE", 16, add_path=True)
            bird = (far.bird4 if version == 4 else far.bird6).split("/")[0]
            yield Session(bird, AS[far.node], f"{far.node} way back", "WAY", 1)
        elif kinds == ("leaf", "border"):
            yield Session(address, AS[far.node], far.node, "UP", 64)
        elif kinds == ("border", "leaf"):
            yield Session(address, AS[far.node], far.node, "LEAF", 16, add_path=True)
        elif kinds == ("border", "border"):
            yield Session(address, AS[far.node], far.node, "BACKBONE", 64, add_path=True)
        elif kinds == ("border", "isp"):
            yield Session(address, AS[far.node], far.node, "ISP", 100)
        elif kinds == ("isp", "border"):
            yield Session(address, AS[far.node], far.node, "CUSTOMER", 4, default=True)
        elif kinds == ("isp", "isp"):
            yield Session(address, AS[far.node], far.node, "PEER", 100)
