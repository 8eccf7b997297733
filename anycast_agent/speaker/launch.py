"""ExaBGP's process: ``python -m anycast_agent.speaker.launch FILE [LOCK]``; or, to try a file, ``validate FILE``.

LOCK is the number of an open file. ExaBGP holds it as long as it runs, so that a run directory has one ExaBGP at most.
Our own speaker always names it. An ExaBGP that plays a router in a test has no run directory, and needs no lock.

ExaBGP looks up its own fully qualified name while it is imported, for a capability that we do not use. On a node whose
resolver does not answer, that took ten seconds; and the resolver may be the very service that waits to be announced.

ExaBGP waits for a connection as long as the kernel tries, which is two minutes, and always from the address that was
chosen first. On a booting node that may be an anycast address: the uplink's own IPv6 address is tentative for a second.
"""

from __future__ import annotations

import contextlib
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

from anycast_agent import holding


def _name_without_asking(name: str = "") -> str:
    return name or socket.gethostname()


SYNS = 2
"""Number of SYNs that the kernel repeats to a silent router: seven seconds in all. Then ExaBGP connects anew."""


class ImpatientSocket(socket.socket):
    """A socket that does not wait two minutes for an answer."""

    def connect(self, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYNS)
        super().connect(address)


def _hold(lock: int) -> None:
    if not holding.take(lock):
        sys.exit(f"anycast-agent: ExaBGP runs for this run directory already: process {holding.holder(lock)}")


def main() -> None:
    if sys.argv[1] != "validate" and len(sys.argv) > 2:
        _hold(int(sys.argv.pop()))
    # The name that `ps`, `top` and `pgrep` show. ExaBGP runs without it, too: /proc may be read-only in a container,
    # and is not ours if Python has capabilities of its own (setcap) for port 179.
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("exabgp", encoding="ascii")
    socket.getfqdn = _name_without_asking
    socket.socket = ImpatientSocket  # type: ignore[misc]
    runpy.run_module("exabgp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
