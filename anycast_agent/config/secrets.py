"""Files that hold secrets: passwords of BGP sessions and keys of TLS. Their content appears in no message."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

_DIGEST_KEY = secrets.token_bytes(32)
_MAX_READ = 4096


def refuse_relative(path: Path) -> None:
    """Raises ValueError. People write the secret itself where its file belongs."""
    if not path.is_absolute():
        raise ValueError("write the absolute path of a file that holds the secret")


def read_secret(path: Path) -> bytes:
    """The first bytes of a secret's file. Raises ValueError if other users can read or change it."""
    refuse_relative(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a file")
        if status.st_mode & 0o077:
            raise ValueError(f"{path} can be read by others: chmod 600 {path}")
        if status.st_uid not in (0, os.geteuid()):
            raise ValueError(f"{path} belongs to another user: chown it to root or to the agent's user")
        with path.open("rb") as file:
            return file.read(_MAX_READ)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None


def password_digest(path: Path) -> str:
    """A digest of the password in a file: it changes when the password does. Raises ValueError.

    The digest is keyed by a random number of this process. A short password could be guessed from a plain digest.
    """
    password = read_secret(path).strip(b"\r\n")
    if not 1 <= len(password) <= 80 or not all(32 <= byte < 127 for byte in password):
        raise ValueError(f"{path} holds the password alone: 1 to 80 printable ASCII characters on one line")
    return hashlib.blake2b(password, key=_DIGEST_KEY, digest_size=8).hexdigest()
