"""YAML's syntax errors, explained to the person who wrote the file."""

from __future__ import annotations

import re
import unicodedata

_MERGE_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})( |$)")
_ENDS_IN_COLONS = re.compile(r":\s+\S*::\s*(#.*)?$")
_WORDS = (
    ("cannot start any token", "\\t", "a tab stands here: YAML indents with spaces"),
    ("another document", "", "a second document begins here: one file is one configuration, without ---"),
)


def explained(problem: str, text: str, line: int, column: int) -> tuple[int, int, str]:
    """The line, the column and the words for an error of the YAML reader at ``line`` and ``column``."""
    lines = text.splitlines()
    for number, content in enumerate(lines, 1):
        if _MERGE_CONFLICT.match(content):
            return number, 1, "a merge conflict was left in the file"
    for sign, needed, words in _WORDS:
        if sign in problem and needed in problem:
            return line, column, words
    near = [(n, lines[n - 1]) for n in (line, line - 1) if 0 < n <= len(lines)]
    for number, content in near:
        if found := _not_a_plain_space(content):
            at, words = found
            return number, at, f"not YAML: {words}"
    if near and _ENDS_IN_COLONS.search(near[0][1]):
        return line, column, "not YAML: a value that ends in a colon stands in quotes, like '2001:db8::'"
    return line, column, f"not YAML: {problem}"


def _not_a_plain_space(content: str) -> tuple[int, str] | None:
    """The column and the name of a character that looks like a space or is invisible."""
    for column, character in enumerate(content, 1):
        if character != " " and unicodedata.category(character) in ("Zs", "Cf"):
            name = unicodedata.name(character, "").lower()
            return column, f"a {name} (U+{ord(character):04X}) stands here, which YAML takes for text: write a space"
    return None
