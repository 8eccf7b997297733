"""One node, of either back end: the calls of drills, exercises and operators on it."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lab.net import topology
from lab.net.cgroups import Cell

T = TypeVar("T")
CLONE_NEWNET = 0x40000000

MAX_RAN = 200
"""A node remembers so many commands as evidence of a drill; the oldest go first."""

MAX_OUTPUT = 65536
"""The bound on a command's remembered output. Characters."""


class NodeError(RuntimeError):
    """A node could not be started, or a command in it failed. The text has the command and its output."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run in a node, and its output. ``at``: monotonic."""

    at: float
    node: str
    command: tuple[str, ...]
    status: int | None
    """None: the command did not end in time."""
    output: str


class Node(ABC):
    def __init__(self, spec: topology.Node) -> None:
        self.spec, self.name = spec, spec.name
        self.keeper = 0
        """A process that holds the network namespace; 0 where nothing does."""
        self.init = 0
        """PID 1 of the node, as the host counts; 0 while it is off."""
        self.ran: deque[Ran] = deque(maxlen=MAX_RAN)

    # --- each back end has its own ---

    @property
    @abstractmethod
    def group(self) -> Cell:
        """The control group that all processes of the node are in."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment of a command in the node."""

    @abstractmethod
    def health(self) -> str:
        """``healthy``, or why not; empty where the topology names no check."""

    # --- the same for all ---

    def freeze(self, frozen: bool) -> None:
        if not self.init:
            raise NodeError(f"{self.name} is off")
        self.group.freeze(frozen)
        self.note("cgroup", "freeze" if frozen else "thaw")

    def command(self, words: Sequence[str]) -> list[str]:
        """The words that run a command inside."""
        return self._enter(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"], words)

    def tool(self, words: Sequence[str]) -> list[str]:
        """The words that run a program of the lab's own in the node's network: the node's files may not have it."""
        return self._enter(["--net"], words)

    def _enter(self, spaces: Sequence[str], words: Sequence[str]) -> list[str]:
        if not self.init:
            raise NodeError(f"{self.name} is off")
        if self.group.frozen:  # a process that joins its control group would freeze, and we would wait for it
            raise NodeError(f"{self.name} is frozen")
        return ["nsenter", "--target", str(self.init), *spaces, "--", *words]

    def join(self) -> None:
        """Put the calling process into the node's control group: between fork and exec."""
        self.group.join()

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        environment = {**self.environment(), **({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})}
        return subprocess.Popen(self.command(words), env=environment, preexec_fn=self.join, **options)

    def run(self, words: Sequence[str], timeout: float = 20.0, check: bool = True) -> str:
        """Run a command in the node, return its output. With ``check``, a failure raises NodeError with the output."""
        begun = time.monotonic()
        process = self.popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # nsenter and its child in the node
            process.communicate()
            self.ran.append(Ran(begun, self.name, tuple(words), None, ""))
            raise NodeError(f"{self.name}: {shlex.join(words)}: no end after {timeout:g} s") from None
        self.ran.append(Ran(begun, self.name, tuple(words), process.returncode, (out + err)[:MAX_OUTPUT]))
        if check and process.returncode != 0:
            raise NodeError(f"{self.name}: {shlex.join(words)}: status {process.returncode}: {(err or out).strip()}")
        return str(out)

    def note(self, *words: str, status: int | None = 0, output: str = "") -> None:
        """Remember what the lab itself has done to the node, beside the commands that were run in it: evidence, too."""
        self.ran.append(Ran(time.monotonic(), self.name, words, status, output[:MAX_OUTPUT]))

    def path(self, inside: str) -> Path:
        """A file of the node, as the host reaches it. Raises NodeError."""
        if not self.init:
            raise NodeError(f"{self.name} is off")
        return Path(f"/proc/{self.init}/root") / inside.lstrip("/")

    def processes(self, name: str = "") -> list[int]:
        """Processes of the node, of that name or all: by program, script or Python module; the host's numbers."""
        return [pid for pid in self.group.processes() if not name or name in _names(pid)]

    @property
    def network(self) -> str:
        """The node's network namespace, as a file. Raises NodeError."""
        if not self.keeper:
            raise NodeError(f"{self.name}: nothing holds its network any more: anycast-lab down, and up again")
        return f"/proc/{self.keeper}/ns/net"

    def in_network(self, work: Callable[[], T]) -> T:
        """Run a function in the node's network namespace, in a thread that ends with it."""
        return in_network(self.network, work)


def in_network(network: str, work: Callable[[], T]) -> T:
    found: list[T] = []
    failed: list[BaseException] = []

    def body() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            with Path(network).open() as file:
                if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns {network}")
            found.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _names(pid: int) -> set[str]:
    """A process's names: its program, and the script or module that an interpreter runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return {Path(f"/proc/{pid}/comm").read_text().strip(), *(Path(word).name for word in words[:3] if word)}
    except OSError:
        return set()


def variables(variant: str | None) -> Mapping[str, str]:
    """The values for the topology file's ``${…}``."""
    return {**os.environ, **({"ANYCAST_LAB_VARIANT": variant} if variant else {})}
