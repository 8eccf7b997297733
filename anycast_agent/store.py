"""Files that last: replaced as a whole or not at all, and read back only if nobody else could have written them."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from anycast_agent.users import only_root_exists

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UntrustedError(OSError):
    """Another user could have written this. The text names the remedy."""


def replace(path: Path, text: str, *, group: int | None = None, durable: bool = True) -> None:
    """Write a file that we, and the members of ``group``, may read. Raises OSError; the old file then stays.

    A file that holds the text already is left alone: it stays right on a full disk. ``durable`` waits until the text
    is on the disk; a file that need not outlive a boot does not need that.
    """
    data, mode = text.encode(), 0o600 if group is None else 0o640
    if _is(path, data, mode, group):
        return
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)  # of a writer that was killed
    descriptor = os.open(temporary, _MAKE, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if group is not None:
                os.fchown(descriptor, -1, group)
                os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _sync(path.parent)


def _is(path: Path, data: bytes, mode: int, group: int | None) -> bool:
    try:
        descriptor = os.open(path, _READ)
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        same = stat.S_IMODE(found.st_mode) == mode and group in (None, found.st_gid) and found.st_size == len(data)
        return ours and same and file.read(len(data) + 1) == data


def _sync(folder: Path) -> None:
    """A rename is on the disk once its directory is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path, most: int) -> str:
    """Read a file of ours. Raises FileNotFoundError, UntrustedError if another user could have written it, and
    ValueError for a text that our writer never leaves: more than ``most`` bytes, or not UTF-8."""
    check_folder(path.parent)
    descriptor = os.open(path, _READ)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_WRITE:
            raise UntrustedError(f"{path} is not trusted: user {found.st_uid} could have written it; remove it")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path} has more than {most} bytes")
    return data.decode("utf-8")


def set_aside(path: Path) -> Path:
    """Move a broken file aside for inspection, out of the way of the next one. Returns its new path. Raises OSError."""
    aside = path.with_name(path.name + ".broken")
    path.replace(aside)
    return aside


def make_folder(path: Path) -> None:
    """Make a directory for our files if it is missing. Raises OSError, or UntrustedError if another user could put
    something into it or replace it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raises UntrustedError if we are root and a user other than root could change or replace the directory.

    If we are not root, nobody with fewer rights has to be guarded against.
    """
    if os.geteuid() != 0 or only_root_exists():
        return
    whole = path.absolute()
    resolved = whole.resolve()  # links on the way are as good as the directories that they lie in
    for folder in dict.fromkeys((resolved, *resolved.parents, *whole.parents)):
        found = folder.stat()
        shared = found.st_mode & _OTHERS_WRITE and (folder == resolved or not found.st_mode & stat.S_ISVTX)
        if found.st_uid != 0 or shared:
            who = f"belongs to user {found.st_uid}" if found.st_uid != 0 else "may be written by other users"
            raise UntrustedError(
                f"{folder} {who}, and root does not work in it: chown root:root and chmod 755, or name another"
            )


def who_else_writes(paths: Iterable[Path]) -> str:
    """Which user who is not root could change one of these files, or put another in its place; empty where none could.

    Asked where we are root. Raises OSError.
    """
    if os.geteuid() != 0 or only_root_exists():
        return ""
    for path in dict.fromkeys(part for file in paths for part in (file, file.parent)):
        found = path.stat()
        if found.st_uid != 0:
            return f"user {found.st_uid} may change {path}"
        if found.st_mode & _OTHERS_WRITE:
            return f"other users may change {path}"
    return ""


@contextmanager
def socket_of(path: Path, uid: int) -> Iterator[str]:
    """A path to a socket in another user's folder. It leads to this very socket, also if the user replaces it
    meanwhile. Raises OSError, or UntrustedError if it is not a socket of that user."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != uid:
            raise UntrustedError(f"{path} is not a socket of user {uid}")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def peer_of(connection: socket.socket) -> int:
    """The user on the other side, as the kernel knows it."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", found)[1])
