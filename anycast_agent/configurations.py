"""The configuration's files: reading them, offering them to the engine, and the record of the last good ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anycast_agent import last_good, store
from anycast_agent.config import ConfigError, Loaded, Problem, load
from anycast_agent.core import events as ev
from anycast_agent.core.model import SpeakerConfig
from anycast_agent.speaker import trial
from anycast_agent.speaker.exabgp import Paths, SpeakerError, render
from anycast_agent.speaker.process import environment

KEPT_AGAIN = 30.0
"""Interval between attempts to write the record. Seconds."""
READ_WITHIN = 5.0
"""Time limit for reading the files before a hand-over. Seconds."""


@dataclass(frozen=True, slots=True)
class Start:
    """The configuration that an agent starts from."""

    loaded: Loaded
    refused: tuple[str, ...] = ()
    """The reason why it differs from the files on disk; empty if it does not."""
    kept_at: str = ""
    """Since when the record of the last good configuration has been there."""


def start_from(path: Path) -> Start:
    """Read the files, or the last good ones if these are broken. Raises ConfigError if neither can be used."""
    try:
        loaded = load(path)
    except ConfigError as error:
        return _start_without(path, error)
    if last_good.is_another(path, loaded.texts) and (why := _refused_by_exabgp(loaded)):
        problem = Problem(str(path), 1, 1, f"ExaBGP would refuse this: {why}")
        with contextlib.suppress(ConfigError):  # then there is nothing better
            return _start_without(path, ConfigError([problem]))
    return Start(loaded)


def _start_without(path: Path, error: ConfigError) -> Start:
    found, notes = last_good.find(path)
    if found is None:
        raise ConfigError(error.problems, notes) from None
    return Start(found.loaded, tuple(str(problem) for problem in error.problems) + notes, found.kept_at)


def _refused_by_exabgp(loaded: Loaded) -> str:
    """Why ExaBGP would refuse it; empty where it would not, or that cannot be tried."""
    paths = Paths(loaded.process.run_dir)
    try:
        text, _ = render(loaded.config.speaker, paths)
        store.make_folder(paths.run_dir)
        return asyncio.run(trial.refusal(text, paths.trial, environment(loaded.config.speaker)))
    except SpeakerError as error:
        return str(error)
    except OSError:
        return ""


class Configurations:
    """Reads the files, offers the configuration to the engine, and records it once it is in force."""

    def __init__(
        self,
        path: Path,
        start: Start,
        post: Callable[[ev.Event], None],
        try_out: Callable[[SpeakerConfig], Awaitable[str]],
    ) -> None:
        """``try_out``: why the speaker would refuse a configuration; empty where it would not."""
        self._path = path
        self._start = start
        self._post = post
        self._try_out = try_out
        self._kept: Mapping[str, str] = _texts(start.loaded) if start.refused else {}
        """The files that the record on disk holds."""
        self._keep_at = float("-inf")
        self._keeping: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Offer the configuration that the agent starts from."""
        self._offer(self._start.loaded)
        if self._start.refused:
            self._post(ev.ConfigRejected(self._start.refused))
            text = f"broken; the agent started with what was in force last ({self._start.kept_at}): mend and reload: "
            self._post(ev.Warned("configuration files", text + self._start.refused[0]))

    async def reload(self, force: bool, request: int | None) -> None:
        """Read the files again; ends in exactly one event."""
        try:
            loaded = await asyncio.to_thread(load, self._path)
        except ConfigError as error:
            self._post(ev.ConfigRejected(tuple(str(p) for p in error.problems), request))
            return
        if why := await self._try_out(loaded.config.speaker):
            self._post(ev.ConfigRejected((why,), request))
            return
        self._post(ev.Warned("configuration files", ""))
        same = loaded.process == self._start.loaded.process
        which = "api, control_socket, exec_slots, run_dir, state_dir"
        text = "" if same else f"settings of the process ({which}) change at a restart"
        self._post(ev.Warned("process settings", text))
        self._offer(loaded, force, request)

    def _offer(self, loaded: Loaded, force: bool = False, request: int | None = None) -> None:
        self._post(ev.ConfigOffered(loaded.config, force, request, _texts(loaded)))
        # No reason to refuse a configuration: only the checks that need the files suffer for it.
        more = f"; and {len(loaded.missing) - 3} more" if len(loaded.missing) > 3 else ""
        self._post(ev.Warned("files of checks", "; ".join(map(str, loaded.missing[:3])) + more))
        try:
            who = store.who_else_writes(loaded.files)
        except OSError as error:
            who = f"it is not known who may change the configuration ({error})"
        text = f"{who}: whoever writes the configuration runs programs with the agent's rights, and those are root's"
        self._post(ev.Warned("configuration's rights", text if who else ""))

    # --- the record ---

    def keep(self, in_force: Mapping[str, str], now: float) -> None:
        """Record the files that the speaker has put in force, if they changed: an agent can start from these."""
        if in_force and in_force != self._kept and self._keeping is None and now >= self._keep_at:
            self._keep_at = now + KEPT_AGAIN
            self._keeping = asyncio.create_task(self._keep(in_force))

    async def _keep(self, files: Mapping[str, str]) -> None:
        error = ""
        try:
            texts = {Path(path): text for path, text in files.items()}
            await asyncio.to_thread(last_good.keep, self._start.loaded.process.state_dir, texts)
            self._kept, self._keep_at = files, float("-inf")
        except OSError as problem:
            error = f"cannot be kept ({problem}): with broken files, the next agent could not start"
        finally:
            self._keeping = None
        self._post(ev.Warned("last good configuration", error))

    async def close(self) -> None:
        """Wait for a write that is under way."""
        if self._keeping is not None:
            await asyncio.wait([self._keeping], timeout=1.0)

    def is_kept(self, in_force: Mapping[str, str]) -> bool:
        return bool(in_force) and in_force == self._kept

    async def refusal(self) -> tuple[str, ...]:
        """Why the next agent would not start from the files as they are now; empty where it would."""
        try:
            loaded = await asyncio.wait_for(asyncio.to_thread(load, self._path), READ_WITHIN)
            why = await asyncio.wait_for(self._try_out(loaded.config.speaker), READ_WITHIN)
        except ConfigError as error:
            return tuple(str(problem) for problem in error.problems)
        except TimeoutError:
            return (f"{self._path} could not be read within {READ_WITHIN:g} s",)
        return (why,) if why else ()


def _texts(loaded: Loaded) -> dict[str, str]:
    """The files as they were read, by path."""
    return {str(path): text for path, text in loaded.texts.items()}
