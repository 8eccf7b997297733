"""Edges and clients: their addresses, as ``ip -batch`` reads them."""

from __future__ import annotations

from containerlab.generate.plan import neighbors, role


def addresses(node: str) -> str:
    """Lines of ``ip -batch``."""
    text = ""
    for port, far in neighbors(node):
        text += f"addr add {port.ip4} dev {port.interface}\naddr add {port.ip6} dev {port.interface} nodad\n"
        if role(node) == "edge":
            text += f"addr add {port.bird4} dev {port.interface}\naddr add {port.bird6} dev {port.interface} nodad\n"
        else:
            text += f"route add default via {far.four}\nroute add ::/0 via {far.six}\n"
    return text
