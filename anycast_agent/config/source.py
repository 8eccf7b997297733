"""YAML with positions: from files to plain values, and the place of each of them.

YAML 1.2, with two things that people know from YAML 1.1 and expect to work: merge keys (``<<: *anchor``), and tabs
wherever they do not indent.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.parser import Parser
from ruamel.yaml.scanner import Scanner

from anycast_agent.config.problems import ConfigError, Problem
from anycast_agent.config.syntax import explained

MAX_SIZE = 1 << 20
MAX_NODES = 200_000
MAX_DEPTH = 50
MAX_ALIASES = 1000
MAX_FILES = 1000

_SCALARS = frozenset({"null", "bool", "int", "float", "str", "timestamp", "None"})
_MERGE = "<<"
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no YAML file may hold (YAML 1.2, c-printable)."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")

Where = tuple[str | int, ...]
"""A path into the configuration: ``('services', 'dns', 'prefixes', 0)``."""

Places = dict[Where, tuple[str, int, int]]
"""(file, line, column) of each value; of a mapping's entry, where its key stands."""


def parse(text: str, name: str) -> tuple[Any, Places]:
    """The values of one file and their places. Raises ConfigError."""
    if bad := _NOT_PRINTABLE.search(text):
        line, column = _position(text, bad.start())
        what = "a NUL" if bad[0] == "\0" else f"the control character U+{ord(bad[0]):04X}"
        raise ConfigError([Problem(name, line, column, f"{what} stands here: YAML allows none")])
    try:
        node = _yaml().compose(text)
    except _TooMuchError as error:
        message, mark = error.args
        raise ConfigError([Problem(name, mark.line + 1, mark.column + 1, message)]) from None
    except (MarkedYAMLError, DuplicateKeyError) as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        said = explained(error.problem or error.context or "", text, line, column)
        raise ConfigError([Problem(name, *said)]) from None
    except (YAMLError, ValueError) as error:
        raise ConfigError([Problem(name, 1, 1, f"not YAML: {str(error).splitlines()[0]}")]) from None
    reader = _Reader(name)
    value = reader.value(node, (), 0) if node is not None else {}
    if reader.problems:
        raise ConfigError(reader.problems)
    return value, reader.places


def _two_numbers(text: str) -> str:
    digits = text.replace("_", "")
    plain = int(digits)
    octal = plain if set(digits) & {"8", "9"} else int(digits, 8)
    number = str(plain) if octal == plain else f"{plain} or {octal}"
    return f"write {number}, or '{text}' in quotes where it is text: a leading 0 means octal to many YAML readers"


