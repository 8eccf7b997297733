"""Control groups (version 2): a node is one, so that it can be frozen and killed whole."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PREFIX = "anycast-lab-"


def mounted() -> Path:
    """The mount point of cgroup2, also beside version 1. Raises LookupError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    raise LookupError("cgroup2 is not mounted: mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2")


class Group:
    """One control group, by its directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_lab(cls, name: str) -> Group:
        return cls(mounted() / f"{PREFIX}{name}")

    def below(self, name: str) -> Group:
        return Group(self.path / name)

    def make(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)

    def join(self) -> None:
        """Put the calling process into it; what it starts is in it too."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        """The processes in it and in all groups below it."""
        found = []
        for file in self.path.rglob("cgroup.procs"):
            with suppress(OSError):
                found += [int(word) for word in file.read_text().split()]
        return found

    def freeze(self, frozen: bool, patience: float = 5.0) -> None:
        """Returns once it is so. Raises TimeoutError."""
        (self.path / "cgroup.freeze").write_text("1" if frozen else "0")
        wanted = f"frozen {int(frozen)}"
        _until(lambda: wanted in (self.path / "cgroup.events").read_text(), patience, f"{self.path} is not {wanted}")

    @property
    def frozen(self) -> bool:
        return "frozen 1" in (self.path / "cgroup.events").read_text()

    def kill(self, patience: float = 5.0) -> None:
        """SIGKILL to all in it at once; returns once they are gone. Raises TimeoutError."""
        if self.path.is_dir():
            (self.path / "cgroup.kill").write_text("1")
            _until(lambda: not self.processes(), patience, f"{self.path} still has processes")

    def remove(self) -> None:
        """Remove it and all groups below it; nothing may run in them."""
        for folder in sorted(self.path.rglob("*/"), reverse=True):
            _rmdir(folder)
        _rmdir(self.path)


def _rmdir(folder: Path) -> None:
    def gone() -> bool:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False  # a process that has just ended is still being taken out
        return True

    if folder.is_dir():
        _until(gone, 5.0, f"{folder} cannot be removed")


def _until(condition: Callable[[], bool], patience: float, message: str) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(message)
        time.sleep(0.005)
