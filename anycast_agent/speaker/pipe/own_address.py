"""This node's address on each session: the meaning of the next hop ``self``.

ExaBGP resolves ``self`` only where it opened the session with the neighbor object that it has now. A reload makes new
objects, and from then on it answers each command with ``self`` by an error, withdrawals too. So the agent writes the
address, and the pipe names it: the address that ExaBGP reported, or else the kernel's choice.
Pure, and only the standard library; the pipe asks the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

UNSPECIFIED = {False: "0.0.0.0", True: "::"}  # noqa: S104  # nothing is bound to it
"""A withdrawal's next hop, by "is IPv6". ExaBGP's parser requires one; it is not sent to routers."""


class OwnAddresses:
    """Known addresses, by the neighbor's address."""

    def __init__(self, choose: Callable[[str], str]) -> None:
        """``choose``: the kernel's choice for a connection to that neighbor now; empty where it has no route."""
        self._choose = choose
        self._known: dict[str, str] = {}

    def of(self, neighbor: str) -> str:
        """Empty where it is not known yet."""
        return self._known.get(neighbor, "")

    def session(self, neighbor: str, state: str, said: str = "") -> bool:
        """The session is in this state; ``said`` is the address that ExaBGP reported, or None. Returns True if it
        changed.

        A session that is up keeps its address, whatever the kernel would choose now.
        """
        had = self.of(neighbor)
        kept = (said or had) if state == "up" else ""
        known = kept or self._choose(neighbor) or had
        if known == had:
            return False
        self._known[neighbor] = known
        return True

    def forget(self, neighbor: str) -> None:
        self._known.pop(neighbor, None)
