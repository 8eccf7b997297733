"""This node, its router, and another replica behind it, in namespaces; servers that say who answers."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from anycast_agent.core.model import Family
from tests.support.netns import enter, ip, namespaces, sysctl, veth

VIPS = ("192.0.2.53", "2001:db8:53::53")
OTHERS = ("192.0.2.54", "2001:db8:53::54")
ROUTER = {Family.IPV4: "198.51.100.1", Family.IPV6: "2001:db8:1::1"}
NODE = {Family.IPV4: "198.51.100.2", Family.IPV6: "2001:db8:1::2"}


def inside(namespace: str, work: Callable[[], Any]) -> Any:
    """Run in a thread of its own within a namespace."""
    found: list[Any] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter(namespace)
            found.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(30)
    if errors:
        raise errors[0]
    return found[0]


@contextmanager
def net() -> Iterator[tuple[str, str]]:
    """This node and another replica, each one hop from a router that sends the anycast addresses to the other one."""
    with namespaces("node", "leaf", "other") as (node, leaf, other):
        for at, (name, far) in enumerate(((node, leaf), (other, leaf)), 1):
            veth(name, "up0", far, f"down{at}")
            for length, v4, v6 in ((30, "198.51.100.{}", "2001:db8:{}::{}"),):
                ip("-n", name, "addr", "add", f"{v4.format(4 * at - 2)}/{length}", "dev", "up0")
                ip("-n", far, "addr", "add", f"{v4.format(4 * at - 3)}/{length}", "dev", f"down{at}")
                ip("-n", name, "addr", "add", f"{v6.format(at, 2)}/64", "dev", "up0", "nodad")
                ip("-n", far, "addr", "add", f"{v6.format(at, 1)}/64", "dev", f"down{at}", "nodad")
                ip("-n", name, "route", "add", "default", "via", v4.format(4 * at - 3))
                ip("-n", name, "-6", "route", "add", "default", "via", v6.format(at, 1))
        for namespace in (node, other):
            for vip in VIPS + OTHERS:
                ip("-n", namespace, "addr", "add", vip, "dev", "lo")
        for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            sysctl(leaf, name, "1")
        for vip in VIPS + OTHERS:
            ip("-n", leaf, "route", "add", vip, "via", "2001:db8:2::2" if ":" in vip else "198.51.100.6")
        yield node, other


@contextmanager
def server(namespace: str, name: bytes, *addresses: str) -> Iterator[None]:
    """TCP and UDP on port 7053 of each address: the answer is the name of who gave it, to each line."""
    with ExitStack() as stack:
        sockets = inside(namespace, lambda: [_listen(a, kind) for a in addresses for kind in ("tcp", "udp")])
        for sock in sockets:
            stack.callback(sock.close)
            target = _answer_tcp if sock.type == socket.SOCK_STREAM else _answer_udp
            threading.Thread(target=target, args=(sock, name), daemon=True).start()
        yield


def _listen(address: str, kind: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, 7053))
    if kind == "tcp":
        sock.listen()
    return sock


def _answer_tcp(listener: socket.socket, name: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the namespace may go before its last connection
            while connection.recv(64):
                connection.sendall(name)

    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def _answer_udp(sock: socket.socket, name: bytes) -> None:
    while True:
        try:
            _, who = sock.recvfrom(64)
            sock.sendto(name, who)
        except OSError:
            return


def connected(namespace: str, address: str, kind: int = socket.SOCK_STREAM, source: str = "") -> socket.socket:
    def work() -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
        sock.settimeout(2)
        if source:
            sock.bind((source, 0))
        sock.connect((address, 7053))
        return sock

    found: socket.socket = inside(namespace, work)
    return found


def ask(sock: socket.socket) -> bytes:
    sock.sendall(b"?")
    return sock.recv(64)


def who_answers(namespace: str, address: str, source: str = "") -> set[bytes]:
    """Over TCP and over UDP."""
    found = set()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with connected(namespace, address, kind, source) as sock:
            found.add(ask(sock))
    return found


def rules(namespace: str) -> str:
    return "\n".join(
        subprocess.run(["ip", "-n", namespace, *words], check=True, capture_output=True, text=True).stdout
        for words in (
            ["rule"],
            ["-6", "rule"],
            ["route", "show", "table", "all"],
            ["-6", "route", "show", "table", "all"],
        )
    )
