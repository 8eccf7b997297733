"""The resources that all checks of a node share. Each is bounded, so that no service starves the others."""

from __future__ import annotations

from anycast_agent.checks.aside import Aside
from anycast_agent.checks.matching import Matcher
from anycast_agent.checks.names import Names

EXEC_SLOTS = 32
"""Programs that run at once on a node, beside one for each service, where nothing else is configured."""


class Shared:
    def __init__(self, exec_slots: int = EXEC_SLOTS) -> None:
        self.exec_slots = exec_slots
        self.matcher = Matcher()
        """Regular expressions and JSON on the answers of services."""
        self.aside = Aside()
        """Calls that block."""
        self.names = Names()
        """Look-ups of names."""

    async def close(self) -> None:
        await self.matcher.close()
