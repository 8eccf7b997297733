"""Network namespaces of a test's own: made as root, named after the process, gone when it ends."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
_PREFIX = "aa-test"
_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make network namespaces")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _sweep() -> None:
    """Remove what a run that crashed has left."""
    folder = Path("/run/netns")
    for entry in folder.glob(f"{_PREFIX}-*") if folder.is_dir() else ():
        pid = entry.name.split("-")[2]
        if not Path(f"/proc/{pid}").exists():
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", entry.name)


@contextmanager
def namespaces(*names: str) -> Iterator[list[str]]:
    """Namespaces with ``lo`` up; IPv6 addresses are usable at once. Yields their real names, in order."""
    _sweep()
    real = [f"{_PREFIX}-{os.getpid()}-{name}" for name in names]
    try:
        for name in real:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            sysctl(name, "net.ipv6.conf.all.accept_dad", "0")
            sysctl(name, "net.ipv6.conf.default.accept_dad", "0")
        yield real
    finally:
        for name in real:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


def sysctl(namespace: str, name: str, value: str) -> None:
    path = "/proc/sys/" + name.replace(".", "/")
    subprocess.run(
        ["ip", "netns", "exec", namespace, "sh", "-c", 'echo "$1" > "$2"', "sh", value, path],
        check=True,
        capture_output=True,
    )


def veth(one: str, name_one: str, other: str, name_other: str) -> None:
    """A link between two namespaces, up at both ends."""
    ip("link", "add", name_one, "netns", one, "type", "veth", "peer", "name", name_other, "netns", other)
    ip("-n", one, "link", "set", name_one, "up")
    ip("-n", other, "link", "set", name_other, "up")


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace."""
    with Path(f"/run/netns/{namespace}").open() as file:
        if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def run_inside(namespace: str, work: Callable[[], Coroutine[Any, Any, T]], deadline: float = 60.0) -> T:
    """Run an async function inside a namespace, in a thread with a loop of its own."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter(namespace)
            results.append(asyncio.run(asyncio.wait_for(work(), deadline)))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(deadline + 10)
    if errors:
        raise errors[0]
    return results[0]
