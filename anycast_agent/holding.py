"""Ownership of a file by a POSIX record lock, which ends with the process that holds it, however the process ends.

A pid in a file can be missing, stale, reused, or a lie. The kernel knows the holder of a record lock. Only a process
with the open file can take the lock, and its children do not inherit it.

The lock has one trap: it is lost when its process closes *any* descriptor of the file. So a process that holds one
never opens the file a second time.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from pathlib import Path

_FLOCK = struct.Struct("hhqqi")
"""struct flock: type, whence, start, length, process id."""
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_file(path: Path, *, make: bool) -> int:
    """A descriptor of the file to hold, which is ours alone. Raises OSError."""
    try:
        descriptor = os.open(path, _OPEN | os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except OSError:
        descriptor = os.open(path, _OPEN | os.O_RDONLY)  # on a disk that is read-only by now, one can still ask
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(descriptor)
        raise PermissionError(f"{path} is not a file of ours alone: remove it")
    return descriptor


def take(descriptor: int) -> bool:
    """Hold it until this process ends; False where another process does, or the file was removed. Raises OSError."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return os.fstat(descriptor).st_nlink > 0


def holder(descriptor: int) -> int | None:
    """The process that holds it; 0 for one in a process namespace that we cannot see into."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)[: _FLOCK.size])
    return None if kind == fcntl.F_UNLCK else int(pid)


def remove(path: Path) -> None:
    """Remove the file if nobody holds it. It is held meanwhile: else two could each hold a file of that name."""
    try:
        descriptor = open_file(path, make=False)
    except FileNotFoundError:
        return
    try:
        if take(descriptor):
            path.unlink()
    finally:
        os.close(descriptor)
