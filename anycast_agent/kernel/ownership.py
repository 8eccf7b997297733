"""Which addresses are ours, written down before they are added: for kernels that cannot mark them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

_SO_NETNS_COOKIE = 71


def _where() -> str:
    """This boot and this network namespace: addresses do not outlive either, the file does."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    inode = Path("/proc/thread-self/ns/net").stat().st_ino
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            cookie = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8).hex()
        except OSError:
            cookie = ""  # before Linux 5.14; the inode's number may then be another namespace's later
    return f"{boot} {inode} {cookie}".strip()


class Ownership:
    """A small file in the state directory. What it names is ours, whoever runs now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owned: dict[str, str] = {}
        self._loaded = False
        self._written: dict[str, str] = {}

    def load(self) -> None:
        """Once. Raises OSError or ValueError, with what to do: a record that cannot be read must not be overwritten."""
        if self._loaded:
            return
        try:
            record = json.loads(self._path.read_text("ascii"))
            owned = {str(address): str(interface) for address, interface in record["addresses"].items()}
            self._owned = owned if record["where"] == _where() else {}
            self._written = dict(owned)
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self._path} cannot be read ({error}): look at it, then remove it") from error
        self._loaded = True

    def has(self, address: str, interface: str) -> bool:
        return self._owned.get(address) == interface

    def interface(self, address: str) -> str | None:
        return self._owned.get(address)

    @property
    def addresses(self) -> dict[str, str]:
        """Address → interface."""
        return dict(self._owned)

    @property
    def unsaved(self) -> bool:
        return self._owned != self._written

    def add(self, address: str, interface: str) -> None:
        """Blocks for a disk write. Raises OSError; the earlier record then stands."""
        if not self._loaded:
            raise OSError(f"{self._path} has not been read: nothing is added that could not be known as ours")
        self._write(self._owned | {address: interface})

    def forget(self, address: str) -> None:
        """At once in memory; ``save`` writes it."""
        self._owned.pop(address, None)

    def save(self) -> None:
        """Blocks for a disk write. Raises OSError; the earlier record then stands."""
        if self._loaded and self.unsaved:
            self._write(dict(self._owned))

    def _write(self, owned: dict[str, str]) -> None:
        if owned == self._written == self._owned:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            with temporary.open("w", encoding="ascii") as file:
                json.dump({"where": _where(), "addresses": owned}, file, sort_keys=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
            _sync(self._path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._written, self._owned = dict(owned), owned


def _sync(folder: Path) -> None:
    """A rename is on the disk once its directory is."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
