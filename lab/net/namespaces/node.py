"""A node of namespaces: a network namespace that outlives a power cut, and the processes that do not."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lab.net import topology
from lab.net.cgroups import Group
from lab.net.namespaces.init import set_sysctls
from lab.net.node import Node, NodeError

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]

IMAGES = {"frrouting/frr": ["/usr/lib/frr/frrinit.sh", "start"]}
"""The start command of an image, by a part of its name: used where the file gives no ``cmd``."""

FOLDERS = [("/var/log/frr", "frr"), ("/run/frr", "frr"), ("/var/run/frr", "frr")]
"""Folders that the packages' own start-up makes, on file systems that are empty at boot: (path, owner)."""

READY_WITHIN = 20.0
"""A node that has not made its root file system by then never will. Seconds."""


class NamespaceNode(Node):
    def __init__(self, spec: topology.Node, folder: Path, group: Group, lower: str = "/") -> None:
        super().__init__(spec)
        self._folder, self._group, self._lower = folder / spec.name, group.below(spec.name), lower
        self._keeper_group = group.below(".keepers")  # no node can be called that
        self._children: list[subprocess.Popen[Any]] = []

    @property
    def group(self) -> Group:
        return self._group

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
        # A broken pipe: the node has ended already, and `ready` reports its last words.
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
        self.note("cgroup", "kill")
        self.init = 0
        self._children = [child for child in self._children if child.poll() is None]

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

    def health(self) -> str:
        """Asked now: no process of the lab stays behind that would ask all the while."""
        check = self.spec.healthcheck
        if not check:
            return ""
        try:
            self.run(check.command, timeout=check.timeout)
        except NodeError as error:
            return str(error)
        return "healthy"


def _of_image(image: str) -> Sequence[str]:
    for part, command in IMAGES.items():
        if part in image:
            return command
    if not image:
        return []
    raise NodeError(f"image {image!r}: what it starts is not known here; give the node a cmd")


def _inode(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return 0


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101 -- asked for with PIPE
    return stream
