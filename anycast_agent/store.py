"""What lies in files: replaced as a whole or not at all, and read back only where nobody else could have written it."""

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
    """Another user could have written this; the text says what to do."""


def replace(path: Path, text: str, *, group: int | None = None, durable: bool = True) -> None:
    """Write a file for ourselves, and for the members of ``group`` to read. Raises OSError; the old file then stays.

    A file that holds the text already is left alone: on a full disk, what is right stays right. ``durable``: wait until
    it is on the disk; for what need not outlive a boot that is a waste of time.
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
    """What a file of ours holds. Raises FileNotFoundError where there is none, UntrustedError where another user could
    have written it, and ValueError for what no writer of ours has left: more than ``most`` bytes, or not UTF-8."""
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
    """Keep a broken file for whoever looks into it, out of the way of the next one. Where it is now; raises OSError."""
    aside = path.with_name(path.name + ".broken")
    path.replace(aside)
    return aside


def make_folder(path: Path) -> None:
    """Make a directory for what we write, if need be. Raises OSError; UntrustedError where another user could put
    something into it, or in its place."""
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raises UntrustedError where we are root and a user who is not could change what is in a directory, or replace it.

    Where we are not, there is nobody with fewer rights to guard against.
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
    """A path to a socket that another user has made, in a folder of that user's: it leads to this very socket, whatever
    is put in its place meanwhile. Raises OSError; UntrustedError for what is no socket of that user."""
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
