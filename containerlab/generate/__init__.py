"""The address plan and the routing policy, written once; one file a dialect.

``config/VARIANT/NODE/…``: VARIANT is ``bfd`` (3 × 100 ms between all neighbors) or ``hold`` (hold time 9 s, and nothing
else to notice a neighbor that is gone while the link stays up).
"""

from __future__ import annotations

from pathlib import Path

from containerlab.generate.agent import agent
from containerlab.generate.bird import bird
from containerlab.generate.eos import eos
from containerlab.generate.frr import frr
from containerlab.generate.linux import addresses
from containerlab.generate.plan import AS, VARIANTS, role
from containerlab.generate.srlinux import srlinux
from containerlab.generate.topologies import frr_kind, vendors

HERE = Path(__file__).resolve().parents[1]


def files() -> dict[Path, str]:
    """Everything that is generated, by path below this directory."""
    found: dict[Path, str] = {}
    for variant in VARIANTS:
        for node in AS:
            folder = Path("config") / variant / node
            if role(node) == "edge":
                found[folder / "bird.conf"] = bird(node, variant)
            else:
                found[folder / "frr.conf"] = frr(node, variant)
            if role(node) == "leaf":  # for vendors.clab.yml
                found[folder / "srlinux.cli"] = srlinux(node, variant)
                found[folder / "eos.cfg"] = eos(node, variant)
    for node in [*AS, "client1", "client2"]:
        if role(node) in ("edge", "client"):
            found[Path("config") / "common" / node / "addresses"] = addresses(node)
        if role(node) == "edge":
            found[Path("config") / "common" / node / "agent.yaml"] = agent(node)
    main = (HERE / "anycast.clab.yml").read_text(encoding="utf-8")
    found[Path("frr.clab.yml")] = frr_kind(main)
    found[Path("vendors.clab.yml")] = vendors(main)
    return found
