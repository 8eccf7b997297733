"""The paths that routers show us for our own prefixes. Pure.

They are bounded, since each agent that connects gets them all: with add-path a router can show any number of them. A
path beyond a bound is not kept, and nobody is told of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from anycast_agent.speaker.pipe.codec import ReceivedPath

MAX_PATHS_OF_A_PREFIX = 256
"""Paths that one router shows for one prefix."""
MAX_PARTS = 200_000
"""AS numbers and communities of all paths together: some 3 MB for an agent to read, or 20,000 ordinary paths."""

_Key = tuple[str, str, str]


class Paths:
    def __init__(self) -> None:
        self._paths: dict[_Key, ReceivedPath] = {}
        self._of_prefix: Counter[tuple[str, str]] = Counter()
        self._parts = 0

    def __iter__(self) -> Iterator[ReceivedPath]:
        return iter(self._paths.values())

    def take(self, path: ReceivedPath) -> ReceivedPath | None:
        """A path came, or went (``as_path`` None). Returns what changed by that, in the same form; None: nothing."""
        was_there, prefix, parts = self._drop(path), (path.neighbor, path.prefix), _parts(path)
        room = self._of_prefix[prefix] < MAX_PATHS_OF_A_PREFIX and self._parts + parts <= MAX_PARTS
        if path.as_path is not None and room:
            self._paths[*prefix, path.path_id] = path
            self._of_prefix[prefix] += 1
            self._parts += parts
            return path
        return replace(path, as_path=None) if was_there else None

    def _drop(self, path: ReceivedPath) -> bool:
        prefix = path.neighbor, path.prefix
        old = self._paths.pop((*prefix, path.path_id), None)
        if old is None:
            return False
        self._of_prefix[prefix] -= 1
        if not self._of_prefix[prefix]:
            del self._of_prefix[prefix]
        self._parts -= _parts(old)
        return True

    def of(self, neighbor: str) -> list[ReceivedPath]:
        return [path for path in self if path.neighbor == neighbor]


def _parts(path: ReceivedPath) -> int:
    return 8 + len(path.as_path or ()) + len(path.large_communities)
