"""runc, where this machine's bounding set lacks a capability: `--privileged` asks for all, and runc refuses what is not there.

Takes the missing ones out of what the engine has written, then becomes runc. Standard library only; run by path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
"""The kernel's, in the order of their numbers."""


def present() -> set[str]:
    """The capabilities of the bounding set."""
    bounds = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    assert bounds
    return {f"CAP_{name}" for bit, name in enumerate(NAMES.split()) if int(bounds[1], 16) >> bit & 1}


def value(words: list[str], option: str) -> str:
    for at, word in enumerate(words):
        if word == option:
            return words[at + 1]
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return ""


def bound(path: Path) -> None:
    document = json.loads(path.read_text())
    sets = document.get("process", document).get("capabilities") or {}
    for kind, names in sets.items():
        sets[kind] = [name for name in names or () if name in present()]
    path.write_text(json.dumps(document))


def main(words: list[str]) -> None:
    if bundle := value(words, "--bundle"):
        bound(Path(bundle) / "config.json")
    if process := value(words, "--process"):
        bound(Path(process))
    os.execv(shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "runc", ["runc", *words])


if __name__ == "__main__":
    main(sys.argv[1:])
