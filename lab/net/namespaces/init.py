"""PID 1 of a node: makes its file system, starts its command, and reaps. Standard library only; run by path.

Reads its orders, one JSON object, from standard input, and says ``ready`` on standard output. It has been started in
mount, PID, UTS and IPC namespaces of its own, in the node's network namespace, and in its control group.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "s390x": 217, "ppc64le": 203}

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [word.encode() if word else None for word in (source, str(target), kind)]
    if _libc.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"mount {source or kind} on {target}: {os.strerror(code)}")


def make_root(orders: dict[str, Any]) -> None:
    """An overlay above the host's file system, or one of the node's own: the node's writes are gone when it ends."""
    mount("", "/", flags=MS_REC | MS_PRIVATE)
    work = Path(orders["work"])
    mount("tmpfs", work, "tmpfs", MS_NOSUID, "mode=755")
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    root = work / "root"
    mount("overlay", root, "overlay", 0, f"lowerdir={orders['lower']},upperdir={work}/upper,workdir={work}/work")
    for folder in ("proc", "sys", "dev", "run", "tmp", "var/log"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", root / "sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("/dev", root / "dev", flags=MS_BIND | MS_REC)
    for folder, mode in (("run", 755), ("tmp", 1777), ("var/log", 755)):
        mount("tmpfs", root / folder, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode}")
    for path in orders["shown"]:
        # The lab's own files may be on a file system outside the overlay, or below a /tmp that the node replaces.
        shown = root / path.lstrip("/")
        if not shown.exists() or os.stat(path).st_dev != os.stat("/").st_dev:
            shown.mkdir(parents=True, exist_ok=True)
            mount(path, shown, flags=MS_BIND | MS_REC)
    for source, target, read_only in orders["binds"]:
        bind(Path(source), root / target.lstrip("/"), read_only)
    (root / ".old").mkdir(exist_ok=True)
    if _libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], str(root).encode(), str(root / ".old").encode()) != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chdir("/")
    _libc.umount2(b"/.old", MNT_DETACH)


def bind(source: Path, target: Path, read_only: bool) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    mount(str(source), target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def set_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        path = Path("/proc/sys") / name.replace(".", "/")
        try:
            path.write_text(value)
        except OSError as error:
            raise OSError(error.errno, f"sysctl {name}={value}: {error.strerror}") from error


def main() -> None:
    # A terminal's signals are for the process that started us, not for the node.
    for ignored in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    orders = json.load(sys.stdin)
    try:
        socket.sethostname(orders["name"])
        make_root(orders)
        set_sysctls(orders["sysctls"])
        for path, owner in orders["folders"]:
            Path(path).mkdir(parents=True, exist_ok=True)
            own(path, owner)
    except OSError as error:
        print(f"failed: {error}", flush=True)
        sys.exit(1)
    console = os.open("/var/log/console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open("/dev/null", os.O_RDONLY)
    if orders["command"]:
        # Never on a pipe of ours: FRR hangs on captured ones.
        subprocess.Popen(
            orders["command"], stdin=null, stdout=console, stderr=console, env=orders["env"], start_new_session=True
        )
    print("ready", flush=True)
    for number, descriptor in ((0, null), (1, console), (2, console)):
        os.dup2(descriptor, number)
    while True:  # reap orphans until we are killed
        try:
            os.wait()
        except ChildProcessError:
            signal.pause()


def own(path: str, owner: str) -> None:
    """Give a folder to a user of the node. Its own files are read: the modules for it are on the host, out of reach."""
    user, group = number("/etc/passwd", owner), number("/etc/group", owner)
    if user is not None and group is not None:  # a root file system without that user has no use for it either
        os.chown(path, user, group)


def number(file: str, name: str) -> int | None:
    """The number of a user or a group: the third field, in both files."""
    for line in Path(file).read_text().splitlines() if Path(file).exists() else ():
        words = line.split(":")
        if words[0] == name:
            return int(words[2])
    return None


if __name__ == "__main__":
    main()
