"""Control groups. Each node has one, so that it can be frozen and killed as a whole.

Namespaces have groups of version 2. Containers have those of their engine, which may be the freezer of version 1.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

PREFIX = "anycast-lab-"


def mounted() -> Path:
    """The mount point of cgroup2, also beside version 1. Raises LookupError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        words = line.split()
        if words[2] == "cgroup2":
            return Path(words[1])
    raise LookupError("cgroup2 is not mounted: mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2")


class Cell(Protocol):
    """The part of a control group that both versions have."""

    @property
    def frozen(self) -> bool: ...

    def freeze(self, frozen: bool) -> None:
        """Returns once it is so. Raises TimeoutError."""

    def join(self) -> None:
        """Put the calling process into it; what it starts is in it too."""

    def processes(self) -> list[int]:
        """The processes in it and in all groups below it."""


def of_process(pid: int) -> Cell:
    """The control group that can freeze a process. Raises LookupError."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if path != "/" and "freezer" in controllers.split(","):
            for _, mount, kind, options, *_ in mounts:
                if kind == "cgroup" and "freezer" in options.split(","):
                    return Freezer(Path(mount + path))
        elif path != "/" and not controllers and (Path(str(mounted()) + path) / "cgroup.freeze").exists():
            return Group(Path(str(mounted()) + path))
    raise LookupError(f"process {pid} is in no control group of its own that could freeze it")


class Freezer:
    """A control group of version 1's freezer, by its directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def join(self) -> None:
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def processes(self) -> list[int]:
        return _processes(self.path)

    def freeze(self, frozen: bool, patience: float = 5.0) -> None:
        state = "FROZEN" if frozen else "THAWED"
        (self.path / "freezer.state").write_text(state)
        _until(lambda: self._state() == state, patience, f"{self.path} is not {state}")

    @property
    def frozen(self) -> bool:
        return self._state() != "THAWED"

    def _state(self) -> str:
        return (self.path / "freezer.state").read_text().strip()


class Group:
    """A control group of version 2, by its directory."""

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
        return _processes(self.path)

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


def _processes(path: Path) -> list[int]:
    found = []
    for file in path.rglob("cgroup.procs"):
        with suppress(OSError):
            found += [int(word) for word in file.read_text().split()]
    return found


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
