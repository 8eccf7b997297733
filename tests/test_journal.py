"""The journal: bounded, numbered, and read by the log like by any other reader."""

from __future__ import annotations

import logging

import pytest

from anycast_agent.core.changes import Level, Told
from anycast_agent.journal import KEPT, Entry, Journal, to_log


def test_the_last_entries_are_kept_and_numbered() -> None:
    journal = Journal()
    for n in range(KEPT + 5):
        journal.add(Told("lo", f"change {n}"), float(n))
    entries = journal.entries()
    assert (len(entries), entries[0].number, entries[-1].number) == (KEPT, 6, KEPT + 5)
    assert entries[-1].at == KEPT + 4


def test_each_reader_hears_of_each_entry_in_order() -> None:
    heard: list[Entry] = []
    journal = Journal(heard.append)
    journal.add(Told("a", "b"), 1.0)
    journal.add(Told("c", "d"), 2.0)
    assert [(e.number, e.change.subject) for e in heard] == [(1, "a"), (2, "c")]
    assert tuple(heard) == journal.entries()


@pytest.mark.parametrize("level", Level)
def test_the_log_is_a_reader(level: Level, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "anycast_agent"):
        Journal(to_log).add(Told("leaf1", "session down", level), 1.0)
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level.upper(), "leaf1: session down")
