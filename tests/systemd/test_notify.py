"""What systemd is told, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from anycast_agent.systemd import notify, watchdog_interval


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_sends_to_the_socket_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    """By path, and in the abstract name space; nobody there: nothing is sent."""
    name = f"@anycast-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name[1:] if abstract else name)
        server.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1", "STATUS=well")
        assert server.recv(100) == b"READY=1\nSTATUS=well"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


def test_notify_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what was said before is not read, that is an error: to wait would end in the dead-man's switch."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        with pytest.raises(BlockingIOError):
            for _ in range(100_000):
                notify("STATUS=well")


def test_the_watchdog_is_ours_only_by_our_process_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCHDOG_PID names whom systemd means."""
    monkeypatch.setenv("WATCHDOG_USEC", "5000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_interval() is None
