"""The configurations that a story goes back and forth between, and the routes that each of them is to have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAF1_V4, LEAF1_V6, LEAF2_V4, LEAF2_V6 = "leaf1-v4", "leaf1-v6", "leaf2-v4", "leaf2-v6"
ADDRESSES = {
    LEAF1_V4: "198.51.100.0",
    LEAF1_V6: "2001:db8:0:1::2",
    LEAF2_V4: "198.51.100.2",
    LEAF2_V6: "2001:db8:0:2::2",
}
"""The routers' addresses, each at the other end of a link of the node."""
OURS = {
    LEAF1_V4: "198.51.100.1",
    LEAF1_V6: "2001:db8:0:1::1",
    LEAF2_V4: "198.51.100.3",
    LEAF2_V6: "2001:db8:0:2::1",
}
"""Our end of each session: the next hop of what is announced over it, as ``next_hop`` is not written."""
SILENT = "198.51.100.6"
"""Nobody is there."""
ASES = {"leaf1": 65011, "leaf2": 65012}
HOLD_TIME = 6
DEAD_MAN, ADOPT_FOR = 2.0, 4.0
"""Seconds."""

PREFIXES = {
    "web": ("192.0.2.80/32", "2001:db8:80::80/128"),
    "api": ("192.0.2.81/32", "2001:db8:80::81/128"),
    "db": ("192.0.2.82/32",),
}
PORTS = {"web": 8080, "api": 8081, "db": 8082}

Values = dict[str, Any]
RouteKey = tuple[str, str]
"""(neighbor, prefix)."""


@dataclass(frozen=True)
class Expected:
    """What a route carries."""

    next_hop: str
    med: int | None = None
    communities: tuple[str, ...] = ()


def base(folder: Path, *, local_addresses: bool) -> Values:
    """Three services at three neighbors, with what a user need not write left out; ``local_addresses`` writes them."""
    neighbors = {name: _neighbor(name, local_addresses) for name in (LEAF1_V4, LEAF1_V6, LEAF2_V4)}
    return {
        "node": {"name": "edge1", "site": "ams"},
        "agent": {
            "run_dir": str(folder / "disk" / "run"),
            "state_dir": str(folder / "disk" / "state"),
            "control_socket": str(folder / "control.sock"),
            "dead_man": f"{DEAD_MAN:g}s",
            "adopt_for": f"{ADOPT_FOR:g}s",
            "stop_within": "10s",
        },
        "bgp": {"local_as": 65101, "router_id": "198.51.100.1", "neighbors": neighbors},
        "services": {name: _service(name) for name in PREFIXES},
    }


def _neighbor(name: str, local_address: bool) -> Values:
    values: Values = {"address": ADDRESSES[name], "remote_as": ASES[name[:5]], "hold_time": HOLD_TIME}
    return {**values, "local_address": OURS[name]} if local_address else values


def _service(name: str) -> Values:
    quick: Values = {"port": PORTS[name], "interval": "200ms", "rise": 2}
    kind: Values = {"type": "http", "contains": "ok"}
    if name == "db":
        kind = {"type": "tcp", "send": "GET / HTTP/1.1\r\n\r\n", "expect": "200 OK"}
    one: Values = {"neighbors": [LEAF1_V4]} if name == "db" else {}
    return {
        "prefixes": list(PREFIXES[name]),
        "hold_down": {"initial": "100ms", "maximum": "500ms"},
        "linger": "200ms",
        "checks": {"answers": {**kind, **quick}},
        **one,
    }


# --- variants -----------------------------------------------------------------------------------------------


def _neighbor_added(values: Values) -> None:
    written = "local_address" in values["bgp"]["neighbors"][LEAF1_V4]
    values["bgp"]["neighbors"][LEAF2_V6] = _neighbor(LEAF2_V6, written)


def _silent_neighbor_added(values: Values) -> None:
    values["bgp"]["neighbors"]["leaf3"] = {"address": SILENT, "remote_as": 65013}


def _neighbor_removed(values: Values) -> None:
    del values["bgp"]["neighbors"][LEAF2_V4]


def _neighbor_changed(values: Values) -> None:
    values["bgp"]["neighbors"][LEAF2_V4]["hold_time"] = 12


def _attributes_changed(values: Values) -> None:
    values["services"]["web"]["attributes"] = {"med": 50, "communities": ["65101:7"]}


def _service_disabled(values: Values) -> None:
    values["services"]["db"]["enabled"] = False


def _service_removed(values: Values) -> None:
    del values["services"]["api"]


VARIANTS: tuple[Callable[[Values], None], ...] = (
    lambda values: None,
    _neighbor_added,
    _silent_neighbor_added,
    _neighbor_removed,
    _neighbor_changed,
    _attributes_changed,
    _service_disabled,
    _service_removed,
)


def routes(values: Values) -> dict[RouteKey, Expected]:
    """What the routers are to have while every service is well. Worked out here, and not by the agent's reader."""
    found = {}
    for service in values["services"].values():
        if not service.get("enabled", True):
            continue
        attributes = service.get("attributes", {})
        for name in service.get("neighbors", values["bgp"]["neighbors"]):
            if name not in values["bgp"]["neighbors"] or name not in OURS:
                continue  # nobody is at the silent one to receive anything
            for prefix in service["prefixes"]:
                if (":" in prefix) == (":" in ADDRESSES[name]):
                    carried = Expected(OURS[name], attributes.get("med"), tuple(attributes.get("communities", ())))
                    found[name, prefix] = carried
    return found
