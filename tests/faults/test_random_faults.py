"""Random stories of faults against the real parts: afterwards, and in between, all surfaces agree with the world.

The seed is fixed: what fails here fails on every machine. ``make soak`` plays fresh ones for as long as one likes,
replays a story, and makes one that fails shorter.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.driver.faults import TABLE
from tests.faults.driver.story import Step, Story, play, shorter, stories_of
from tests.support.netns import needs_root

STORIES = stories_of(1)
DISTURBED = {"wire: part", "wire: nothing", "wire: something deserved is missing"}
"""What the routers must have seen at least once: a story in which nothing has happened proves nothing."""


@needs_root
@pytest.mark.root
@pytest.mark.timeout(320)
@pytest.mark.parametrize("n", range(len(STORIES)))
def test_after_random_faults_the_wire_the_status_and_the_metrics_agree_with_the_world(tmp_path: Path, n: int) -> None:
    """With the faults in force, and after they are lifted; and no dead service keeps its route in between."""
    story, tally = STORIES[n], Counter[str]()
    print(f"to play it again and make it shorter: make soak ARGS=\"--story '{story}'\"")
    play(story, tmp_path, tally)
    for name in sorted(tally):
        print(f"  {tally[name]:4}  {name}")
    assert tally.keys() & DISTURBED, "nothing was disturbed"


def test_the_stories_of_a_seed_play_every_fault_once() -> None:
    """And ExaBGP runs in either way, with local addresses written and not."""
    for seed in range(20):
        stories = stories_of(seed)
        assert sorted(step.fault for story in stories for step in story.steps) == sorted(TABLE)
        assert len({(story.external, story.local_addresses) for story in stories}) == 4


def test_a_story_reads_as_it_was_written() -> None:
    """What a failure prints can be played again."""
    story = STORIES[1]
    assert Story.parse(str(story)) == story


def test_a_story_that_fails_is_made_as_short_as_it_can_be() -> None:
    """Of nine faults the two that it takes, in their order."""
    story = Story(tuple(Step(name, n, 0) for n, name in enumerate("abcdefghi")))

    def fails(one: Story) -> bool:
        names = "".join(step.fault for step in one.steps)
        return "c" in names and "g" in names

    assert [step.fault for step in shorter(story, fails).steps] == ["c", "g"]
