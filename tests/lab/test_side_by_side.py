"""Two labs at once: the drill of the variant `hold`, and a lab that is broken on purpose.

Neither is judged by times that a busy machine could move: what they wait for is nine seconds of silence, and mutants cost
seconds or shares. In one after the other, the machine would wait most of the time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.lab.drills.running import chosen, drilled, judged, wrong_with
from tests.lab.mutants.known import MUTANTS, Mutant
from tests.lab.mutants.workshop import Found, Workshop
from tests.lab.needs import needs_lab

pytestmark = [needs_lab, pytest.mark.timeout(500)]

HOLD = f"test-hold-{os.getpid()}"
SAMPLE = [m for m in MUTANTS if m.ci]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Future[dict[str, Any]], Future[list[Found]]]]:
    with ThreadPoolExecutor(2) as pool:
        yield (
            pool.submit(drilled, HOLD, "--ci", "--variant", "hold"),
            pool.submit(_mutants, tmp_path_factory.mktemp("mutants") / "tree"),
        )


def _mutants(folder: Path) -> list[Found]:
    return Workshop(folder, f"test-mutants-{os.getpid()}").run(*SAMPLE)


@pytest.mark.parametrize("name", chosen("hold"))
def test_a_drill_without_bfd_ends_as_it_should(
    name: str, both: tuple[Future[dict[str, Any]], Future[list[Found]]]
) -> None:
    """Every expectation of its file, where only the hold time notices."""
    both[1].exception()  # the machine is the drill's alone if it has to be run again
    result = judged(HOLD, "hold", both[0].result()[name])
    assert not wrong_with(result), result["told"]


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda m: m.name)
def test_a_drill_catches_each_way_in_which_a_lab_is_broken(
    mutant: Mutant, both: tuple[Future[dict[str, Any]], Future[list[Found]]]
) -> None:
    """By the expectation that is there for it, whatever else is broken."""
    found = next(one for one in both[1].result() if one.name == mutant.name)
    assert found.caught, "\n".join(found.missed)
