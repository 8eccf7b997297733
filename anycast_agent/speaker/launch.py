"""ExaBGP's process: ``python -m anycast_agent.speaker.launch FILE [LOCK]``; or, to try a file, ``validate FILE``.

LOCK is the number of an open file. ExaBGP holds it as long as it runs, so that a run directory has one ExaBGP at most.
Our own speaker always names it. An ExaBGP that plays a router in a test has no run directory, and needs no lock.

ExaBGP looks up its own fully qualified name while it is imported, for a capability that we do not use. On a node whose
resolver does not answer, that took ten seconds; and the resolver may be the very service that waits to be announced.

ExaBGP waits for a connection as long as the kernel tries, which is two minutes, and always from the address that was
chosen first. On a booting node that may be an anycast address: the uplink's own IPv6 address is tentative for a second.
It waits longer after each attempt that failed, up to a minute; and without a bound for a router to read what it sends,
also its last word when the hold time is over. Nobody else opens the session as a rule: after a fault the route would
be off the wire for that long.
"""

from __future__ import annotations

import contextlib
import importlib
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


MAX_UNREAD = 60
"""A router that takes nothing of what it was sent for so long has lost the session (RFC 9687). Seconds."""
MAX_PAUSE = 5
"""The longest pause between two attempts to connect. Seconds."""


class ImpatientSocket(socket.socket):
    """A socket that does not wait two minutes for an answer, nor a quarter of an hour for a reader."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * MAX_UNREAD)

    def connect(self, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and self.type == socket.SOCK_STREAM:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYNS)
        super().connect(address)


def _bound_pauses() -> None:
    """``Delay.increase`` sets ``_next``, the pause after the next failure."""
    try:
        delay = importlib.import_module("exabgp.reactor.delay").Delay
        increase = delay.increase
    except (ImportError, AttributeError) as error:  # a later ExaBGP: it starts all the same
        print(f"anycast-agent: ExaBGP's pauses between connections stay as they are: {error}", file=sys.stderr)
        return

    def bounded(self: Any) -> None:
        increase(self)
        self._next = min(self._next, MAX_PAUSE)

    delay.increase = bounded


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
    _bound_pauses()
    runpy.run_module("exabgp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
