"""Which users there are for a program of ours to be."""

from __future__ import annotations

import ctypes
import grp
import hashlib
import os
import pwd
from pathlib import Path
from typing import NamedTuple

_DYNAMIC = range(61184, 65520)
"""The range of users for systemd's DynamicUser= services. Nobody else uses it."""


_PR_SET_NO_NEW_PRIVS = 38


class User(NamedTuple):
    uid: int
    gid: int


def free_number(seed: str) -> int:
    """A number that is no user's and no group's: the same each time for the same seed."""
    taken = {user.pw_uid for user in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()}
    first = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    numbers = (_DYNAMIC[(first + n) % len(_DYNAMIC)] for n in range(len(_DYNAMIC)))
    return next(number for number in numbers if number not in taken)


def owner(path: Path) -> User:
    """Raises OSError."""
    found = path.stat()
    return User(found.st_uid, found.st_gid)


def become(user: User) -> None:
    """For good, as a service of this user is under our unit: with its groups, and without what a setuid program or a
    file capability would add. Raises OSError."""
    try:
        groups = os.getgrouplist(pwd.getpwuid(user.uid).pw_name, user.gid)
    except KeyError:
        groups = [user.gid]
    os.setgroups(groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")


def exists(number: int, kind: str = "uid") -> bool:
    """True if our user namespace has this user, or with ``gid`` this group."""
    return any(number in numbers for numbers in _mapped(kind))


def only_root_exists() -> bool:
    """A user namespace with one user has nobody else to become, and its root has no rights outside of it."""
    return [len(numbers) for numbers in _mapped("uid")] == [1]


def _mapped(kind: str) -> list[range]:
    lines = [line.split() for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return [range(int(inside), int(inside) + int(count)) for inside, _, count in lines]
