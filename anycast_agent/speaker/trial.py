"""ExaBGP's own parser tries a configuration before it replaces the one that runs.

An ExaBGP that has once read a file that it refuses takes no other one until it is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from anycast_agent import store

WITHIN = 10.0
"""A parser that takes longer is ended, and the configuration refused. Seconds."""
MAX_SHOWN = 500
_WORDS_OF_A_LINE, _QUOTED = re.compile(r"^(line \d+):.*$", re.MULTILINE), re.compile(r'"[^"]*"')


async def refusal(text: str, path: Path, environment: Mapping[str, str]) -> str:
    """Why ExaBGP would refuse this configuration; empty where it would not. ``path``: where the copy may lie meanwhile.

    Raises OSError.
    """
    await asyncio.to_thread(store.replace, path, text, durable=False)
    try:
        ended, said = await _parse(path, environment)
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return "" if ended == 0 else _reason(said) if ended is not None else f"it took longer than {WITHIN:g} s to read it"


async def _parse(path: Path, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """ExaBGP's exit status, None if it was killed; and its output."""
    words = [sys.executable, "-P", "-m", "anycast_agent.speaker.launch", "validate", str(path)]
    parser = await asyncio.create_subprocess_exec(
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
    )
    try:
        _, said = await asyncio.wait_for(parser.communicate(), WITHIN)
        return parser.returncode, said.decode("utf-8", "replace")
    except TimeoutError:
        return None, ""
    finally:
        with contextlib.suppress(ProcessLookupError):
            parser.kill()
        await parser.wait()


def _reason(said: str) -> str:
    """Its message on one line, without the words of the line that it refuses: one of them may be a password."""
    text = said.rpartition("is not a valid config file:")[2]
    text = _QUOTED.sub('"…"', _WORDS_OF_A_LINE.sub(r"\1", text))
    return " ".join(text.split())[:MAX_SHOWN] or "it did not say why"
