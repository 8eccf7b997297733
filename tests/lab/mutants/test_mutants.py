"""The lab's drills catch a lab that is broken on purpose: the sample here, all of them by ``make lab-mutants``."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.mutants.known import MUTANTS, Mutant
from tests.lab.mutants.workshop import REPO, Workshop, mutated
from tests.lab.needs import needs_lab


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_still_applies(mutant: Mutant) -> None:
    """What it changes stands in its file exactly once, and its drill is there: otherwise it would break nothing."""
    for file, text in mutated(mutant).items():
        assert text != (REPO / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")
    assert (REPO / "containerlab" / "drills" / f"{mutant.drill}.yaml").exists()


def test_there_are_twenty_five_at_least_and_a_sample_of_them_runs_here() -> None:
    """Of the clients, the network and the edges; by names of their own."""
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) >= 25
    assert len({m.edits[0].file for m in MUTANTS if m.ci}) >= 3


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    yield Workshop(tmp_path_factory.mktemp("mutants") / "tree", f"test-mutants-{os.getpid()}")


@needs_lab
@pytest.mark.timeout(420)
@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.ci], ids=lambda m: m.name)
def test_a_drill_catches_a_lab_that_is_broken_on_purpose(mutant: Mutant, workshop: Workshop) -> None:
    """By the expectation that is there for it."""
    found = workshop.run(mutant)
    assert found.caught, "\n".join(found.missed)
