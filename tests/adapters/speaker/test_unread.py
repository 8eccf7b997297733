"""A router that stops reading: what waits for it is seen in the kernel's queue."""

from __future__ import annotations

import socket

import pytest

from anycast_agent.speaker.unread import octets


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_a_peer_does_not_read_is_seen(address: str) -> None:
    """Of the connection with that address and port, and of no other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.bind((address, 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        with socket.create_connection((address, port)) as ours:
            theirs, _ = listener.accept()
            with theirs:
                assert octets(address, port) == 0
                ours.setblocking(False)
                with pytest.raises(BlockingIOError):
                    while True:
                        ours.send(b"x" * 65536)
                waiting = octets(address, port)
                assert waiting is not None
                assert waiting > 10_000
                assert octets(address, port - 1) is None
        assert octets(address, 1) is None
