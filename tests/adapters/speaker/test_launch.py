"""ExaBGP starts without asking the resolver, which may be the service that waits to be announced."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anycast_agent.speaker.launch import MAX_PAUSE, MAX_UNREAD, SYNS, ImpatientSocket
from tests.support.netns import needs_root

INSIDE = """
import os, socket, subprocess, sys, threading
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["hostname", "nowhere"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
asked = 0
def serve():
    global asked
    while True:
        query, client = server.recvfrom(512)
        asked += 1
        server.sendto(query[:2] + bytes([0x81, 0x82]) + query[4:], client)  # SERVFAIL
threading.Thread(target=serve, daemon=True).start()
lock = os.open(sys.argv[1], os.O_RDWR)
words = [sys.executable, "-m", *sys.argv[2:]]
words += [str(lock)] if "anycast" in words[2] else []
ran = subprocess.run(words, capture_output=True, timeout=60, pass_fds=[lock])
assert b"is not an exabgp config file" in ran.stderr, ran.stderr  # it came as far as that
print(asked)
"""


IN_EXABGP = (
    "import runpy, socket, sys; from anycast_agent.speaker import launch; "
    "runpy.run_module = lambda *_, **__: None; sys.argv = ['launch', 'validate', 'x']; launch.main(); "
)
"""A program's beginning, up to where ExaBGP's own code would run."""


def asks(folder: Path, module: str) -> int:
    """How often the resolver was asked while that started."""
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    words = ["unshare", "--net", "--uts", "--mount", sys.executable, "-c", INSIDE, str(folder / "resolv.conf"), module]
    done = subprocess.run([*words, str(folder / "missing.conf")], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@needs_root
def test_the_resolver_is_not_asked(tmp_path: Path) -> None:
    """Bare, ExaBGP asks; should it ever not, `launch` can go."""
    if not asks(tmp_path, "exabgp"):
        pytest.fail("ExaBGP no longer asks for its name: anycast_agent/speaker/launch.py is not needed")
    assert asks(tmp_path, "anycast_agent.speaker.launch") == 0


@needs_root
def test_exabgp_starts_where_its_process_cannot_be_named(tmp_path: Path) -> None:
    """With a read-only /proc `ps` shows another name, and that is all."""
    closed = 'mount -o remount,bind,ro /proc && ! echo x 2>/dev/null >/proc/self/comm && exec "$@" 3<>"$0"'
    words = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        closed,
        str(tmp_path / "lock"),
        sys.executable,
        "-m",
        "anycast_agent.speaker.launch",
    ]
    words += [str(tmp_path / "missing.conf"), "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "is not an exabgp config file" in done.stderr, done


def test_an_exabgp_without_a_run_directory_needs_no_lock(tmp_path: Path) -> None:
    """One that stands for a router is started with its file alone."""
    words = [sys.executable, "-m", "anycast_agent.speaker.launch", str(tmp_path / "missing.conf")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "is not an exabgp config file" in done.stderr, done


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_router_that_does_not_answer_is_tried_anew_soon(host: str, family: int) -> None:
    """A connection tries from the address that was chosen first, which may be wrong: it is not left for two minutes."""
    with socket.socket(family) as router:
        router.bind((host, 0))
        router.listen(1)
        with ImpatientSocket(family, socket.SOCK_STREAM) as connection:
            connection.connect(router.getsockname())
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == SYNS


def test_exabgp_has_that_socket() -> None:
    """Whatever module of its opens the connection."""
    ask = IN_EXABGP + (
        "from exabgp.reactor.network import tcp; from exabgp.protocol.family import AFI; "
        "print(type(tcp.create(AFI.ipv4)).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "ImpatientSocket", done.stderr


def test_exabgp_tries_to_connect_every_few_seconds() -> None:
    """However long the router was away: where nobody else opens the session, the pause is time without the route."""
    ask = IN_EXABGP + (
        "from exabgp.reactor.peer import Delay; delay = Delay()\n"
        "for n in range(40): delay.increase(); print(delay._next)\n"
        "delay.reset(); print(delay._next)"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30)
    *pauses, after_success = map(int, done.stdout.split())
    assert pauses[0] == 1
    assert pauses == sorted(pauses)
    assert pauses[-1] == MAX_PAUSE
    assert after_success == 0


def test_an_exabgp_without_such_pauses_starts_all_the_same() -> None:
    """A later version may have them elsewhere; that is said, and is no reason to be without routes."""
    ask = "import sys; sys.modules['exabgp.reactor.delay'] = sys; " + IN_EXABGP + "print('started')"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "started", done.stderr
    assert "stay as they are" in done.stderr


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_a_router_that_reads_nothing_loses_the_session(host: str, family: int) -> None:
    """On both kinds of connection. Else ExaBGP waits for it to read even the NOTIFICATION that ends the session."""
    with ImpatientSocket(family, socket.SOCK_STREAM) as listening:
        listening.bind((host, 0))
        listening.listen(1)
        with ImpatientSocket(family, socket.SOCK_STREAM) as connection:
            connection.connect(listening.getsockname())
            accepted, _ = listening.accept()
            with accepted:
                for one in (connection, accepted):
                    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * MAX_UNREAD
