"""Warnings for people, and the adapters that have failed."""

from __future__ import annotations

from collections.abc import Iterable

from anycast_agent.core import events as ev
from anycast_agent.core.board import Board
from anycast_agent.core.changes import Level, Told
from anycast_agent.core.part import Binding, Part, on

MAX_WARNINGS = 256


class Warnings(Part):
    def __init__(self, board: Board) -> None:
        self._board = board
        self.texts: dict[str, str] = {}
        """The warnings by subject."""
        self.adapter_failures: dict[str, int] = {}

    def handlers(self) -> Iterable[Binding]:
        return (
            on(ev.Warned, self._warned),
            on(ev.AdapterFailed, self._adapter_failed),
            on(ev.Lost, self._events_lost),
        )

    def _warned(self, event: ev.Warned, now: float) -> None:
        if not event.text:
            self.texts.pop(event.subject, None)
        elif event.subject in self.texts or len(self.texts) < MAX_WARNINGS:
            if self.texts.get(event.subject) != event.text:
                self._board.tell(Told(event.subject, event.text, Level.WARNING))
            self.texts[event.subject] = event.text

    def _adapter_failed(self, event: ev.AdapterFailed, now: float) -> None:
        self.adapter_failures[event.name] = self.adapter_failures.get(event.name, 0) + 1
        self._board.tell(Told(event.name, f"failed and is restarted: {event.error}"[:500], Level.ERROR))

    def _events_lost(self, event: ev.Lost, now: float) -> None:
        self._board.tell(Told(event.source, f"events were lost: {event.why}", Level.WARNING))
