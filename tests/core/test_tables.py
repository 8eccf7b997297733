"""The three tables: total over state × event, each cell written down here once more by hand; and their diagrams."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from enum import Enum, StrEnum
from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from anycast_agent.core.health import VERDICT_OF, VERDICT_TABLE, Phase, Signal
from anycast_agent.core.life import LIFE_TABLE, LINK_TABLE, Life, LifeEvent, Link, LinkEvent
from anycast_agent.core.model import Verdict

Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]

ROOT = Path(__file__).parent.parent.parent

VERDICT_GRID = """
            success     risen  failure  fallen  nothing     expired
unknown     unknown     up     unknown  down    unknown     unknown
up          up          up     suspect  down    up          unknown
suspect     up          up     suspect  down    suspect     unknown
down        recovering  up     down     down    down        unknown
recovering  recovering  up     down     down    recovering  unknown
"""

LIFE_GRID = """
              all_known     stop_asked    hand_over_asked  finished
starting      running       stopping      handing_over     ended
running       running       stopping      handing_over     ended
stopping      stopping      stopping      stopping         ended
handing_over  handing_over  handing_over  handing_over     ended
ended         ended         ended         ended            ended
"""

LINK_GRID = """
         connected  replayed  resync   lost    silent   answered
absent   syncing    absent    absent   absent  absent   absent
syncing  syncing    synced    syncing  absent  wedged   syncing
synced   syncing    synced    syncing  absent  wedged   synced
wedged   syncing    wedged    wedged   absent  wedged   syncing
"""


def read(grid: str) -> dict[tuple[str, str], str]:
    """The cells of a grid: (state, event) to state."""
    head, *rows = [line.split() for line in grid.strip().splitlines()]
    assert all(len(row) == len(head) + 1 for row in rows)
    return {(row[0], event): cell for row in rows for event, cell in zip(head, row[1:], strict=True)}


TABLES = [
    pytest.param(VERDICT_TABLE, Phase, Signal, VERDICT_GRID, id="verdict"),
    pytest.param(LIFE_TABLE, Life, LifeEvent, LIFE_GRID, id="life"),
    pytest.param(LINK_TABLE, Link, LinkEvent, LINK_GRID, id="link"),
]


@pytest.mark.parametrize(("table", "states", "events", "grid"), TABLES)
def test_a_table_has_a_cell_for_every_state_and_event(
    table: Table, states: type[Enum], events: type[Enum], grid: str
) -> None:
    """Whatever happens in whatever state, it is written down what follows."""
    assert set(table) == set(product(states, events))
    assert set(table.values()) <= set(states)


@pytest.mark.parametrize(("table", "states", "events", "grid"), TABLES)
def test_each_cell_is_as_it_is_meant(table: Table, states: type[Enum], events: type[Enum], grid: str) -> None:
    """The grid above says it independently, to be read at one glance."""
    assert {(str(s), str(e)): str(after) for (s, e), after in table.items()} == read(grid)


def test_a_verdict_is_up_until_it_has_fallen_and_down_until_it_has_risen() -> None:
    """Suspect still is up, recovering still is down."""
    assert {str(p): str(v) for p, v in VERDICT_OF.items()} == {
        "unknown": "unknown", "up": "up", "suspect": "up", "down": "down", "recovering": "down",
    }  # fmt: skip


def test_a_verdict_of_up_comes_only_by_rise_and_one_of_down_only_by_fall() -> None:
    """No other signal makes or breaks a verdict; only time makes it unknown again."""
    for (phase, signal), after in VERDICT_TABLE.items():
        before, verdict = VERDICT_OF[phase], VERDICT_OF[after]
        if before is not verdict:
            needs = {Verdict.UP: Signal.RISEN, Verdict.DOWN: Signal.FALLEN, Verdict.UNKNOWN: Signal.EXPIRED}
            assert signal is needs[verdict]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated_docs", ROOT / "scripts" / "generated_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_diagrams_in_the_docs_are_those_of_the_tables() -> None:
    """After a table was changed: python scripts/generated_docs.py"""
    assert (ROOT / "docs" / "states.md").read_text() == _script().page()


def test_the_table_of_the_ladder_in_the_docs_is_that_of_its_rows() -> None:
    """After a row was changed: python scripts/generated_docs.py"""
    text = (ROOT / "docs" / "design.md").read_text()
    assert text == _script().design(text)
    assert _script().ladder() in text


@pytest.mark.parametrize(("table", "states", "events", "grid"), TABLES)
def test_a_diagram_draws_each_change_of_state_once(
    table: Table, states: type[Enum], events: type[Enum], grid: str
) -> None:
    """Every cell that changes the state is on an arrow, and no arrow says more."""
    drawn = _script().diagram(table, next(iter(states)))
    arrows = [line.strip() for line in drawn.splitlines() if "-->" in line and "[*]" not in line]
    said = {(a.split()[0], e.strip(), a.split()[2].rstrip(":")) for a in arrows for e in a.split(":")[1].split(",")}
    assert said == {(str(s), str(e), str(after)) for (s, e), after in table.items() if s is not after}
