"""Programs and certificates that checks name: whether this machine has them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_MAX_SHEBANG = 256


def unusable_program(program: str) -> str:
    """Why the kernel would not run a program; empty if it would."""
    path = Path(program)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        return f"{program} cannot be run: {_reason(error)}"
    if not stat.S_ISREG(status.st_mode):
        return f"{program} cannot be run: it is not a file"
    if not os.access(path, os.X_OK):
        return f"{program} is not executable: chmod +x {program}"
    interpreter = _interpreter(path)
    if interpreter and not Path(interpreter).exists():
        return f"{program} cannot be run: its first line names {interpreter!r}, which does not exist"
    return ""


def _interpreter(path: Path) -> str:
    """The program that the first line of a script names. Empty for a binary, and for a script that cannot be read."""
    try:
        with path.open("rb") as file:
            first = file.read(_MAX_SHEBANG).partition(b"\n")[0]
    except OSError:
        return ""
    words = first[2:].strip(b" \t").split(b" ") if first.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else ""


def unreadable_file(name: str) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        if not stat.S_ISREG(Path(name).stat().st_mode):
            return f"{name} is not a file"
        with Path(name).open("rb"):
            return ""
    except (OSError, ValueError) as error:
        return f"{name} cannot be read: {_reason(error)}"


def _reason(error: OSError | ValueError) -> str:
    """Python raises ValueError for a NUL in a path."""
    return str(getattr(error, "strerror", None) or error).lower()
