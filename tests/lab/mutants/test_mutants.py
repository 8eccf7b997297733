"""The lab's drills catch a lab that is broken on purpose: a sample by test_side_by_side.py, all of them by ``make lab-mutants``."""

from __future__ import annotations

import pytest

from tests.lab.mutants.known import MUTANTS, Mutant
from tests.lab.mutants.workshop import REPO, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_mutant_still_applies(mutant: Mutant) -> None:
    """What it changes stands in its file exactly once, and its drill is there: otherwise it would break nothing."""
    for file, text in mutated(mutant).items():
        assert text != (REPO / file).read_text(encoding="utf-8")
        if file.endswith(".py"):
            compile(text, file, "exec")
    assert (REPO / "containerlab" / "drills" / f"{mutant.drill}.yaml").exists()


def test_there_are_twenty_five_at_least_and_a_sample_of_them_runs_in_one_drill() -> None:
    """Of the clients, the runner, the network and the edges; each is caught by another expectation."""
    assert len({m.name for m in MUTANTS}) == len(MUTANTS) >= 25
    sample = [m for m in MUTANTS if m.ci]
    assert len({m.edits[0].file for m in sample}) == len({m.caught for m in sample}) == len(sample) >= 4
    assert len({m.drill for m in sample}) == 1 and mutated(*sample)
