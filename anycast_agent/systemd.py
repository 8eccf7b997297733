"""Messages to systemd (sd_notify(3)), without its library. Outside of systemd everything here does nothing."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> bool:
    """Send assignments such as ``READY=1``; False where nobody listens. Never waits. Raises OSError where systemd is
    there and cannot be told: BlockingIOError where it does not read."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as client:
        client.sendto("\n".join(assignments).encode(), address)
    return True


def watchdog_interval() -> float | None:
    """The watchdog's interval, in seconds; None if systemd does not watch this process."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1e6
