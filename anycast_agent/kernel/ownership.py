"""Which addresses are ours, written down before they are added: for kernels that cannot mark them."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Ownership:
    """A small file in the state directory. What it names is ours, whoever runs now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owned: set[str] = set()

    def load(self) -> None:
        """Raises OSError or ValueError, with what to do: a record that cannot be read must not be overwritten."""
        try:
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            self._owned = set()
            return
        try:
            self._owned = set(json.loads(text)["addresses"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path} cannot be read ({error}): look at it, then remove it") from error

    def __contains__(self, address: str) -> bool:
        return address in self._owned

    def add(self, address: str) -> None:
        """Blocks for a disk write. Raises OSError; the earlier record then stands."""
        if address not in self._owned:
            self._write(self._owned | {address})

    def discard(self, address: str) -> None:
        if address in self._owned:
            self._write(self._owned - {address})

    def _write(self, owned: set[str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            with temporary.open("w", encoding="ascii") as file:
                json.dump({"addresses": sorted(owned)}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._owned = owned