def _position(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character, from 1."""
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


class _Scanner(Scanner):
    """Takes a tab for a space where it does not indent (YAML 1.2, 6.2), as before a comment. ruamel refuses each."""

    def scan_to_next_token(self) -> Any:
        while True:
            super().scan_to_next_token()
            if self.reader.peek() != "\t" or not self._separates():
                return None
            while self.reader.peek() in " \t":
                self.reader.forward()
            self.allow_simple_key = False  # the mapping that begins behind a tab would be indented by it

    def _separates(self) -> bool:
        """True if the tab's line has something before the tab, or nothing but a comment after it."""
        start, buffer = self.reader.pointer, self.reader.buffer
        if buffer[start - self.reader.column : start].strip():
            return True
        ahead = 0
        while self.reader.peek(ahead) in " \t":
            ahead += 1
        return self.reader.peek(ahead) in "#\r\n\0"


class _TooMuchError(Exception):
    """A file exceeds a limit. The text names the limit, and the place."""


class _Parser(Parser):
    """Refuses deep nesting and many aliases while it reads.

    The work of the scanner for each token grows with the depth, and a few lines of aliases can stand for billions of
    values.
    """

    def __init__(self, loader: Any) -> None:
        super().__init__(loader)
        self._depth = self._aliases = 0

    def get_event(self) -> Any:
        event = super().get_event()
        if isinstance(event, CollectionStartEvent):
            self._depth += 1
        elif isinstance(event, CollectionEndEvent):
            self._depth -= 1
        elif isinstance(event, AliasEvent):
            self._aliases += 1
        if self._depth > MAX_DEPTH:
            raise _TooMuchError(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if self._aliases > MAX_ALIASES:
            raise _TooMuchError(f"more than {MAX_ALIASES:,} aliases", event.start_mark)
        return event


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    yaml.Parser = _Parser
    return yaml


def read(path: Path) -> str:
    """The text of one file. Raises ConfigError."""
    name = str(path)
    try:
        # Without O_NONBLOCK, the open of a FIFO would block every later reload.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError([Problem(name, 1, 1, "is no regular file")])
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError([Problem(name, 1, 1, f"cannot be read: {error.strerror or error}", True)]) from None
    if len(data) > MAX_SIZE:
        raise ConfigError([Problem(name, 1, 1, "over 1 MiB: split it into conf.d/*.yaml")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        # Everything before the byte is UTF-8, so its position can be told.
        line, column = _position(data[: error.start].decode("utf-8"), len(data[: error.start].decode("utf-8")))
        text = "UTF-16: save it as UTF-8" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise ConfigError([Problem(name, line, column, text)]) from None


class _Reader:
    """Turns nodes into values, and notes the place of each."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self.places: Places = {}
        self.problems: list[Problem] = []

    def value(self, node: Node, where: Where, depth: int) -> Any:
        self._count_in(node, depth)
        self.places.setdefault(where, self._place(node))
        if isinstance(node, MappingNode):
            return dict(self._entries(node, where, depth))
        if isinstance(node, SequenceNode):
            return [self.value(child, (*where, i), depth + 1) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _entries(self, node: MappingNode, where: Where, depth: int) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                hint = ": is this a template, {{ … }}, that was not filled in?" if node.flow_style else ""
                self.problems.append(self._problem(key_node, f"a key is a word{hint}"))
                continue
            key = str(key_node.value)
            if key in seen:
                self.problems.append(self._problem(key_node, f"{key!r} stands here again; first on line {seen[key]}"))
                continue
            seen[key] = key_node.start_mark.line + 1
            if key == _MERGE and key_node.style is None:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
                continue
            self.places[*where, key] = self._place(key_node)
            yield key, self.value(value_node, (*where, key), depth + 1)
        for source in merged:
            yield from self._merged(source, where, depth + 1, seen)

    def _merged(self, node: Node, where: Where, depth: int, seen: dict[str, int]) -> Iterator[tuple[str, Any]]:
        """The entries that ``<<`` brings: those that stand in the mapping itself go first, then the earlier source."""
        self._count_in(node, depth)
        if not isinstance(node, MappingNode):
            self.problems.append(self._problem(node, "<< takes the keys of another mapping: write <<: *ANCHOR"))
            return
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if key_node.value == _MERGE and key_node.style is None:
                merged += value_node.value if isinstance(value_node, SequenceNode) else [value_node]
            elif isinstance(key_node, ScalarNode) and (key := str(key_node.value)) not in seen:
                seen[key] = key_node.start_mark.line + 1
                self.places[*where, key] = self._place(key_node)
                yield key, self.value(value_node, (*where, key), depth + 1)
        for source in merged:
            yield from self._merged(source, where, depth + 1, seen)

    def _scalar(self, node: Node) -> Any:
        tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
        if tag not in _SCALARS:
            self.problems.append(self._problem(node, f"the tag {tag} is not allowed"))
            return None
        text = node.value
        if found := _SURROGATE.search(text):
            self.problems.append(self._problem(node, f"U+{ord(found[0]):04X} is no character"))
            return None
        if tag == "int" and _LEADING_ZERO.fullmatch(text):
            self.problems.append(self._problem(node, _two_numbers(text)))
            return None
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
            pass  # it only looks like a number, so it is text
        return text

    def _count_in(self, node: Node, depth: int) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise ConfigError([self._problem(node, f"more than {MAX_NODES:,} values: an alias bomb?")])
        if depth > MAX_DEPTH:
            raise ConfigError([self._problem(node, f"nested deeper than {MAX_DEPTH} levels")])

    def _place(self, node: Node) -> tuple[str, int, int]:
        return self._file, node.start_mark.line + 1, node.start_mark.column + 1

    def _problem(self, node: Node, message: str) -> Problem:
        return Problem(*self._place(node), message)
