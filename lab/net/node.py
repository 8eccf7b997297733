"""One node: a network namespace that outlives a power cut, and the processes that do not."""

from __future__ import annotations

import ctypes
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from lab.net import topology
from lab.net.cgroups import Group
from lab.net.init import set_sysctls

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]

IMAGES = {"frrouting/frr": ["/usr/lib/frr/frrinit.sh", "start"]}
"""The start command of an image, by a part of its name: used where the file gives no ``cmd``."""

FOLDERS = [("/var/log/frr", "frr"), ("/run/frr", "frr"), ("/var/run/frr", "frr")]
"""Folders that the packages' own start-up makes, on file systems that are empty at boot: (path, owner)."""

READY_WITHIN = 20.0
"""A node that has not made its root file system by then never will. Seconds."""


RAN_MOST = 200
"""A node remembers so many commands as evidence of a drill; the oldest go first."""

OUTPUT_MOST = 65536
"""The bound on a command's remembered output. Characters."""


class NodeError(RuntimeError):
    """A node could not be started, or a command in it failed: what, and what it said."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run in a node, and what it said. ``at``: monotonic."""

    at: float
    node: str
    command: tuple[str, ...]
    status: int | None
    """None: it did not end in time."""
    output: str


class Node:
    def __init__(self, spec: topology.Node, folder: Path, group: Group, lower: str = "/") -> None:
        self.spec, self.name = spec, spec.name
        self._folder, self._group, self._lower = folder / spec.name, group.below(spec.name), lower
        self._keeper_group = group.below(".keepers")  # no node can be called that
        self.keeper = 0
        """A process that holds the network namespace."""
        self.init = 0
        """PID 1 of the node, as the host counts; 0 while it is off."""
        self._children: list[subprocess.Popen[Any]] = []
        self.ran: deque[Ran] = deque(maxlen=RAN_MOST)

    # --- power ---

    def plug(self) -> None:
        """A network namespace, without anything in it yet."""
        self._keeper_group.make()
        keeper = subprocess.Popen(
            ["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=self._keeper_group.join, start_new_session=True,
        )  # fmt: skip
        self._children.append(keeper)
        ours = os.stat("/proc/self/ns/net").st_ino
        while _inode(keeper.pid) in (ours, 0):
            if keeper.poll() is not None:
                raise NodeError(f"{self.name}: unshare --net failed with status {keeper.returncode}; are you root?")
        self.keeper = keeper.pid
        # Before the first link: an interface takes `conf.default` over when it comes, and never again.
        try:
            self.in_network(lambda: set_sysctls(self._sysctls(of_network=True)))
        except OSError as error:
            raise NodeError(f"{self.name}: failed: {error}") from error

    def start(self) -> None:
        """Begin to start; ``ready`` waits."""
        self._group.make()
        self._group.freeze(False)  # its power may have been cut while it was frozen
        self._folder.mkdir(parents=True, exist_ok=True)
        command = shlex.split(self.spec.cmd) or _of_image(self.spec.image)
        self._process = subprocess.Popen(
            ["nsenter", f"--net={self.network}", "unshare", "--uts", "--mount", "--pid", "--ipc", "--fork",
             "--kill-child", sys.executable, "-I", str(HERE / "init.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=self._group.join, start_new_session=True,
        )  # fmt: skip
        self._children.append(self._process)
        orders = {
            "name": self.name,
            "work": str(self._folder),
            "lower": self._lower,
            "shown": sorted({str(CHECKOUT), sys.prefix, sys.base_prefix}) if self._lower == "/" else [],
            "binds": [[str(source), target, read_only] for source, target, read_only in self.spec.binds],
            "sysctls": self._sysctls(of_network=False),
            "folders": FOLDERS,
            "command": command,
            "env": self.environment(),
        }
        # A broken pipe: it has ended already, and `ready` says what it said.
        with suppress(BrokenPipeError), _stream(self._process.stdin) as stdin:
            stdin.write(json.dumps(orders))

    def _sysctls(self, of_network: bool) -> dict[str, str]:
        return {name: value for name, value in self.spec.sysctls.items() if name.startswith("net.") is of_network}

    def ready(self) -> None:
        """Wait until PID 1 has started its command. Raises NodeError."""
        stdout = _stream(self._process.stdout)
        if not select.select([stdout], [], [], READY_WITHIN)[0]:
            raise NodeError(f"{self.name}: PID 1 has not started its command after {READY_WITHIN:g} s")
        said = stdout.readline().strip()
        if said != "ready":
            raise NodeError(f"{self.name}: {said} {stdout.read().strip()}".strip())
        stdout.close()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self.init = int(children[0])

    def cut_power(self) -> None:
        """Every process is gone at once, and nothing is said to anybody."""
        self._group.kill()
        self.init = 0
        self._children = [child for child in self._children if child.poll() is None]

    def freeze(self, frozen: bool) -> None:
        if not self.init:
            raise NodeError(f"{self.name} is off")
        self._group.freeze(frozen)

    def unplug(self, keeper: int) -> None:
        """Let go of a network namespace: with its last process, it and its ends of links are gone."""
        with suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGKILL)

    def recall(self, keeper: int, init: int) -> None:
        """Take up what another process has written down. Numbers are used again: one that is not in our control groups
        any more is somebody else's, and what is done to the node must not be done to the host."""
        self.keeper = keeper if keeper in self._keeper_group.processes() else 0
        self.init = init if init in self._group.processes() else 0

    def reap(self, patience: float = 5.0) -> None:
        """Take leave of killed children: a zombie would still be seen in the lab's control group."""
        for child in self._children:
            try:
                child.wait(patience)
            except subprocess.TimeoutExpired:
                raise NodeError(f"{self.name}: process {child.pid} was killed, and does not end") from None

    # --- inside ---

    def environment(self) -> dict[str, str]:
        path = [
            str(Path(sys.executable).parent),
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/sbin",
            "/bin",
        ]
        return {"PATH": ":".join(path), "LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/root", **self.spec.env}

    def command(self, words: Sequence[str]) -> list[str]:
        """The words that run a command inside."""
        return self._enter(["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"], words)

    def tool(self, words: Sequence[str]) -> list[str]:
        """The words that run a program of the lab's own in the node's network: the node's files may not have it."""
        return self._enter(["--net"], words)

    def _enter(self, spaces: Sequence[str], words: Sequence[str]) -> list[str]:
        if not self.init:
            raise NodeError(f"{self.name} is off")
        if self._group.frozen:  # a process that joins its control group would freeze, and we would wait for it
            raise NodeError(f"{self.name} is frozen")
        return ["nsenter", "--target", str(self.init), *spaces, "--", *words]

    def join(self) -> None:
        """Put the calling process into the node's control group: between fork and exec."""
        self._group.join()

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        environment = {**self.environment(), **({"TERM": os.environ["TERM"]} if "TERM" in os.environ else {})}
        return subprocess.Popen(self.command(words), env=environment, preexec_fn=self._group.join, **options)

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
        self.ran.append(Ran(begun, self.name, tuple(words), process.returncode, (out + err)[:OUTPUT_MOST]))
        if check and process.returncode != 0:
            raise NodeError(f"{self.name}: {shlex.join(words)}: status {process.returncode}: {(err or out).strip()}")
        return str(out)

    def path(self, inside: str) -> Path:
        """A file of the node, as the host reaches it. Raises NodeError."""
        if not self.init:
            raise NodeError(f"{self.name} is off")
        return Path(f"/proc/{self.init}/root") / inside.lstrip("/")

    def processes(self, name: str) -> list[int]:
        """Processes of the node of that name: their program, script or Python module; the host's numbers."""
        return [pid for pid in self._group.processes() if name in _names(pid)]

    @property
    def network(self) -> str:
        """The node's network namespace, as a file. Raises NodeError."""
        if not self.keeper:
            raise NodeError(f"{self.name}: what held its network has been killed: anycast-lab down, and up again")
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


def _of_image(image: str) -> list[str]:
    for part, command in IMAGES.items():
        if part in image:
            return command
    if not image:
        return []
    raise NodeError(f"image {image!r}: what it starts is not known here; give the node a cmd")


def _names(pid: int) -> set[str]:
    """A process's names: its program, and the script or module that an interpreter runs."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        return {Path(f"/proc/{pid}/comm").read_text().strip(), *(Path(word).name for word in words[:3] if word)}
    except OSError:
        return set()


def _inode(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 -- asked for with PIPE
    return stream


def variables(variant: str | None) -> Mapping[str, str]:
    """The values for the topology file's ``${…}``."""
    return {**os.environ, **({"ANYCAST_LAB_VARIANT": variant} if variant else {})}
