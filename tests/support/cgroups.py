"""A control group of a test's own, with so much of a processor and no more. As root."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
PERIOD = 100_000
"""Microseconds."""


def _root() -> Path | None:
    if (_V1 / "cgroup.procs").exists():
        return _V1
    control = _V2 / "cgroup.subtree_control"
    return _V2 if control.exists() and "cpu" in control.read_text().split() else None


needs_cpu_control = pytest.mark.skipif(_root() is None, reason="needs the cpu controller of control groups")


class Limited:
    """A group with a share of one processor."""

    def __init__(self, root: Path, share: float) -> None:
        self._root = root
        self._path = root / f"aa-test-{os.getpid()}-{time.monotonic_ns()}"
        self._path.mkdir()
        quota = int(share * PERIOD)
        if root is _V1:
            (self._path / "cpu.cfs_period_us").write_text(str(PERIOD))
            (self._path / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (self._path / "cpu.max").write_text(f"{quota} {PERIOD}")

    def take(self, pid: int) -> None:
        """The process, and what it starts from now on."""
        (self._path / "cgroup.procs").write_text(str(pid))

    def free(self) -> None:
        """All that is in it."""
        while pids := (self._path / "cgroup.procs").read_text().split():
            for pid in pids:
                with contextlib.suppress(OSError):  # it has ended
                    (self._root / "cgroup.procs").write_text(pid)

    def close(self) -> None:
        end = time.monotonic() + 10
        while self._path.exists():
            self.free()
            try:
                self._path.rmdir()
            except OSError:
                assert time.monotonic() < end, f"{self._path} cannot be removed"
                time.sleep(0.05)


@contextmanager
def limited(share: float) -> Iterator[Limited]:
    """``share`` of a processor: 0.08. What is still in it at the end is let go."""
    root = _root()
    assert root is not None
    group = Limited(root, share)
    try:
        yield group
    finally:
        group.close()
