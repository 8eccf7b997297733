"""YAML with positions: from files to plain values, each of which knows where it stands."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from anycast_agent.config.problems import ConfigError, Problem

SIZE_MOST = 1 << 20
NODES_MOST = 200_000
DEPTH_MOST = 50
FILES_MOST = 1000

_SCALARS = frozenset({"null", "bool", "int", "float", "str", "timestamp", "None"})

Where = tuple[str | int, ...]
"""A path into the configuration: ``('services', 'dns', 'prefixes', 0)``."""

Places = dict[Where, tuple[str, int, int]]
"""(file, line, column) of each value; of a mapping's entry, where its key stands."""


def parse(text: str, name: str) -> tuple[Any, Places]:
    """The values of one file, and where they stand. Raises ConfigError."""
    try:
        _refuse_bombs(text, name)
        node = YAML(typ="safe", pure=True).compose(text)
    except RecursionError:
        raise ConfigError([Problem(name, 1, 1, f"nested deeper than {DEPTH_MOST} levels")]) from None
    except (MarkedYAMLError, DuplicateKeyError) as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise ConfigError([Problem(name, line, column, f"not YAML: {error.problem or error.context}")]) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError([Problem(name, 1, 1, f"not YAML: {str(error).splitlines()[0]}")]) from None
    reader = _Reader(name)
    value = reader.value(node, (), 0) if node is not None else {}
    if reader.problems:
        raise ConfigError(reader.problems)
    return value, reader.places


def read(path: Path) -> str:
    """What stands in one file. Raises ConfigError."""
    name = str(path)
    try:
        # Without O_NONBLOCK, a FIFO in a file's place would hold up every reload from then on.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([Problem(name, 1, 1, "is no regular file")])
            data = file.read(SIZE_MOST + 1)
    except OSError as error:
        raise ConfigError([Problem(name, 1, 1, f"cannot be read: {error.strerror or error}")]) from None
    if len(data) > SIZE_MOST:
        raise ConfigError([Problem(name, 1, 1, "over 1 MiB: split it into conf.d/*.yaml")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError([Problem(name, line, 1, "not UTF-8")]) from None


def _refuse_bombs(text: str, name: str) -> None:
    """Aliases are followed once each, but a few lines of them can stand for billions of values.

    Nesting is refused here, while it is read: what the scanner spends on each token grows with the depth.
    """
    aliases = depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, AliasEvent):
            aliases += 1
            if aliases > 1000:
                raise ConfigError([Problem(name, event.start_mark.line + 1, 1, "more than 1,000 aliases")])
        elif isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MOST:
                mark = event.start_mark
                text = f"nested deeper than {DEPTH_MOST} levels"
                raise ConfigError([Problem(name, mark.line + 1, mark.column + 1, text)])
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


class _Reader:
    """Turns nodes into values, and notes where each stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._yaml = YAML(typ="safe", pure=True)
        self.places: Places = {}
        self.problems: list[Problem] = []

    def value(self, node: Node, where: Where, depth: int) -> Any:
        self._count += 1
        if self._count > NODES_MOST:
            raise ConfigError([self._problem(node, f"more than {NODES_MOST:,} values: an alias bomb?")])
        if depth > DEPTH_MOST:
            raise ConfigError([self._problem(node, f"nested deeper than {DEPTH_MOST} levels")])
        self.places.setdefault(where, self._place(node))
        if isinstance(node, MappingNode):
            return dict(self._entries(node, where, depth))
        if isinstance(node, SequenceNode):
            return [self.value(child, (*where, i), depth + 1) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _entries(self, node: MappingNode, where: Where, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problems.append(self._problem(key_node, "a key is a word"))
                continue
            key = str(key_node.value)
            if key in seen:
                self.problems.append(self._problem(key_node, f"{key!r} stands here again; first on line {seen[key]}"))
                continue
            seen[key] = key_node.start_mark.line + 1
            self.places[*where, key] = self._place(key_node)
            yield key, self.value(value_node, (*where, key), depth + 1)

    def _scalar(self, node: Node) -> Any:
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag not in _SCALARS:
            self.problems.append(self._problem(node, f"the tag {tag} is not allowed"))
            return None
        text = node.value
        try:
            if tag == "null":
                return None
            if tag == "bool":
                return text.lower() == "true"
            if tag == "int":
                return int(text.replace("_", ""), 0)
            if tag == "float":
                return float(text.replace("_", ""))
        except ValueError:
            pass  # what only looks like a number is a word
        return text

    def _place(self, node: Node) -> tuple[str, int, int]:
        return self._file, node.start_mark.line + 1, node.start_mark.column + 1

    def _problem(self, node: Node, message: str) -> Problem:
        return Problem(*self._place(node), message)
