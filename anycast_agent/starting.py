"""Before the agent runs: it is alone in its directories, and nobody with fewer rights can interfere there."""

from __future__ import annotations

import os

from anycast_agent import holding, store
from anycast_agent.config import ProcessSettings

TRIES = 100
"""To hold a run directory that other agents give up at that moment."""


class Claim:
    """The run directory is this process's until it ends: two agents would undo each other's routes."""

    def __init__(self, settings: ProcessSettings) -> None:
        """Raises OSError if another agent holds it, or if another user could change our directories."""
        self.warning = ""
        self._path = settings.run_dir / "agent.lock"
        for folder in (settings.run_dir, settings.state_dir):
            try:
                store.make_folder(folder)
            except store.UntrustedError:
                raise
            except OSError as error:
                self.warning = f"{folder} cannot be made: {error}"
        self._descriptor = self._held()

    def _held(self) -> int | None:
        for _ in range(TRIES):
            try:
                descriptor = holding.open_file(self._path, make=True)
                if holding.take(descriptor):
                    return descriptor
            except OSError as error:  # a full or read-only disk is no reason to leave the routes to the dead man
                self.warning = f"two agents could run at once: {self._path} cannot be held: {error}"
                return None
            pid = holding.holder(descriptor)
            os.close(descriptor)
            if pid is not None:  # else that one has just given it up
                break
        raise OSError(f"another agent has {self._path.parent}: process {pid}; stop it, or set agent.run_dir")

    def give_up(self) -> None:
        """Give it up at the end. A process that dies gives it up, too."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
