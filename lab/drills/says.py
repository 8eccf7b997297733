"""A command in a node, text that it has to print, and text that it must not: routers are asked about BGP this way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from lab.documents import Document
from lab.drills.result import Expectation
from lab.net.lab import Lab
from lab.net.node import NodeError

Text = Annotated[str, StringConstraints(min_length=1)]


class Says(Document):
    """A command in a node, and text that its output must or must not contain."""

    node: str
    command: tuple[str, ...] = Field(min_length=1)
    has: tuple[Text, ...] = ()
    lacks: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _some(self) -> Says:
        if not self.has:  # a command that fails lacks everything
            raise ValueError("say what it has; what it lacks is asked beside that")
        return self

    @property
    def line(self) -> str:
        return f"{self.node}: {' '.join(self.command)}"


def ask(lab: Lab, says: Says) -> Iterator[Expectation]:
    """One expectation for each text. A text that must be absent is not met by a node that cannot be asked."""
    try:
        text = lab.node(says.node).run(says.command, check=False)
    except NodeError as error:
        yield Expectation(f"{says.line}: says", False, str(error))
        return
    for part in says.has:
        yield Expectation(f"{says.line}: says {part!r}", part in text, "yes" if part in text else _first(text))
    for part in says.lacks:
        yield Expectation(f"{says.line}: does not say {part!r}", part not in text, "it does" if part in text else "no")


def _first(text: str) -> str:
    lines = text.strip().splitlines()
    if not lines:
        return "it says nothing"
    return f"it says {lines[0][:120]!r}" + (f" and {len(lines) - 1} lines more" if len(lines) > 1 else "")
