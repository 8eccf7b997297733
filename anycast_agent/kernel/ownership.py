"""Which addresses are ours, written down before they are added: for kernels that cannot mark them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from pathlib import Path

from anycast_agent import store

_SO_NETNS_COOKIE = 71
MAX_RECORD = 8 << 20
"""Bytes."""


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


def _parse(text: str) -> dict[str, str]:
    """Raises ValueError."""
    try:
        record = json.loads(text)
        owned = {str(address): str(interface) for address, interface in record["addresses"].items()}
        return owned if record["where"] == _where() else {}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a record of addresses: {type(error).__name__} {error}") from error


class Ownership:
    """A small file in the state directory. It names our addresses, also those of an earlier agent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owned: dict[str, str] = {}
        self._loaded = False
        self._written: dict[str, str] = {}

    def load(self) -> str:
        """Read the record, once. Returns its problem and the place of the broken copy, or "". Raises OSError."""
        if self._loaded:
            return ""
        try:
            problem, found = "", _parse(store.read(self._path, MAX_RECORD))
        except FileNotFoundError:
            problem, found = "", {}
        except ValueError as error:
            aside = store.set_aside(self._path)
            problem, found = f"{self._path} could not be read ({error}) and is kept as {aside}: addresses that an " \
                             "earlier run added may stay on the node; remove them by hand", {}  # fmt: skip
        self._owned, self._written, self._loaded = found, dict(found), True
        return problem

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

    def add(self, addresses: Iterable[str], interface: str) -> None:
        """Blocks for a disk write. Raises OSError; the earlier record then stands."""
        if not self._loaded:
            raise OSError(f"{self._path} has not been read: nothing is added that could not be known as ours")
        self._write(self._owned | dict.fromkeys(addresses, interface))

    def forget(self, address: str) -> None:
        """Takes effect in memory; ``save`` writes the file."""
        self._owned.pop(address, None)

    def save(self) -> None:
        """Blocks for a disk write. Raises OSError; the earlier record then stands."""
        if self._loaded and self.unsaved:
            self._write(dict(self._owned))

    def _write(self, owned: dict[str, str]) -> None:
        if owned == self._written == self._owned:
            return
        store.make_folder(self._path.parent)
        store.replace(self._path, json.dumps({"where": _where(), "addresses": owned}, sort_keys=True))
        self._written, self._owned = dict(owned), owned
