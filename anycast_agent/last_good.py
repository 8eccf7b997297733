"""A copy of the files that were in force last, in the state directory. The agent starts from it if they are broken."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anycast_agent import store
from anycast_agent.config import ConfigError, Loaded, load_texts
from anycast_agent.config.models import AgentModel

NAME = "last-good.json"
VERSION = 1
MOST = 64 << 20
"""Bytes of the record."""
_LOOKED_AT = 1 << 20
_STATE_DIR = re.compile(r"""\bstate_dir["']?\s*:\s*["']?(/[^\s"'#,}]+)""")


@dataclass(frozen=True, slots=True)
class LastGood:
    loaded: Loaded
    kept_at: str
    """The date and time at which it came into force, as people write it."""


def keep(state_dir: Path, texts: Mapping[Path, str]) -> None:
    """Blocks for a disk write. Raises OSError; the earlier record then stands."""
    files = {str(path.absolute()): text for path, text in texts.items()}
    record = {"version": VERSION, "kept_at": time.strftime("%Y-%m-%d %H:%M:%S"), "files": files}
    store.make_folder(state_dir)
    store.replace(state_dir / NAME, json.dumps(record))


def find(path: Path) -> tuple[LastGood | None, tuple[str, ...]]:
    """The files of the configuration ``path`` that were in force last, and one line for each record that is of no use.

    Passwords and keys are not kept: they are read from their own files later, and a start does not depend on them.
    """
    notes: list[str] = []
    for folder in _state_dirs(path):
        record = folder / NAME
        try:
            found = _read(record, path)
        except FileNotFoundError:
            continue
        except OSError as error:
            notes.append(f"{record} is of no use: {error}")
        except (ValueError, ConfigError) as error:
            notes.append(f"{record} is of no use: {str(error).splitlines()[0]}")
        else:
            return found, tuple(notes)
    return None, tuple(notes)


def is_another(path: Path, texts: Mapping[Path, str]) -> bool:
    """True if there is a record, and it holds other texts than these."""
    for folder in _state_dirs(path):
        try:
            kept, _ = _texts(folder / NAME, path)
        except (OSError, ValueError):
            continue
        return kept != {file.absolute(): text for file, text in texts.items()}
    return False


def _texts(record: Path, path: Path) -> tuple[dict[Path, str], str]:
    """The files' texts, and the time of the record."""
    values = json.loads(store.read(record, MOST))
    try:
        texts = {Path(file): str(text) for file, text in values["files"].items()}
        if values["version"] != VERSION or next(iter(texts), None) != path.absolute():
            raise ValueError(f"not the configuration {path.absolute()}")
        return texts, str(values["kept_at"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of ours: {type(error).__name__} {error}") from None


def _read(record: Path, path: Path) -> LastGood:
    texts, kept_at = _texts(record, path)
    try:
        return LastGood(load_texts(texts), kept_at)
    except ConfigError:  # perhaps for want of a file that it names
        return LastGood(load_texts(texts, elsewhere=True), kept_at)


def _state_dirs(path: Path) -> list[Path]:
    """Candidate directories of the record. The configuration names it, but may be broken: so its text is searched."""
    try:
        with path.open("rb") as file:
            text = file.read(_LOOKED_AT).decode("utf-8", "replace")
    except OSError:
        text = ""
    written = [Path(found) for found in _STATE_DIR.findall(text)[:4]]
    given = [Path(folder) for folder in os.environ.get("STATE_DIRECTORY", "").split(":") if folder]  # by systemd
    default = AgentModel.model_fields["state_dir"].default
    return list(dict.fromkeys([*written, *given, default]))
